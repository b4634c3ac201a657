"""Tensors in a frame: a canonical header, then their bytes. Specified in docs/spec/openings.md, section 1."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from struct import Struct
from typing import Any, BinaryIO, NamedTuple

from modelreg.errors import FormatError
from modelreg.format import canonical, schema
from modelreg.format.commitments import Tensor

__all__ = [
    "Slot",
    "check_total",
    "end",
    "payload",
    "read_header",
    "read_table",
    "read_tensors",
    "rows",
    "table",
    "write_header",
]

HEADER_BYTES_MAX = 2 << 20
_LENGTH = Struct(">I")
_MAX_TENSORS, _MAX_NAME_BYTES, _MAX_DIMS, _LONGEST_DATATYPE = 256, 256, 16, 6
_STEP = 1 << 20


class Slot(NamedTuple):
    """Where a tensor goes: all of it but its `size` bytes."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    size: int


def rows(layout: Iterable[tuple[str, str, tuple[int, ...], int]]) -> list[list[Any]]:
    """The rows that stand for a set in a header."""
    return [[name, datatype, list(dims), size] for name, datatype, dims, size in layout]


def table(tensors: Mapping[str, Tensor]) -> list[list[Any]]:
    """The rows of tensors."""
    ordered = sorted(tensors.items())
    return rows((name, item.datatype, item.dims, len(item.data)) for name, item in ordered)


def payload(tensors: Mapping[str, Tensor]) -> list[bytes | memoryview]:
    """The bytes of a set, in the order of its table."""
    return [tensors[name].data for name in sorted(tensors)]


def write_header(header: Mapping[str, Any]) -> bytes:
    """A header behind its length. Raises FormatError beyond 2 MiB."""
    block = canonical.encode(header, max_bytes=HEADER_BYTES_MAX)
    return _LENGTH.pack(len(block)) + block


def read_header(file: BinaryIO, kind: str, names: Sequence[str]) -> list[Any]:
    """The values of a header of this kind, in the order of `names`. Raises FormatError."""
    [size] = _LENGTH.unpack(_exactly(file, _LENGTH.size))
    if size > HEADER_BYTES_MAX:
        raise FormatError("header", expected=f"at most {HEADER_BYTES_MAX} bytes", found=size)
    block = bytes(_exactly(file, size))
    return schema.fields(canonical.decode(block, max_bytes=HEADER_BYTES_MAX), kind, names)


def read_table(value: Any, most: int, count: int = _MAX_TENSORS) -> tuple[Slot, ...]:
    """Read at most `count` rows of a set with at most `most` bytes of tensors. Raises FormatError."""
    slots = tuple(_slot(row, most) for row in schema.array(value, count))
    if any(a.name.encode() >= b.name.encode() for a, b in pairwise(slots)):
        raise FormatError("tensors", expected="strictly ascending names", found="another order")
    return slots


def _slot(row: Any, most: int) -> Slot:
    name, datatype, dims, size = schema.array(row, 4, exactly=(4,))
    if not schema.text(name, _MAX_NAME_BYTES):
        raise FormatError("tensor name", expected=f"1 to {_MAX_NAME_BYTES} bytes", found="none")
    return Slot(
        name,
        schema.text(datatype, _LONGEST_DATATYPE),
        tuple(map(schema.uint, schema.array(dims, _MAX_DIMS))),
        schema.uint(size, most),
    )


def check_total(slots: Iterable[Slot], most: int) -> None:
    """Refuse tensors of more than `most` bytes together, before any is read. Raises FormatError."""
    total = sum(slot.size for slot in slots)
    if total > most:
        raise FormatError("tensors", expected=f"at most {most} bytes", found=total)


def read_tensors(file: BinaryIO, slots: Iterable[Slot]) -> dict[str, Tensor]:
    """Read the bytes of a set. Raises FormatError where they end early or are not what the slot says."""
    return {slot.name: Tensor(slot.datatype, slot.dims, _exactly(file, slot.size)) for slot in slots}


def end(file: BinaryIO) -> None:
    """Raise FormatError if anything is left."""
    if file.read(1):
        raise FormatError("tensors", expected="nothing behind the last", found="more bytes")


def _exactly(file: BinaryIO, size: int) -> memoryview:
    """Read so many bytes; memory grows with what comes, not with what was announced."""
    found = bytearray()
    while len(found) < size:
        piece = file.read(min(_STEP, size - len(found)))
        if not piece:
            raise FormatError("tensors", expected=f"{size} bytes", found=f"an end after {len(found)}")
        found += piece
    return memoryview(found).toreadonly()
