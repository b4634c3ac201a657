"""A daemon that does not answer is waited for once, not at every block."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from modelreg.errors import UnreachableError
from modelreg.store import kubo_api
from modelreg.store.kubo import KuboStore
from modelreg.store.kubo_api import KuboAccess, KuboApi
from modelreg.store.multi import MultiStore
from tests.store.blocks import leaves
from tests.store.memory import MemoryStore

PAUSE = 0.3


@pytest.fixture
def listener():
    """A port that nobody listens on yet."""
    with HTTPServer(("127.0.0.1", 0), _Version, bind_and_activate=False) as server:
        server.server_bind()
        yield server


class _Version(BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        body = json.dumps({"Version": "1", "Size": 5}).encode()
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def answering(server):
    server.server_activate()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def seconds_of(call):
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="no answer from Kubo"):
        call()
    return time.monotonic() - began


def api_at(server, **options):
    return KuboApi(KuboAccess(f"http://127.0.0.1:{server.server_port}"), **options)


def test_who_did_not_answer_is_not_asked_for_blocks_again_soon(listener, monkeypatch):
    monkeypatch.setattr(kubo_api, "_PAUSES", (PAUSE,))
    api, [(cid, _)] = api_at(listener), leaves(1)
    assert seconds_of(api.version) >= PAUSE
    assert seconds_of(lambda: api.size(cid)) < PAUSE
    with answering(listener):
        assert seconds_of(lambda: api.size(cid)) < PAUSE
        monkeypatch.setattr(api, "_gone_until", time.monotonic())
        assert api.size(cid) == 5


def test_what_only_the_daemon_can_do_is_tried_all_the_same(listener, monkeypatch):
    monkeypatch.setattr(kubo_api, "_PAUSES", (PAUSE,))
    api, [(cid, _)] = api_at(listener), leaves(1)
    seconds_of(api.version)
    with answering(listener):
        assert api.version() == "1"
        assert api.size(cid) == 5  # it is back


def test_one_that_hangs_is_asked_once(listener):
    listener.server_activate()  # connections wait in the backlog
    api, [(cid, _)] = api_at(listener, seconds=PAUSE), leaves(1)
    assert seconds_of(lambda: api.size(cid)) >= PAUSE
    assert seconds_of(lambda: api.size(cid)) < PAUSE


def test_blocks_from_elsewhere_do_not_wait_for_it(listener, monkeypatch):
    monkeypatch.setattr(kubo_api, "_PAUSES", (PAUSE,))
    blocks = leaves(40)
    other = MemoryStore()
    other.put_many(blocks)
    store = MultiStore(KuboStore(api_at(listener)), [other])
    began = time.monotonic()
    assert [store.get(cid) for cid, _ in blocks] == [block for _, block in blocks]
    assert time.monotonic() - began < 3 * PAUSE
