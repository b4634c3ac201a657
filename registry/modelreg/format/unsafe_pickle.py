"""Pickles, plain, in numpy arrays or compressed. Specified in docs/spec/content.md, section 6.

`pickletools` splits a pickle into its operations without running any.
"""

import bz2
import io
import lzma
import pickletools
import re
import zlib
from collections.abc import Iterator

__all__ = ["compressed_reason", "numpy_reason", "pickle_reason"]

_PICKLE = "a pickle, which runs code when it is loaded"
_NUMPY = "a numpy array of objects, which is a pickle"
_COMPRESSED = "a compressed pickle, which runs code when it is loaded"

# Operations that import a name, and those that call it. No code runs without one of each.
_IMPORTS = frozenset({"GLOBAL", "INST"})
_CALLS = frozenset({"REDUCE", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_STRINGS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "MEMOIZE"})
# Bytes that are no pickle rarely parse as more than this many operations.
_ENOUGH = 8
_INFLATED_BYTES = 64 << 10
_LZMA_MEMORY = 64 << 20
_MAGIC = re.compile(rb"\x80[\x02-\x05]")
_OBJECT_TYPE = re.compile(rb"['\"][|<>=]?O[0-9]*['\"]")


def pickle_reason(head: bytes, size: int) -> str | None:
    """Whether bytes that begin a file of `size` bytes are a pickle of protocol 0 to 5."""
    operations = _Operations(head)
    if _MAGIC.match(head):
        found = operations.stopped or operations.exhausted or operations.count >= _ENOUGH
    else:
        whole = operations.stopped and operations.end == size and operations.count > 2
        # Two lines of text can look like an import, so one that leads nowhere must end as a pickle does.
        runs = operations.calls if operations.exhausted else operations.stopped
        found = whole or (operations.imports and runs)
    return _PICKLE if found else None


class _Operations:
    """What the operations at the start of some bytes amount to."""

    def __init__(self, data: bytes) -> None:
        self.count = 0
        self.end = 0
        self.imports = self.calls = self.stopped = self.exhausted = False
        strings = marks = 0
        for name, at in self._parse(data):
            self.count += 1
            strings += name in _STRINGS
            marks += name == "MARK"
            self.imports |= name in _IMPORTS or (name == "STACK_GLOBAL" and strings > 1)
            self.calls |= name in _CALLS or (name == "INST" and marks > 0)
            self.stopped = name == "STOP"
            self.end = at + 1

    def _parse(self, data: bytes) -> Iterator[tuple[str, int]]:
        stream = io.BytesIO(data)
        try:
            for operation, _, at in pickletools.genops(stream):
                yield operation.name, at or 0
        except (ValueError, OverflowError):
            # Either the data ended inside an operation, or here is none.
            self.exhausted = stream.tell() == len(data)


def numpy_reason(head: bytes) -> str | None:
    """Whether bytes begin a .npy file (numpy.lib.format) whose element type holds objects."""
    if not head.startswith(b"\x93NUMPY"):
        return None
    version, rest = head[6:7], head[8:]
    width = 2 if version == b"\x01" else 4
    length = int.from_bytes(rest[:width], "little")
    described = rest[width : width + length]
    return _NUMPY if len(described) < length or _OBJECT_TYPE.search(described) else None


def compressed_reason(head: bytes) -> str | None:
    """Whether bytes begin compressed data that hold a pickle, as joblib writes them."""
    inflated = _inflate(head)
    return _COMPRESSED if pickle_reason(inflated, len(inflated)) else None


def _inflate(head: bytes) -> bytes:
    """At most 64 KiB of what the bytes decompress to, or nothing."""
    try:
        if head.startswith(b"\x1f\x8b") or (
            head[:1] == b"\x78" and int.from_bytes(head[:2], "big") % 31 == 0
        ):
            return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(head, _INFLATED_BYTES)
        if head.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(head, _INFLATED_BYTES)
        if head.startswith(b"\xfd7zXZ\0"):
            return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY).decompress(head, _INFLATED_BYTES)
    except (OSError, zlib.error, lzma.LZMAError, EOFError, ValueError):
        return b""
    return b""
