"""Lists of the words that changed. Specified in docs/spec/delta.md, section 7."""

import numpy as np

from modelreg.errors import FormatError
from modelreg.format.delta.varints import Numbers, pack_numbers, pack_varint, unpack_numbers, unpack_varint
from modelreg.format.delta.words import Integers

__all__ = ["pack_changes", "unpack_changes"]


def pack_changes(difference: Integers) -> bytes:
    """List the differences that are not zero: their count, the gaps before them, their zigzag values."""
    places = np.flatnonzero(difference != 0)
    gaps = np.diff(places, prepend=-1) - 1
    values = difference[places]
    zigzag = (values << 1) ^ (values >> (8 * values.dtype.itemsize - 1))
    unsigned = zigzag.view(f"<u{values.dtype.itemsize}")
    numbers = np.concatenate((gaps.astype(np.uint64), unsigned.astype(np.uint64)))
    return pack_varint(len(places)) + pack_numbers(numbers)


def unpack_changes(body: memoryview, out: Integers) -> None:
    """Fill `out` from a list that is the whole body; words that it does not name get 0."""
    changed, at = unpack_varint(body, 0, len(out))
    numbers = unpack_numbers(body, at, 2 * changed)
    gaps, zigzag = numbers[:changed], numbers[changed:]
    if np.any(gaps >= len(out)) or int(gaps.sum()) + changed > len(out):
        raise FormatError("changed words", expected=f"places below {len(out)}", found="one beyond")
    bits = 8 * out.dtype.itemsize
    if np.any(zigzag == 0) or np.any(zigzag > (1 << bits) - 1):
        raise FormatError("changed words", expected=f"differences of {bits} bits, not 0", found="others")
    out[:] = 0
    out[np.cumsum(gaps.astype(np.int64) + 1) - 1] = _unzigzag(zigzag, out)


def _unzigzag(zigzag: Numbers, like: Integers) -> Integers:
    half = (zigzag >> np.uint64(1)).astype(np.int64)
    signs = -(zigzag & np.uint64(1)).astype(np.int64)
    values: Integers = (half ^ signs).astype(like.dtype)
    return values
