"""`receipt`, and `serve` that signs them."""

import http.client
import io
import json
import re
import shutil
import signal
import threading
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import tritonclient.http as triton

from modelreg.config import read_config
from modelreg.format import receipt_text
from modelreg.format.commitments import Side, Tensor, check_opening
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import Domain, Receipt, SignedReceipt, sign
from modelreg.format.signature import Signer
from modelreg.format.values import values
from modelreg.ledger.artifact import load_artifact
from modelreg_verifier.receipts import opening_check
from modelreg_verifier.receipts.access import HEADER as ASK
from modelreg_verifier.receipts.access import sign_request
from modelreg_verifier.receipts.opening import read_opening
from tests.cli.command import checked_refusal, done, execute, modelreg, refused
from tests.cli.test_serve import MODEL, Serving, X, publish
from tests.serving import graphs

REQUEST_ID = "0x" + "5a" * 32
CLIENT = "0x" + "c1" * 20
AUDITOR = Signer(b"\x05" * 32)
STRANGER = Signer(b"\x06" * 32)


@pytest.fixture(scope="module")
def _released(tmp_path_factory, _empty_home):
    home = tmp_path_factory.mktemp("released") / "home"
    shutil.copytree(_empty_home, home)
    publish(home, "1.0.0", graphs.WEIGHTS)
    publish(home, "1.1.0", -graphs.WEIGHTS)
    return home


@pytest.fixture
def released(tmp_path, _released):
    return Path(shutil.copytree(_released, tmp_path / "home"))


@pytest.fixture
def serve():
    running = []

    def begin(home, *arguments):
        running.append(Serving(home, *arguments))
        return running[-1]

    yield begin
    for found in running:
        if found.process.poll() is None:
            found.stop()


def domain_of(home):
    return Domain(read_config(home / "config.toml").chain.chain_id, load_artifact("ReceiptLog").address)


def node_of(home):
    return read_config(home / "config.toml").key


def get(url, path, headers=None):
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)) as connection:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def ask(url, **parameters):
    """One inference by an unchanged tritonclient; its receipt as the header and the parameter have it."""
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        given = triton.InferInput("x", X.shape, "FP32")
        given.set_data_from_numpy(X)
        found = client.infer(MODEL, [given], model_version="1.0.0", parameters=parameters).get_response()
    return found["parameters"]


# `serve`.


def test_every_answer_has_a_receipt(released, serve, tmp_path):
    found = serve(released, f"{MODEL}@1.0.0", "--auditor", f"0x{AUDITOR.address.hex()}")
    assert found.announced["node"] == f"0x{node_of(released).hex()}"
    asked = {"modelreg_request_id": REQUEST_ID, "modelreg_client": CLIENT, "modelreg_salts": True}
    parameters = ask(found.url, **asked)
    domain = domain_of(released)
    signed = receipt_text.read_answer(parameters["modelreg_receipt"].encode(), domain)
    digest = signed.verify(domain)
    receipt = signed.receipt
    assert (receipt.node, receipt.seq) == (node_of(released), 0)
    assert (receipt.request_id.hex(), receipt.client.hex()) == (REQUEST_ID[2:], CLIENT[2:])
    assert str(receipt.release_id) == found.announced["models"][0]["release_id"]
    salt = bytes.fromhex(parameters["modelreg_input_salt"][2:])
    check_opening(Side.INPUT, receipt.input_commit, salt, values({"x": Tensor("FP32", (1, 4), X.tobytes())}))

    status, body = get(found.url, f"/receipts/0x{digest.hex()}")
    assert status == 200
    (tmp_path / "receipt.json").write_bytes(body)
    status, page = get(found.url, f"/receipts?epoch={receipt.epoch}&first=0")
    assert (status, page) == (200, bytes(signed))
    assert get(found.url, f"/batches/{receipt.epoch}/0")[0] == 404

    path = f"/openings/0x{digest.hex()}"
    assert get(found.url, path)[0] == 401
    assert (
        get(found.url, path, {ASK: sign_request(STRANGER, digest, int(time.time()) + 60, domain)})[0] == 403
    )
    status, raw = get(found.url, path, {ASK: sign_request(AUDITOR, digest, int(time.time()) + 60, domain)})
    assert status == 200
    plan, runtime = opening_check.check_opening(read_opening(io.BytesIO(raw)))
    assert (plan.file, plan.is_bare, runtime.runtime) == ("model.onnx", True, "onnxruntime")
    assert found.stop() == 0
    verified = done(
        released, "receipt", "verify", tmp_path / "receipt.json", "--node", found.announced["node"],
        "--release", f"{MODEL}@1.0.0", "--request-id", REQUEST_ID, "--client", CLIENT,
    )  # fmt: skip
    assert verified["ok"]


