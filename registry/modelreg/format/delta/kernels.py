"""Loops over words: by NumPy, or by numba where it is installed, with the same results.

Importing numba takes longer than coding a hundred megabytes, so that happens when so much has been coded.
"""

from collections.abc import Callable

import numpy as np

from modelreg.format.delta.grouping import Starts
from modelreg.format.delta.partition import Partition, SortedPartition
from modelreg.format.delta.words import Gaps, Integers, WordType

__all__ = ["part", "prefer_compiled", "spread", "spread_by_numpy"]

_NUMPY_WORDS = 64 << 20


def spread_by_numpy(gaps: Gaps, values: Integers, out: Integers) -> bool:
    """As `spread`."""
    places = np.cumsum(gaps, dtype=np.int64)
    places += np.arange(len(gaps))
    if int(gaps.min(initial=0)) < 0 or places[-1] >= len(out):
        return False
    out[:] = 0
    out[places] = values
    return True


class _Choice:
    """Which loops are used; several threads may ask, and at worst count a chunk too few."""

    def __init__(self) -> None:
        self.part: Callable[[Integers, WordType, Starts], Partition] = SortedPartition
        self.spread: Callable[[Gaps, Integers, Integers], bool] = spread_by_numpy
        self.words_left = _NUMPY_WORDS

    def count(self, words: int) -> None:
        if self.words_left > 0:
            self.words_left -= words
            if self.words_left <= 0:
                self.compile()

    def compile(self) -> None:
        self.words_left = 0
        try:
            from modelreg.format.delta.compiled import CompiledPartition, spread_compiled
        except Exception:  # noqa: BLE001  numba is optional, and large: it may find no memory, or no compiler
            return
        self.part, self.spread = CompiledPartition, spread_compiled


_choice = _Choice()


def part(base: Integers, word: WordType, starts: Starts) -> Partition:
    """Part words by the exponents of their base: a group begins at each start."""
    _choice.count(len(base))
    return _choice.part(base, word, starts)


def spread(gaps: Gaps, values: Integers, out: Integers) -> bool:
    """Fill `out` with values, each behind so many zeros, and zeros behind the last.

    There is at least one value. False where a gap is negative, or `out` too short; then it holds anything.
    """
    _choice.count(len(out))
    return _choice.spread(gaps, values, out)


def prefer_compiled() -> None:
    """Use numba from the first word on, if it is installed."""
    _choice.compile()
