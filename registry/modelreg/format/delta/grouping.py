"""Which neighbouring exponents share a stream: the writer's choice, free by docs/spec/delta.md, section 8.

Every stream pays for its table of bins, so groups merge while an estimate of the whole size falls.
"""

import numpy as np
from numpy.typing import NDArray

from modelreg.format.delta.words import Integers

__all__ = ["MAX_GROUPS", "Starts", "choose_starts"]

MAX_GROUPS = 255

# The lowest exponent of each group, rising from 0.
Starts = list[int]

# Half-octaves of magnitude: 0, 1, 2, 3, 4-5, 6-7, 8-11, ... as the top bits of a float32 tell them.
_CLASSES = 132
_FIRST_CLASS = 253
_STREAM_BITS = 48.0
_BIN_BITS = 26.0

_Table = NDArray[np.float64]


def _histograms(difference: Integers, exponents: NDArray[np.uint16]) -> tuple[NDArray[np.intp], _Table]:
    """Count magnitude classes for every exponent that occurs: the exponents and a row for each."""
    magnitude = np.abs(difference.astype(np.float32))
    classes = np.maximum((magnitude.view(np.uint32) >> 22).astype(np.int64) - _FIRST_CLASS, 0)
    rows = int(exponents.max()) + 1
    table = np.bincount(exponents.astype(np.int64) * _CLASSES + classes, minlength=rows * _CLASSES)
    table = table.reshape(rows, _CLASSES)
    present = np.flatnonzero(table.any(axis=1))
    return present, table[present].astype(np.float64)


def _cost(table: _Table) -> _Table:
    """Estimate the bits of a stream for each row of counts; sign and mantissa bits cancel in comparisons."""
    total = table.sum(axis=-1)
    logs = np.log2(table, out=np.zeros_like(table), where=table > 0)
    entropy = total * np.log2(total) - (table * logs).sum(axis=-1)
    bits: _Table = entropy + _STREAM_BITS + _BIN_BITS * np.count_nonzero(table, axis=-1)
    return bits


def choose_starts(difference: Integers, exponents: NDArray[np.uint16]) -> Starts:
    """Merge neighbours greedily, the most profitable pair first; at most 255 groups remain."""
    present, table = _histograms(difference, exponents)
    cost = _cost(table)
    gain = cost[:-1] + cost[1:] - _cost(table[:-1] + table[1:]) if len(table) > 1 else np.empty(0)
    while len(gain) and (gain.max() > 0 or len(table) > MAX_GROUPS):
        best = int(gain.argmax())
        table[best] += table[best + 1]
        table, present = np.delete(table, best + 1, 0), np.delete(present, best + 1)
        gain = np.delete(gain, best)
        for pair in (best - 1, best):
            if 0 <= pair < len(gain):
                rows = table[pair : pair + 2]
                gain[pair] = _cost(rows).sum() - _cost(rows.sum(axis=0))
    return [0, *present[1:].tolist()]
