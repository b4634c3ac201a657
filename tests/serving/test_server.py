"""The protocol over HTTP: paths, errors, and what the recorder sees."""

import contextlib
import gzip
import json
import struct
import threading
import time
import zlib

import numpy as np
import pytest

from modelreg.errors import InputError, UnreachableError
from modelreg_verifier.serving.exchange import Refusal, Reply
from modelreg_verifier.serving.recorder import Addition, FullError
from tests.serving import graphs
from tests.serving.running import Limits, ServerSettings, ask, infer, running, talk

X = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
Y = (np.array([1, 2, 3, 4], "f4") @ graphs.WEIGHTS).tolist()


def burn(size):
    return {"inputs": [{"name": "n", "datatype": "INT64", "shape": [2], "data": [size, size]}]}


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/acme/linear/ready"])
def test_health(url, path):
    assert ask(url, path)[0] == 200


def test_server_metadata(url):
    document = ask(url, "/v2")[2]
    assert document["name"] == "modelreg"
    assert "binary_tensor_data" in document["extensions"]


@pytest.mark.parametrize(
    ("path", "name", "version"),
    [
        ("acme/linear", "acme/linear", ["1.0.0", "2.0.0+bf16"]),
        ("acme%2Flinear", "acme/linear", ["1.0.0", "2.0.0+bf16"]),
        ("acme/linear/sub/ready", "acme/linear/sub/ready", ["1.0.0"]),
    ],
)
def test_metadata(url, path, name, version):
    status, _, document = ask(url, f"/v2/models/{path}")
    assert (status, document["name"], document["versions"]) == (200, name, version)
    assert document["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]


def test_config_says_what_is_served(url, models):
    document = ask(url, "/v2/models/acme/linear/versions/stable/config")[2]
    facts = {key: value["string_value"] for key, value in document["parameters"].items()}
    assert facts["modelreg.release"] == str(models.find("acme/linear", "2.0.0+bf16").release)
    assert facts["modelreg.content_root"] == "0x" + "02" * 32
    assert document["output"][0] == {"name": "y", "data_type": "TYPE_FP32", "dims": [-1, 3]}


def test_repository_index(url, models):
    assert len(ask(url, "/v2/repository/index", b"")[2]) == len(list(models))


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "GET", 404),
        ("/v2/", "GET", 404),
        ("/v2/models/acme", "GET", 404),
        ("/v2/models/acme/none", "GET", 404),
        ("/v2/models/acme/linear/versions/3.0.0", "GET", 404),
        ("/v2/models/acme/linear/versions/", "GET", 404),
        ("/v2/models/acme/linear/versions/1.0.0/ready/x", "GET", 404),
        ("/v2/models/acme/linearx", "GET", 404),
        ("/v2/models/acme/linear/versions/3.0.0/infer", "POST", 404),
        ("/v2/models/acme/linear/../../../etc/passwd", "GET", 404),
        ("/v2/models/acme/linear/infer", "GET", 405),
        ("/v2/models/acme/linear", "DELETE", 405),
        ("/v2/health/live", "POST", 405),
        ("/v2/repository/models/acme/linear/load", "POST", 404),
        ("/v2/systemsharedmemory/status", "GET", 404),
    ],
)
def test_no_such_path(url, path, method, status):
    found = ask(url, path, b"{}" if method == "POST" else None, method=method)
    assert found[0] == status
    assert "error" in found[2]


@pytest.mark.parametrize(
    ("path", "sign", "version"),
    [
        ("acme/linear", 1, "1.0.0"),
        ("acme/linear/versions/1.0.0", 1, "1.0.0"),
        ("acme/linear/versions/stable", -1, "2.0.0+bf16"),
        ("acme/linear/versions/2.0.0+bf16", -1, "2.0.0+bf16"),
        ("acme/linear/versions/2.0.0%2Bbf16", -1, "2.0.0+bf16"),
        ("acme/linear/sub/ready", 1, "1.0.0"),
    ],
)
def test_versions_and_channels(url, path, sign, version):
    status, document = infer(url, path, {"inputs": [X], "outputs": [{"name": "y"}]})
    assert (status, document["model_version"]) == (200, version)
    assert document["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [sign * value for value in Y]}
    ]