def test_wrong_parameters_of_a_client(released, serve):
    found = serve(released, f"{MODEL}@1.0.0")
    with pytest.raises(triton.InferenceServerException, match="modelreg_request_id"):
        ask(found.url, modelreg_request_id="mine")


def test_serving_without_receipts(released, serve):
    found = serve(released, f"{MODEL}@1.0.0", "--no-receipts")
    assert found.announced["node"] is None
    assert "parameters" not in ask_raw(found.url)
    assert get(found.url, "/receipts?epoch=0&first=0")[0] == 404
    assert not (released / "receipts").exists()


def ask_raw(url):
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        given = triton.InferInput("x", X.shape, "FP32")
        given.set_data_from_numpy(X)
        return client.infer(MODEL, [given]).get_response()


def test_home_without_key_serves_without_receipts(released, serve):
    settings = released / "config.toml"
    settings.write_text(re.sub(r"\[key\][^[]*", "", settings.read_text()))
    assert read_config(settings).key is None
    assert serve(released, f"{MODEL}@1.0.0").announced["node"] is None
    assert "has no key" in refused(released, "serve", f"{MODEL}@1.0.0", "--receipts", code=2)


def test_second_node_with_the_same_key_is_refused(released, serve):
    found = serve(released, f"{MODEL}@1.0.0")
    assert found.url
    outcome = execute(released, "--json", "serve", f"{MODEL}@1.0.0", "--port", 0)
    assert "in use" in checked_refusal(outcome, 5)


@pytest.mark.parametrize("address", ["0x12", "acme", "0x" + "g" * 40])
def test_auditor_that_is_no_address(released, address):
    assert "not an address" in refused(released, "serve", f"{MODEL}@1.0.0", "--auditor", address, code=2)


def test_clients_token_shows_receipts_no_opening(released, serve, tmp_path):
    """Whoever may ask may not see what others asked."""
    for name in ("clients", "operators"):
        (tmp_path / name).write_text(f"the {name}' token of a few words\n")
    clients, operators = (
        {"Authorization": "Bearer " + (tmp_path / name).read_text().strip()}
        for name in ("clients", "operators")
    )
    found = serve(
        released, f"{MODEL}@1.0.0", "--token-file", tmp_path / "clients", "--operator-token-file",
        tmp_path / "operators",
    )  # fmt: skip
    epoch = found_epoch(found, clients)
    status, raw = get(found.url, f"/receipts?epoch={epoch}&first=0")
    assert status == 200
    digest = SignedReceipt.from_bytes(raw).receipt.digest(domain_of(released)).hex()
    assert get(found.url, f"/openings/0x{digest}", clients)[0] == 401
    assert get(found.url, f"/openings/0x{digest}", operators)[0] == 200
    assert get(found.url, "/metrics", operators)[0] == 401
    assert get(found.url, "/metrics", clients)[0] == 200


def found_epoch(found, headers):
    with triton.InferenceServerClient(found.url.removeprefix("http://")) as client:
        given = triton.InferInput("x", X.shape, "FP32")
        given.set_data_from_numpy(X)
        answer = client.infer(MODEL, [given], headers=headers).get_response()
    return json.loads(answer["parameters"]["modelreg_receipt"])["receipt"]["epoch"]


