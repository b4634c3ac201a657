"""Words parted by group, and put together again: docs/spec/delta.md, section 8.

NumPy sorts; numba, where it is installed, walks over the words once, and gives the same. Importing it takes
longer than coding a hundred megabytes, so that happens when so much has been coded.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from modelreg.format.delta.grouping import Exponents
from modelreg.format.delta.words import Integers, WordType, join, ordered

__all__ = ["Partition", "SortedPartition", "part", "prefer_compiled"]

# A group for each value of an exponent field.
Table = NDArray[np.uint8]

_NUMPY_WORDS = 64 << 20


class Partition(Protocol):
    """Which group each word is in. Within a group words keep their order.

    Attributes:
        sizes: the words in each group.
    """

    sizes: NDArray[np.intp]

    def gather(self, words: Integers) -> Integers:
        """The words, group by group."""
        ...

    def restore(self, grouped: Integers, base: Integers, word: WordType, shift: int) -> Integers:
        """The words whose differences to those of a base were gathered; the exponents are the base's."""
        ...


class SortedPartition:
    """A `Partition` by NumPy, which sorts 8-bit keys stably by radix, in linear time."""

    def __init__(self, exponents: Exponents, table: Table, groups: int) -> None:
        found = table.take(exponents)
        self._order = np.argsort(found, kind="stable")
        self.sizes: NDArray[np.intp] = np.bincount(found, minlength=groups)

    def gather(self, words: Integers) -> Integers:
        """As `Partition.gather`."""
        return words[self._order]

    def restore(self, grouped: Integers, base: Integers, word: WordType, shift: int) -> Integers:
        """As `Partition.restore`."""
        integers = np.empty_like(grouped)
        integers[self._order] = grouped
        integers += ordered(base, word, shift)
        return join(integers, word, shift)


class _Choice:
    """Which class makes partitions; several threads may ask, and at worst count a chunk too few."""

    def __init__(self) -> None:
        self.make: Callable[[Exponents, Table, int], Partition] = SortedPartition
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


def part(exponents: Exponents, table: Table, groups: int) -> Partition:
    """Part words by the groups that a table gives to their exponents."""
    _choice.count(len(exponents))
    return _choice.make(exponents, table, groups)


def prefer_compiled() -> None:
    """Use numba from the first word on, if it is installed."""
    _choice.compile()
