"""SPARSE: where a chunk differs from its base and by how much. Specified in docs/spec/delta.md, section 7."""

import numpy as np

from modelreg.errors import FormatError
from modelreg.format.delta.integers import HEAD_BYTES, read_words_head, words_head
from modelreg.format.delta.varints import pack_numbers, pack_varint, unpack_numbers, unpack_varint
from modelreg.format.delta.words import Integers, WordType, join, ordered, signed_words

__all__ = ["pack_changes", "pack_sparse", "unpack_changes", "unpack_sparse"]


def pack_changes(difference: Integers) -> bytes:
    """List the non-zero differences: count, gaps, zigzag values."""
    places = np.flatnonzero(difference)
    gaps = np.diff(places, prepend=-1) - 1
    values = difference[places]
    zigzag = (values << 1) ^ (values >> (8 * values.dtype.itemsize - 1))
    unsigned = zigzag.view(f"<u{values.dtype.itemsize}")
    numbers = np.concatenate((gaps.astype(np.uint64), unsigned.astype(np.uint64)))
    return pack_varint(len(places)) + pack_numbers(numbers)


def unpack_changes(payload: memoryview, at: int, count: int, width: int) -> Integers:
    """Read a list that fills the payload from `at` into `count` differences of `width` bytes, mostly zero."""
    changed, at = unpack_varint(payload, at, count)
    numbers = unpack_numbers(payload, at, 2 * changed)
    gaps, zigzag = numbers[:changed], numbers[changed:]
    if np.any(gaps >= count) or int(gaps.sum()) + changed > count:
        raise FormatError("changed words", expected=f"places below {count}", found="one beyond")
    if np.any(zigzag == 0) or np.any(zigzag > (1 << 8 * width) - 1):
        raise FormatError("changed words", expected=f"differences of {8 * width} bits, not 0", found="other")
    places = np.cumsum(gaps.astype(np.int64) + 1) - 1
    values = (zigzag >> np.uint64(1)).astype(np.int64) ^ -(zigzag & np.uint64(1)).astype(np.int64)
    difference = np.zeros(count, f"<i{width}")
    difference[places] = values.astype(difference.dtype)
    return difference


def pack_sparse(difference: Integers, word: WordType, shift: int) -> bytes:
    """Code the differences of ordered integers that are not zero."""
    return words_head(word, shift) + pack_changes(difference)


def unpack_sparse(payload: memoryview, base: memoryview, length: int) -> Integers:
    """Decode SPARSE into words; the base is as long as the chunk."""
    word, shift = read_words_head(payload, length)
    integers = unpack_changes(payload, HEAD_BYTES, length // word.width, word.width)
    integers += ordered(signed_words(base, word), word, shift)
    return join(integers, word, shift)
