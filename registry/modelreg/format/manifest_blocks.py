"""A manifest as DAG-CBOR blocks. Specified in docs/spec/manifest.md, sections 1 to 4."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from modelreg.errors import FormatError
from modelreg.format import canonical, schema
from modelreg.format.chunks import CHUNK_BYTES
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import HashAlgorithm
from modelreg.format.manifest import (
    MAX_BASE_RANGE,
    MAX_BASES,
    MAX_CHUNKS,
    MAX_FILES,
    Base,
    BaseRange,
    Chunk,
    FileEntry,
    Manifest,
    Payload,
)
from modelreg.format.paths import MAX_PATH_BYTES
from modelreg.format.tensors import DType, FileFormat, Tensor

__all__ = ["FetchMany", "read_manifest", "write_manifest"]

FetchMany = Callable[[Sequence[Cid]], Iterable[bytes]]
"""Gives the verified blocks of CIDs, in their order."""

_ROOT, _FILES = "modelreg/manifest/1", "modelreg/files/1"
_TENSORS, _CHUNKS = "modelreg/tensors/1", "modelreg/chunks/1"
_MAX_SHARDS = 2048
_FILES_A_SHARD, _TENSORS_A_SHARD, _CHUNKS_A_SHARD = 2048, 4096, 2048
_SHARD_BYTES = 960 << 10
_BLOCK_BYTES = 1 << 20
_MAX_NAME_BYTES = 1024
_MAX_DIMENSIONS = 32
_MAX_ENCODING = 255


def write_manifest(manifest: Manifest) -> tuple[Cid, list[tuple[Cid, bytes]]]:
    """The manifest's root CID and all its blocks, the root last."""
    blocks: dict[Cid, bytes] = {}

    def add(value: object) -> Cid:
        block = canonical.encode(value)
        cid = Cid.of(Codec.DAG_CBOR, block, manifest.algorithm)
        blocks[cid] = block
        return cid

    rows = [_file_row(file, _write_tensors(file.tensors, add)) for file in manifest.files]
    files = [add({"kind": _FILES, "files": shard}) for shard in _shards(rows, _FILES_A_SHARD)]
    chunks = [
        add(_chunk_shard(manifest.chunks[start : start + _CHUNKS_A_SHARD]))
        for start in range(0, len(manifest.chunks), _CHUNKS_A_SHARD)
    ]
    root = add(
        {
            "kind": _ROOT,
            "hash": manifest.algorithm.label,
            "content": manifest.content_root,
            "size": manifest.size,
            "bases": [[base.content_root, base.manifest] for base in manifest.bases],
            "files": files,
            "chunks": chunks,
        }
    )
    return root, list(blocks.items())


def read_manifest(root: Cid, fetch: FetchMany) -> Manifest:
    """Read and check a whole manifest.

    Args:
        root: the CID of the root block.
        fetch: gives verified blocks.

    Raises:
        FormatError: a check of docs/spec/manifest.md, section 5, fails.
    """
    (block,) = fetch([root])
    names = ("hash", "content", "size", "bases", "files", "chunks")
    label, content, size, bases, files, chunks = schema.fields(canonical.decode(block), _ROOT, names)
    algorithm = HashAlgorithm.from_label(schema.text(label, 16))
    if root.digest.algorithm is not algorithm:
        raise FormatError("hash of the manifest", expected=root.digest.algorithm.label, found=algorithm.label)
    manifest = Manifest(
        algorithm,
        schema.digest(content),
        tuple(_read_base(row, algorithm) for row in schema.array(bases, MAX_BASES)),
        tuple(_read_files(_links(files, algorithm), fetch, algorithm)),
        tuple(_read_chunks(_links(chunks, algorithm), fetch, algorithm)),
    )
    if schema.uint(size) != manifest.size:
        raise FormatError("size of the release", expected=manifest.size, found=size)
    return manifest


def _shards(rows: Sequence[Any], most: int) -> Iterator[list[Any]]:
    """Cut rows so that no shard has more than `most` of them or outgrows a block."""
    shard: list[Any] = []
    used = 0
    for row in rows:
        size = len(canonical.encode(row))
        if shard and (len(shard) == most or used + size > _SHARD_BYTES):
            yield shard
            shard, used = [], 0
        shard.append(row)
        used += size
    if shard:
        yield shard


def _write_tensors(tensors: Sequence[Tensor], add: Callable[[object], Cid]) -> list[Cid]:
    rows = [[t.name, t.dtype.label, list(t.shape), t.offset, t.length] for t in tensors]
    return [add({"kind": _TENSORS, "tensors": shard}) for shard in _shards(rows, _TENSORS_A_SHARD)]


def _file_row(file: FileEntry, tensors: list[Cid]) -> list[Any]:
    return [file.path, file.size, file.format.label, file.chunks, tensors]


