"""EXP: differences grouped by the exponent of the base. Specified in docs/spec/delta.md, section 8.

An optimiser adds steps of similar size to weights of every size; counted in units of the last place, the
step depends on the weight's binade. Within one binade the differences share a distribution, which pcodec
then fits.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import FormatError
from modelreg.format.delta.grouping import choose_starts, read_starts
from modelreg.format.delta.kernels import part
from modelreg.format.delta.streams import pack_integers, unpack_streams
from modelreg.format.delta.varints import pack_varint
from modelreg.format.delta.words import Integers, WordType

__all__ = ["PackedGroups", "pack_exp", "unpack_exp"]

_Places = NDArray[np.intp]

# pcodec's next level, which has twice the bins, takes as long more for any stream, and pays in long ones.
_LONG_STREAM = 32 << 10


@dataclass(frozen=True, slots=True)
class PackedGroups:
    """The body of a payload, with where its streams begin, and the groups that they are to give again."""

    body: bytes
    streams_at: int
    grouped: Integers
    sizes: _Places

    def read_back(self) -> bool:
        """Whether the streams, which a library wrote, give the groups."""
        found = np.empty_like(self.grouped)
        try:
            _read_groups(memoryview(self.body), self.streams_at, self.sizes, found)
        except FormatError:
            return False
        return np.array_equal(found, self.grouped)


def pack_exp(
    difference: Integers, base: Integers, word: WordType, level: int, short_level: int
) -> PackedGroups:
    """Code differences of ordered integers, a stream for each group of exponents of the base.

    The levels are pcodec's; the second is for streams of less than 32,768 integers.
    """
    starts = choose_starts(difference, base, word)
    parted = part(base, word, starts)
    grouped = parted.gather(difference)
    steps = (pack_varint(here - before) for before, here in itertools.pairwise(starts))
    head = b"".join((bytes((len(starts),)), *steps))
    streams = (
        pack_integers(group, short_level if len(group) < _LONG_STREAM else level)
        for group in _split(grouped, parted.sizes)
    )
    return PackedGroups(b"".join((head, *streams)), len(head), grouped, parted.sizes)


def _split(grouped: Integers, sizes: _Places) -> list[Integers]:
    ends = np.cumsum(sizes).tolist()
    return [grouped[start:end] for start, end in itertools.pairwise([0, *ends])]


def _read_groups(body: memoryview, at: int, sizes: _Places, out: Integers) -> None:
    if not sizes.all():
        raise FormatError("group of exponents", expected="a word of the base in it", found="none")
    at = unpack_streams(body, at, sizes, out)
    if at != len(body):
        raise FormatError("groups", expected=f"{at} bytes", found=len(body))


def unpack_exp(body: memoryview, base: Integers, word: WordType, shift: int) -> Integers:
    """The words of a chunk, as many as the base has."""
    if not word.exponent_bits:
        raise FormatError("word type", expected="floating point", found=word.name)
    starts, at = read_starts(body, 0, word)
    parted = part(base, word, starts)
    grouped = np.empty_like(base)
    _read_groups(body, at, parted.sizes, grouped)
    return parted.restore(grouped, shift)
