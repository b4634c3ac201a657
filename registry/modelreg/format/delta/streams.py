"""Streams of integers, whole or with gaps where they are 0. Specified in docs/spec/delta.md, section 4."""

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import FormatError
from modelreg.format.delta.kernels import UNREAD, read_streams, spread
from modelreg.format.delta.pages import pack_page, unpack_page
from modelreg.format.delta.varints import pack_varint, unpack_varint
from modelreg.format.delta.words import Integers

__all__ = ["pack_integers", "unpack_integers", "unpack_only", "unpack_streams"]

_GAPPED = 16
# Where half of the integers or more are 0, gaps take fewer bytes and a fraction of the time; not in short
# streams, as there are two tables of bins.
_ZEROS_SHARE = 2
_SHORT = 16 << 10


def pack_integers(values: Integers, level: int) -> bytes:
    """Compress a non-empty array; `level` is pcodec's, 0 to 12."""
    changed = int(np.count_nonzero(values))
    if not changed or _ZEROS_SHARE * changed > len(values):
        return pack_page(values, level)
    gapped = _pack_gapped(values, changed, level)
    return gapped if len(values) > _SHORT else min(gapped, pack_page(values, level), key=len)


def _pack_gapped(values: Integers, changed: int, level: int) -> bytes:
    places = np.flatnonzero(values != 0)  # several times as fast as without the comparison
    gaps = np.diff(places, prepend=-1) - 1
    return b"".join(
        (
            bytes((_GAPPED,)),
            pack_varint(changed),
            pack_page(gaps.astype(np.int32), level),
            pack_page(values[places], level),
        )
    )


def unpack_integers(payload: memoryview, at: int, out: Integers) -> int:
    """Fill `out` from the stream that starts at `at`; returns the place after it.

    Raises FormatError unless the stream holds exactly as many integers as `out`, none wider than its words.
    """
    if payload[at : at + 1] != bytes((_GAPPED,)):
        return unpack_page(payload, at, out)
    changed, at = unpack_varint(payload, at + 1, len(out))
    if not changed:
        raise FormatError("gaps in a stream", expected="at least one integer that is not 0", found="none")
    gaps, values = np.empty(changed, np.int32), np.empty(changed, out.dtype)
    at = unpack_page(payload, at, gaps)
    at = unpack_page(payload, at, values)
    if not values.all():
        raise FormatError("gaps in a stream", expected="integers that are not 0", found="a 0")
    if not spread(gaps, values, out):
        raise FormatError("gaps in a stream", expected=f"places below {len(out)}, rising", found="others")
    return at


def unpack_streams(payload: memoryview, at: int, sizes: NDArray[np.intp], out: Integers) -> int:
    """Fill `out` from streams of so many integers each, as `unpack_integers` does with one."""
    end = read_streams(payload, at, sizes, out)
    if end != UNREAD:
        return end
    begin = 0
    for size in sizes.tolist():  # np.split takes longer than many a stream
        at = unpack_integers(payload, at, out[begin : begin + size])
        begin += size
    return at


def unpack_only(body: memoryview, out: Integers) -> None:
    """Fill `out` from a body that is one stream and nothing else."""
    end = unpack_streams(body, 0, np.array([len(out)]), out)
    if end != len(body):
        raise FormatError("integer stream", expected=f"{end} bytes", found=len(body))
