"""EXP: differences grouped by the exponent of the base. Specified in docs/spec/delta.md, section 8.

An optimiser adds steps of similar size to weights of every size; counted in units of the last place, the
step depends on the weight's binade. Within one binade the differences share a distribution, which pcodec
then fits.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import FormatError
from modelreg.format.delta.grouping import MAX_GROUPS, Exponents, Starts, choose_starts
from modelreg.format.delta.partition import Table, part
from modelreg.format.delta.streams import pack_integers, unpack_integers
from modelreg.format.delta.varints import pack_varint, unpack_varint
from modelreg.format.delta.words import Integers, WordType

__all__ = ["exponents_of", "pack_exp", "unpack_exp"]

_Places = NDArray[np.intp]


def exponents_of(base: Integers, word: WordType) -> Exponents:
    """The exponent fields of floating-point words."""
    field = base >> word.mantissa_bits
    if word.exponent_bits == 8:
        return field.astype(np.uint8)
    return field.astype(np.uint16) & np.uint16((1 << word.exponent_bits) - 1)


def _table(starts: Starts, word: WordType) -> Table:
    """The group of each value of the exponent field."""
    opens = np.zeros(1 << word.exponent_bits, np.uint8)
    opens[starts[1:]] = 1
    return np.cumsum(opens, dtype=np.uint8)


def pack_exp(difference: Integers, base: Integers, word: WordType, level: int) -> bytes:
    """Code differences of ordered integers, a stream for each group of exponents of the base."""
    exponents = exponents_of(base, word)
    starts = choose_starts(difference, exponents)
    parted = part(exponents, _table(starts, word), len(starts))
    parts = [bytes((len(starts),))]
    parts += [pack_varint(here - before) for before, here in itertools.pairwise(starts)]
    groups = np.split(parted.gather(difference), np.cumsum(parted.sizes)[:-1])
    parts += [pack_integers(group, level) for group in groups]
    return b"".join(parts)


def _read_starts(body: memoryview, word: WordType) -> tuple[Starts, int]:
    count, at = body[0] if body else 0, 1
    if not 1 <= count <= MAX_GROUPS:
        raise FormatError("groups", expected=f"1 to {MAX_GROUPS}", found=count)
    starts = [0]
    for _ in range(count - 1):
        step, at = unpack_varint(body, at, (1 << word.exponent_bits) - 1 - starts[-1])
        starts.append(starts[-1] + step)
    return starts, at


def _read_groups(body: memoryview, at: int, sizes: _Places, out: Integers) -> None:
    for group in np.split(out, np.cumsum(sizes)[:-1]):
        # A step of 0 ends here too.
        if not len(group):
            raise FormatError("group of exponents", expected="a word of the base in it", found="none")
        at = unpack_integers(body, at, group)
    if at != len(body):
        raise FormatError("groups", expected=f"{at} bytes", found=len(body))


def unpack_exp(body: memoryview, base: Integers, word: WordType, shift: int) -> Integers:
    """The words of a chunk, as many as the base has."""
    if not word.exponent_bits:
        raise FormatError("word type", expected="floating point", found=word.name)
    starts, at = _read_starts(body, word)
    parted = part(exponents_of(base, word), _table(starts, word), len(starts))
    grouped = np.empty_like(base)
    _read_groups(body, at, parted.sizes, grouped)
    return parted.restore(grouped, base, word, shift)
