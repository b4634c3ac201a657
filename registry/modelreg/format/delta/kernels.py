"""Loops over words: by NumPy, or by numba where it is installed, with the same results.

Importing numba takes longer than coding a hundred megabytes, so that happens when so much has been coded. Its
reader of streams takes seconds to compile, once on a machine; it comes when more has been coded.
"""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from modelreg.format.delta.grouping import Starts
from modelreg.format.delta.partition import Partition, SortedPartition
from modelreg.format.delta.words import Gaps, Integers, WordType

__all__ = ["UNREAD", "part", "prefer_compiled", "read_streams", "spread", "spread_by_numpy"]

UNREAD = -1
_NUMPY_WORDS = 32 << 20
_PCODEC_WORDS = 256 << 20


def spread_by_numpy(gaps: Gaps, values: Integers, out: Integers) -> bool:
    """As `spread`."""
    places = np.cumsum(gaps, dtype=np.int64)
    places += np.arange(len(gaps))
    if int(gaps.min(initial=0)) < 0 or places[-1] >= len(out):
        return False
    out[:] = 0
    out[places] = values
    return True


def _read_nothing(_payload: memoryview, _at: int, _sizes: NDArray[np.intp], _out: Integers) -> int:
    return UNREAD


class _Choice:
    """Which loops are used; several threads may ask, and at worst count a chunk too few."""

    def __init__(self) -> None:
        self.part: Callable[[Integers, WordType, Starts], Partition] = SortedPartition
        self.spread: Callable[[Gaps, Integers, Integers], bool] = spread_by_numpy
        self.read_streams: Callable[[memoryview, int, NDArray[np.intp], Integers], int] = _read_nothing
        self.words = 0

    def count(self, words: int) -> None:
        before, self.words = self.words, self.words + words
        if before < _NUMPY_WORDS <= self.words:
            self.compile_loops()
        if before < _PCODEC_WORDS <= self.words:
            self.compile_streams()

    # numba is optional, and large: it may find no memory, no compiler, or no place to keep what it made.

    def compile_loops(self) -> None:
        with suppress(Exception):
            from modelreg.format.delta.compiled import CompiledPartition, spread_compiled

            self.part, self.spread = CompiledPartition, spread_compiled

    def compile_streams(self) -> None:
        with suppress(Exception):
            from modelreg.format.delta.compiled_streams import read_streams_compiled

            self.read_streams = read_streams_compiled


_choice = _Choice()


def part(base: Integers, word: WordType, starts: Starts) -> Partition:
    """Part words by the exponents of their base: a group begins at each start."""
    return _choice.part(base, word, starts)


def spread(gaps: Gaps, values: Integers, out: Integers) -> bool:
    """Fill `out` with values, each behind so many zeros, and with zeros behind the last.

    There is at least one value. False where a gap is negative, or `out` too short; then it holds anything.
    """
    return _choice.spread(gaps, values, out)


def read_streams(payload: memoryview, at: int, sizes: NDArray[np.intp], out: Integers) -> int:
    """Fill `out` from streams of so many integers each, the first of which starts at `at`.

    Returns the place behind the last, or UNREAD where something is odd, or numba is not used.
    """
    _choice.count(len(out))
    return _choice.read_streams(payload, at, sizes, out)


def prefer_compiled() -> None:
    """Use numba from the first word on, if it is installed."""
    _choice.compile_loops()
    _choice.compile_streams()
