"""A server in this process, and raw requests to it."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from urllib.parse import urlsplit

from modelreg_verifier.serving.limits import Limits
from modelreg_verifier.serving.server import InferenceServer, ServerSettings

__all__ = ["Limits", "ServerSettings", "ask", "connect", "infer", "running", "talk"]


@contextlib.contextmanager
def running(models, settings=None, **options):
    """Serve in a thread of its own; gives the server."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def call(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    async def made():
        return InferenceServer(models, settings or ServerSettings(port=0), **options)

    server = call(made())
    try:
        call(server.start())
        yield server
    finally:
        call(server.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def connect(url):
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def ask(url, path, body=None, headers=None, method=None):
    """One request; its status, headers, and body, which is read as JSON where it is that."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method or ("GET" if body is None else "POST"), path, body, headers or {})
        answer = connection.getresponse()
        raw = answer.read()
        is_json = answer.headers.get_content_type() == "application/json" and raw
        return answer.status, answer.headers, json.loads(raw) if is_json else raw


def infer(url, model, document, binary=None, headers=None, **options):
    """An inference of JSON, with binary data behind it if given; status and document."""
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    lengths = {} if binary is None else {"Inference-Header-Content-Length": str(len(raw))}
    path = f"/v2/models/{model}/infer"
    status, _, answer = ask(url, path, raw + (binary or b""), lengths | (headers or {}), **options)
    return status, answer


def talk(url, raw, size=65536):
    """Send bytes; what comes back until the server closes, or has said nothing for a second."""
    with connect(url) as sock:
        sock.settimeout(1.0)
        found = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            sock.sendall(raw)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while len(found) < size and (piece := sock.recv(size)):
                found += piece
        return found
