"""LOWRANK: words predicted by adding a product of thin matrices. Specified in docs/spec/delta.md, section 10.

A merged adapter changes a whole matrix by one of low rank. The factors are integers so small that their
product is exact in binary64: whatever order a machine sums in, every machine predicts the same words.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import FormatError
from modelreg.format.delta.grouping import Starts, choose_starts, read_starts
from modelreg.format.delta.partition import table_of
from modelreg.format.delta.streams import pack_integers, unpack_integers, unpack_streams
from modelreg.format.delta.varints import pack_varint, unpack_varint
from modelreg.format.delta.words import Integers, WordType, exponents_of, join, ordered, signed_words

__all__ = [
    "MAX_COLUMNS",
    "MAX_ELEMENTS",
    "MAX_FACTOR",
    "MAX_RANK",
    "PREDICTABLE",
    "Factors",
    "LowRankChunk",
    "estimate_low_rank",
    "pack_factors",
    "pack_low_rank",
    "rows_of",
    "unpack_factors",
    "unpack_low_rank",
    "values_of",
]

PREDICTABLE = frozenset((WordType.F16, WordType.BF16, WordType.F32))
MAX_RANK = 64
MAX_COLUMNS = 1 << 18
MAX_ELEMENTS = 1 << 20
MAX_FACTOR = (1 << 23) - 1
_MAX_SCALE = 900
_PHASES = (1, 16)
# For the estimate: differences that are told apart, and the bits of a stream and of each class in it.
_LARGE = 7
_STREAM_BITS, _CLASS_BITS = 60.0, 10.0

_Floats = NDArray[np.float64]
_Cells = NDArray[np.uint8] | NDArray[np.uint16]
_Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Factors:
    """The right factor of a matrix's change: `values` has shape (rank, columns), integers of at most 2^23.

    What it stands for is `left @ values * 2**scale`, with the integers `left` of each row.
    """

    values: NDArray[np.int32]
    scale: int

    @property
    def rank(self) -> int:
        """Rows of the factor."""
        return int(self.values.shape[0])

    @property
    def columns(self) -> int:
        """Columns of the matrix."""
        return int(self.values.shape[1])


def rows_of(column: int, count: int, columns: int) -> int:
    """Rows of a matrix that `count` words touch, the first of which stands in `column`."""
    return -(-(column + count) // columns)


def pack_factors(factors: Factors, level: int) -> bytes:
    """Write the right factor, which all chunks of a matrix share."""
    head = bytes((factors.rank,)) + pack_varint(factors.columns) + pack_varint(factors.scale + _MAX_SCALE)
    return head + pack_integers(np.ascontiguousarray(factors.values).reshape(-1), level)


def unpack_factors(payload: memoryview) -> Factors:
    """Read the right factor. Raises FormatError; allocates no more than the payload can fill."""
    rank = payload[0] if payload else 0
    if not 1 <= rank <= MAX_RANK:
        raise FormatError("rank of factors", expected=f"1 to {MAX_RANK}", found=rank)
    columns, at = unpack_varint(payload, 1, MAX_COLUMNS)
    scale, at = unpack_varint(payload, at, 2 * _MAX_SCALE)
    if columns < rank or rank * columns > MAX_ELEMENTS:
        expected = f"as many as the rank, and at most {MAX_ELEMENTS} elements"
        raise FormatError("columns of factors", expected=expected, found=f"{columns} of rank {rank}")
    values = np.empty(rank * columns, np.int32)
    end = unpack_integers(payload, at, values)
    if end != len(payload):
        raise FormatError("factors", expected=f"{end} bytes", found=len(payload))
    return Factors(_small(values).reshape(rank, columns), scale - _MAX_SCALE)


def _small(values: NDArray[np.int32]) -> NDArray[np.int32]:
    if values.size and (int(values.max()) > MAX_FACTOR or int(values.min()) < -MAX_FACTOR):
        raise FormatError("factor", expected=f"at most {MAX_FACTOR} in magnitude", found="more")
    return values


@dataclass(frozen=True, slots=True)
class LowRankChunk:
    """A chunk of a matrix, and what it is predicted from.

    Attributes:
        chunk: whole words, the first of which stands in `column` of its row.
        base: as long.
        word: one of PREDICTABLE.
        column: below `factors.columns`.
        left: the left factor of the rows that the chunk touches, of shape (rows, rank).
        factors: the right one.
    """

    chunk: Integers
    base: Integers
    word: WordType
    column: int
    left: NDArray[np.int32]
    factors: Factors


@dataclass(frozen=True, slots=True)
class _Prediction:
    """What words are predicted to be, and in which phase of its rounding each prediction was."""

    words: Integers
    integers: Integers
    rounded: _Floats
    exact: _Floats

    def phases(self, count: int, word: WordType) -> NDArray[np.uint8]:
        """Where in the interval that is rounded to the word the sum lay, in `count` equal parts."""
        if count == 1:
            return np.zeros(len(self.words), np.uint8)
        part = self.exact - self.rounded
        part *= _last_places(word).take(exponents_of(self.words, word))
        # A product with 16 is exact, a sum with 1/2 would not be.
        part *= count
        np.floor(part, out=part)
        part += count // 2
        np.clip(part, 0, count - 1, out=part)
        phases: NDArray[np.uint8] = part.astype(np.uint8)
        return phases


@lru_cache
def _last_places(word: WordType) -> _Floats:
    """How many units of the last place make 1, for each value of the exponent field; 0 counts as 1."""
    fields = np.maximum(np.arange(1 << word.exponent_bits), 1)
    bias = (1 << (word.exponent_bits - 1)) - 1
    found: _Floats = np.ldexp(1.0, word.mantissa_bits + bias - fields)
    return found


def _predict(
    base: Integers, word: WordType, column: int, left: NDArray[np.int32], factors: Factors
) -> _Prediction:
    change = left.astype(np.float64) @ factors.values.astype(np.float64)
    flat = change.reshape(-1)[column : column + len(base)]
    start = values_of(base, word)
    with np.errstate(over="ignore", invalid="ignore"):
        exact = flat * 2.0**factors.scale
        exact += 0.0  # takes the sign of a zero away, which depends on how a machine adds up
        exact += start
        words = _round(exact, word)
        rounded = values_of(words, word)
    odd = ~(np.isfinite(start) & np.isfinite(rounded))
    if odd.any():
        words = np.where(odd, base, words)
        exact[odd] = rounded[odd] = 0.0
    return _Prediction(words, ordered(words, word, 0), rounded, exact)


def values_of(words: Integers, word: WordType) -> _Floats:
    """The numbers that words of PREDICTABLE types stand for, exactly."""
    if word is WordType.F32:
        numbers = words.view("<f4")
    elif word is WordType.F16:
        numbers = words.view("<f2")
    else:
        numbers = (words.view("<u2").astype("<u4") << 16).view("<f4")
    with np.errstate(invalid="ignore"):  # of signalling NaN
        return numbers.astype(np.float64)


def _round(values: _Floats, word: WordType) -> Integers:
    """To binary32, and from there to the type, each to nearest, ties to even; of a NaN, anything."""
    single = values.astype("<f4")
    if word is WordType.F32:
        return single.view("<i4")
    if word is WordType.F16:
        return single.astype("<f2").view("<i2")
    bits = single.view("<u4")
    odd = bits >> 16
    odd &= 1
    bits += odd
    bits += 0x7FFF
    return (bits >> 16).astype("<u2").view("<i2")


def _cells(prediction: _Prediction, word: WordType, starts: Starts, phases: int) -> _Cells:
    """The cell of each word, by exponent group and phase."""
    # Few enough for a byte are sorted in half the time.
    wide = table_of(starts, word).astype(np.uint16) * np.uint16(phases)
    table = wide.astype(np.uint8) if len(starts) * phases <= 256 else wide
    cells: _Cells = table.take(exponents_of(prediction.words, word)) + prediction.phases(phases, word)
    return cells


def _sort(cells: _Cells, count: int) -> tuple[_Places, _Places]:
    """The places of words cell by cell, and the sizes of so many cells."""
    return np.argsort(cells, kind="stable"), np.bincount(cells, minlength=count)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the words of a chunk are divided into cells, and about the bits that they take there.

    What large differences take besides their class is not among them: it is the same for all plans.
    """

    difference: Integers
    starts: Starts
    phases: int
    cells: _Cells
    bits: float

    @property
    def count(self) -> int:
        """Cells, some of them empty."""
        return len(self.starts) * self.phases


