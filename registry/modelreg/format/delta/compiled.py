"""`Partition` in machine code, by numba. The results are those of `SortedPartition`, bit by bit."""

import numba
import numpy as np
from numpy.typing import NDArray

from modelreg.format.delta.grouping import Exponents
from modelreg.format.delta.partition import Table
from modelreg.format.delta.words import Integers, WordType

__all__ = ["CompiledPartition"]

# Not cached on the disk: that needs a directory to write to, and compiling takes a quarter of a second.
_compiled = numba.njit(nogil=True)

# numba checks signed indices for being negative, and not unsigned ones.
_Places = NDArray[np.uintp]


@_compiled
def _count(exponents: Exponents, table: Table, counts: _Places) -> None:
    """Add the words of each group to the four rows; counting in one would wait for itself."""
    quarter = len(exponents) // 4
    for i in range(quarter):
        for lane in range(4):
            counts[np.uintp(lane), table[exponents[np.uintp(4 * i + lane)]]] += np.uintp(1)
    for i in range(4 * quarter, len(exponents)):
        counts[np.uintp(0), table[exponents[np.uintp(i)]]] += np.uintp(1)


@_compiled
def _gather(words: Integers, exponents: Exponents, table: Table, places: _Places, out: Integers) -> None:
    for i in range(len(words)):
        group = table[exponents[np.uintp(i)]]
        place = places[group]
        out[place] = words[np.uintp(i)]
        places[group] = place + np.uintp(1)


@_compiled
def _restore(
    grouped: Integers,
    base: Integers,
    exponents: Exponents,
    table: Table,
    places: _Places,
    sign: int,
    shift: int,
    out: Integers,
) -> None:
    low = (1 << (sign - shift)) - 1
    for i in range(len(out)):
        group = table[exponents[np.uintp(i)]]
        place = places[group]
        places[group] = place + np.uintp(1)
        kept = base[np.uintp(i)] >> shift
        # Kept in the words' own width, where sums wrap around.
        out[np.uintp(i)] = (kept ^ ((kept >> sign) & low)) + grouped[place]
        integer = out[np.uintp(i)]
        out[np.uintp(i)] = (integer ^ ((integer >> sign) & low)) << shift


class CompiledPartition:
    """A `Partition` that reads the words once for each question."""

    def __init__(self, exponents: Exponents, table: Table, groups: int) -> None:
        self._exponents, self._table = exponents, table
        counts = np.zeros((4, groups), np.uintp)
        _count(exponents, table, counts)
        self.sizes: NDArray[np.intp] = counts.sum(axis=0).astype(np.intp)

    def _places(self) -> _Places:
        ends = np.cumsum(self.sizes)
        return (ends - self.sizes).astype(np.uintp)

    def gather(self, words: Integers) -> Integers:
        """As `Partition.gather`."""
        out = np.empty_like(words)
        _gather(words, self._exponents, self._table, self._places(), out)
        return out

    def restore(self, grouped: Integers, base: Integers, word: WordType, shift: int) -> Integers:
        """As `Partition.restore`."""
        out = np.empty_like(grouped)
        sign = 8 * word.width - 1
        _restore(grouped, base, self._exponents, self._table, self._places(), sign, shift, out)
        return out
