"""Loops over words: by NumPy, or by numba where it is installed, with the same results.

Importing numba and compiling the loops takes up to a second, which they earn back in a hundred million words:
that happens when so many have been read. Its reader of streams takes five seconds to compile, and comes when
gigabytes have been.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from modelreg.format.delta.grouping import Starts
from modelreg.format.delta.partition import Partition, SortedPartition
from modelreg.format.delta.words import Gaps, Integers, WordType, ordered

__all__ = [
    "UNREAD",
    "part",
    "prefer_compiled",
    "read_streams",
    "spread",
    "spread_by_numpy",
    "subtract",
    "subtract_by_numpy",
]

UNREAD = -1
_NUMPY_WORDS = 96 << 20
_PCODEC_WORDS = 2 << 30
# numba compiles for each width of words, for longer than so few take: there may be no more of that width.
_FEW_WORDS = 4 << 10


def spread_by_numpy(gaps: Gaps, values: Integers, out: Integers) -> bool:
    """As `spread`."""
    if int(gaps.min()) < 0 or int(gaps.max()) >= len(out):
        return False
    places = np.cumsum(gaps + 1, dtype=np.int64)
    places -= 1
    if places[-1] >= len(out):
        return False
    out[:] = 0
    out[places] = values
    return True


def subtract_by_numpy(words: Integers, base: Integers, word: WordType, shift: int) -> Integers:
    """As `subtract`."""
    return ordered(words, word, shift) - ordered(base, word, shift)


def _read_nothing(_payload: memoryview, _at: int, _sizes: NDArray[np.intp], _out: Integers) -> int:
    return UNREAD


class _Choice:
    """Which loops are used; several threads may ask, and at worst count a chunk too few."""

    def __init__(self) -> None:
        self.part: Callable[[Integers, WordType, Starts], Partition] = SortedPartition
        self.spread: Callable[[Gaps, Integers, Integers], bool] = spread_by_numpy
        self.subtract: Callable[[Integers, Integers, WordType, int], Integers] = subtract_by_numpy
        self.read_streams: Callable[[memoryview, int, NDArray[np.intp], Integers], int] = _read_nothing
        self.words = 0
        self._turn = Lock()
        self._rest = [(_NUMPY_WORDS, self.compile_loops), (_PCODEC_WORDS, self.compile_streams)]

    def count(self, words: int) -> None:
        self.words += words
        if self._is_due():
            with self._turn:
                begin = self._rest.pop(0)[1] if self._is_due() else None
            if begin is not None:
                begin()

    def _is_due(self) -> bool:
        return bool(self._rest) and self.words >= self._rest[0][0]

    # numba is optional, and large: it may find no memory, or no compiler.

    def compile_loops(self) -> None:
        with suppress(Exception):
            _require_compiler()
            from modelreg.format.delta.compiled import (
                CompiledPartition,
                spread_compiled,
                subtract_compiled,
            )

            self.part, self.spread, self.subtract = CompiledPartition, spread_compiled, subtract_compiled

    def compile_streams(self) -> None:
        with suppress(Exception):
            _require_compiler()
            from modelreg.format.delta.compiled_streams import read_streams_compiled

            self.read_streams = read_streams_compiled


def _require_compiler() -> None:
    import numba

    if getattr(numba.config, "DISABLE_JIT", False) or sys.byteorder != "little":
        raise RuntimeError


_choice = _Choice()


def part(base: Integers, word: WordType, starts: Starts) -> Partition:
    """Part words by the exponents of their base: a group begins at each start."""
    return (SortedPartition if len(base) < _FEW_WORDS else _choice.part)(base, word, starts)


def spread(gaps: Gaps, values: Integers, out: Integers) -> bool:
    """Fill `out` with values, each behind so many zeros, and with zeros behind the last.

    There is at least one value. False where a gap is negative, or `out` too short; then it holds anything.
    """
    return (spread_by_numpy if len(out) < _FEW_WORDS else _choice.spread)(gaps, values, out)


def subtract(words: Integers, base: Integers, word: WordType, shift: int) -> Integers:
    """The words less those of the base, all of them as `ordered` has them; sums wrap around."""
    return (subtract_by_numpy if len(words) < _FEW_WORDS else _choice.subtract)(words, base, word, shift)


def read_streams(payload: memoryview, at: int, sizes: NDArray[np.intp], out: Integers) -> int:
    """Fill `out` from streams of so many integers each, the first of which starts at `at`.

    Returns the place behind the last, or UNREAD where something is odd, or numba is not used.
    """
    _choice.count(len(out))
    if len(out) < _FEW_WORDS:
        return UNREAD
    try:
        return _choice.read_streams(payload, at, sizes, out)
    except Exception:  # noqa: BLE001  it is compiled when it is called for the first time
        _choice.read_streams = _read_nothing
        return UNREAD


def prefer_compiled() -> None:
    """Use numba from the first word on, if it is installed."""
    _choice.compile_loops()
    _choice.compile_streams()
