"""Turning files into the chunks, blocks and manifest of a release."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from modelreg.chunk_table import ChunkTable, Sink, used_bases
from modelreg.errors import InputError
from modelreg.format.chunks import Correspondence, Span, plan
from modelreg.format.cid import Cid
from modelreg.format.delta import Encoded, WordType, encode
from modelreg.format.digest import HashAlgorithm
from modelreg.format.dtypes import DType
from modelreg.format.manifest import MAX_BASES, MAX_DEPTH, Base, BaseRange, Chunk, FileEntry, Manifest
from modelreg.format.manifest_blocks import write_manifest
from modelreg.format.merkle import Leaf, content_root
from modelreg.parallel import map_ordered, worker_count
from modelreg.source import SourceFile
from modelreg.store.plaintext import Plaintext

__all__ = ["EncodedRelease", "Parent", "encode_release"]

# Half of what a reader accepts: a node that starts cold decodes the whole chain.
_KEYFRAME_DEPTH = MAX_DEPTH // 2
_WORD_OF_WIDTH = {2: WordType.U16, 4: WordType.U32, 8: WordType.F32}


@dataclass(frozen=True, slots=True)
class Parent:
    """The release that a new one is encoded against."""

    cid: Cid
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class EncodedRelease:
    """A release whose blocks the sink has all taken, the manifest's root last.

    `new_bytes` counts the plaintext of chunks that the parent does not hold, `stored_bytes` the bytes of the
    blocks that this release adds, its manifest included.
    """

    cid: Cid
    manifest: Manifest
    new_bytes: int
    stored_bytes: int


def encode_release(
    sources: Sequence[SourceFile],
    parent: Parent | None,
    plaintext: Plaintext,
    sink: Sink,
    *,
    effort: int,
    algorithm: HashAlgorithm = HashAlgorithm.BLAKE3_256,
    progress: Callable[[int], None] = lambda _: None,
) -> EncodedRelease:
    """Encode files against a parent.

    Args:
        sources: the files in manifest order.
        parent: what to encode against and to share chunks with.
        plaintext: reads the parent's bytes.
        sink: takes each block of the release, in this thread.
        effort: 0 stores chunks as they are, 1 is balanced, 2 the smallest.
        algorithm: the hash of chunks and blocks.
        progress: told the bytes of plaintext done since the last call.

    Raises:
        InputError: a file changed meanwhile, or the parent uses another hash.
    """
    lineage = _Lineage(parent, plaintext, algorithm)
    encoder = _Encoder(lineage, plaintext, algorithm, effort)
    table = ChunkTable(algorithm, sink)
    new_bytes = 0
    files = []
    for source in sources:
        first = len(table)
        for done in map_ordered(encoder.encode, encoder.tasks(source), workers=worker_count()):
            new_bytes += _add(table, lineage, done)
            progress(done.length)
        source.check_unchanged()
        files.append(FileEntry(source.path, source.size, source.format, len(table) - first, source.tensors))
    rows, bases = used_bases(table.rows(), lineage.bases)
    manifest = Manifest(algorithm, _root(files, rows, algorithm), bases, tuple(files), rows)
    cid, blocks = write_manifest(manifest)
    for block_cid, block in blocks:
        sink(block_cid, block)
    stored = table.stored_bytes + sum(len(block) for _, block in blocks)
    return EncodedRelease(cid, manifest, new_bytes, stored)


@dataclass(frozen=True, slots=True)
class _Task:
    source: SourceFile
    span: Span
    base: BaseRange | None


@dataclass(frozen=True, slots=True)
class _Done:
    length: int
    digest: bytes
    encoded: Encoded | None
    base: BaseRange | None


class _Lineage:
    """The releases that rows may refer to: the parent (base 0) and the parent's own bases (from base 1)."""

    def __init__(self, parent: Parent | None, plaintext: Plaintext, algorithm: HashAlgorithm) -> None:
        self.parent = parent
        self._plaintext = plaintext
        self._depths: dict[tuple[Cid, int], int] = {}
        self.bases: tuple[Base, ...] = ()
        self.known: dict[bytes, Chunk] = {}
        if parent is None:
            return
        manifest = parent.manifest
        if manifest.algorithm is not algorithm:
            raise InputError(
                "the parent uses another hash", expected=manifest.algorithm.label, found=algorithm.label
            )
        self.bases = (Base(manifest.content_root, parent.cid), *manifest.bases)[:MAX_BASES]
        for row in manifest.chunks:
            if row.base is None or row.base.base + 1 < len(self.bases):
                self.known.setdefault(row.digest, _from_parent(row))

    def depth(self, cid: Cid, manifest: Manifest, at: BaseRange) -> int:
        """How many bases stand behind a chunk that is encoded against a range of `manifest`."""
        rows = manifest.covering(at.file, at.offset, at.length)
        return 1 + max((self._row_depth(cid, manifest, row) for row in rows), default=0)

    def _row_depth(self, cid: Cid, manifest: Manifest, row: int) -> int:
        if (cid, row) not in self._depths:
            at, depth = manifest.chunks[row].base, 0
            if at is not None:
                base = manifest.bases[at.base].manifest
                depth = self.depth(base, self._plaintext.manifest(base), at)
            self._depths[cid, row] = depth
        return self._depths[cid, row]


