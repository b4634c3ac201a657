"""What a receipt commits to: tensors and a trace. Specified in docs/spec/receipt.md, sections 3 and 4.

A salt is 32 bytes that nobody else can guess; without it, few possible inputs could be told apart by trying.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from itertools import accumulate, islice
from struct import Struct

from modelreg.errors import FormatError, VerificationError
from modelreg.format import canonical, tree
from modelreg.format.digest import DIGEST_BYTES, blake3_256, keccak256

__all__ = [
    "DATATYPES",
    "MAX_CUTS",
    "Hashing",
    "Side",
    "Tensor",
    "check_opening",
    "commit",
    "cut_leaf",
    "cut_leaves",
    "hash_each",
    "prove_cut",
    "trace_root",
    "values",
    "values_of",
    "verify_cut",
]

_WIDTHS = {
    "BOOL": 1,
    **{f"{kind}{bits}": bits // 8 for kind in ("UINT", "INT") for bits in (8, 16, 32, 64)},
    "FP16": 2,
    "FP32": 4,
    "FP64": 8,
    "BF16": 2,
}
_STRINGS = "BYTES"
DATATYPES = frozenset({*_WIDTHS, _STRINGS})

_KIND = "modelreg/values/1"
_TEMPLATES = 512
# In no text, as no UTF-8 has such a byte, and longer than any number.
_GAP = b"\xff" * DIGEST_BYTES
_MAX_TENSORS, _MAX_NAME_BYTES, _MAX_DIMS, _DIM_END = 256, 256, 16, 1 << 63
_MAX_BLOCK = 2 << 20  # of a claim, which has more tensors than a commitment
MAX_CUTS = (1 << 16) - 1
_LEAF, _ROOT = b"\x05", b"\x06"
_LENGTH = Struct("<I")
_Row = tuple[str, str, tuple[int, ...]]
_Layout = tuple[_Row, ...]
Hashing = Callable[[Sequence[bytes | memoryview]], list[bytes]]


class Side(Enum):
    """What of an inference is committed to; the value is the first byte that is hashed."""

    INPUT = b"\x07"
    OUTPUT = b"\x08"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as the Open Inference Protocol's binary extension carries it.

    `data` is contiguous: row-major, little-endian, each element of BYTES behind its length in 4 bytes. A view
    of anything else than bytes becomes one of its bytes.

    Raises:
        FormatError: an unknown datatype, more than 16 dims, bytes that are not the elements of this shape.
    """

    datatype: str
    dims: tuple[int, ...]
    data: bytes | memoryview = field(repr=False)

    def __post_init__(self) -> None:
        if self.datatype not in DATATYPES:
            raise FormatError("tensor datatype", expected=sorted(DATATYPES), found=ascii(self.datatype)[:40])
        if self.dims and (len(self.dims) > _MAX_DIMS or not 0 <= min(self.dims) <= max(self.dims) < _DIM_END):
            raise FormatError(
                "tensor dims", expected=f"at most {_MAX_DIMS}, each 0 to 2^63 - 1", found=self.dims[:20]
            )
        if not isinstance(self.data, bytes):
            object.__setattr__(self, "data", _octets(self.data))
        size, count = len(self.data), math.prod(self.dims)
        if self.datatype == _STRINGS:
            _check_strings(self.data, count)
        elif size != count * _WIDTHS[self.datatype]:
            expected = f"{count * _WIDTHS[self.datatype]} bytes of {self.datatype}"
            raise FormatError("tensor data", expected=expected, found=size)
        if self.datatype == "BOOL" and bytes(self.data).strip(b"\0\1"):
            raise FormatError("tensor data", expected="BOOL of 0 and 1", found="another byte")


def _octets(data: memoryview) -> memoryview:
    view = memoryview(data)
    if not view.nbytes:
        return memoryview(b"")  # an empty view cannot be cast
    try:
        return view.cast("B")
    except TypeError:
        raise FormatError("tensor data", expected="contiguous bytes", found="strides") from None


def _check_strings(data: bytes | memoryview, count: int) -> None:
    """Walk over the elements of a BYTES tensor; it ends with the last of them."""
    at, left = 0, count
    while left and at + _LENGTH.size <= len(data):
        at += _LENGTH.size + _LENGTH.unpack_from(data, at)[0]
        left -= 1
    if left or at != len(data):
        raise FormatError("tensor data", expected=f"{count} elements, each behind its length", found="others")


def hash_each(data: Sequence[bytes | memoryview]) -> list[bytes]:
    """BLAKE3 of each, one after the other."""
    return list(map(blake3_256, data))


def values(tensors: Mapping[str, Tensor], most: int = _MAX_TENSORS) -> bytes:
    """The hash of named tensors, 32 bytes; the mapping's order does not count.

    Raises:
        FormatError: more than `most` tensors, a name that is empty, longer than 256 bytes or no UTF-8.
    """
    return values_of([tensors], most=most)[0]