MISFITS = {
    "missing_input": {"inputs": []},
    "other_input": {"inputs": [X | {"name": "z"}]},
    "further_input": {"inputs": [X, X | {"name": "z"}]},
    "other_datatype": {"inputs": [X | {"datatype": "FP64"}]},
    "other_rank": {"inputs": [X | {"shape": [4]}]},
    "other_dim": {"inputs": [X | {"shape": [2, 2]}]},
    "other_output": {"inputs": [X], "outputs": [{"name": "z"}]},
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_the_model(url, name):
    status, document = infer(url, "acme/linear", MISFITS[name])
    assert status == 400
    assert document["error"].startswith(("inputs: ", "datatype of x: ", "shape of x: ", "outputs: "))


def test_the_model_fails_on_an_input(url):
    for index in (7, -9, 1 << 62):
        document = {"inputs": [{"name": "i", "datatype": "INT64", "shape": [1], "data": [index]}]}
        status, answer = infer(url, "acme/gatherer", document)
        assert status == 400
        assert "the model failed" in answer["error"]


def test_infinity_comes_as_binary_only(url):
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [0]}]}
    assert infer(url, "acme/reciprocal", document)[0] == 400
    status, answer = infer(url, "acme/reciprocal", document | {"parameters": {"binary_data_output": True}})
    assert (status, answer[-4:]) == (200, struct.pack("<f", float("inf")))


def test_memory_of_the_runtime_is_bounded(url):
    status, answer = infer(url, "acme/burner", burn(1 << 20))
    assert status == 400
    assert "memory" in answer["error"]
    assert infer(url, "acme/burner", burn(2))[0] == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_body(url, coding):
    squeeze = {"gzip": gzip.compress, "deflate": zlib.compress}[coding]
    raw = squeeze(json.dumps({"inputs": [X]}).encode())
    assert infer(url, "acme/linear", raw, headers={"Content-Encoding": coding})[0] == 200
    for broken in (raw[:-3], raw + b"x", b"x" + raw, b""):
        assert infer(url, "acme/linear", broken, headers={"Content-Encoding": coding})[0] == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example:8000"}, 403),
        ({"Content-Encoding": "br"}, 415),
        ({"Inference-Header-Content-Length": "-1"}, 400),
        ({"Inference-Header-Content-Length": "1e3"}, 400),
        ({"Inference-Header-Content-Length": "9" * 30}, 400),
        ({"Inference-Header-Content-Length": "0"}, 400),
        ({"Inference-Header-Content-Length": "99999"}, 400),
    ],
)
def test_headers(url, headers, status):
    assert infer(url, "acme/linear", {"inputs": [X]}, headers=headers)[0] == status


def test_header_length_given_twice(url):
    raw = json.dumps({"inputs": [X]}).encode()
    lengths = f"Inference-Header-Content-Length: {len(raw)}\r\n" * 2
    head = f"POST /v2/models/acme/linear/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(raw)}\r\n"
    assert talk(url, f"{head}{lengths}\r\n".encode() + raw).split()[1] == b"400"


def test_header_length_in_other_digits(url):
    raw = json.dumps({"inputs": [X]}).encode()
    digits = "".join(chr(0x660 + int(digit)) for digit in str(len(raw)))
    assert int(digits) == len(raw)
    headers = {"Inference-Header-Content-Length": digits.encode().decode("latin-1")}
    assert infer(url, "acme/linear", raw, headers=headers)[0] == 400


def test_body_without_a_length(url):
    head = b"POST /v2/models/acme/linear/infer HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert talk(url, head).split()[1] == b"411"


def test_client_that_waits_for_continue(url):
    raw = json.dumps({"inputs": [X]}).encode()
    head = "POST /v2/models/acme/linear/infer HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
    answer = talk(url, f"{head}Content-Length: {len(raw)}\r\nConnection: close\r\n\r\n".encode() + raw)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_token(models):
    token = b"0123456789abcdef"
    with running(models, ServerSettings(port=0, token=token)) as server:
        bearer = {"Authorization": f"Bearer {token.decode()}"}
        assert ask(server.url, "/v2/health/live")[0] == 200
        for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": f"Basic {token.decode()}"}):
            for path in ("/v2", "/metrics", "/v2/models/acme/linear", "/nothing"):
                status, given, _ = ask(server.url, path, headers=headers)
                assert (status, given["WWW-Authenticate"]) == (401, "Bearer")
            assert infer(server.url, "acme/linear", {"inputs": [X]}, headers=headers)[0] == 401
        assert infer(server.url, "acme/linear", {"inputs": [X]}, headers=bearer)[0] == 200
        assert ask(server.url, "/metrics", headers=bearer)[0] == 200


