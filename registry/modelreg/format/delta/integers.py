"""SOLO and DIFF: one stream for a chunk. Specified in docs/spec/delta.md, section 6."""

import numpy as np

from modelreg.errors import FormatError
from modelreg.format.delta.streams import pack_integers, unpack_integers
from modelreg.format.delta.words import Integers, WordType, join, ordered, signed_words

__all__ = ["pack_diff", "pack_solo", "read_words_head", "unpack_diff", "unpack_solo", "words_head"]

HEAD_BYTES = 2


def words_head(word: WordType, shift: int) -> bytes:
    """The two bytes that open every payload made of words."""
    return bytes((word, shift))


def read_words_head(payload: memoryview, length: int) -> tuple[WordType, int]:
    """Read word type and shift. Raises FormatError if the length is no multiple of the word's width."""
    if len(payload) < HEAD_BYTES:
        raise FormatError("payload", expected="word type and shift", found=f"{len(payload)} bytes")
    word, shift = WordType.parse(payload[0]), payload[1]
    if length % word.width:
        raise FormatError("chunk length", expected=f"a multiple of {word.width}", found=length)
    if shift >= 8 * word.width:
        raise FormatError("shift", expected=f"less than {8 * word.width}", found=shift)
    return word, shift


def pack_solo(words: Integers, word: WordType, shift: int, level: int) -> bytes:
    """Code the ordered integers themselves."""
    return words_head(word, shift) + pack_integers(ordered(words, word, shift), level)


def pack_diff(difference: Integers, word: WordType, shift: int, level: int) -> bytes:
    """Code differences of ordered integers."""
    return words_head(word, shift) + pack_integers(difference, level)


def _unpack_only_stream(payload: memoryview, out: Integers) -> None:
    end = unpack_integers(payload, HEAD_BYTES, out)
    if end != len(payload):
        raise FormatError("payload", expected=f"{end} bytes", found=len(payload))


def unpack_solo(payload: memoryview, length: int) -> Integers:
    """Decode SOLO into words."""
    word, shift = read_words_head(payload, length)
    integers = np.empty(length // word.width, f"<i{word.width}")
    _unpack_only_stream(payload, integers)
    return join(integers, word, shift)


def unpack_diff(payload: memoryview, base: memoryview, length: int) -> Integers:
    """Decode DIFF into words; the base is as long as the chunk."""
    word, shift = read_words_head(payload, length)
    integers = np.empty(length // word.width, f"<i{word.width}")
    _unpack_only_stream(payload, integers)
    integers += ordered(signed_words(base, word), word, shift)
    return join(integers, word, shift)
