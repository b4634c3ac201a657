"""The hash of named tensors, which a commitment hides. Specified in docs/spec/receipt.md, section 3."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, islice

from modelreg.errors import FormatError
from modelreg.format import canonical
from modelreg.format.commitments import Tensor
from modelreg.format.digest import DIGEST_BYTES, blake3_256

__all__ = ["Hashing", "Layout", "hash_each", "lay_out", "values", "values_of"]

_KIND = "modelreg/values/1"
_MAX_TENSORS, _MAX_NAME_BYTES = 256, 256
_MAX_BLOCK = 2 << 20  # of a claim, which has more tensors than a commitment
_LAYOUTS = 512
# In no text, as no UTF-8 has such a byte, and longer than any number.
_GAP = b"\xff" * DIGEST_BYTES

Hashing = Callable[[Sequence[bytes | memoryview]], list[bytes]]
"""Hashes the data of many tensors with BLAKE3, perhaps some of them at a time."""

_Row = tuple[str, str, tuple[int, ...], int]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """All of some sets of tensors but their bytes. Only itself is equal to it, which is quick to look up.

    A node sees the same few again and again, and remembers with each what follows from it.

    Attributes:
        sets: for each the name, datatype, dims and bytes of its tensors, in ascending order of the names.
        sizes: the bytes of each set.
    """

    sets: tuple[tuple[_Row, ...], ...]
    sizes: tuple[int, ...]


def lay_out(sets: Sequence[Mapping[str, Tensor]]) -> tuple[Layout, list[Tensor]]:
    """The layout of some sets, and all their tensors in its order."""
    # Python compares texts by code points, which is the order of their UTF-8.
    named = [row for tensors in sets for row in sorted(tensors.items())]
    rows = tuple([(name, item.datatype, item.dims, len(item.data)) for name, item in named])
    return _layout(tuple(map(len, sets)), rows), [item for _, item in named]


@lru_cache(_LAYOUTS)
def _layout(counts: tuple[int, ...], rows: tuple[_Row, ...]) -> Layout:
    rest = iter(rows)
    sets = tuple(tuple(islice(rest, count)) for count in counts)
    return Layout(sets, tuple(sum(size for *_, size in each) for each in sets))


def hash_each(data: Sequence[bytes | memoryview]) -> list[bytes]:
    """BLAKE3 of each, one after the other."""
    return list(map(blake3_256, data))


def values(tensors: Mapping[str, Tensor], most: int = _MAX_TENSORS) -> bytes:
    """The hash of named tensors, 32 bytes; the mapping's order does not count.

    Raises:
        FormatError: more than `most` tensors, a name that is empty, longer than 256 bytes or no UTF-8.
    """
    return values_of(*lay_out([tensors]), most=most)[0]


def values_of(
    layout: Layout, tensors: Sequence[Tensor], hashing: Hashing = hash_each, most: int = _MAX_TENSORS
) -> list[bytes]:
    """The hash of each set that was laid out, as `values` has it; a tensor in many of them is hashed once."""
    template, places = _template(layout, most)
    data = {id(tensor): tensor.data for tensor in tensors}
    digests = hashing([*data.values()])
    if len(data) < len(tensors):
        once = dict(zip(data, digests, strict=True))
        digests = [once[id(tensor)] for tensor in tensors]
    blocks = template % tuple(digests)
    return hash_each([blocks[place] for place in places])


@lru_cache(_LAYOUTS)
def _template(layout: Layout, most: int) -> tuple[bytes, list[slice]]:
    """The block of each set, one behind the other, with `%b` for each digest; and where each will lie."""
    blocks = [_block(rows, most) for rows in layout.sets]
    ends = list(accumulate(map(len, blocks), initial=0))
    return b"".join(blocks).replace(b"%", b"%%").replace(_GAP, b"%b"), list(map(slice, ends, ends[1:]))


def _block(rows: Sequence[_Row], most: int) -> bytes:
    if len(rows) > most:
        raise FormatError("tensors", expected=f"at most {most}", found=len(rows))
    for name, *_ in rows:
        _check_name(name)
    tensors = [[name, datatype, list(dims), _GAP] for name, datatype, dims, _ in rows]
    return canonical.encode({"kind": _KIND, "tensors": tensors}, max_bytes=_MAX_BLOCK)


def _check_name(name: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= _MAX_NAME_BYTES:
        raise FormatError(
            "tensor name", expected=f"1 to {_MAX_NAME_BYTES} bytes of UTF-8", found=ascii(name)[:90]
        )
