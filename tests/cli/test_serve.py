"""`serve`: what it takes in, what it refuses, and what it follows."""

import json
import shutil
import signal
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.cli.command import checked_refusal, done, execute, flip, refused, start
from tests.cli.models import write_onnx
from tests.serving import graphs

MODEL = "acme/tiny-onnx"
X = np.arange(4, dtype="f4").reshape(1, 4)


def publish(home, version, weights, *options):
    source = home.parent / f"source-{version}"
    source.mkdir()
    (source / "model.onnx").write_bytes(graphs.linear(weights))
    (source / "notes.txt").write_text("weights\n")
    return done(home, "publish", source, "--model", MODEL, "--version", version, *options)["release_id"]


@pytest.fixture(scope="module")
def _released(tmp_path_factory, _empty_home):
    home = tmp_path_factory.mktemp("released") / "home"
    shutil.copytree(_empty_home, home)
    publish(home, "1.0.0", graphs.WEIGHTS, "--channel", "stable")
    publish(home, "1.1.0", -graphs.WEIGHTS)
    return home


@pytest.fixture
def released(tmp_path, _released):
    """A home that released 1.0.0, which is `stable`, and 1.1.0, the head of `main`."""
    return Path(shutil.copytree(_released, tmp_path / "home"))


def pay(home):
    """Let a block go by."""
    done(home, "key", "send", "0x" + "11" * 20, "1")


class Serving:
    """A running `serve`, and the lines of its log."""

    def __init__(self, home, *arguments):
        self.process = start(home, "--json", "serve", *arguments, "--port", 0, "--every", 0.2)
        self.announced = json.loads(self.process.stdout.readline() or "{}")
        self.url = self.announced.get("url")
        self.lines = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self):
        self.lines.extend(self.process.stderr)

    def ask(self, **options):
        with triton.InferenceServerClient(self.url.removeprefix("http://")) as client:
            given = triton.InferInput("x", X.shape, "FP32")
            given.set_data_from_numpy(X)
            result = client.infer(MODEL, [given], **options)
            return result.get_response()["model_version"], result.as_numpy("y")

    def status(self, path, headers=None):
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self.url + path, headers=headers or {})
            ) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def events(self):
        return [line for line in map(json.loads, list(self.lines)) if "event" in line]

    def wait_for(self, event):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = [line for line in self.events() if line["event"] == event]
            if found:
                return found[0]
            time.sleep(0.05)
        raise AssertionError(self.lines)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reading.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return code


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


