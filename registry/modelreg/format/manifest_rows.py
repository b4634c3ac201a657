"""Rows of a manifest's shards. Specified in docs/spec/manifest.md, sections 3 to 5."""

from collections.abc import Sequence
from typing import Any

from modelreg.errors import FormatError
from modelreg.format import schema
from modelreg.format.block import MAX_BLOCK_BYTES
from modelreg.format.chunks import CHUNK_BYTES
from modelreg.format.cid import Cid
from modelreg.format.manifest import MAX_BASE_RANGE, MAX_BASES, MAX_FILES, BaseRange, Chunk, Payload
from modelreg.format.tensors import MAX_DIMENSIONS, MAX_NAME_BYTES, DType, Tensor

__all__ = ["read_chunk", "read_tensor"]

_MAX_ENCODING = 255


def read_tensor(row: Any) -> Tensor:
    """A row of a tensor shard."""
    name, dtype, shape, offset, length = schema.array(row, 5, exactly=(5,))
    return Tensor(
        schema.text(name, MAX_NAME_BYTES),
        DType.from_label(schema.text(dtype, 16)),
        tuple(schema.uint(size) for size in schema.array(shape, MAX_DIMENSIONS)),
        schema.uint(offset),
        schema.uint(length),
    )


def read_chunk(row: Any, blocks: Sequence[Cid]) -> tuple[Chunk, tuple[int, ...]]:
    """One row, and the numbers of the blocks that it names, in their order."""
    row = schema.array(row, 13, exactly=(6, 10, 13))
    length = schema.uint(row[0], CHUNK_BYTES)
    digest, encoding = schema.digest(row[1]), schema.uint(row[2], _MAX_ENCODING)
    if length == 0:
        if [schema.uint(number) for number in row[2:]] != [0, 0, 0, 0]:
            raise FormatError("row of an empty file", expected="zeros and no base", found=row[2:])
        return Chunk(0, digest, 0, None), ()
    payload = _read_payload(row[3:6], blocks)
    base = _read_base(row[6:10]) if len(row) > 6 else None
    if len(row) < 13:
        return Chunk(length, digest, encoding, payload, base), (row[3],)
    factors = _read_payload(row[10:], blocks)
    return Chunk(length, digest, encoding, payload, base, factors), (row[3], row[10])


def _read_payload(fields: list[Any], blocks: Sequence[Cid]) -> Payload:
    number = schema.uint(fields[0], max(len(blocks) - 1, 0))
    offset, size = schema.uint(fields[1], MAX_BLOCK_BYTES), schema.uint(fields[2], MAX_BLOCK_BYTES)
    if not blocks or offset + size > MAX_BLOCK_BYTES:
        raise FormatError("payload range", expected=f"within {MAX_BLOCK_BYTES} bytes", found=offset + size)
    return Payload(blocks[number], offset, size)


def _read_base(fields: list[Any]) -> BaseRange:
    base, file, offset, length = fields
    return BaseRange(
        schema.uint(base, MAX_BASES - 1),
        schema.uint(file, MAX_FILES - 1),
        schema.uint(offset),
        schema.uint(length, MAX_BASE_RANGE),
    )