def _client(url, digests, body):
    """Ask without pause until the node is gone."""
    parts = urlsplit(url)
    try:
        with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)) as connection:
            while True:
                connection.request("POST", f"/v2/models/{MODEL}/infer", body)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200
                digests.append(receipt_text.from_header(answer.headers["modelreg-receipt"]))
    except (OSError, http.client.HTTPException):
        pass


def load(released, serve, rounds, seconds):
    """kill -9 of the node in the middle: every answered request's receipt is there afterwards."""
    body = json.dumps(
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0, 1, 2, 3]}]}
    ).encode()
    answered = []
    for _ in range(rounds):
        found = serve(released, f"{MODEL}@1.0.0")
        clients = [threading.Thread(target=_client, args=(found.url, answered, body)) for _ in range(8)]
        for client in clients:
            client.start()
        time.sleep(seconds)
        found.stop(signal.SIGKILL)
        for client in clients:
            client.join()
    domain = domain_of(released)
    found = serve(released, f"{MODEL}@1.0.0")
    assert len(answered) > rounds
    places = {}
    for epoch in {signed.receipt.epoch for signed in answered}:
        seq, previous = 0, bytes(32)
        while (page := get(found.url, f"/receipts?epoch={epoch}&first={seq}"))[0] == 200:
            for at in range(0, len(page[1]), 387):
                signed = SignedReceipt.from_bytes(page[1][at : at + 387])
                assert (signed.receipt.seq, signed.receipt.prev_receipt) == (seq, previous)
                seq, previous = seq + 1, signed.verify(domain)
                places[epoch, signed.receipt.seq] = signed
    for signed in answered:
        assert places[signed.receipt.epoch, signed.receipt.seq] == signed
    assert len({(signed.receipt.epoch, signed.receipt.seq) for signed in answered}) == len(answered)


def test_kill_9_under_load(released, serve):
    load(released, serve, 1, 1.0)


@pytest.mark.slow
def test_kill_9_under_load_often(released, serve):
    load(released, serve, 5, 12.0)


# `receipt`.


def made(home, **changes):
    """A signed receipt for 1.0.0 by somebody."""
    release = done(home, "show", f"{MODEL}@1.0.0")["release_id"]
    fields = {
        "schema": 1,
        "node": STRANGER.address,
        "release_id": ReleaseId.parse(release),
        "plan_id": b"\x01" * 32,
        "request_id": bytes.fromhex(REQUEST_ID[2:]),
        "client": bytes.fromhex(CLIENT[2:]),
        "input_commit": b"\x02" * 32,
        "output_commit": b"\x03" * 32,
        "trace_root": b"\x04" * 32,
        "runtime_fingerprint": b"\x05" * 32,
        "epoch": 1,
        "seq": 2,
        "issued_at": 1_790_000_000,
        "prev_receipt": b"\x06" * 32,
    }
    return sign(Receipt(**{**fields, **changes}), domain_of(home), STRANGER)


def forms(signed, domain):
    return {
        "bytes": bytes(signed),
        "header": receipt_text.to_header(signed).encode() + b"\n",
        "object": json.dumps(receipt_text.to_object(signed, domain), indent=1).encode() + b"\n",
        "answer": json.dumps(receipt_text.answer_object(signed, domain)).encode(),
    }


@pytest.mark.parametrize("form", ["bytes", "header", "object", "answer"])
def test_show_and_verify(released, tmp_path, form):
    signed, domain = made(released), domain_of(released)
    file = tmp_path / "receipt"
    file.write_bytes(forms(signed, domain)[form])
    shown = done(released, "receipt", "show", file)
    assert shown["receipt"] == receipt_text.answer_object(signed, domain)["receipt"]
    assert shown["checked"] is False
    text = modelreg(released, "receipt", "show", file, json_mode=False)
    assert "nothing of this was checked" in text.out
    assert REQUEST_ID in text.out
    verified = done(released, "receipt", "verify", file)
    assert verified["checks"] == {
        "signature": "yes", "on_ledger": "yes", "not_yanked": "yes", "in_batch": "unknown",
        "batch_on_ledger": "unknown", "final": "unknown", "anchored": "unknown",
    }  # fmt: skip
    assert verified["digest"] == f"0x{signed.receipt.digest(domain).hex()}"
    text = modelreg(released, "receipt", "verify", file, json_mode=False)
    assert "anchored" in text.out


