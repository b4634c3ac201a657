"""A manifest as DAG-CBOR blocks. Specified in docs/spec/manifest.md."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from modelreg.errors import FormatError
from modelreg.format import canonical, schema
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import HashAlgorithm
from modelreg.format.manifest import (
    MAX_BASES,
    MAX_CHUNKS,
    MAX_FILES,
    MAX_TENSORS,
    Base,
    Chunk,
    FileEntry,
    Manifest,
)
from modelreg.format.manifest_rows import read_chunk, read_tensor
from modelreg.format.paths import MAX_PATH_BYTES
from modelreg.format.tensors import FileFormat, Tensor

__all__ = ["FetchMany", "read_manifest", "write_manifest"]

FetchMany = Callable[[Sequence[Cid]], Iterable[bytes]]
"""Gives the verified blocks of CIDs, in their order."""

_ROOT, _FILES = "modelreg/manifest/1", "modelreg/files/1"
_TENSORS, _CHUNKS = "modelreg/tensors/1", "modelreg/chunks/1"
_MAX_SHARDS = 2048
_FILES_A_SHARD, _TENSORS_A_SHARD, _CHUNKS_A_SHARD = 2048, 4096, 2048
# A row names the block of its payload, and perhaps that of its factors.
_BLOCKS_A_SHARD = 2 * _CHUNKS_A_SHARD
_SHARD_BYTES = 960 << 10

_T = TypeVar("_T")


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
    if root.codec is not Codec.DAG_CBOR:
        raise FormatError("codec of the manifest", expected="dag-cbor", found=root.codec.name)
    (block,) = fetch([root])
    names = ("hash", "content", "size", "bases", "files", "chunks")
    label, content, size, bases, files, chunks = schema.fields(canonical.decode(block), _ROOT, names)
    algorithm = HashAlgorithm.from_label(schema.text(label, 16))
    if root.algorithm is not algorithm:
        raise FormatError("hash of the manifest", expected=root.algorithm.label, found=algorithm.label)
    reader = _Reader(algorithm, fetch)
    manifest = Manifest(
        algorithm,
        schema.digest(content),
        tuple(reader.base(row) for row in schema.array(bases, MAX_BASES)),
        tuple(reader.files(files)),
        tuple(reader.chunks(chunks)),
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
        if chunk.factors is not None:
            shared = chunk.factors
            row += [numbers.setdefault(shared.block, len(numbers)), shared.offset, shared.size]
        rows.append(row)
    return {"kind": _CHUNKS, "blocks": list(numbers), "chunks": rows}


class _Reader:
    """Reads the shards of one manifest.

    A shard that is linked again is neither fetched nor built again: small manifests stay small in memory.
    """

    def __init__(self, algorithm: HashAlgorithm, fetch: FetchMany) -> None:
        self._algorithm = algorithm
        self._fetch = fetch
        self._tensor_shards: dict[Cid, list[Tensor]] = {}
        self._tensors = 0

    def base(self, row: Any) -> Base:
        content, manifest = schema.array(row, 2, exactly=(2,))
        return Base(schema.digest(content), self._link(manifest, Codec.DAG_CBOR))

    def files(self, shards: Any) -> list[FileEntry]:
        return self._rows(shards, {}, self._file_shard, MAX_FILES)

    def chunks(self, shards: Any) -> list[Chunk]:
        return self._rows(shards, {}, self._chunk_shard, MAX_CHUNKS)

    def _rows(
        self, shards: Any, known: dict[Cid, list[_T]], parse: Callable[[bytes], list[_T]], most: int
    ) -> list[_T]:
        """The rows of all shards, at most `most` of them; `known` has the rows of shards read before."""
        links = self._links(shards, Codec.DAG_CBOR, _MAX_SHARDS)
        blocks = iter(self._fetch([cid for cid in dict.fromkeys(links) if cid not in known]))
        rows: list[_T] = []
        for cid in links:
            if cid not in known:
                known[cid] = parse(next(blocks))
            rows += known[cid]
            if len(rows) > most:
                raise FormatError("rows of a manifest", expected=f"at most {most}", found="more")
        return rows

    def _file_shard(self, block: bytes) -> list[FileEntry]:
        (rows,) = schema.fields(canonical.decode(block), _FILES, ("files",))
        return [self._file(row) for row in schema.array(rows, _FILES_A_SHARD)]

    def _file(self, row: Any) -> FileEntry:
        path, size, label, chunks, shards = schema.array(row, 5, exactly=(5,))
        tensors = self._rows(shards, self._tensor_shards, _tensor_shard, MAX_TENSORS - self._tensors)
        self._tensors += len(tensors)
        return FileEntry(
            schema.text(path, MAX_PATH_BYTES),
            schema.uint(size),
            FileFormat.from_label(schema.text(label, 16)),
            schema.uint(chunks, MAX_CHUNKS),
            tuple(tensors),
        )

    def _chunk_shard(self, block: bytes) -> list[Chunk]:
        links, rows = schema.fields(canonical.decode(block), _CHUNKS, ("blocks", "chunks"))
        blocks = self._links(links, Codec.RAW, _BLOCKS_A_SHARD)
        if len(set(blocks)) != len(blocks):
            raise FormatError("blocks of a shard", expected="none twice", found="one that comes again")
        chunks, seen = [], 0
        for row in schema.array(rows, _CHUNKS_A_SHARD):
            chunk, numbers = read_chunk(row, blocks)
            for number in numbers:
                if number > seen:
                    raise FormatError("block order", expected=f"block {seen} named first", found=number)
                seen = max(seen, number + 1)
            chunks.append(chunk)
        if seen != len(blocks):
            raise FormatError("blocks of a shard", expected=f"{seen}, each named by a row", found=len(blocks))
        return chunks

    def _links(self, value: Any, codec: Codec, most: int) -> list[Cid]:
        return [self._link(item, codec) for item in schema.array(value, most)]

    def _link(self, value: Any, codec: Codec) -> Cid:
        """A link whose codec says what stands there: nodes are followed by whoever pins, leaves are not."""
        cid = schema.link(value, self._algorithm)
        if cid.codec is not codec:
            raise FormatError("link", expected=f"codec {codec.name}", found=str(cid))
        return cid


def _tensor_shard(block: bytes) -> list[Tensor]:
    (rows,) = schema.fields(canonical.decode(block), _TENSORS, ("tensors",))
    return [read_tensor(row) for row in schema.array(rows, _TENSORS_A_SHARD)]
