"""LEB128 numbers, one or many at a time. Specified in docs/spec/delta.md, section 3."""

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import FormatError

__all__ = ["Numbers", "pack_numbers", "pack_varint", "unpack_numbers", "unpack_varint"]

Numbers = NDArray[np.uint64]

_MAX_BYTES = 10


def pack_varint(value: int) -> bytes:
    """Write one number of 0 to 2^64 - 1 in 1 to 10 bytes."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def unpack_varint(payload: memoryview, at: int, limit: int) -> tuple[int, int]:
    """Read one number of at most `limit`; returns it and the place after it."""
    value = 0
    for index, byte in enumerate(payload[at : at + _MAX_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if value > limit or (index and not byte):
                break
            return value, at + index + 1
    raise FormatError(
        "variable-length number", expected=f"at most {limit}, in its shortest form", found="other"
    )


def pack_numbers(values: Numbers) -> bytes:
    """Write numbers one after another."""
    rows = np.empty((len(values), _MAX_BYTES), np.uint8)
    sizes = np.ones(len(values), np.int64)
    for index in range(_MAX_BYTES):
        rest = values >> np.uint64(7 * index)
        rows[:, index] = (rest & np.uint64(0x7F)) | np.where(rest > 0x7F, 0x80, 0).astype(np.uint64)
        sizes += rest > 0x7F
    return rows[np.arange(_MAX_BYTES) < sizes[:, None]].tobytes()


def unpack_numbers(payload: memoryview, at: int, count: int) -> Numbers:
    """Read exactly `count` numbers that fill the payload from `at` to its end."""
    raw = np.frombuffer(payload, np.uint8)[at:]
    ends = np.flatnonzero(raw < 0x80)
    if len(ends) != count or (ends[-1] + 1 if count else 0) != len(raw):
        raise FormatError("list of numbers", expected=f"{count} that fill the payload", found=len(ends))
    starts = np.concatenate((ends[:0], [0], ends[:-1] + 1))[:count]
    sizes = ends - starts + 1
    if np.any(sizes > _MAX_BYTES) or np.any((sizes > 1) & (raw[ends] == 0)):
        raise FormatError("list of numbers", expected="each in its shortest form", found="padding")
    if np.any((sizes == _MAX_BYTES) & (raw[ends] > 1)):
        raise FormatError("list of numbers", expected="64 bits each", found="more")
    return _gather(raw, starts, sizes)


def _gather(raw: NDArray[np.uint8], starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Numbers:
    values = np.zeros(len(starts), np.uint64)
    for index in range(int(sizes.max(initial=0))):
        has = sizes > index
        digits = raw[starts[has] + index].astype(np.uint64) & np.uint64(0x7F)
        values[has] |= digits << np.uint64(7 * index)
    return values
