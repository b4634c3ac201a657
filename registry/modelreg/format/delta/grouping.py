"""Which neighbouring exponents share a stream: the writer's choice, free by docs/spec/delta.md, section 8.

Every stream pays for its table of bins, so groups merge while an estimate of the whole size falls.
"""

import numpy as np
from numpy.typing import NDArray

from modelreg.format.delta.words import Integers

__all__ = ["MAX_GROUPS", "Exponents", "Starts", "choose_starts"]

MAX_GROUPS = 255

# The lowest exponent of each group, rising from 0.
Starts = list[int]

Exponents = NDArray[np.uint8] | NDArray[np.uint16]

# Sign and half-octave of a difference (0, 1, 2, 3, 4-5, 6-7, 8-11, ...): the top ten bits of a float32.
_CLASS_BITS = 10
_CLASSES = 1 << _CLASS_BITS
_STREAM_BITS = 48.0
_BIN_BITS = 20.0

_Table = NDArray[np.float64]


def _histograms(difference: Integers, exponents: Exponents) -> tuple[NDArray[np.intp], _Table]:
    """Count magnitude classes for every exponent that occurs: the exponents and a row for each."""
    first = exponents.min()
    cells = difference.astype(np.float32).view(np.uint32) >> (32 - _CLASS_BITS)
    cells |= (exponents - first).astype(np.uint32) << _CLASS_BITS
    table = np.bincount(cells)
    table = np.pad(table, (0, -len(table) % _CLASSES)).reshape(-1, _CLASSES)
    present = np.flatnonzero(table.any(axis=1))
    table = table[present]
    return present + int(first), table[:, table.any(axis=0)].astype(np.float64)


def _cost(table: _Table) -> _Table:
    """Estimate the bits of a stream for each row of counts; bits below the class cancel in comparisons."""
    total = table.sum(axis=1)
    entropy = total * np.log2(total) - (table * np.log2(np.maximum(table, 1))).sum(axis=1)
    bits: _Table = entropy + _STREAM_BITS + _BIN_BITS * np.count_nonzero(table, axis=1)
    return bits


def choose_starts(difference: Integers, exponents: Exponents) -> Starts:
    """Merge neighbours greedily, the most profitable pair first; at most 255 groups remain."""
    present, table = _histograms(difference, exponents)
    starts, rows, cost = present.tolist(), list(table), _cost(table).tolist()
    merged = _cost(table[:-1] + table[1:]).tolist()
    while len(rows) > 1:
        gain, at = max((cost[at] + cost[at + 1] - merged[at], at) for at in range(len(merged)))
        if gain <= 0 and len(rows) <= MAX_GROUPS:
            break
        rows[at : at + 2] = [rows[at] + rows[at + 1]]
        cost[at : at + 2] = [merged[at]]
        del starts[at + 1], merged[at]
        pairs = [pair for pair in (at - 1, at) if 0 <= pair < len(merged)]
        sums = _cost(np.array([rows[pair] + rows[pair + 1] for pair in pairs] or rows))
        for pair, bits in zip(pairs, sums.tolist(), strict=False):
            merged[pair] = bits
    return [0, *starts[1:]]
