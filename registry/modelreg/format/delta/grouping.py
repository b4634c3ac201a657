"""Which neighbouring exponents share a stream. Specified in docs/spec/delta.md, section 8.

The choice is the writer's: every stream pays for its table of bins, so groups merge while an estimate of the
whole size falls.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import FormatError
from modelreg.format.delta.varints import unpack_varint
from modelreg.format.delta.words import Exponents, Integers, WordType

__all__ = ["MAX_GROUPS", "Starts", "choose_starts", "read_starts"]

MAX_GROUPS = 255

# The lowest exponent of each group, rising from 0.
Starts = list[int]

# Sign and half-octave of a difference (0, 1, 2, 3, 4-5, 6-7, 8-11, ...): the top ten bits of a float32.
_CLASS_BITS = 10
_CLASSES = 1 << _CLASS_BITS
_STREAM_BITS = 300.0
_BIN_BITS = 20.0
# About so many words, at equal distances, stand for all of a chunk.
_LOOKED_AT_WORDS = 32 << 10

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
        self._entropy: _Bits = step * counts * np.log2(np.maximum(counts, 1))
        self._class: _Bits = np.where(counts > 0, _BIN_BITS, 0.0) - self._entropy

    def of(self, rows: _Counts) -> list[float]:
        """One for each row."""
        classes, words = self._class.take(rows).sum(axis=1), self._entropy.take(rows.sum(axis=1))
        bits: list[float] = (classes + words + _STREAM_BITS).tolist()
        return bits


# A chunk of bytes has 16 times as many words as are looked at.
_estimate = lru_cache(16)(_Estimate)


def choose_starts(difference: Integers, exponents: Exponents) -> Starts:
    """Merge neighbours greedily, the most profitable pair first; at most 255 groups remain."""
    step = max(1, len(difference) // _LOOKED_AT_WORDS)
    starts, table = _histograms(difference[::step], exponents[::step])
    estimate = _estimate(step)
    rows, cost = list(table), estimate.of(table)
    merged = estimate.of(table[:-1] + table[1:])
    while len(rows) > 1:
        gain, at = max((cost[at] + cost[at + 1] - merged[at], at) for at in range(len(merged)))
        if gain <= 0 and len(rows) <= MAX_GROUPS:
            break
        rows[at : at + 2] = [rows[at] + rows[at + 1]]
        cost[at : at + 2] = [merged[at]]
        del starts[at + 1], merged[at]
        pairs = [pair for pair in (at - 1, at) if 0 <= pair < len(merged)]
        sums = estimate.of(np.array([rows[pair] + rows[pair + 1] for pair in pairs] or rows))
        for pair, bits in zip(pairs, sums, strict=False):
            merged[pair] = bits
    return [0, *starts[1:]]


def read_starts(payload: memoryview, at: int, word: WordType) -> tuple[Starts, int]:
    """Read how many groups there are and where each begins; the second is the place after that."""
    count = payload[at] if at < len(payload) else 0
    if not count:
        raise FormatError("groups", expected=f"1 to {MAX_GROUPS}", found=count)
    starts, at = [0], at + 1
    for _ in range(count - 1):
        step, at = unpack_varint(payload, at, (1 << word.exponent_bits) - 1 - starts[-1])
        if step == 0:
            raise FormatError("groups", expected="rising exponents", found="one that comes again")
        starts.append(starts[-1] + step)
    return starts, at
