"""Endpoints over HTTP that are busy, stuck, broken or hostile."""

import gzip
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from modelreg.errors import FormatError, InputError, UnreachableError
from modelreg.ledger.http_rpc import HttpRpc
from modelreg.ledger.rpc import RpcRefusedError


class Server:
    """Answers each request with the next of `answers`, the last one for ever."""

    def __init__(self):
        self.answers = []
        self.requests = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append(json.loads(body))
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def close(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def reply(body, status=200, length=None, **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(raw) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(raw)

    return answer


def result(value):
    return reply({"jsonrpc": "2.0", "id": 0, "result": value})


def error(code, message="no", **more):
    return reply({"jsonrpc": "2.0", "id": 0, "error": {"code": code, "message": message, **more}})


def test_a_result(server):
    server.answers = [result("0x1")]
    assert HttpRpc(server.url).request("eth_chainId", []) == "0x1"
    assert server.requests[0]["method"] == "eth_chainId"


def test_an_error_keeps_code_message_and_data(server):
    server.answers = [error(3, "execution reverted", data="0x1234")]
    with pytest.raises(RpcRefusedError) as caught:
        HttpRpc(server.url).request("eth_call", [])
    assert (caught.value.code, caught.value.message, caught.value.data) == (3, "execution reverted", "0x1234")


@pytest.mark.parametrize(
    "busy",
    [
        reply(b"", 429),
        reply(b"", 503, Retry_After="0"),
        reply(b"<html>", 502),
        error(-32005, "limit exceeded"),
        error(429, "slow down"),
    ],
)
def test_a_busy_endpoint_is_asked_again(server, busy, monkeypatch):
    monkeypatch.setattr("modelreg.ledger.http_rpc._FIRST_PAUSE", 0.01)
    server.answers = [busy, busy, result("0x1")]
    assert HttpRpc(server.url).request("eth_chainId", []) == "0x1"
    assert len(server.requests) == 3


def test_an_endpoint_that_stays_busy_is_given_up(server):
    server.answers = [reply(b"", 429)]
    start = time.monotonic()
    with pytest.raises(UnreachableError, match="429"):
        HttpRpc(server.url, deadline=0.6).request("eth_chainId", [])
    assert time.monotonic() - start < 2


def test_a_retry_after_an_hour_is_not_waited_for(server):
    server.answers = [reply(b"", 429, Retry_After="3600")]
    with pytest.raises(UnreachableError):
        HttpRpc(server.url, deadline=1).request("eth_chainId", [])


def test_nobody_listens():
    with pytest.raises(UnreachableError, match=r"http://127.0.0.1:9.*--rpc-url"):
        HttpRpc("http://user:secret@127.0.0.1:9/key/secret").request("eth_chainId", [])


def test_secrets_in_the_url_stay_out_of_messages(server):
    server.answers = [reply(b"", 404)]
    rpc = HttpRpc(server.url.replace("//", "//user:secret@") + "/v3/secret?key=secret")
    with pytest.raises(UnreachableError) as caught:
        rpc.request("eth_chainId", [])
    assert "secret" not in str(caught.value) + rpc.name


@pytest.mark.parametrize("url", ["", "localhost:8545", "file:///etc/passwd", "ws://host", "http://"])
def test_what_is_no_endpoint_is_refused(url):
    with pytest.raises(InputError):
        HttpRpc(url)


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"<html>welcome</html>"),
        reply(b"\xff\xfe"),
        reply(b""),
        reply([1]),
        reply({"jsonrpc": "2.0", "id": 0}),
        reply({"error": "no"}),
        reply(b"[" * 100_000),
    ],
)
def test_answers_in_no_form_are_refused(server, answer):
    server.answers = [answer]
    with pytest.raises(FormatError):
        HttpRpc(server.url).request("eth_chainId", [])


def test_endless_answer_is_cut_off(server):
    server.answers = [reply(b'"' + b"a" * 4_000_000)]
    with pytest.raises(UnreachableError, match="too large"):
        HttpRpc(server.url, body_max=1_000_000).request("eth_chainId", [])


def test_decompression_bomb_is_cut_off(server):
    bomb = gzip.compress(bytes(60_000_000))
    server.answers = [reply(bomb, Content_Encoding="gzip")]
    with pytest.raises(UnreachableError, match="too large"):
        HttpRpc(server.url, body_max=1_000_000).request("eth_chainId", [])


def test_truncated_body_reported_as_200(server):
    server.answers = [reply(b'{"jsonrpc":"2.0","id":0,"result":"0x1"}', length=5000)]
    with pytest.raises(UnreachableError):
        HttpRpc(server.url, timeout=2).request("eth_chainId", [])


def test_slow_drip_is_cut_off(server):
    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b" " * 70_000)
            time.sleep(0.05)

    server.answers = [drip]
    start = time.monotonic()
    with pytest.raises(UnreachableError, match="too slow"):
        HttpRpc(server.url, deadline=0.3).request("eth_chainId", [])
    assert time.monotonic() - start < 3


def test_a_stalled_endpoint_is_given_up(server):
    server.answers = [lambda _handler: time.sleep(2)]
    start = time.monotonic()
    with pytest.raises(UnreachableError):
        HttpRpc(server.url, timeout=0.3).request("eth_chainId", [])
    assert time.monotonic() - start < 2


def test_redirects_are_not_followed(server):
    server.answers = [reply(b"", 307, Location=server.url + "/other"), result("0x1")]
    with pytest.raises((UnreachableError, FormatError)):
        HttpRpc(server.url).request("eth_chainId", [])
    assert len(server.requests) == 1