def test_full_queue_is_429_and_statistics_count(models):
    limits = Limits(queue=1)
    with running(models, ServerSettings(port=0, workers=1, limits=limits)) as server:
        before = ask(server.url, "/v2/models/acme/burner/stats")[2]["model_stats"][0]["inference_stats"]
        answers = []

        def one():
            answers.append(ask(server.url, "/v2/models/acme/burner/infer", json.dumps(burn(400))))

        threads = [threading.Thread(target=one) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts = [status for status, _, _ in answers]
        assert counts.count(200) >= 2
        assert counts.count(429) == 6 - counts.count(200) > 0
        assert all(headers["Retry-After"] == "1" for status, headers, _ in answers if status == 429)
        after = ask(server.url, "/v2/models/acme/burner/stats")[2]["model_stats"][0]["inference_stats"]
        assert after["success"]["count"] - before["success"]["count"] == counts.count(200)
        assert after["compute_infer"]["ns"] > before["compute_infer"]["ns"]


def test_a_run_that_takes_too_long_is_ended(models):
    with running(models, ServerSettings(port=0, limits=Limits(run_seconds=0.3))) as server:
        started = time.monotonic()
        status, answer = infer(server.url, "acme/burner", burn(1500))
        assert (status, answer["error"]) == (503, "the model took too long")
        assert time.monotonic() - started < 5
        assert infer(server.url, "acme/linear", {"inputs": [X]})[0] == 200


def test_stopping_lets_requests_finish(models):
    found = []
    with running(models) as server:
        thread = threading.Thread(target=lambda: found.append(infer(server.url, "acme/burner", burn(500))))
        thread.start()
        while not server._inferences._running:
            time.sleep(0.001)
    thread.join()
    assert found[0][0] == 200


def test_address_in_use(models, server):
    port = int(server.url.rpartition(":")[2])
    with (
        pytest.raises(UnreachableError, match="choose another port"),
        running(models, ServerSettings(port=port)),
    ):
        pass


class Notebook:
    """A recorder that keeps what it is told, and answers as it was told to."""

    def __init__(self, fails=None, delay=0.0):
        self.seen, self.fails, self.delay = [], fails, delay
        self.room = (0, 1)

    def record(self, inference):
        time.sleep(self.delay)
        if self.fails:
            raise self.fails
        values = {name: bytes(tensor.data) for name, tensor in inference.inputs.items()}
        self.seen.append((inference, values))
        return Addition({"modelreg_receipt": "r"}, {"modelreg-receipt": "cg=="})


def test_recorder_is_told_before_the_answer(models):
    notebook = Notebook(delay=0.05)
    with running(models, recorder=notebook) as server:
        document = {"inputs": [X], "outputs": [{"name": "total"}], "id": "7", "parameters": {"nonce": "n"}}
        path = "/v2/models/acme/linear/infer"
        status, headers, answer = ask(server.url, path, json.dumps(document).encode())
    [(inference, values)] = notebook.seen
    assert (status, headers["modelreg-receipt"]) == (200, "cg==")
    assert answer["parameters"] == {"modelreg_receipt": "r"}
    assert inference.loaded is models.find("acme/linear", None).loaded
    assert inference.parameters == {"nonce": "n"}
    assert values == {"x": struct.pack("<4f", 1, 2, 3, 4)}
    assert set(inference.outputs) == {"y", "total"}
    assert inference.cuts == ()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("a bad nonce"), 400),
        (UnreachableError("the store is full"), 500),
        (FullError("no room"), 503),
        (OSError("odd"), 500),
    ],
)
def test_no_receipt_no_answer(models, error, status):
    lines = []
    with running(models, recorder=Notebook(error), log=lines.append) as server:
        found, document = infer(server.url, "acme/linear", {"inputs": [X]})
    assert found == status
    assert set(document) == {"error"}
    assert lines[-1]["status"] == status


def test_server_without_room_for_openings_refuses_and_says_so_once(models):
    """Before the model runs; and goes on when there is room again."""
    notebook, lines = Notebook(), []
    with running(models, recorder=notebook, log=lines.append) as server:
        raw = json.dumps({"inputs": [X]}).encode()
        path = "/v2/models/acme/linear/infer"
        for room, status in (((9, 9), 503), ((9, 9), 503), ((8, 9), 200)):
            notebook.room = room
            found, headers, _ = ask(server.url, path, raw)
            assert found == status
            assert ("Retry-After" in headers) == (status == 503)
            text = ask(server.url, "/metrics")[2].decode()
            assert f"modelreg_openings_bytes {float(room[0])}" in text
            assert "modelreg_openings_limit_bytes 9.0" in text
    assert len(notebook.seen) == 1
    events = [(line["event"], line["used"], line["most"]) for line in lines if "event" in line]
    assert events == [("openings_full", 9, 9), ("openings_room", 8, 9)]


