"""Runs the graphs of `bounded`, through pipes, with a limit of memory. A process of its own.

Messages are those of `calibrate_worker`. The first is the most bytes of memory, in decimals. Then come

    "g" ‖ uint32 length ‖ JSON {"optimization", "threads", "provider"} ‖ graph
    "r" ‖ uint32 number of the graph, from 0 ‖ tensors

with integers little-endian, and are answered with JSON {"number", "types"} and tensors. An answer begins with
"a"; "e" and a text say that the runtime refuses.
"""

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelreg.format.commitments import Tensor
from modelreg_verifier.trace.calibrate_worker import pack, read_message, unpack, write_message
from modelreg_verifier.trace.datatypes import from_array, to_array
from modelreg_verifier.trace.runtime import Arrays, Session, Settings

__all__ = ["HEAD", "pack_tensors", "unpack_tensors"]

HEAD = struct.Struct("<cI")
ANSWER_BYTES_MAX = 1 << 30
_TEXT_MAX = 200


def pack_tensors(arrays: Arrays) -> bytes:
    """Named arrays as one message; strings as bytes, with their dims before the name."""
    flat: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        if array.dtype.kind == "O":
            dims = ",".join(map(str, array.shape))
            flat[f"{dims}/{name}"] = np.frombuffer(from_array("BYTES", array).data, np.uint8)
        else:
            flat[f"=/{name}"] = array
    return pack(flat)


def unpack_tensors(message: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of a message. Raises ValueError or KeyError for other bytes."""
    found = {}
    for key, array in unpack(message).items():
        dims, _, name = key.partition("/")
        if dims == "=":
            found[name] = array
        else:
            shape = tuple(int(dim) for dim in dims.split(",") if dim)
            found[name] = to_array(Tensor("BYTES", shape, array.tobytes()))
    return found


def main() -> None:
    """Answer until standard input ends."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the runtime prints is no message
    import onnxruntime  # noqa: F401 - before the limit

    _limit(int(read_message(source) or b"0"))
    sessions: list[Session] = []
    while (message := read_message(source)) is not None:
        write_message(sink, _answer(message, sessions))


def _answer(message: bytes, sessions: list[Session]) -> bytes:
    kind, number = HEAD.unpack_from(message)
    rest = memoryview(message)[HEAD.size :]
    try:
        if kind == b"g":
            session = Session(bytes(rest[number:]), Settings(**json.loads(bytes(rest[:number]))))
            sessions.append(session)
            about = {"number": len(sessions) - 1, "types": list(session.types.items())}
            return b"a" + json.dumps(about).encode()
        made = sessions[number].run(unpack_tensors(bytes(rest)))
        if sum(array.nbytes for array in made.values()) > ANSWER_BYTES_MAX:
            return b"eresults of more than 1 GiB"
        return b"a" + pack_tensors(made)
    except Exception as error:  # noqa: BLE001 - a graph can bring on any, and the next one is to be answered
        return b"e" + (str(error) or type(error).__name__)[:_TEXT_MAX].encode(errors="replace")


def _limit(memory: int) -> None:
    try:
        import resource
    except ImportError:  # not Unix
        return
    # What the interpreter maps already is more the more processors there are.
    most = memory + _mapped()
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _mapped() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # not Linux
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
