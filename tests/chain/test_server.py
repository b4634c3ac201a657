"""Hostile clients of the HTTP front: DESIGN's "hostile client of `serve`", for the chain's own server."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest

from modelreg.chain import jsonrpc, open_chain, server
from modelreg.chain.replay import replay
from modelreg.errors import InputError, UnreachableError
from tests.chain.backends import Node, http_request, post, served
from tests.chain.programs import FOREVER, assemble, creation


def ask(url, request, **options):
    status, body = post(url, json.dumps(request).encode(), **options)
    return json.loads(body) if status == 200 and body else (status, body)


def call(method, params=(), identifier=1):
    return {"jsonrpc": "2.0", "id": identifier, "method": method, "params": list(params)}


def connect(url):
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def head(line):
    fields = ["POST / HTTP/1.1", "Host: localhost", "Content-Type: application/json", line, "", ""]
    return "\r\n".join(fields).encode()


def test_plain_request(url):
    assert ask(url, call("eth_blockNumber")) == {"jsonrpc": "2.0", "id": 1, "result": "0x0"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8545"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Encoding": "gzip"}, 415),
    ],
)
def test_web_page_cannot_reach_the_chain(url, headers, status):
    answer = post(url, json.dumps(call("eth_blockNumber")).encode(), headers)
    assert answer[0] == status


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1", "[::1]:8545", "192.0.2.1"])
def test_addresses_and_localhost_are_hosts(url, host):
    assert ask(url, call("eth_blockNumber"), headers={"Host": host})["result"] == "0x0"


def test_allowed_host(chain):
    with served(chain, allowed_hosts=["Node.Example"]) as url:
        assert ask(url, call("eth_blockNumber"), headers={"Host": "node.example:80"})["result"] == "0x0"


def test_no_answer_grants_cross_origin_access(url):
    with connect(url) as sock:
        sock.sendall(b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n")
        answer = sock.recv(4096)
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"access-control" not in answer.lower()


@pytest.mark.parametrize(("line", "status"), [(b"GET / HTTP/1.1", b"405"), (b"POST /admin HTTP/1.1", b"404")])
def test_only_post_to_the_root(url, line, status):
    with connect(url) as sock:
        sock.sendall(line + b"\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert sock.recv(4096).split()[1] == status


def test_oversized_body_is_refused_before_it_is_read(url):
    with connect(url) as sock:
        sock.settimeout(server._READ_SECONDS / 2)  # sooner than a body that is waited for
        sock.sendall(head(f"Content-Length: {1 << 40}"))
        assert sock.recv(4096).split()[1] == b"413"


def test_oversized_chunked_body_is_refused(url):
    with connect(url) as sock:
        sock.settimeout(server._READ_SECONDS / 2)
        sock.sendall(head("Transfer-Encoding: chunked"))
        with contextlib.suppress(ConnectionError):
            for _ in range(jsonrpc.MAX_BODY // 65536 + 2):
                sock.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
            assert sock.recv(4096).split()[1] == b"413"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff\xfe", b"nonsense", b'{"jsonrpc":"2.0","id":NaN,"method":"eth_chainId"}',
        b"[" * 4000, b'{"a":' * 4000, b"1" * 5000,
    ],
)  # fmt: skip
def test_what_is_not_json_is_a_parse_error(url, body):
    status, content = post(url, body)
    assert status == 200
    assert json.loads(content) == {
        "jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "parse error: not JSON"}
    }  # fmt: skip


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b"[" + b"{}," * 5000 + b"{}]", b"[" * 4000 + b"]" * 4000, b"[]"]
)
def test_deep_json_and_batch_bombs_are_refused(url, body):
    content = json.loads(post(url, body)[1])
    assert (content if isinstance(content, dict) else content[0])["error"]["code"] in (-32600, -32700)


def test_batch_limit(url):
    many = [call("eth_chainId", identifier=n) for n in range(100)]
    assert [answer["id"] for answer in ask(url, many)] == list(range(100))
    assert ask(url, [*many, call("eth_chainId")])["error"]["code"] == -32600


def test_batch_answer_has_a_limit(url, chain, monkeypatch):
    node = Node(chain.request, kind="embedded")
    code = b"\1" * 24_000
    where = node.send(node.alice, data=creation(code), gas=10_000_000)["contractAddress"]
    monkeypatch.setattr(jsonrpc, "_MAX_RESPONSE", 200_000)
    answers = ask(url, [call("eth_getCode", [where])] * 100)
    assert sum("result" in answer for answer in answers) == 5
    assert {answer["error"]["code"] for answer in answers if "error" in answer} == {-32005}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (5, -32600), ("x", -32600), ({}, -32600), ({"jsonrpc": "2.0", "id": 1}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": 5}, -32600), ({"id": 1, "method": "eth_chainId"}, -32600),
        ({"jsonrpc": "2.0", "id": [1], "method": "eth_chainId"}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": {"a": 1}}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "eth_" + "x" * 9000}, -32601),
    ],
)  # fmt: skip
def test_malformed_requests(url, request_, code):
    answer = ask(url, request_)
    assert answer["error"]["code"] == code
    assert len(json.dumps(answer)) < 1000


def test_notification_has_no_answer(url):
    assert post(url, b'{"jsonrpc":"2.0","method":"eth_chainId"}') == (200, b"")


def test_slow_header_is_cut(chain, monkeypatch):
    monkeypatch.setattr(server, "_IDLE_SECONDS", 0.5)
    with served(chain) as url, connect(url) as sock:
        started = time.monotonic()
        sock.sendall(b"POST / HTTP/1.1\r\nHost: loc")
        assert sock.recv(100) == b""
        assert time.monotonic() - started < 5


def test_slow_body_is_cut(url, monkeypatch):
    monkeypatch.setattr(server, "_READ_SECONDS", 0.5)
    with connect(url) as sock:
        sock.sendall(head("Content-Length: 100") + b"{")
        assert sock.recv(4096).split()[1] == b"413"


def test_client_that_does_not_read_is_cut(url, chain, monkeypatch):
    monkeypatch.setattr(server, "_WRITE_SECONDS", 0.5)
    node = Node(chain.request, kind="embedded")
    where = node.send(node.alice, data=creation(b"\1" * 24_000), gas=10_000_000)["contractAddress"]
    body = json.dumps([call("eth_getCode", [where])] * 100).encode()
    with connect(url) as sock:
        for _ in range(8):
            sock.sendall(head(f"Content-Length: {len(body)}") + body)
        time.sleep(1.5)
        assert ask(url, call("eth_blockNumber"))["result"] == "0x1"
        received = 0
        with contextlib.suppress(ConnectionError):
            while chunk := sock.recv(1 << 20):
                received += len(chunk)
    assert received < 8 * 100 * 48_000, "all eight answers came"


def test_connections_are_limited(url):
    held = [connect(url) for _ in range(server._MAX_CONNECTIONS)]
    try:
        time.sleep(0.2)
        with connect(url) as extra, pytest.raises(OSError, match=r"reset|refused|empty"):
            extra.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if extra.recv(100) == b"":
                raise OSError("empty")
    finally:
        for sock in held:
            sock.close()
    time.sleep(0.2)
    assert ask(url, call("eth_blockNumber"))["result"] == "0x0"


def test_endless_loop_is_stopped_and_others_are_served(url, chain, monkeypatch):
    monkeypatch.setattr("modelreg.chain.calls._SECONDS", 1.0)
    loop = {"data": "0x" + FOREVER.hex()}
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask(url, call("eth_call", [loop]))))
    started = time.monotonic()
    thread.start()
    assert ask(url, call("eth_blockNumber"))["result"] == "0x0"
    thread.join()
    assert time.monotonic() - started < 10
    assert answers[0]["error"]["message"] == "execution aborted (timeout = 1s)"


def test_endless_transaction_is_refused_and_leaves_nothing(local, path, monkeypatch):
    monkeypatch.setattr("modelreg.chain.chain._MINING_SECONDS", 0.5)
    where = local.send(local.alice, data=creation(FOREVER))["contractAddress"]
    with pytest.raises(Exception, match="execution aborted"):
        local.send(local.alice, to=where, gas=59_000_000)
    assert local.request("eth_blockNumber", []) == "0x1"
    assert local.send(local.alice, to=where, gas=50_000)["status"] == "0x0"
    assert replay(path).blocks == 2


def test_heavy_precompile_is_refused(local):
    """1,700 pairings for 58 million gas would hold a worker for half an hour."""
    program = assemble("0x00 0x00 0x0507c0 0x00 0x08 0x038444c0 STATICCALL STOP")
    with pytest.raises(Exception, match="this chain allows 500000"):
        local.request("eth_call", [{"data": "0x" + program.hex(), "gas": "0x3938700"}])


def test_unexpected_failure_is_an_answer_without_details(url, monkeypatch):
    def explode(*_):
        raise ValueError("secret")

    monkeypatch.setitem(sys.modules["modelreg.chain.rpc"].METHODS, "eth_chainId", explode)
    answer = ask(url, call("eth_chainId"))
    assert answer["error"] == {"code": -32603, "message": "internal error"}
    assert ask(url, call("eth_blockNumber"))["result"] == "0x0"


def test_damage_is_told_without_the_path(url, chain, path):
    import sqlite3

    with sqlite3.connect(path) as other:
        other.execute("UPDATE block SET header = zeroblob(9)")
    message = ask(url, call("eth_getBlockByNumber", ["latest", False]))["error"]["message"]
    assert "damaged" in message
    chain.close()
    message = ask(url, call("eth_blockNumber"))["error"]["message"]
    assert message == "internal error: the chain <chain> is closed"


def test_strangers_cannot_write(chain, path):
    for host in ("0.0.0.0", "::", "192.0.2.1", "node.example"):
        with pytest.raises(InputError, match="cannot serve"):
            server.ChainServer(chain, host=host)
    node = Node(chain.request, kind="embedded")
    tx = node.sign(node.alice, to=node.bob.address)
    with open_chain(path, readonly=True) as reader, served(reader) as address:
        error = ask(address, call("eth_sendRawTransaction", [tx]))["error"]
        assert error == {"code": -32000, "message": "the chain <chain> is open for reading only"}
        assert ask(address, call("eth_blockNumber"))["result"] == "0x0"


def test_taken_port_is_one_clear_error(chain, url):
    port = urlsplit(url).port

    async def second():
        await server.ChainServer(chain, port=port).start()

    with pytest.raises(UnreachableError, match="cannot listen"):
        asyncio.run(second())


_SERVE = """
import sys
from modelreg.chain import open_chain
from modelreg.chain.server import serve
with open_chain(sys.argv[1]) as chain:
    serve(chain, port=0, ready=lambda url: print(url, flush=True))
print("closed", flush=True)
"""


def test_stop_is_graceful(path):
    """SIGTERM while a client sends: what was acknowledged is kept, and the process ends with 0."""
    process = subprocess.Popen([sys.executable, "-c", _SERVE, str(path)], stdout=subprocess.PIPE, text=True)
    url = process.stdout.readline().strip()
    node, acknowledged = Node(http_request(url), kind="http", url=url), []

    def write():
        with pytest.raises((OSError, ValueError)):
            while True:
                acknowledged.append(node.send(node.alice, to=node.bob.address, gas=21000)["transactionHash"])

    writer = threading.Thread(target=write)
    writer.start()
    while len(acknowledged) < 5:
        time.sleep(0.01)
    process.terminate()
    assert process.wait(30) == 0
    writer.join()
    assert process.stdout.read() == "closed\n"
    with open_chain(path) as chain:
        assert chain.request("eth_getTransactionReceipt", [acknowledged[-1]])["status"] == "0x1"