@pytest.fixture
def file(released, tmp_path):
    path = tmp_path / "receipt"
    path.write_bytes(bytes(made(released)))
    return path


@pytest.mark.parametrize(
    ("options", "check"),
    [
        (("--node", "0x" + "11" * 20), "node"),
        (("--request-id", "0x" + "11" * 32), "request_id"),
        (("--client", "0x" + "11" * 20), "client"),
        (("--request-id", REQUEST_ID), "client"),
        (("--release", f"{MODEL}@1.1.0"), "release"),
    ],
)
def test_receipt_of_another_request(released, file, options, check):
    """a receipt replayed for another node, nonce, client or release"""
    outcome = modelreg(released, "receipt", "verify", file, *options)
    assert outcome.code == 3
    assert outcome.document["checks"][check] == "no"
    assert not outcome.document["ok"]
    assert check in outcome.err


def test_receipt_that_was_changed(released, file):
    raw = bytearray(file.read_bytes())
    raw[200] ^= 1
    file.write_bytes(raw)
    assert "signature" in refused(released, "receipt", "verify", file, code=3)


@pytest.mark.parametrize("place", ["chain", "contract"])
def test_receipt_of_another_chain_or_contract(released, file, place):
    mine = domain_of(released)
    other = Domain(1, mine.contract) if place == "chain" else Domain(mine.chain_id, bytes(20))
    signed = sign(made(released).receipt, other, STRANGER)
    for form in ("bytes", "object", "answer"):
        file.write_bytes(forms(signed, other)[form])
        refused(released, "receipt", "verify", file, code=3)
    file.write_bytes(forms(signed, other)["object"])
    assert done(released, "receipt", "show", file)["checked"] is False


def test_receipt_of_a_release_that_is_not_on_the_ledger(released, file):
    file.write_bytes(bytes(made(released, release_id=ReleaseId(b"\x99" * 32))))
    outcome = modelreg(released, "receipt", "verify", file)
    assert (outcome.code, outcome.document["checks"]["on_ledger"]) == (3, "no")


def test_receipt_of_a_release_that_was_yanked_since(released, file):
    file.write_bytes(bytes(made(released, issued_at=int(time.time()) - 10)))
    done(released, "yank", f"{MODEL}@1.0.0", "--reason", "leaks")
    assert done(released, "receipt", "verify", file)["checks"]["not_yanked"] == "yes"


def test_receipt_of_a_release_that_was_yanked_before(released, file):
    done(released, "yank", f"{MODEL}@1.0.0", "--reason", "leaks")
    file.write_bytes(bytes(made(released, issued_at=int(time.time()) + 1000)))
    outcome = modelreg(released, "receipt", "verify", file)
    assert (outcome.code, outcome.document["checks"]["not_yanked"]) == (3, "no")


@pytest.mark.parametrize(
    ("raw", "code"), [(b"", 3), (b"x" * 387, 3), (b"{}", 3), (b"{", 3), (b"x" * 5000, 3), (b"\xff" * 516, 3)]
)
@pytest.mark.parametrize("command", ["show", "verify"])
def test_what_is_no_receipt(released, file, command, raw, code):
    file.write_bytes(raw)
    refused(released, "receipt", command, file, code=code)


def test_usage(released, file, tmp_path):
    refused(released, "receipt", "verify", tmp_path / "none", code=4)
    for options in (("--node", "0x12"), ("--request-id", "mine"), ("--client", "0x" + "1g" * 20)):
        refused(released, "receipt", "verify", file, *options, code=2)