def values_of(
    sets: Sequence[Mapping[str, Tensor]], hashing: Hashing = hash_each, most: int = _MAX_TENSORS
) -> list[bytes]:
    """The hashes of several sets, each as `values` has it; a tensor in many of them is hashed once.

    `hashing` hashes the data of many tensors with BLAKE3, perhaps some of them at a time.
    """
    # Python compares texts by code points, which is the order of their UTF-8.
    named = [row for tensors in sets for row in sorted(tensors.items())]
    layout = tuple([(name, tensor.datatype, tensor.dims) for name, tensor in named])
    template, places = _template(tuple(map(len, sets)), layout, most)
    data = {id(tensor): tensor.data for _, tensor in named}
    digests = hashing([*data.values()])
    if len(data) < len(named):
        once = dict(zip(data, digests, strict=True))
        digests = [once[id(tensor)] for _, tensor in named]
    blocks = template % tuple(digests)
    return hash_each([blocks[place] for place in places])


@lru_cache(_TEMPLATES)
def _template(counts: tuple[int, ...], layout: _Layout, most: int) -> tuple[bytes, list[slice]]:
    """The blocks of sets that have so many of the tensors, `%b` for each digest, and where each will lie.

    A node makes the same blocks again and again, and only the digests differ.
    """
    rows = iter(layout)
    blocks = [_block(list(islice(rows, count)), most) for count in counts]
    ends = list(accumulate(map(len, blocks), initial=0))
    return b"".join(blocks).replace(b"%", b"%%").replace(_GAP, b"%b"), list(map(slice, ends, ends[1:]))


def _block(layout: Sequence[_Row], most: int) -> bytes:
    if len(layout) > most:
        raise FormatError("tensors", expected=f"at most {most}", found=len(layout))
    for name, _, _ in layout:
        _check_name(name)
    rows = [[name, datatype, list(dims), _GAP] for name, datatype, dims in layout]
    return canonical.encode({"kind": _KIND, "tensors": rows}, max_bytes=_MAX_BLOCK)


def _check_name(name: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= _MAX_NAME_BYTES:
        raise FormatError(
            "tensor name", expected=f"1 to {_MAX_NAME_BYTES} bytes of UTF-8", found=ascii(name)[:90]
        )


def commit(side: Side, salt: bytes, hashed: bytes) -> bytes:
    """The commitment, 32 bytes, to tensors whose `values` are `hashed`. Raises FormatError."""
    return keccak256(side._value_ + _pair(salt, hashed))


def check_opening(side: Side, commitment: bytes, salt: bytes, hashed: bytes) -> None:
    """Check that a salt and `values` open a receipt's commitment. Raises VerificationError."""
    found = commit(side, salt, hashed)
    if found != commitment:
        raise VerificationError(
            f"{side.name.lower()} commitment", expected=f"0x{commitment.hex()}", found=f"0x{found.hex()}"
        )


def _pair(salt: bytes, hashed: bytes) -> bytes:
    if len(salt) != DIGEST_BYTES or len(hashed) != DIGEST_BYTES:
        raise FormatError(
            "commitment", expected="salt and values of 32 bytes", found=[len(salt), len(hashed)]
        )
    return salt + hashed


def cut_leaves(salts: Sequence[bytes], hashed: Sequence[bytes]) -> list[bytes]:
    """The leaves of all cuts, by their salts and the `values` of their tensors. Raises FormatError."""
    pairs = zip(salts, hashed, strict=True)
    return [cut_leaf(cut, salt, values) for cut, (salt, values) in enumerate(pairs)]


def cut_leaf(cut: int, salt: bytes, hashed: bytes) -> bytes:
    """The leaf of cut number `cut`, whose tensors have the `values` `hashed`."""
    if not 0 <= cut < MAX_CUTS:
        raise FormatError("trace cut", expected=f"0 to {MAX_CUTS - 1}", found=cut)
    return keccak256(_LEAF + cut.to_bytes(2, "big") + _pair(salt, hashed))


def trace_root(leaves: Sequence[bytes]) -> bytes:
    """The root over the leaves of all cuts, in their order. Raises FormatError beyond MAX_CUTS."""
    if len(leaves) > MAX_CUTS:
        raise FormatError("trace", expected=f"at most {MAX_CUTS} cuts", found=len(leaves))
    return _seal(len(leaves), tree.levels(leaves)[-1][0] if leaves else b"")


def prove_cut(leaves: Sequence[bytes], cut: int) -> tuple[bytes, ...]:
    """The sibling hashes, from the leaf up, that lead from a cut to the trace root."""
    return tree.siblings(tree.levels(leaves), cut)


def verify_cut(root: bytes, count: int, cut: int, salt: bytes, hashed: bytes, proof: Sequence[bytes]) -> None:
    """Check the opening of one cut of a plan that has `count`.

    Raises:
        VerificationError: the trace root does not hold these values at this cut.
    """
    if count > MAX_CUTS:
        raise VerificationError("trace", expected=f"at most {MAX_CUTS} cuts", found=count)
    found = _seal(count, tree.climb(cut_leaf(cut, salt, hashed), cut, count, proof))
    if found != root:
        raise VerificationError("trace root", expected=f"0x{root.hex()}", found=f"0x{found.hex()}")


def _seal(count: int, node: bytes) -> bytes:
    return keccak256(_ROOT + count.to_bytes(2, "big") + node)