def _chunk_shard(chunks: Sequence[Chunk]) -> dict[str, Any]:
    numbers: dict[Cid, int] = {}
    rows = []
    for chunk in chunks:
        where = chunk.payload
        row: list[Any] = [chunk.length, chunk.digest, chunk.encoding, 0, 0, 0]
        if where is not None:
            row[3:] = [numbers.setdefault(where.block, len(numbers)), where.offset, where.size]
        if chunk.base is not None:
            row += [chunk.base.base, chunk.base.file, chunk.base.offset, chunk.base.length]
        rows.append(row)
    return {"kind": _CHUNKS, "blocks": list(numbers), "chunks": rows}


def _links(value: Any, algorithm: HashAlgorithm) -> list[Cid]:
    return [schema.link(item, algorithm) for item in schema.array(value, _MAX_SHARDS)]


def _read_base(row: Any, algorithm: HashAlgorithm) -> Base:
    content, manifest = schema.array(row, 2, exactly=(2,))
    return Base(schema.digest(content), schema.link(manifest, algorithm))


def _read_files(shards: list[Cid], fetch: FetchMany, algorithm: HashAlgorithm) -> Iterator[FileEntry]:
    total = 0
    for block in fetch(shards):
        (rows,) = schema.fields(canonical.decode(block), _FILES, ("files",))
        total += len(schema.array(rows, _FILES_A_SHARD))
        if total > MAX_FILES:
            raise FormatError("files", expected=f"at most {MAX_FILES}", found=total)
        for row in rows:
            path, size, label, chunks, tensors = schema.array(row, 5, exactly=(5,))
            yield FileEntry(
                schema.text(path, MAX_PATH_BYTES),
                schema.uint(size),
                FileFormat.from_label(schema.text(label, 16)),
                schema.uint(chunks, MAX_CHUNKS),
                tuple(_read_tensors(_links(tensors, algorithm), fetch)),
            )


def _read_tensors(shards: list[Cid], fetch: FetchMany) -> Iterator[Tensor]:
    for block in fetch(shards):
        (rows,) = schema.fields(canonical.decode(block), _TENSORS, ("tensors",))
        for row in schema.array(rows, _TENSORS_A_SHARD):
            name, dtype, shape, offset, length = schema.array(row, 5, exactly=(5,))
            yield Tensor(
                schema.text(name, _MAX_NAME_BYTES),
                DType.from_label(schema.text(dtype, 16)),
                tuple(schema.uint(size) for size in schema.array(shape, _MAX_DIMENSIONS)),
                schema.uint(offset),
                schema.uint(length),
            )


def _read_chunks(shards: list[Cid], fetch: FetchMany, algorithm: HashAlgorithm) -> Iterator[Chunk]:
    total = 0
    for block in fetch(shards):
        links, rows = schema.fields(canonical.decode(block), _CHUNKS, ("blocks", "chunks"))
        total += len(schema.array(rows, _CHUNKS_A_SHARD))
        if total > MAX_CHUNKS:
            raise FormatError("chunks", expected=f"at most {MAX_CHUNKS}", found=total)
        blocks = _links(links, algorithm)
        seen = 0
        for row in rows:
            chunk, number = _read_chunk(row, blocks)
            if number > seen:
                raise FormatError("block order", expected=f"block {seen} named first", found=number)
            seen = max(seen, number + 1)
            yield chunk
        if seen != len(blocks):
            raise FormatError("blocks of a shard", expected=f"{seen}, each named by a row", found=len(blocks))


def _read_chunk(row: Any, blocks: Sequence[Cid]) -> tuple[Chunk, int]:
    """One row, and the number of the block that it names (−1 for none)."""
    row = schema.array(row, 10, exactly=(6, 10))
    length = schema.uint(row[0], CHUNK_BYTES)
    digest, encoding = schema.digest(row[1]), schema.uint(row[2], _MAX_ENCODING)
    offset, size = schema.uint(row[4], _BLOCK_BYTES), schema.uint(row[5], _BLOCK_BYTES)
    if length == 0:
        if row[2:] != [0, 0, 0, 0]:
            raise FormatError("row of an empty file", expected="zeros and no base", found=row[2:])
        return Chunk(0, digest, 0, None), -1
    number = schema.uint(row[3], len(blocks) - 1)
    if offset + size > _BLOCK_BYTES:
        raise FormatError("payload range", expected=f"within {_BLOCK_BYTES} bytes", found=offset + size)
    base = None
    if len(row) > 6:
        base = BaseRange(
            schema.uint(row[6], MAX_BASES - 1),
            schema.uint(row[7], MAX_FILES - 1),
            schema.uint(row[8]),
            schema.uint(row[9], MAX_BASE_RANGE),
        )
    return Chunk(length, digest, encoding, Payload(blocks[number], offset, size), base), number