def test_versions_side_by_side(released, serve):
    found = serve(released, f"{MODEL}@1.0.0", f"{MODEL}@1.1.0")
    assert [(m["name"], m["version"]) for m in found.announced["models"]] == [
        (MODEL, "1.0.0"), (MODEL, "1.1.0"),
    ]  # fmt: skip
    for version, sign in (("", 1), ("1.0.0", 1), ("1.1.0", -1)):
        asked, y = found.ask(model_version=version)
        assert asked == (version or "1.0.0")
        assert np.array_equal(y, sign * (X @ graphs.WEIGHTS))
    assert found.stop() == 0
    assert all(json.loads(line)["status"] == 200 for line in found.lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_when_asked(released, serve, number):
    assert serve(released, f"{MODEL}@1.0.0").stop(number) == 0


def test_a_copy_elsewhere_is_used(released, serve, tmp_path):
    done(released, "sync", f"{MODEL}@1.0.0", "--to", tmp_path / "copy")
    assert serve(released, f"{MODEL}@1.0.0").ask()[0] == "1.0.0"
    assert not (released / "models").exists()


@pytest.mark.parametrize("name", ["model.onnx", "notes.txt"])
def test_tampered_file_is_not_served(released, tmp_path, name):
    done(released, "sync", f"{MODEL}@1.0.0", "--to", tmp_path / "copy")
    flip(tmp_path / "copy" / name)
    line = refused(released, "serve", f"{MODEL}@1.0.0", "--port", 0, code=3)
    assert name in line
    assert "fetch it again: modelreg sync" in line


def test_missing_and_further_files_are_not_served(released, tmp_path):
    copy = tmp_path / "copy"
    done(released, "sync", f"{MODEL}@1.0.0", "--to", copy)
    (copy / "more.txt").write_text("x")
    assert "extra" in refused(released, "serve", f"{MODEL}@1.0.0", code=3)
    (copy / "more.txt").unlink()
    (copy / "notes.txt").unlink()
    assert "missing" in refused(released, "serve", f"{MODEL}@1.0.0", code=3)


def test_file_of_another_release_is_not_served(released, tmp_path):
    """mix-and-match: 1.1.0's weights in 1.0.0's place."""
    for version in ("1.0.0", "1.1.0"):
        done(released, "sync", f"{MODEL}@{version}", "--to", tmp_path / version)
    shutil.copy(tmp_path / "1.1.0" / "model.onnx", tmp_path / "1.0.0" / "model.onnx")
    refused(released, "serve", f"{MODEL}@1.0.0", code=3)


def test_link_in_place_of_a_file_is_not_served(released, tmp_path):
    done(released, "sync", f"{MODEL}@1.0.0", "--to", tmp_path / "copy")
    (tmp_path / "copy" / "model.onnx").rename(tmp_path / "elsewhere.onnx")
    (tmp_path / "copy" / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    refused(released, "serve", f"{MODEL}@1.0.0", code=3)


def test_other_files_where_the_copy_would_go(released):
    place = released / "models" / "acme" / "tiny-onnx" / "1.0.0"
    place.mkdir(parents=True)
    (place / "mine.txt").write_text("x")
    assert "holds other files" in refused(released, "serve", f"{MODEL}@1.0.0", code=2)
    assert (place / "mine.txt").read_text() == "x"


def test_yanked_release_is_not_served(released, serve):
    done(released, "yank", f"{MODEL}@1.0.0", "--reason", "leaks")
    assert "was yanked: found 'leaks'" in refused(released, "serve", f"{MODEL}@1.0.0", code=8)
    assert serve(released, f"{MODEL}@1.0.0", "--allow-yanked").ask()[0] == "1.0.0"


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (f"{MODEL}@9.9.9", 4),
        ("acme/none@1.0.0", 4),
        (f"{MODEL}@1.0.0/none.onnx", 4),
        (f"{MODEL}@1.0.0/notes.txt", 4),
        (f"{MODEL}@1.0.0/../model.onnx", 2),
        (f"{MODEL}@1.0.0/", 2),
        ("acme", 2),
    ],
)
def test_what_is_not_there(released, target, code):
    refused(released, "serve", target, code=code)


def test_one_model_twice(released):
    assert "twice" in refused(released, "serve", f"{MODEL}@1.0.0", f"{MODEL}@1.0.0", code=2)


def test_channel_is_followed(released, serve):
    found = serve(released, f"{MODEL}@stable", f"{MODEL}@1.0.0")
    assert found.ask()[0] == "1.0.0"
    done(released, "channel", "set", MODEL, "stable", f"{MODEL}@1.1.0")
    assert found.wait_for("in")["version"] == "1.1.0"
    version, y = found.ask()
    assert version == "1.1.0"
    assert np.array_equal(y, -(X @ graphs.WEIGHTS))
    assert found.ask(model_version="1.0.0")[0] == "1.0.0"


def test_a_planned_move_is_loaded_before_its_block(released, serve):
    found = serve(released, f"{MODEL}@stable")
    block = done(released, "chain", "status")["block"] + 2
    done(released, "channel", "set", MODEL, "stable", f"{MODEL}@1.1.0", "--at-block", block)
    ready = found.wait_for("ready")
    assert (ready["version"], ready["block"]) == ("1.1.0", block)
    assert found.ask()[0] == "1.0.0"
    pay(released)
    assert done(released, "chain", "status")["block"] == block
    assert found.wait_for("in")["version"] == "1.1.0"
    assert found.ask()[0] == "1.1.0"