def test_recorder_hears_of_no_request_that_is_refused(models):
    notebook = Notebook()
    with running(models, recorder=notebook) as server:
        for document in [*MISFITS.values(), b"", {"inputs": [X], "outputs": [{"name": "none"}]}]:
            assert infer(server.url, "acme/linear", document)[0] == 400
    assert notebook.seen == []


def test_trace_goes_to_the_recorder_and_not_to_the_client():
    notebook = Notebook()
    model = graphs.served("acme/traced", graphs.linear(), cuts=(("y",),))
    with running(graphs.table(model), recorder=notebook) as server:
        answer = infer(server.url, "acme/traced", {"inputs": [X]})[1]
        assert [output["name"] for output in answer["outputs"]] == ["total"]
        assert infer(server.url, "acme/traced", {"inputs": [X], "outputs": [{"name": "y"}]})[0] == 400
    [(inference, _)] = notebook.seen
    assert [set(cut) for cut in inference.cuts] == [{"y"}]
    assert bytes(inference.cuts[0]["y"].data) == struct.pack("<3f", *Y)
    assert set(inference.outputs) == {"total"}


def test_pages(models):
    async def page(rest, query, headers):
        if rest != "/0x12":
            raise Refusal(404, "no such receipt")
        return Reply.json({"query": dict(query), "agent": headers["User-Agent"]})

    settings = ServerSettings(port=0, token=b"the clients' token")
    with running(models, settings, pages={"/receipts": page}) as server:
        asked = ask(server.url, "/receipts/0x12?a=b%20c", headers={"user-agent": "me"})
        assert asked[2] == {"query": {"a": "b c"}, "agent": "me"}
        assert ask(server.url, "/receipts/0x12", headers={"Origin": "http://page"})[0] == 403
        assert ask(server.url, "/receipts/0x13")[0] == 404
        assert ask(server.url, "/receipts/0x12", b"")[0] == 401


def test_log_has_a_line_for_each_request_and_no_payload(models):
    lines = []
    with running(models, log=lines.append) as server:
        infer(server.url, "acme/linear", {"inputs": [X], "id": "secret", "parameters": {"a": "secret"}})
        infer(server.url, "acme/linear", b'{"inputs":[],"id":')
        ask(server.url, "/v2/models/secret%0A", headers={"Authorization": "Bearer secret"})
    assert [line["status"] for line in lines] == [200, 400, 404]
    assert lines[0]["release"].startswith("0x01")
    assert {"at", "method", "route", "model", "version", "bytes_in", "bytes_out"} <= set(lines[0])
    assert {"queue_us", "run_us", "total_us"} <= set(lines[0])
    assert "secret" not in json.dumps(lines[:2])
    assert "\n" not in "".join(map(str, lines))


def test_metrics(models):
    with running(models) as server:
        infer(server.url, "acme/linear", {"inputs": [X]})
        infer(server.url, "acme/linear", b"")
        ask(server.url, "/none/such")
        text = ask(server.url, "/metrics")[2].decode()
    labels = 'model="acme/linear",route="infer",status="{}",version="1.0.0"'
    assert f"modelreg_requests_total{{{labels.format(200)}}} 1.0" in text
    assert f"modelreg_requests_total{{{labels.format(400)}}} 1.0" in text
    assert 'modelreg_requests_total{model="",route="none",status="404",version=""} 1.0' in text
    assert "modelreg_run_seconds_bucket" in text
    assert "process_resident_memory_bytes" in text
    assert "none/such" not in text


def test_a_release_is_swapped_while_requests_run():
    old, new = graphs.served("acme/m", graphs.burner(), "1.0.0", "stable"), None
    models = graphs.table(old)
    with running(models, ServerSettings(port=0, workers=2)) as server:
        found = []
        thread = threading.Thread(target=lambda: found.append(infer(server.url, "acme/m", burn(500))))
        thread.start()
        while not server._inferences._running:
            time.sleep(0.001)
        new = graphs.served("acme/m", graphs.burner(), "1.1.0", "stable")
        models.put(new)
        assert infer(server.url, "acme/m", burn(2))[1]["model_version"] == "1.1.0"
        thread.join()
        assert found[0][1]["model_version"] == "1.0.0"
        assert ask(server.url, "/v2/models/acme/m/versions/1.0.0")[0] == 404
        models.remove("acme/m", "stable")
        assert ask(server.url, "/v2/health/ready")[0] == 503
        assert infer(server.url, "acme/m", burn(2))[0] == 404


def test_keep_alive_after_a_refusal(url):
    """What was read whole does not cost the connection."""
    raw = b"POST /v2/models/acme/linear/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    answer = b""
    with contextlib.suppress(TimeoutError):
        answer = talk(url, raw * 3)
    assert answer.count(b"HTTP/1.1 400") == 3
