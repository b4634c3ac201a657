"""Requests with something wrong in them, and a server in a process of its own to take them."""

import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.serving.running import connect

LARGEST = 4 << 20
_PATIENCE = 0.5
_GOOD = {
    "id": "a",
    "parameters": {"binary_data_output": True},
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}},
        {"name": "z", "datatype": "INT64", "shape": [2], "data": [1, 2]},
    ],
    "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
}
_ODD = [
    None, True, False, 0, -1, 1 << 31, 1 << 63, 10**30, 1.5, -0.0, 1e308, "", "x", "\ud800", "\0", "y" * 5000,
    [], {}, [[]], [[[[1]]]], {"a": {"b": []}}, [None] * 300, "FP16", "BF16", "BYTES", [0], [-1],
    [1 << 62] * 4,
]  # fmt: skip
_MODELS = [
    "acme/linear",
    "acme/bytes",
    "acme/fp32",
    "acme/gatherer",
    "acme/burner",
    "acme/none",
    "%00",
    "a" * 3000,
]
_KEYS = ["name", "datatype", "shape", "data", "parameters", "binary_data_size", "inputs", "outputs", "id"]


def request(source):
    """The bytes of one malformed request."""
    document = copy.deepcopy(_GOOD)
    for _ in range(source.randint(1, 3)):
        _spoil(document, source)
    raw = json.dumps(document).encode()
    if source.random() < 0.25:
        raw = _spoiled_bytes(raw, source)
    binary = os.urandom(source.choice([0, 15, 16, 17, 32])) if source.random() < 0.7 else b""
    if source.random() < 0.01:
        binary += bytes(source.choice([1 << 16, LARGEST]))
    return _head(raw, binary, source) + raw + binary


def _spoil(document, source):
    """Put an odd value, another key, or nothing in some place."""
    at = document
    while True:
        places = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not places:
            return
        key = source.choice(places)
        if isinstance(at[key], dict | list) and source.random() < 0.7:
            at = at[key]
            continue
        change = source.random()
        if change < 0.6:
            at[key] = copy.deepcopy(source.choice(_ODD))
        elif change < 0.8:
            del at[key]
        elif isinstance(at, dict):
            at[source.choice(_KEYS)] = at.pop(key)
        else:
            at.append(copy.deepcopy(at[key]))
        return


def _spoiled_bytes(raw, source):
    where = source.randrange(len(raw) + 1)
    return source.choice([
        raw[:where],
        raw[:where] + os.urandom(3) + raw[where:],
        raw + raw,
        b"[" * 50_000,
        b'{"inputs":[{"data":' * 3000,
        b"\xef\xbb\xbf" + raw,
        raw.decode("utf-8", "replace").encode("utf-16"),
        b"1" * 10_000,
    ])  # fmt: skip


def _head(raw, binary, source):
    length = len(raw) + len(binary)
    lines = {"Host": "localhost", "Connection": "close", "Content-Length": str(length)}
    if binary or source.random() < 0.3:
        lines["Inference-Header-Content-Length"] = str(len(raw))
    if source.random() < 0.3:
        name = source.choice([*lines, "Content-Encoding", "Transfer-Encoding", "Expect", "X" * 300, "Cookie"])
        lines[name] = source.choice([
            "-1", "0", "1", str(length + 7), str(1 << 62), "gzip", "chunked", "100-continue", "x" * 9000,
            "\x01", "",
        ])  # fmt: skip
    method = source.choice(["POST"] * 9 + ["GET", "PUT", "DELETE", "BREW"])
    path = f"/v2/models/{source.choice(_MODELS)}/infer"
    if source.random() < 0.1:
        path = source.choice(
            ["/v2", "/v2/models/acme/linear/config", "/v2/repository/index", "//", "/..", "*", "/%ff"]
        )
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{key}: {value}\r\n" for key, value in lines.items())
    return head.encode() + b"\r\n"


def exchange(url, raw):
    """Send a request and no more; the status that came back, or None."""
    found = b""
    with connect(url) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(raw)
        sock.settimeout(_PATIENCE)  # where more was declared than sent, nothing comes
        with contextlib.suppress(ConnectionError, TimeoutError):
            while piece := sock.recv(65536):
                found = found or piece
    lines = [line for line in found.split(b"\r\n") if line.startswith(b"HTTP/1.1 ") and b" 100 " not in line]
    return int(lines[0].split()[1]) if lines else None


@contextlib.contextmanager
def process(directory, *arguments):
    """A server in a process of its own; gives its URL, and a function for the bytes that it has in memory."""
    errors = (Path(directory) / "errors").open("wb")
    command = [sys.executable, "-m", "tests.serving.serve_tiny", *map(str, arguments)]
    with errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as server:

        def memory():
            status = Path(f"/proc/{server.pid}/status").read_text()
            [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
            return int(line.split()[1]) << 10

        try:
            yield server.stdout.readline().strip(), memory
            assert server.poll() is None
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
            assert not (Path(directory) / "errors").read_text()
