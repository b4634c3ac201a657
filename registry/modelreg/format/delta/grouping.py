"""Which neighbouring exponents share a stream. Specified in docs/spec/delta.md, section 8.

The choice is the writer's: every stream pays for its table of bins, so an estimate of the whole size decides.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import FormatError
from modelreg.format.delta.varints import unpack_varint
from modelreg.format.delta.words import Exponents, Integers, WordType, exponents_of

__all__ = ["Starts", "choose_starts", "read_starts"]

_MAX_GROUPS = 255

# The lowest exponent of each group, rising from 0.
Starts = list[int]

# Sign and half-octave of a difference (0, 1, 2, 3, 4-5, 6-7, 8-11, ...): the top ten bits of a float32.
_CLASS_BITS = 10
_CLASSES = 1 << _CLASS_BITS
_STREAM_BITS = 300.0
_BIN_BITS = 12.0
# About so many words, at equal distances, stand for all of a chunk.
_LOOKED_AT_WORDS = 16 << 10
# More exponents are taken together in pairs first: between 64 of them there are 2,080 groups to estimate.
_CUTTABLE = 64

_Counts = NDArray[np.intp]
_Bits = NDArray[np.float64]


def _histograms(difference: Integers, exponents: Exponents) -> tuple[list[int], _Counts]:
    """Count magnitude classes for every exponent that occurs: the exponents and a row for each."""
    first, last = int(exponents.min()), int(exponents.max())
    cells = difference.astype(np.float32).view(np.uint32) >> (32 - _CLASS_BITS)
    cells |= (exponents - exponents.dtype.type(first)).astype(np.uint32) << _CLASS_BITS
    table = np.bincount(cells, minlength=(last - first + 1) * _CLASSES).reshape(-1, _CLASSES)
    present = np.flatnonzero(table.any(axis=1))
    table = table[present]
    return [first + row for row in present.tolist()], table[:, table.any(axis=0)]


class _Estimate:
    """Bits of a stream by the counts of its classes, each for `step` words.

    Those below the class cancel in comparisons.
    """

    def __init__(self, step: int) -> None:
        counts = np.arange(2.0 * _LOOKED_AT_WORDS)
        # Whole bits, whose sums are the same on all machines.
        self._entropy: _Bits = np.rint(step * counts * np.log2(np.maximum(counts, 1)))
        self._class: _Bits = np.where(counts > 0, _BIN_BITS, 0.0) - self._entropy

    def of(self, rows: _Counts) -> list[float]:
        """One for each row."""
        classes, words = self._class.take(rows).sum(axis=1), self._entropy.take(rows.sum(axis=1))
        bits: list[float] = (classes + words + _STREAM_BITS).tolist()
        return bits


# A chunk of bytes has 32 times as many words as are looked at.
_estimate = lru_cache(32)(_Estimate)


def choose_starts(difference: Integers, base: Integers, word: WordType) -> Starts:
    """Cut the base's exponents where the whole is estimated to be smallest; at most 64 groups."""
    step = max(1, len(difference) // _LOOKED_AT_WORDS)
    looked_at = exponents_of(np.ascontiguousarray(base[::step]), word)
    starts, table = _histograms(difference[::step], looked_at)
    while len(starts) > _CUTTABLE:
        starts, table = starts[::2], np.add.reduceat(table, np.arange(0, len(table), 2))
    return [0, *(starts[row] for row in _best_cuts(table, _estimate(step))[1:])]


@lru_cache(2 * _CUTTABLE)
def _every_cut(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.tril_indices(count, -1)


def _best_cuts(table: _Counts, estimate: _Estimate) -> list[int]:
    """The rows where groups of the least total begin, by what is best for the rows before each."""
    total = np.vstack((np.zeros_like(table[:1]), np.cumsum(table, axis=0)))
    ends, begins = _every_cut(len(total))
    bits = iter(estimate.of(total[ends] - total[begins]))
    best, last = [0.0], [0]
    for _ in table:
        whole, begin = min((before + next(bits), begin) for begin, before in enumerate(best))
        best.append(whole)
        last.append(begin)
    cuts = [last[-1]]
    while cuts[-1]:
        cuts.append(last[cuts[-1]])
    return cuts[::-1]


def read_starts(payload: memoryview, at: int, word: WordType) -> tuple[Starts, int]:
    """Read how many groups there are and where each begins; the second is the place after that."""
    count = payload[at] if at < len(payload) else 0
    if not count:
        raise FormatError("groups", expected=f"1 to {_MAX_GROUPS}", found=count)
    starts, at = [0], at + 1
    for _ in range(count - 1):
        step, at = unpack_varint(payload, at, (1 << word.exponent_bits) - 1 - starts[-1])
        if step == 0:
            raise FormatError("groups", expected="rising exponents", found="one that comes again")
        starts.append(starts[-1] + step)
    return starts, at