def _plan(one: LowRankChunk) -> _Plan:
    """The better one of the numbers of phases."""
    word = one.word
    prediction = _predict(one.base, word, one.column, one.left, one.factors)
    difference = ordered(one.chunk, word, 0) - prediction.integers
    starts = choose_starts(difference, prediction.words, word)
    small, plans = np.clip(difference, -_LARGE, _LARGE), []
    for phases in _PHASES:
        cells = _cells(prediction, word, starts, phases)
        plans.append(_Plan(difference, starts, phases, cells, _bits(small, cells, len(starts) * phases)))
    return min(plans, key=lambda plan: plan.bits)


def _bits(small: Integers, cells: _Cells, count: int) -> float:
    """The entropy of differences, at most `_LARGE`, in each of so many cells, and what the tables take."""
    classes = 2 * _LARGE + 1
    keys = cells.astype(np.int32) * classes + (small + _LARGE)
    table = np.bincount(keys, minlength=count * classes).reshape(count, classes)
    sizes = table.sum(axis=1)
    entropy = _entropy(sizes) - _entropy(table)
    return entropy + _STREAM_BITS * np.count_nonzero(sizes) + _CLASS_BITS * np.count_nonzero(table)


def _bits_beyond(difference: Integers) -> float:
    """What large differences take besides their class, which has all of one sign."""
    large = difference[(difference > _LARGE) | (difference < -_LARGE)]
    return float(np.log2(2.0 * (np.abs(large.astype(np.float64)) - (_LARGE - 1))).sum())


