"""Runs a graph in any environment that has onnxruntime and numpy. Used by `calibrate`, through pipes.

It is run as a script by other interpreters, so it imports nothing of modelreg. Messages are of the form

    uint64 length, little-endian ‖ that many bytes

First come JSON {"optimization": NAME, "threads": N} and the graph, the answer is JSON {"version": TEXT}.
Then inputs come and outputs go, one message each: an npz of arrays `0`, `1` … and their `names`.
"""

import io
import json
import os
import struct
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack", "read_message", "unpack", "write_message"]

MESSAGE_BYTES_MAX = 4 << 30
_LENGTH = struct.Struct("<Q")
_LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_FATAL = 4


def write_message(file: BinaryIO, message: bytes) -> None:
    """Send one message."""
    file.write(_LENGTH.pack(len(message)))
    file.write(message)
    file.flush()


def read_message(file: BinaryIO) -> bytes | None:
    """Receive one message; None at the end. Raises ValueError for one that is cut off or too long."""
    head = file.read(_LENGTH.size)
    if not head:
        return None
    if len(head) < _LENGTH.size:
        raise ValueError("a message is cut off")
    [size] = _LENGTH.unpack(head)
    if size > MESSAGE_BYTES_MAX:
        raise ValueError(f"a message of {size} bytes")
    message = file.read(size)
    if len(message) != size:
        raise ValueError("a message is cut off")
    return message


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Named arrays as one message; names can be anything, those in an npz cannot."""
    numbered: dict[str, Any] = {str(place): array for place, array in enumerate(arrays.values())}
    file = io.BytesIO()
    np.savez(file, names=np.array(list(arrays), dtype=np.str_), **numbered)
    return file.getvalue()


def unpack(message: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of a message. Raises ValueError or KeyError for other bytes."""
    with np.load(io.BytesIO(message), allow_pickle=False) as stored:
        return {str(name): stored[str(place)] for place, name in enumerate(stored["names"])}


def main() -> None:
    """Answer until standard input ends."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the runtime prints is no message
    import onnxruntime

    settings = json.loads(read_message(source) or b"{}")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(
        onnxruntime.GraphOptimizationLevel, _LEVELS[settings["optimization"]]
    )
    options.intra_op_num_threads = settings["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    graph = read_message(source)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    write_message(sink, json.dumps({"version": onnxruntime.__version__}).encode())
    while (message := read_message(source)) is not None:
        made = session.run(names, unpack(message))
        write_message(sink, pack(dict(zip(names, map(np.asarray, made), strict=True))))


if __name__ == "__main__":
    main()
