"""Turning files into the chunks, blocks and manifest of a release."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any

from threadpoolctl import threadpool_limits

from modelreg.adapter import Adapter
from modelreg.chunk_table import ChunkTable, Sink, used_bases
from modelreg.errors import NotFoundError, UnreachableError
from modelreg.format import canonical
from modelreg.format.chunks import Correspondence, Span, plan
from modelreg.format.cid import Cid
from modelreg.format.delta import Encoded, WordType, encode, encode_cast
from modelreg.format.digest import HashAlgorithm
from modelreg.format.dtypes import DType
from modelreg.format.manifest import MAX_BASES, Base, BaseRange, Chunk, FileEntry, Manifest
from modelreg.format.manifest_blocks import write_manifest
from modelreg.format.merkle import content_root, file_leaves
from modelreg.lineage import KEYFRAME_DEPTH, Lineage, Parent
from modelreg.low_rank import Matrix, matrix_finder
from modelreg.parallel import map_ordered, worker_count
from modelreg.renamed import find_renamed
from modelreg.source import SourceFile
from modelreg.store.base import BlockSource
from modelreg.variant import Cast, cast_finder

__all__ = ["EncodedRelease", "Parent", "encode_release"]

# A chunk that costs less than this share is not worth a search; one with a low-rank base must win clearly, as
# its factors come to it.
_LOW_RANK_ABOVE = 0.04
_LOW_RANK_BELOW = 0.9


@dataclass(frozen=True, slots=True)
class EncodedRelease:
    """A release whose blocks the sink has all taken, the manifest's root last.

    `new_bytes` counts the plaintext of chunks that are not taken over from the parent, `stored_bytes` the
    bytes of the blocks that this release adds, its manifest included.
    """

    cid: Cid
    manifest: Manifest
    new_bytes: int
    stored_bytes: int


def encode_release(
    sources: Sequence[SourceFile],
    parent: Parent | None,
    blocks: BlockSource,
    sink: Sink,
    *,
    effort: int,
    sibling: Parent | None = None,
    adapter: Adapter | None = None,
    algorithm: HashAlgorithm = HashAlgorithm.BLAKE3_256,
    deepest: int = KEYFRAME_DEPTH,
    progress: Callable[[int], None] = lambda _: None,
) -> EncodedRelease:
    """Encode files against a parent.

    Args:
        sources: the files in manifest order.
        parent: what to encode against and to share chunks with.
        blocks: gives the blocks of the parent, of the sibling, and of the releases behind them.
        sink: takes each block of the release, in this thread.
        effort: 0 stores chunks as they are, 1 is balanced, 2 the smallest.
        sibling: the same release in another precision, of which chunks may be casts.
        adapter: what was merged into the parent's matrices, as a hint.
        algorithm: the hash of chunks and blocks.
        deepest: bases behind each other that a chunk may have.
        progress: told the bytes of plaintext done since the last call.

    Raises:
        InputError: a file changed meanwhile, or the parent uses another hash.
    """
    lineage = Lineage(parent, blocks, algorithm, deepest)
    # A lineage that fills the table of bases leaves no place for the sibling.
    usable = sibling and sibling.manifest.algorithm is algorithm and len(lineage.bases) < MAX_BASES
    kin = Lineage(sibling if usable else None, blocks, algorithm)
    bases = tuple(dict.fromkeys(lineage.bases + kin.bases[:1]))
    encoder = _Encoder(lineage, kin, bases, algorithm, effort, adapter)
    table = ChunkTable(algorithm, sink)
    new_bytes, files = 0, []
    tasks = (task for source in sources for task in encoder.tasks(source))
    with (
        threadpool_limits(1, "blas"),  # there is a thread of ours for each processor
        closing(map_ordered(encoder.encode, tasks, workers=worker_count())) as results,
    ):
        for source, chunks in groupby(results, lambda done: done.source):
            first = len(table)
            for done in chunks:
                new_bytes += _add(table, done)
                progress(done.length)
            source.check_unchanged()
            rows = len(table) - first
            files.append(FileEntry(source.path, source.size, source.format, rows, source.tensors))
    manifest = _manifest(table, tuple(files), bases, algorithm)
    cid, nodes = write_manifest(manifest)
    for node_cid, node in nodes:
        sink(node_cid, node)
    held = _nodes(parent.cid, blocks) if parent else set()
    added = sum(len(node) for node_cid, node in nodes if node_cid not in held)
    return EncodedRelease(cid, manifest, new_bytes, table.stored_bytes + added)


@dataclass(frozen=True, slots=True)
class _Task:
    source: SourceFile
    span: Span
    base: BaseRange | None
    cast: Cast | None
    matrix: Matrix | None = None
    within: int = 0


@dataclass(frozen=True, slots=True)
class _Done:
    source: SourceFile
    length: int
    digest: bytes
    row: Chunk | None
    encoded: Encoded | None = None
    base: BaseRange | None = None
    factors: bytes | None = None


class _Encoder:
    """Finds bases and encodes single chunks; `encode` runs in several threads."""

    def __init__(
        self,
        lineage: Lineage,
        kin: Lineage,
        bases: tuple[Base, ...],
        algorithm: HashAlgorithm,
        effort: int,
        adapter: Adapter | None,
    ) -> None:
        self._lineage = lineage
        self._known = lineage.known()
        self._kin = kin
        self._bases = bases
        self._algorithm = algorithm
        self._effort = effort
        self._adapter = adapter

    def tasks(self, source: SourceFile) -> Iterator[_Task]:
        """Cut a file into chunks and find a base for each."""
        base_of, matrix_at = self._base_finder(source)
        cast_of = cast_finder(self._kin, source) if self._effort else lambda _: None
        for span in plan(source.read_at, source.size, source.tensors):
            base = base_of(span)
            matrix, within = matrix_at(span) if base else (None, 0)
            yield _Task(source, span, base, cast_of(span), matrix, within)
        if source.size == 0:
            yield _Task(source, Span(0, 0, DType.BYTES), None, None)

    def encode(self, task: _Task) -> _Done:
        """Hash a chunk, and encode it unless the lineage holds it already."""
        span = task.span
        data = task.source.read_at(span.offset, span.length)
        digest = self._algorithm.digest(data).value
        row = self._row(data, digest)
        if row is not None:
            return _Done(task.source, len(data), digest, row)
        cast = self._cast(data, task)
        encoded, at, factors = (*cast, None) if cast else self._encode(data, task)
        return _Done(task.source, len(data), digest, None, encoded, at, factors)

    def _row(self, data: bytes, digest: bytes) -> Chunk | None:
        if not data:
            return Chunk(0, digest, 0, None)
        known = self._known.get(digest)
        return None if known is None else self._lineage.take(known)

    def _encode(self, data: bytes, task: _Task) -> tuple[Encoded, BaseRange | None, bytes | None]:
        base = self._lineage.read(task.base) if task.base else None
        encoded = encode(data, WordType.of(task.span.word), base, effort=self._effort)
        if task.matrix and base and len(encoded.payload) > _LOW_RANK_ABOVE * len(data):
            found = task.matrix.encode(data, base, task.within)
            if found is not None and len(found[0].payload) < _LOW_RANK_BELOW * len(encoded.payload):
                return found[0], task.base, found[1]
        return encoded, task.base if encoded.encoding.needs_base else None, None

    def _cast(self, data: bytes, task: _Task) -> tuple[Encoded, BaseRange | None] | None:
        """An exact cast costs a few bytes: what it fits needs no other try."""
        if task.cast is None:
            return None
        try:
            base = self._kin.read(task.cast.at)
        except NotFoundError:
            return None
        encoded = encode_cast(data, WordType.of(task.span.word), base or b"", task.cast.word)
        return (
            (encoded, replace(task.cast.at, base=self._bases.index(self._kin.bases[0]))) if encoded else None
        )

    def _base_finder(
        self, source: SourceFile
    ) -> tuple[Callable[[Span], BaseRange | None], Callable[[Span], tuple[Matrix | None, int]]]:
        """What gives the base of a chunk, and what the matrix and the place in it of one that has a base."""
        counterpart = self._lineage.counterpart(source.path, source.format)
        if counterpart is None or self._effort == 0:
            return (lambda _: None), (lambda _: (None, 0))
        number, file = counterpart

        def parent(offset: int, length: int) -> bytes | None:
            try:
                return self._lineage.read(BaseRange(0, number, offset, length))
            except (NotFoundError, UnreachableError):
                return None  # more of the parent than chunks need is only looked at

        renamed = find_renamed(source.tensors, file.tensors, source.read_at, parent)
        alike = Correspondence(source.tensors, source.size, file.tensors, file.size, renamed)

        def base_of(span: Span) -> BaseRange | None:
            found = alike.parent_range(span)
            at = BaseRange(0, number, *found) if found else None
            return at if at and self._lineage.allows(at) else None

        return base_of, matrix_finder(source.tensors, alike, source.read_at, parent, self._adapter)


def _add(table: ChunkTable, done: _Done) -> int:
    """Append a chunk's row; returns the bytes that neither the parent nor an earlier row holds."""
    if table.holds(done.digest):
        table.repeat(done.digest)
    elif done.row is not None:
        table.add_existing(done.row)
    elif done.encoded is not None:
        table.add_encoded(done.length, done.digest, done.encoded, done.base, done.factors)
        return done.length
    return 0


def _nodes(manifest: Cid, blocks: BlockSource) -> set[Cid]:
    """The blocks that a manifest is made of: tensor shards hang on its file shards, all else on its root."""
    root: Any = canonical.decode(blocks.get(manifest))
    shards = [canonical.decode(blocks.get(shard)) for shard in root["files"]]
    return {manifest, *canonical.links([root, *shards])}


def _manifest(
    table: ChunkTable, files: tuple[FileEntry, ...], bases: tuple[Base, ...], algorithm: HashAlgorithm
) -> Manifest:
    rows, bases = used_bases(table.rows(), bases)
    remaining = iter(rows)
    leaves = (
        leaf
        for file in files
        for leaf in file_leaves(
            file.path, ((row.length, row.digest) for row in islice(remaining, file.chunks))
        )
    )
    return Manifest(algorithm, content_root(leaves, algorithm), bases, files, rows)