def _entropy(counts: _Places) -> float:
    some = counts[counts > 0].astype(np.float64)
    return float((some * np.log2(some)).sum())


def pack_low_rank(one: LowRankChunk, level: int) -> bytes:
    """Code a chunk; the level is pcodec's, 0 to 12."""
    plan = _plan(one)
    order, sizes = _sort(plan.cells, plan.count)
    parts = [bytes((one.word,)), pack_varint(one.column), _pack_left(one.left, level)]
    parts += [bytes((plan.phases, len(plan.starts)))]
    parts += [pack_varint(here - before) for before, here in itertools.pairwise(plan.starts)]
    cells = np.split(plan.difference[order], np.cumsum(sizes)[:-1])
    parts += [pack_integers(cell, level) for cell in cells if len(cell)]
    return b"".join(parts)


def estimate_low_rank(one: LowRankChunk, level: int) -> float:
    """About the bytes that `pack_low_rank` gives, in a fraction of its time."""
    plan = _plan(one)
    return len(_pack_left(one.left, level)) + (plan.bits + _bits_beyond(plan.difference)) / 8


def _pack_left(left: NDArray[np.int32], level: int) -> bytes:
    return pack_integers(np.ascontiguousarray(left).reshape(-1), level)


def unpack_low_rank(payload: memoryview, base: memoryview, factors: memoryview) -> Integers:
    """Decode LOWRANK into words; the chunk is as long as the base."""
    word = WordType.parse(payload[0]) if payload else WordType.U8
    if word not in PREDICTABLE or len(base) % word.width:
        raise FormatError("word type", expected="whole words of F16, BF16 or F32", found=word.name)
    right = unpack_factors(factors)
    words = signed_words(base, word)
    column, at = unpack_varint(payload, 1, right.columns - 1)
    left = np.empty(rows_of(column, len(words), right.columns) * right.rank, np.int32)
    at = unpack_integers(payload, at, left)
    prediction = _predict(words, word, column, _small(left).reshape(-1, right.rank), right)
    phases = payload[at] if at < len(payload) else 0
    if phases not in _PHASES:
        raise FormatError("phases of cells", expected=" or ".join(map(str, _PHASES)), found=phases)
    starts, at = read_starts(payload, at + 1, word)
    order, sizes = _sort(_cells(prediction, word, starts, phases), len(starts) * phases)
    found = np.empty_like(prediction.integers)
    sorted_cells = np.empty_like(found)
    at = unpack_streams(payload, at, sizes[sizes > 0], sorted_cells)
    if at != len(payload):
        raise FormatError("cells", expected=f"{at} bytes", found=len(payload))
    found[order] = sorted_cells
    return join(found + prediction.integers, word, 0)