def test_a_planned_move_that_is_called_off(released, serve):
    found = serve(released, f"{MODEL}@stable")
    block = done(released, "chain", "status")["block"] + 4
    done(released, "channel", "set", MODEL, "stable", f"{MODEL}@1.1.0", "--at-block", block)
    found.wait_for("ready")
    done(released, "channel", "set", MODEL, "stable", f"{MODEL}@1.0.0")
    for _ in range(3):
        pay(released)
    time.sleep(1)
    assert found.ask()[0] == "1.0.0"
    assert [event["event"] for event in found.events()] == ["ready"]


def test_a_planned_release_that_does_not_verify(released, serve, tmp_path):
    found = serve(released, f"{MODEL}@stable")
    done(released, "sync", f"{MODEL}@1.1.0", "--to", tmp_path / "copy")
    flip(tmp_path / "copy" / "model.onnx")
    block = done(released, "chain", "status")["block"] + 2
    done(released, "channel", "set", MODEL, "stable", f"{MODEL}@1.1.0", "--at-block", block)
    assert "is not the release" in found.wait_for("unready")["error"]
    pay(released)
    assert "is not the release" in found.wait_for("kept")["error"]
    assert found.ask()[0] == "1.0.0"


def test_a_planned_release_that_cannot_be_loaded_is_tried_again(released, serve, tmp_path):
    found = serve(released, f"{MODEL}@stable")
    hidden, blocks = tmp_path / "hidden", released / "store" / "blocks"
    blocks.rename(hidden)
    block = done(released, "chain", "status")["block"] + 2
    done(released, "channel", "set", MODEL, "stable", f"{MODEL}@1.1.0", "--at-block", block)
    found.wait_for("unready")
    shutil.rmtree(blocks, ignore_errors=True)
    hidden.rename(blocks)
    assert found.wait_for("ready")["version"] == "1.1.0"
    pay(released)
    found.wait_for("in")
    assert found.ask()[0] == "1.1.0"


def test_two_targets_that_come_to_mean_one_release(released, serve):
    done(released, "channel", "set", MODEL, "beta", f"{MODEL}@1.0.0")
    found = serve(released, f"{MODEL}@stable", f"{MODEL}@beta")
    block = done(released, "chain", "status")["block"] + 3
    for channel in ("stable", "beta"):
        done(released, "channel", "set", MODEL, channel, f"{MODEL}@1.1.0", "--at-block", block)
    deadline = time.monotonic() + 60
    while len([line for line in found.events() if line["event"] == "ready"]) < 2:
        assert time.monotonic() < deadline, found.lines
        time.sleep(0.05)
    pay(released)
    found.wait_for("in")
    time.sleep(1)
    assert [line["event"] for line in found.events()] == ["ready", "ready", "in", "in"]


def test_a_move_far_away_is_not_loaded_yet(released, serve):
    found = serve(released, f"{MODEL}@stable")
    done(released, "channel", "set", MODEL, "stable", f"{MODEL}@1.1.0", "--at-block", 2**60)
    time.sleep(1.5)
    assert found.events() == []


def test_the_old_release_stays_where_the_new_one_does_not_verify(released, serve, tmp_path):
    found = serve(released, f"{MODEL}@stable")
    done(released, "sync", f"{MODEL}@1.1.0", "--to", tmp_path / "copy")
    flip(tmp_path / "copy" / "model.onnx")
    done(released, "channel", "set", MODEL, "stable", f"{MODEL}@1.1.0")
    kept = found.wait_for("kept")
    assert "is not the release" in kept["error"]
    assert found.ask()[0] == "1.0.0"
    time.sleep(1)
    assert len(found.events()) == 1


