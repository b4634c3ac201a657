"""Machine words as integers in numeric order. Specified in docs/spec/delta.md, section 2."""

from enum import IntEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import FormatError
from modelreg.format.delta.encoding import Buffer
from modelreg.format.dtypes import DType

__all__ = [
    "HEAD_BYTES",
    "Exponents",
    "Gaps",
    "Integers",
    "WordType",
    "common_shift",
    "exponents_of",
    "join",
    "ordered",
    "signed_words",
]

# Word type and shift, before every payload made of words.
HEAD_BYTES = 2

# An array of int8, int16, int32 or int64: as wide as the words it stands for.
Integers = NDArray[np.signedinteger[Any]]

# How many integers that are 0 stand before each that is not.
Gaps = NDArray[np.int32]

# Fields of floating-point words.
Exponents = NDArray[np.uint8] | NDArray[np.uint16]


class WordType(IntEnum):
    """What the bytes of a chunk mean; the value is the byte in a payload. Little-endian throughout."""

    U8 = 0
    I8 = 1
    U16 = 2
    I16 = 3
    U32 = 4
    I32 = 5
    U64 = 6
    I64 = 7
    F16 = 8
    BF16 = 9
    F32 = 10
    F64 = 11
    F8_E4M3 = 12
    F8_E5M2 = 13

    @property
    def width(self) -> int:
        """Bytes of a word: 1, 2, 4 or 8."""
        return _WIDTHS[self]

    @property
    def exponent_bits(self) -> int:
        """Bits of the exponent field, just below the sign bit; 0 for integers."""
        return _EXPONENTS.get(self, 0)

    @property
    def mantissa_bits(self) -> int:
        """Bits below the exponent field of a floating-point type."""
        return 8 * self.width - 1 - self.exponent_bits

    @classmethod
    def parse(cls, code: int) -> Self:
        """Read the byte in a payload. Raises FormatError for an unknown one."""
        try:
            return cls(code)
        except ValueError:
            raise FormatError("word type", expected="a code of 0 to 13", found=code) from None

    @classmethod
    def of(cls, dtype: DType) -> "WordType":
        """The words that a tensor's elements are best taken for; bytes where an element is no word."""
        return _BY_LABEL.get(dtype.label, cls.U8)


_WIDTHS = (1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8, 1, 1)
_EXPONENTS = {
    WordType.F16: 5,
    WordType.BF16: 8,
    WordType.F32: 8,
    WordType.F64: 11,
    WordType.F8_E4M3: 4,
    WordType.F8_E5M2: 5,
}
_BY_LABEL = {word.name: word for word in WordType} | {
    "F8_E4M3FNUZ": WordType.F8_E4M3,
    "F8_E5M2FNUZ": WordType.F8_E5M2,
    "C64": WordType.F32,
    "C128": WordType.F64,
}


def signed_words(data: Buffer, word: WordType) -> Integers:
    """View the whole words in some bytes as two's complement integers, without a copy."""
    return np.frombuffer(data, f"<i{word.width}", len(data) // word.width)


def exponents_of(words: Integers, word: WordType) -> Exponents:
    """The exponent fields of floating-point words."""
    field = words >> word.mantissa_bits
    if word.exponent_bits == 8:
        return field.astype(np.uint8)
    return field.astype(np.uint16) & np.uint16((1 << word.exponent_bits) - 1)


def common_shift(words: Integers) -> int:
    """Count the low bits that are zero in every word: 16 for bfloat16 values stored as float32."""
    bits = int(np.bitwise_or.reduce(words))
    return (bits & -bits).bit_length() - 1 if bits else 0


def _flip(integers: Integers, word: WordType, shift: int) -> Integers:
    """Swap sign-magnitude and numeric order; its own inverse."""
    bits = 8 * word.width - 1
    magnitude = integers.dtype.type((1 << (bits - shift)) - 1)
    flipped: Integers = integers ^ ((integers >> bits) & magnitude)
    return flipped


def ordered(words: Integers, word: WordType, shift: int) -> Integers:
    """Drop `shift` low bits and map floating-point words to integers that sort as their values do.

    Every bit pattern has its own integer: NaN payloads, infinities and -0.0 survive.
    """
    kept = words >> shift if shift else words
    return _flip(kept, word, shift) if word.exponent_bits else kept


def join(integers: Integers, word: WordType, shift: int) -> Integers:
    """Undo `ordered`: integers back to words."""
    words = _flip(integers, word, shift) if word.exponent_bits else integers
    return words << shift if shift else words
