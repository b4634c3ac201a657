"""CAST: a chunk that is its sibling in another precision. Specified in docs/spec/delta.md, section 9."""

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import FormatError
from modelreg.format.delta.sparse import pack_changes, unpack_changes
from modelreg.format.delta.words import Integers, WordType, join, ordered, signed_words

__all__ = ["CASTABLE", "convert", "pack_cast", "sibling_length", "unpack_cast"]

CASTABLE = frozenset((WordType.F16, WordType.BF16, WordType.F32, WordType.F64))

_HEAD_BYTES = 2
_Words = NDArray[np.uint64]


def _bias(word: WordType) -> int:
    return (1 << (word.exponent_bits - 1)) - 1


def _significand(words: _Words, source: WordType) -> tuple[_Words, NDArray[np.int64]]:
    """Split finite magnitudes into a significand with its leading bit set and an unbiased exponent."""
    bits = source.mantissa_bits
    field = (words >> np.uint64(bits)) & np.uint64((1 << source.exponent_bits) - 1)
    significand = words & np.uint64((1 << bits) - 1)
    exponent = np.maximum(field.astype(np.int64), 1) - _bias(source)
    tiny = np.flatnonzero((field == 0) & (significand != 0))
    # A significand below 2^53 is exact in float64, whose exponent field then tells its highest bit.
    top = (significand[tiny].astype(np.float64).view(np.uint64) >> np.uint64(52)).astype(np.int64) - 1023
    exponent[tiny] -= bits - top
    significand[field != 0] |= np.uint64(1 << bits)
    significand[tiny] <<= (bits - top).astype(np.uint64)
    return significand, exponent


def _round(significand: _Words, drop: NDArray[np.int64], bits: int) -> _Words:
    """Shift right by `drop` (left where negative), to nearest, ties to even."""
    right = np.clip(drop, 0, bits + 2).astype(np.uint64)
    left = np.maximum(-drop, 0).astype(np.uint64)
    half = (np.uint64(1) << right) >> np.uint64(1)
    odd = (significand >> right) & np.uint64(1)
    rounded: _Words = (significand + half - np.where(right > 0, np.uint64(1) - odd, np.uint64(0))) >> right
    return rounded << left


def convert(words: Integers, source: WordType, target: WordType) -> Integers:
    """Convert floating-point words by integers alone: to nearest, ties to even, overflow to infinity.

    A NaN keeps its sign and the top of its payload; it becomes quiet if the payload is cut.
    """
    raw = words.view(f"<u{source.width}").astype(np.uint64)
    top = 8 * source.width - 1
    magnitude = raw & np.uint64((1 << top) - 1)
    significand, exponent = _significand(magnitude, source)
    biased = exponent + _bias(target)
    drop = source.mantissa_bits - target.mantissa_bits + np.maximum(1 - biased, 0)
    rounded = _round(significand, drop, source.mantissa_bits)
    infinity = ((1 << target.exponent_bits) - 1) << target.mantissa_bits
    field = np.where(significand > 0, np.maximum(biased, 1) - 1, 0).astype(np.uint64)
    result = np.minimum((field << np.uint64(target.mantissa_bits)) + rounded, np.uint64(infinity))
    special = magnitude >= np.uint64(((1 << source.exponent_bits) - 1) << source.mantissa_bits)
    result[special] = _specials(magnitude[special], source, target) | np.uint64(infinity)
    result |= (raw >> np.uint64(top)) << np.uint64(8 * target.width - 1)
    converted: Integers = result.astype(f"<u{target.width}").view(f"<i{target.width}")
    return converted


def _specials(magnitude: _Words, source: WordType, target: WordType) -> _Words:
    """The mantissas of infinities and NaNs in the target."""
    payload = magnitude & np.uint64((1 << source.mantissa_bits) - 1)
    drop = source.mantissa_bits - target.mantissa_bits
    if drop <= 0:
        return payload << np.uint64(-drop)
    quiet = np.where(payload > 0, np.uint64(1 << (target.mantissa_bits - 1)), np.uint64(0))
    cut: _Words = (payload >> np.uint64(drop)) | quiet
    return cut


def sibling_length(length: int, word: WordType, sibling_word: WordType) -> int:
    """Bytes of the sibling that a chunk of `length` bytes is cast from."""
    return length // word.width * sibling_word.width


def pack_cast(chunk: memoryview, word: WordType, sibling: memoryview, sibling_word: WordType) -> bytes:
    """Name the cast and list the words that it gets wrong."""
    guess = convert(signed_words(sibling, sibling_word), sibling_word, word)
    difference = ordered(signed_words(chunk, word), word, 0) - ordered(guess, word, 0)
    return bytes((sibling_word, word)) + pack_changes(difference)


def unpack_cast(payload: memoryview, base: memoryview, length: int) -> Integers:
    """Decode CAST into words; the base is the sibling's bytes."""
    if len(payload) < _HEAD_BYTES:
        raise FormatError("payload", expected="two word types", found=f"{len(payload)} bytes")
    source, target = WordType.parse(payload[0]), WordType.parse(payload[1])
    if source == target or not {source, target} <= CASTABLE:
        raise FormatError(
            "cast", expected="two of F16, BF16, F32, F64", found=f"{source.name}, {target.name}"
        )
    if length % target.width or len(base) != sibling_length(length, target, source):
        raise FormatError("sibling", expected=f"a base for {length} bytes of {target.name}", found=len(base))
    integers = np.empty(length // target.width, f"<i{target.width}")
    unpack_changes(payload[_HEAD_BYTES:], integers)
    integers += ordered(convert(signed_words(base, source), source, target), target, 0)
    return join(integers, target, 0)
