"""`kernels` in machine code, by numba. The results are those of NumPy, bit by bit."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from modelreg.format.delta.grouping import Starts
from modelreg.format.delta.partition import Table, table_of
from modelreg.format.delta.words import Gaps, Integers, WordType

__all__ = ["CompiledPartition", "spread_compiled", "subtract_compiled"]

# Not cached on the disk: what lies there would be run, whoever wrote it.
_compiled = numba.njit(nogil=True)

# numba checks signed indices for being negative, and not unsigned ones.
_Places = NDArray[np.uintp]
_Groups = NDArray[np.uint8]

# A chunk is walked over in so many lanes, each a run of its words: in one, each word would wait for the one
# before, whose place in the group it follows. The words left over belong to the last lane.
_LANES = 4


@_compiled
def _assign_word(
    at: int,
    row: int,
    base: Integers,
    mantissa: int,
    mask: int,
    table: Table,
    groups: _Groups,
    counts: _Places,
) -> None:
    group = table[np.uintp((base[np.uintp(at)] >> mantissa) & mask)]
    groups[np.uintp(at)] = group
    counts[np.uintp(row), group] += np.uintp(1)


@_compiled
def _assign(base: Integers, mantissa: int, mask: int, table: Table, groups: _Groups, counts: _Places) -> None:
    """Write each word's group, and count those of each lane: `counts` has shape (lanes, groups)."""
    run = len(base) // _LANES
    for i in range(run):
        for lane in range(_LANES):
            _assign_word(lane * run + i, lane, base, mantissa, mask, table, groups, counts)
    for i in range(_LANES * run, len(base)):
        _assign_word(i, _LANES - 1, base, mantissa, mask, table, groups, counts)


@_compiled
def _next_place(at: int, row: int, groups: _Groups, places: _Places) -> Any:
    """Where a word stands among the grouped ones; the next of its lane and group stands behind it."""
    group = groups[np.uintp(at)]
    place = places[np.uintp(row), group]
    places[np.uintp(row), group] = place + np.uintp(1)
    return place


@_compiled
def _gather(words: Integers, groups: _Groups, places: _Places, out: Integers) -> None:
    run = len(words) // _LANES
    for i in range(run):
        for lane in range(_LANES):
            out[_next_place(lane * run + i, lane, groups, places)] = words[np.uintp(lane * run + i)]
    for i in range(_LANES * run, len(words)):
        out[_next_place(i, _LANES - 1, groups, places)] = words[np.uintp(i)]


@_compiled
def _scatter(grouped: Integers, groups: _Groups, places: _Places, out: Integers) -> None:
    run = len(out) // _LANES
    for i in range(run):
        for lane in range(_LANES):
            out[np.uintp(lane * run + i)] = grouped[_next_place(lane * run + i, lane, groups, places)]
    for i in range(_LANES * run, len(out)):
        out[np.uintp(i)] = grouped[_next_place(i, _LANES - 1, groups, places)]


@_compiled
def _add(differences: Integers, base: Integers, sign: int, shift: int) -> None:
    """Make words of differences to a base's, where they are."""
    low = (1 << (sign - shift)) - 1
    for i in range(len(base)):
        kept = base[i] >> shift
        # Kept in the words' own width, where sums wrap around.
        differences[i] += kept ^ ((kept >> sign) & low)
        integer = differences[i]
        differences[i] = (integer ^ ((integer >> sign) & low)) << shift


class CompiledPartition:
    """A `Partition` that reads the words once for each question."""

    def __init__(self, base: Integers, word: WordType, starts: Starts) -> None:
        self._base, self._sign = base, 8 * word.width - 1
        self._groups = np.empty(len(base), np.uint8)
        self._counts = np.zeros((_LANES, len(starts)), np.uintp)
        table, mask = table_of(starts, word), (1 << word.exponent_bits) - 1
        _assign(base, word.mantissa_bits, mask, table, self._groups, self._counts)
        self.sizes: NDArray[np.intp] = self._counts.sum(axis=0).astype(np.intp)

    def _places(self) -> _Places:
        """Where the first word of each lane and group goes."""
        starts = np.cumsum(self.sizes) - self.sizes
        found: _Places = starts.astype(np.uintp) + np.cumsum(self._counts, axis=0) - self._counts
        return found

    def gather(self, words: Integers) -> Integers:
        """As `Partition.gather`."""
        out = np.empty_like(words)
        _gather(words, self._groups, self._places(), out)
        return out

    def restore(self, grouped: Integers, shift: int) -> Integers:
        """As `Partition.restore`."""
        out = np.empty_like(grouped)
        _scatter(grouped, self._groups, self._places(), out)
        _add(out, self._base, self._sign, shift)
        return out


@_compiled
def _subtract(words: Integers, base: Integers, sign: int, shift: int, low: int, out: Integers) -> None:
    for i in range(len(out)):
        word, before = words[i] >> shift, base[i] >> shift
        out[i] = (word ^ ((word >> sign) & low)) - (before ^ ((before >> sign) & low))


def subtract_compiled(words: Integers, base: Integers, word: WordType, shift: int) -> Integers:
    """As `kernels.subtract`."""
    out, sign = np.empty_like(words), 8 * word.width - 1
    _subtract(words, base, sign, shift, (1 << (sign - shift)) - 1 if word.exponent_bits else 0, out)
    return out


@_compiled
def spread_compiled(gaps: Gaps, values: Integers, out: Integers) -> bool:
    """As `kernels.spread`."""
    out[:] = 0
    place = -1
    for i in range(len(gaps)):
        place += gaps[i] + 1
        if gaps[i] < 0 or place >= len(out):
            return False
        out[np.uintp(place)] = values[i]
    return True