class _Encoder:
    """Finds bases and encodes single chunks; `encode` runs in several threads."""

    def __init__(
        self, lineage: _Lineage, plaintext: Plaintext, algorithm: HashAlgorithm, effort: int
    ) -> None:
        self._lineage = lineage
        self._plaintext = plaintext
        self._algorithm = algorithm
        self._effort = effort

    def tasks(self, source: SourceFile) -> Iterator[_Task]:
        """Cut a file into chunks and find a base for each."""
        base_of = self._base_finder(source)
        for span in plan(source.read_at, source.size, source.tensors):
            yield _Task(source, span, base_of(span))
        if source.size == 0:
            yield _Task(source, Span(0, 0, DType.BYTES), None)

    def encode(self, task: _Task) -> _Done:
        """Hash a chunk, and encode it unless the lineage holds it already."""
        span = task.span
        data = task.source.read_at(span.offset, span.length)
        digest = self._algorithm.digest(data).value
        if not data or digest in self._lineage.known:
            return _Done(len(data), digest, None, None)
        base = self._base_bytes(task.base)
        encoded = encode(data, _word_type(span.word), base, effort=self._effort)
        return _Done(len(data), digest, encoded, task.base if encoded.encoding.needs_base else None)

    def _base_bytes(self, at: BaseRange | None) -> bytes | None:
        parent = self._lineage.parent
        if at is None or parent is None:
            return None
        return self._plaintext.range(parent.manifest, at.file, at.offset, at.length)

    def _base_finder(self, source: SourceFile) -> Callable[[Span], BaseRange | None]:
        parent, number = self._lineage.parent, self._counterpart(source)
        if parent is None or number is None or self._effort == 0:
            return lambda _: None
        file = parent.manifest.files[number]
        alike = Correspondence(source.tensors, source.size, file.tensors, file.size)

        def base_of(span: Span) -> BaseRange | None:
            found = alike.parent_range(span)
            if found is None:
                return None
            at = BaseRange(0, number, *found)
            return at if self._lineage.depth(parent.cid, parent.manifest, at) <= _KEYFRAME_DEPTH else None

        return base_of

    def _counterpart(self, source: SourceFile) -> int | None:
        """The parent's file of the same path, or its only file of the format where the name changed."""
        if self._lineage.parent is None:
            return None
        files = self._lineage.parent.manifest.files
        named = [number for number, file in enumerate(files) if file.path == source.path]
        alike = [number for number, file in enumerate(files) if file.format is source.format]
        return next(iter(named), alike[0] if len(alike) == 1 else None)


def _word_type(dtype: DType) -> WordType:
    """What the codec takes an element type for: types that it does not know are numbers of their width."""
    if dtype.label in WordType.__members__:
        return WordType[dtype.label]
    return _WORD_OF_WIDTH.get(dtype.word_bytes, WordType.U8)


def _from_parent(row: Chunk) -> Chunk:
    """A parent's row as its child writes it, where the parent's bases stand one place later."""
    return row if row.base is None else replace(row, base=replace(row.base, base=row.base.base + 1))


def _add(table: ChunkTable, lineage: _Lineage, done: _Done) -> int:
    """Append a chunk's row; returns the bytes that neither the parent nor an earlier row holds."""
    if table.holds(done.digest):
        table.repeat(done.digest)
    elif done.length == 0:
        table.add_existing(Chunk(0, done.digest, 0, None))
    elif done.encoded is None:
        table.add_existing(lineage.known[done.digest])
    else:
        table.add_encoded(done.length, done.digest, done.encoded, done.base)
        return done.length
    return 0


def _root(files: Sequence[FileEntry], rows: Sequence[Chunk], algorithm: HashAlgorithm) -> bytes:
    def leaves() -> Iterator[bytes]:
        remaining = iter(rows)
        for file in files:
            offset = 0
            for _ in range(file.chunks):
                row = next(remaining)
                yield Leaf(file.path, offset, row.length, row.digest).hash()
                offset += row.length

    return content_root(leaves(), algorithm)