def test_release_yanked_while_it_is_served(released, serve):
    found = serve(released, f"{MODEL}@1.0.0", f"{MODEL}@1.1.0")
    assert found.status("/v2/health/ready") == 200
    done(released, "yank", f"{MODEL}@1.0.0", "--reason", "leaks")
    assert found.wait_for("out")["version"] == "1.0.0"
    assert found.status(f"/v2/models/{MODEL}/versions/1.0.0") == 404
    assert found.status("/v2/health/ready") == 503
    assert found.ask()[0] == "1.1.0"


def test_external_data(home, serve):
    weights = {"layer.0.weight": np.random.default_rng(0).random((256, 256), dtype="f4")}
    source = write_onnx(home.parent / "source", weights)
    done(home, "publish", source, "--model", "acme/outside", "--version", "1.0.0")
    found = serve(home, "acme/outside")
    with triton.InferenceServerClient(found.url.removeprefix("http://")) as client:
        x = np.random.default_rng(1).random((1, 256), dtype="f4")
        given = triton.InferInput("x", x.shape, "FP32")
        given.set_data_from_numpy(x)
        y = client.infer("acme/outside", [given]).as_numpy("y")
    assert np.allclose(y, x @ weights["layer.0.weight"], rtol=1e-5)
    assert found.stop() == 0
    flip(home / "models" / "acme" / "outside" / "1.0.0" / "model.onnx.data")
    assert "model.onnx.data" in refused(home, "serve", "acme/outside", code=3)


def test_several_files_in_one_release(home, serve):
    source = home.parent / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.onnx").write_bytes(graphs.linear())
    (source / "sub" / "b.onnx").write_bytes(graphs.identity("INT64"))
    done(home, "publish", source, "--model", "acme/pair", "--version", "1.0.0")
    line = refused(home, "serve", "acme/pair", code=2)
    assert "a.onnx, sub/b.onnx" in line
    found = serve(home, "acme/pair/a.onnx", "acme/pair@1.0.0/sub/b.onnx")
    names = ["acme/pair/a.onnx", "acme/pair/sub/b.onnx"]
    assert [model["name"] for model in found.announced["models"]] == names
    with triton.InferenceServerClient(found.url.removeprefix("http://")) as client:
        assert client.get_model_metadata(names[1], "1.0.0")["inputs"][0]["datatype"] == "INT64"
        assert client.is_model_ready(names[0], "branch:main")


def test_token_file(released, serve, tmp_path):
    token = tmp_path / "token"
    token.write_text("short\n")
    assert "16 printable" in refused(released, "serve", MODEL, "--token-file", token, code=2)
    token.write_text("0123456789abcdef\n")
    found = serve(released, MODEL, "--token-file", token)
    assert found.status("/v2/health/live") == 200
    assert found.status("/v2") == 401
    assert found.status("/v2", {"Authorization": "Bearer 0123456789abcdef"}) == 200


def test_memory_for_tensors(home, serve):
    """A few bytes of request can ask for any amount of memory."""
    source = home.parent / "model.onnx"
    source.write_bytes(graphs.burner(2))
    done(home, "publish", source, "--model", "acme/burner", "--version", "1.0.0")
    found = serve(home, "acme/burner", "--memory", 8)
    with triton.InferenceServerClient(found.url.removeprefix("http://")) as client:

        def burn(size):
            given = triton.InferInput("n", (2,), "INT64")
            given.set_data_from_numpy(np.array([size, size]))
            return client.infer("acme/burner", [given]).as_numpy("sum")

        assert burn(2) == 0
        with pytest.raises(InferenceServerException, match="memory"):
            burn(2000)
        assert burn(2) == 0


def test_what_no_model_is(home):
    source = home.parent / "model.onnx"
    node = graphs.helper.make_node("NoSuchOperator", ["x"], ["y"])
    ports = graphs.port("x", "FP32", [1]), graphs.port("y", "FP32", [1])
    source.write_bytes(graphs.serialized([node], ports[:1], ports[1:]))
    done(home, "publish", source, "--model", "acme/odd", "--version", "1.0.0")
    outcome = execute(home, "--json", "serve", "acme/odd", "--port", 0)
    assert "cannot load" in checked_refusal(outcome, 2)
