"""DESIGN's "hostile client of `serve`": oversized, malformed, slow, and many at once."""

import contextlib
import json
import random
import time
import tracemalloc
import zlib

import pytest

from tests.serving import malformed
from tests.serving.running import Limits, ServerSettings, ask, connect, infer, running, talk
from tests.serving.test_server import X, burn

HEAD = "POST /v2/models/acme/linear/infer HTTP/1.1\r\nHost: localhost\r\n"
SMALL = Limits(
    body_bytes=1 << 20,
    pending_bytes=1 << 20,
    connections=8,
    idle_seconds=0.6,
    read_seconds=0.6,
    write_seconds=0.6,
    bytes_per_second=1 << 20,
)


@pytest.fixture(scope="module")
def small(models):
    with running(models, ServerSettings(port=0, limits=SMALL)) as server:
        yield server


def alive(url):
    return infer(url, "acme/linear", {"inputs": [X]})[0] == 200


def status(answer):
    return int(answer.split()[1]) if answer else None


def test_oversized_body_is_refused_before_it_is_read(small):
    with connect(small.url) as sock:
        sock.sendall(f"{HEAD}Content-Length: {1 << 50}\r\n\r\n".encode())
        assert status(sock.recv(4096)) == 413


def test_oversized_chunked_body(small):
    with connect(small.url) as sock:
        sock.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                sock.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
        assert status(sock.recv(4096)) == 413


def test_decompression_bomb(small):
    bomb = zlib.compress(bytes(200 << 20))
    headers = {"Content-Encoding": "deflate"}
    tracemalloc.start()
    assert infer(small.url, "acme/linear", bomb, headers=headers)[0] == 413
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert small._inferences.bodies.pending == 0


def test_bodies_of_all_clients_share_a_limit(small):
    length = 700 << 10
    with connect(small.url) as first:
        first.sendall(f"{HEAD}Content-Length: {length}\r\n\r\n".encode() + b" " * (length - 1))
        time.sleep(0.3)
        assert infer(small.url, "acme/linear", b" " * length)[0] == 429
        assert status(first.recv(4096)) == 408
    assert small._inferences.bodies.pending == 0
    assert alive(small.url)


def test_slow_drip_of_a_header(small):
    with connect(small.url) as sock:
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for letter in HEAD * 4:
                sock.sendall(letter.encode())
                time.sleep(0.1)
        assert time.monotonic() - started < 5
    assert alive(small.url)


def test_slow_drip_of_a_body(small):
    with connect(small.url) as sock:
        started = time.monotonic()
        sock.sendall(f"{HEAD}Content-Length: 1000\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            for _ in range(30):
                sock.sendall(b" ")
                time.sleep(0.05)
        assert status(sock.recv(4096)) == 408
        assert time.monotonic() - started < 5


def test_client_that_does_not_read_its_answers(small):
    document = {"inputs": [{"name": "in", "datatype": "FP32", "shape": [1, 200_000]}]}
    document["inputs"][0]["parameters"] = {"binary_data_size": 800_000}
    document["parameters"] = {"binary_data_output": True}
    raw = json.dumps(document).encode()
    head = (
        "POST /v2/models/acme/fp32/infer HTTP/1.1\r\nHost: localhost\r\n"
        f"Inference-Header-Content-Length: {len(raw)}\r\nContent-Length: {len(raw) + 800_000}\r\n\r\n"
    )
    with connect(small.url) as sock:
        sock.settimeout(0.5)
        with contextlib.suppress(OSError):
            for _ in range(20):
                sock.sendall(head.encode() + raw + bytes(800_000))
        deadline = time.monotonic() + 15
        while small._listener.connections and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not small._listener.connections
    assert alive(small.url)


def test_many_connections(small):
    held = [connect(small.url) for _ in range(40)]
    time.sleep(0.1)
    assert len(small._listener.connections) <= SMALL.connections
    for sock in held:
        sock.close()
    time.sleep(0.1)
    assert alive(small.url)


@pytest.mark.parametrize(
    "raw",
    [
        b"\0" * 100,
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET " + b"/" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD.encode() + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        HEAD.encode() + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_broken_http(url, raw):
    assert status(talk(url, raw)) in (None, 400, 403, 404, 413, 414, 431)
    assert alive(url)


def test_body_cut_short(url):
    with connect(url) as sock:
        sock.sendall(f"{HEAD}Content-Length: 1000\r\n\r\n{{".encode())
    assert alive(url)


def test_client_that_leaves_while_the_model_runs(models):
    with running(models) as server:
        raw = json.dumps(burn(500)).encode()
        head = "POST /v2/models/acme/burner/infer HTTP/1.1\r\nHost: localhost\r\n"
        for _ in range(3):
            with connect(server.url) as sock:
                sock.sendall(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
                time.sleep(0.02)
        assert alive(server.url)
        assert server._inferences.bodies.pending == 0


def bombard(url, count, seed):
    """Send malformed requests; the statuses that came, and how often nothing did."""
    random_source, found = random.Random(seed), {}
    for _ in range(count):
        raw = malformed.request(random_source)
        answer = malformed.exchange(url, raw)
        found[answer] = found.get(answer, 0) + 1
        assert answer is None or answer < 500, raw[:2000]
    return found


def test_malformed_requests(url):
    found = bombard(url, 300, seed=1)
    assert found[400] > 100
    assert alive(url)


@pytest.mark.slow
def test_ten_thousand_malformed_requests(tmp_path):
    """No crash, no answer but 4xx, and no more memory than 1.2 times the idle server and one request."""
    with malformed.process(tmp_path) as (url, memory):
        bombard(url, 200, seed=2)  # what is allocated once
        idle = memory()
        found = bombard(url, 10_000, seed=3)
        assert sum(found.values()) == 10_000
        assert alive(url)
        assert memory() <= 1.2 * idle + malformed.LARGEST, (idle, memory())
        assert ask(url, "/v2/health/ready")[0] == 200
