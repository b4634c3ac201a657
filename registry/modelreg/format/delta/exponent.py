"""EXP: differences grouped by the exponent of the base. Specified in docs/spec/delta.md, section 8.

An optimiser adds steps of similar size to weights of every size; counted in units of the last place, the
step depends on the weight's binade. Within one binade the differences share a distribution, which pcodec
then fits.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import FormatError
from modelreg.format.delta.grouping import MAX_GROUPS, Starts, choose_starts
from modelreg.format.delta.integers import HEAD_BYTES, read_words_head, words_head
from modelreg.format.delta.streams import pack_integers, unpack_integers
from modelreg.format.delta.varints import pack_varint, unpack_varint
from modelreg.format.delta.words import Integers, WordType, join, ordered, signed_words

__all__ = ["pack_exp", "unpack_exp"]


def _exponents(base: Integers, word: WordType) -> NDArray[np.uint16]:
    field = base >> word.mantissa_bits
    return field.astype(np.uint16) & np.uint16((1 << word.exponent_bits) - 1)


def _group_order(
    exponents: NDArray[np.uint16], starts: Starts, word: WordType
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Sort words by group, stably; returns their places in that order and the size of each group.

    NumPy sorts 8-bit keys stably by radix, in linear time.
    """
    group_of = np.zeros(1 << word.exponent_bits, np.uint8)
    group_of[np.array(starts[1:], np.intp)] = 1
    groups = np.cumsum(group_of, dtype=np.uint8)[exponents]
    return np.argsort(groups, kind="stable"), np.bincount(groups, minlength=len(starts))


def pack_exp(difference: Integers, base: Integers, word: WordType, shift: int, level: int) -> bytes:
    """Code differences of ordered integers, a stream for each group of exponents of the base."""
    exponents = _exponents(base, word)
    starts = choose_starts(difference, exponents)
    order, sizes = _group_order(exponents, starts, word)
    parts = [words_head(word, shift), bytes((len(starts),))]
    parts += [pack_varint(here - before) for before, here in itertools.pairwise(starts)]
    grouped = difference[order]
    ends = np.cumsum(sizes)
    parts += [pack_integers(grouped[end - size : end], level) for size, end in zip(sizes, ends, strict=True)]
    return b"".join(parts)


def _read_starts(payload: memoryview, word: WordType) -> tuple[Starts, int]:
    at = HEAD_BYTES + 1
    count = payload[HEAD_BYTES] if len(payload) >= at else 0
    if not 1 <= count <= MAX_GROUPS:
        raise FormatError("groups", expected=f"1 to {MAX_GROUPS}", found=count)
    starts = [0]
    for _ in range(count - 1):
        step, at = unpack_varint(payload, at, (1 << word.exponent_bits) - 1 - starts[-1])
        starts.append(starts[-1] + step)
    if any(here == before for before, here in itertools.pairwise(starts)):
        raise FormatError("groups", expected="rising exponents", found="one twice")
    return starts, at


def _read_groups(payload: memoryview, at: int, sizes: NDArray[np.intp], out: Integers) -> None:
    begin = 0
    for size in sizes.tolist():
        if not size:
            raise FormatError("group of exponents", expected="a word of the base in it", found="none")
        at = unpack_integers(payload, at, out[begin : begin + size])
        begin += size
    if at != len(payload):
        raise FormatError("payload", expected=f"{at} bytes", found=len(payload))


def unpack_exp(payload: memoryview, base: memoryview, length: int) -> Integers:
    """Decode EXP into words; the base is as long as the chunk."""
    word, shift = read_words_head(payload, length)
    if not word.exponent_bits:
        raise FormatError("word type", expected="floating point", found=word.name)
    starts, at = _read_starts(payload, word)
    words = signed_words(base, word)
    order, sizes = _group_order(_exponents(words, word), starts, word)
    grouped = np.empty(len(words), words.dtype)
    _read_groups(payload, at, sizes, grouped)
    integers = np.empty_like(grouped)
    integers[order] = grouped
    integers += ordered(words, word, shift)
    return join(integers, word, shift)
