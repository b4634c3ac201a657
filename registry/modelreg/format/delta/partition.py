"""Words parted by group, and put together again: docs/spec/delta.md, section 8."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from modelreg.format.delta.grouping import Starts
from modelreg.format.delta.words import Integers, WordType, exponents_of, join, ordered

__all__ = ["Partition", "SortedPartition", "Table", "table_of"]

# A group for each value of an exponent field.
Table = NDArray[np.uint8]


def table_of(starts: Starts, word: WordType) -> Table:
    """The group of each value of the exponent field; `starts` rise from 0."""
    opens = np.zeros(1 << word.exponent_bits, np.uint8)
    opens[starts[1:]] = 1
    return np.cumsum(opens, dtype=np.uint8)


class Partition(Protocol):
    """Which group each word is in. Within a group words keep their order.

    Attributes:
        sizes: the words in each group.
    """

    sizes: NDArray[np.intp]

    def gather(self, words: Integers) -> Integers:
        """The words, group by group."""
        ...

    def restore(self, grouped: Integers, shift: int) -> Integers:
        """The words whose differences to those of the base were gathered."""
        ...


class SortedPartition:
    """A `Partition` by NumPy, which sorts 8-bit keys stably by radix, in linear time."""

    def __init__(self, base: Integers, word: WordType, starts: Starts) -> None:
        self._base, self._word = base, word
        found = table_of(starts, word).take(exponents_of(base, word))
        self._order = np.argsort(found, kind="stable")
        self.sizes: NDArray[np.intp] = np.bincount(found, minlength=len(starts))

    def gather(self, words: Integers) -> Integers:
        """As `Partition.gather`."""
        return words[self._order]

    def restore(self, grouped: Integers, shift: int) -> Integers:
        """As `Partition.restore`."""
        integers = np.empty_like(grouped)
        integers[self._order] = grouped
        integers += ordered(self._base, self._word, shift)
        return join(integers, self._word, shift)
