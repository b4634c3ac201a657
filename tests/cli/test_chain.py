"""`chain` and homes on chains behind endpoints."""

import json
import signal
import sqlite3
import time
import urllib.request

import pytest

from modelreg.config import read_config
from tests.cli.command import blocks, done, execute, modelreg, refused, start, tree
from tests.cli.conftest import MODEL


def call(url, method, *params):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["result"]


def test_status_and_replay(world):
    status = done(world.publisher, "chain", "status")
    assert status["replayed"] is None
    replayed = done(world.publisher, "chain", "status", "--replay")
    assert replayed["replayed"] == {"blocks": status["block"], "state_root": status["state_root"]}
    assert status["block"] == 5


def test_replay_finds_what_was_changed(world):
    with sqlite3.connect(world.publisher / "chain.sqlite") as database:
        [(number, body)] = database.execute("SELECT number, body FROM receipt WHERE number = 3").fetchall()
        changed = bytes(body[:-1]) + bytes([body[-1] ^ 1])
        database.execute("UPDATE receipt SET body = ? WHERE number = ?", (changed, number))
    database.close()
    refused(world.publisher, "chain", "status", "--replay", code=3)


def test_serves_any_tool(world, serving):
    url, _ = serving(world.publisher)
    assert url.startswith("http://127.0.0.1:")
    status = done(world.publisher, "chain", "status")
    assert int(call(url, "eth_chainId"), 16) == status["chain_id"]
    assert int(call(url, "eth_blockNumber"), 16) == status["block"]
    assert len(call(url, "eth_getCode", status["contract"], "latest")) > 1000


def test_a_chain_that_grows_by_itself(world, serving):
    before, began = done(world.publisher, "chain", "status"), time.monotonic()
    url, stop = serving(world.publisher, 0, "--block-time", "1")
    # Its blocks of the last second may lie ahead of the clock.
    deadline = time.monotonic() + 60
    while int(call(url, "eth_blockNumber"), 16) < before["block"] + 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    stop()
    after = done(world.publisher, "chain", "status", "--replay")
    assert before["block"] + 3 <= after["block"] <= before["block"] + time.monotonic() - began
    assert after["state_root"] == before["state_root"]
    assert after["replayed"]["blocks"] == after["block"]
    refused(world.publisher, "chain", "serve", "--block-time", "1", "--read-only", code=2)
    refused(world.publisher, "chain", "serve", "--block-time", "0.5", code=2)


def test_serves_until_it_is_interrupted(world):
    process = start(world.publisher, "--json", "chain", "serve", "--port", 0)
    url = json.loads(process.stdout.readline())["url"]
    call(url, "eth_chainId")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err


def test_a_port_that_is_taken(world, serving):
    url, _ = serving(world.publisher)
    port = url.rpartition(":")[2]
    outcome = execute(world.publisher, "--json", "chain", "serve", "--port", port)
    assert outcome.code == 6
    assert f"cannot listen on 127.0.0.1:{port}" in outcome.document["error"]["message"]


def test_a_node_far_away(world, serving, tmp_path):
    url, stop = serving(world.publisher)
    far = tmp_path / "far"
    document = done(far, "init", "--rpc-url", url)
    assert document["contract"] == done(world.publisher, "chain", "status")["contract"]
    assert [row["model"] for row in done(far, "ls")] == [MODEL]
    config = far / "config.toml"
    config.write_text(config.read_text().replace("peers = []", f'peers = ["{world.publisher}"]'))
    done(far, "sync", MODEL, "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(world.second)
    assert done(far, "chain", "status")["replayed"] is None
    refused(far, "chain", "status", "--replay", code=2)
    refused(far, "chain", "serve", code=2)
    stop()
    copy = tmp_path / "copy"
    for arguments in (("ls",), ("show", MODEL), ("sync", MODEL, "--to", copy), ("verify", copy)):
        assert url in refused(far, *arguments, code=6)
    assert tree(copy) == tree(world.second)


def test_the_endpoint_comes_from_the_environment(world, serving, tmp_path, monkeypatch):
    url, _ = serving(world.publisher)
    node = world.node()
    monkeypatch.setenv("MODELREG_RPC_URL", url)
    assert len(done(node, "ls")) == 1
    done(tmp_path / "far", "init")
    assert read_config(tmp_path / "far" / "config.toml").chain.rpc == (url,)
    monkeypatch.setenv("MODELREG_RPC_URL", "http://127.0.0.1:1")
    refused(node, "ls", code=6)


def test_an_endpoint_of_another_chain(world, serving, tmp_path, monkeypatch):
    other = tmp_path / "other"
    done(other, "init")
    url, _ = serving(other)
    monkeypatch.setenv("MODELREG_RPC_URL", url)
    before = blocks(world.publisher)
    options = ("--model", "acme/x", "--version", "1.0.0")
    for arguments in (("ls",), ("sync", MODEL), ("publish", world.first, *options)):
        assert "another chain" in refused(world.publisher, *arguments, code=3)
    assert blocks(world.publisher) == before


def test_an_endpoint_without_the_contract(world, serving, tmp_path):
    url, _ = serving(world.publisher)
    contract = "0x" + "12" * 20
    line = refused(tmp_path / "far", "init", "--rpc-url", url, "--contract", contract, code=4)
    assert "there is no contract" in line
    assert not (tmp_path / "far").exists()


def test_an_embedded_chain_is_not_frozen_because_nobody_writes(world, serving, tmp_path):
    """It makes blocks on demand only, so that the age of its head says nothing."""
    url, _ = serving(world.publisher)
    far = tmp_path / "far"
    done(far, "init", "--rpc-url", url)
    assert read_config(far / "config.toml").chain.max_age is None


def test_many_blocks_in_a_second_are_not_the_future(world, monkeypatch):
    """Each block's time is at least a second after its parent's, whatever the clock says."""
    import time

    head = done(world.publisher, "chain", "status")["time"]
    monkeypatch.setattr(time, "time", lambda: head - 5000.0)
    assert modelreg(world.publisher, "ls").code == 0


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b"[]", b'{"jsonrpc":"2.0","id":1,"result":"0x"}', b"null"]
)
def test_an_endpoint_that_talks_nonsense(tmp_path, answer):
    import http.server
    import threading

    class Nonsense(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Nonsense)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        refused(tmp_path / "far", "init", "--rpc-url", url, code=3)
        assert not (tmp_path / "far").exists()
    finally:
        server.shutdown()
        server.server_close()
