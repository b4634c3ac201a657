"""Words parted by group, and put together again: docs/spec/delta.md, section 8.

NumPy sorts; numba, where it is installed, walks over the words once, and gives the same. Importing it takes
longer than coding a hundred megabytes, so that happens when so much has been coded.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from modelreg.format.delta.grouping import Starts
from modelreg.format.delta.words import Integers, WordType, exponents_of, join, ordered

__all__ = ["Partition", "SortedPartition", "Table", "part", "prefer_compiled", "table_of"]

# A group for each value of an exponent field.
Table = NDArray[np.uint8]

_NUMPY_WORDS = 64 << 20


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


class _Choice:
    """Which class makes partitions; several threads may ask, and at worst count a chunk too few."""

    def __init__(self) -> None:
        self.make: Callable[[Integers, WordType, Starts], Partition] = SortedPartition
        self.words_left = _NUMPY_WORDS

    def count(self, words: int) -> None:
        if self.words_left > 0:
            self.words_left -= words
            if self.words_left <= 0:
                self.compile()

    def compile(self) -> None:
        self.words_left = 0
        try:
            from modelreg.format.delta.compiled import CompiledPartition
        except Exception:  # noqa: BLE001  numba is optional, and large: it may find no memory, or no compiler
            return
        self.make = CompiledPartition


_choice = _Choice()


def part(base: Integers, word: WordType, starts: Starts) -> Partition:
    """Part words by the exponents of their base: a group begins at each start."""
    _choice.count(len(base))
    return _choice.make(base, word, starts)


def prefer_compiled() -> None:
    """Use numba from the first word on, if it is installed."""
    _choice.compile()
