"""What a receipt commits to: tensors and a trace. Specified in docs/spec/receipt.md, sections 3 and 4.

A salt is 32 bytes that nobody else can guess; without it, few possible inputs could be told apart by trying.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from struct import Struct

from modelreg.errors import FormatError, VerificationError
from modelreg.format import tree
from modelreg.format.digest import DIGEST_BYTES, keccak256

__all__ = [
    "DATATYPES",
    "MAX_CUTS",
    "Side",
    "Tensor",
    "check_opening",
    "commit",
    "cut_leaf",
    "cut_leaves",
    "prove_cut",
    "trace_root",
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

_MAX_DIMS, _DIM_END = 16, 1 << 63
MAX_CUTS = (1 << 16) - 1
_LEAF, _ROOT = b"\x05", b"\x06"
_LENGTH = Struct("<I")


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
