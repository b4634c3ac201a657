"""What a new release may refer to: its parent's chunks, and byte ranges of the parent as bases."""

from dataclasses import dataclass, replace

from modelreg.errors import InputError, NotFoundError, VerificationError
from modelreg.format.cid import Cid
from modelreg.format.digest import HashAlgorithm
from modelreg.format.manifest import (
    MAX_BASE_CHUNKS,
    MAX_BASES,
    MAX_DEPTH,
    Base,
    BaseRange,
    Chunk,
    FileEntry,
    Manifest,
)
from modelreg.format.tensors import FileFormat
from modelreg.store.base import BlockSource
from modelreg.store.plaintext import Plaintext

__all__ = ["KEYFRAME_DEPTH", "Lineage", "Parent"]

# Half of what a reader accepts: a node that starts cold decodes the whole chain.
KEYFRAME_DEPTH = MAX_DEPTH // 2
# Deeper than any chain that readers accept: where looking into a lineage made to harm ends.
_LOOK_DEPTH = 4 * MAX_DEPTH


@dataclass(frozen=True, slots=True)
class Parent:
    """The release that a new one is encoded against.

    `ours` says that the publisher of the new one published it, too: then each of its rows was decoded, or
    encoded and decoded again, when that was done.
    """

    cid: Cid
    manifest: Manifest
    ours: bool = False


@dataclass(frozen=True, slots=True)
class _Need:
    """What decoding takes: bases behind each other, and base chunks altogether (manifest.md, section 5)."""

    depth: int
    chunks: int


_NOTHING = _Need(0, 0)
# More base chunks than readers accept, or a chain without an end in sight: as deep as can be.
_TOO_MUCH = _Need(_LOOK_DEPTH, 0)


class Lineage:
    """The releases that rows may refer to: the parent (base 0) and the parent's own bases (from base 1).

    The parent may be a stranger's, made to harm whoever builds on it. What a child needs of it is therefore
    decoded from blocks alone: that this machine has the plaintext does not show that others can decode it.

    Args:
        parent: the release; without one there is nothing to refer to.
        blocks: gives the blocks of the releases.
        algorithm: the hash of the child.
        deepest: bases behind each other that a chunk of the child may have.

    Attributes:
        bases: these releases, at most MAX_BASES.

    Raises, on construction: InputError if the parent uses another hash.
    """

    def __init__(
        self,
        parent: Parent | None,
        blocks: BlockSource,
        algorithm: HashAlgorithm,
        deepest: int = KEYFRAME_DEPTH,
    ) -> None:
        self._parent = parent
        self._deepest = deepest
        self._plaintext = Plaintext(blocks)
        self._taken: dict[int, Chunk | None] = {}
        self._needs: dict[tuple[Cid, int], _Need] = {}
        self._by_path: dict[str, tuple[int, FileEntry]] = {}
        self._by_format: dict[FileFormat, list[tuple[int, FileEntry]]] = {}
        self.bases: tuple[Base, ...] = ()
        if parent is not None:
            self._learn(parent, algorithm)

    def counterpart(self, path: str, kind: FileFormat) -> tuple[int, FileEntry] | None:
        """The parent's file of the same path, or its only file of the format where the name changed."""
        alike = self._by_format.get(kind, [])
        return self._by_path.get(path) or (alike[0] if len(alike) == 1 else None)

    def known(self) -> dict[bytes, int]:
        """Rows of the parent by digest, without those that readers refuse (manifest.md, checks 11 and 12)."""
        known: dict[bytes, int] = {}
        if self._parent is not None:
            for row, chunk in enumerate(self._parent.manifest.chunks):
                if chunk.digest not in known and self._accepted(self._parent, row):
                    known[chunk.digest] = row
        return known

    def take(self, row: int) -> Chunk | None:
        """A row of the parent as its child writes it; None where it does not decode to its digest.

        Raises:
            UnreachableError: a source that may have what it takes cannot be asked now.
        """
        if row not in self._taken:
            self._taken[row] = self._take(self._parent, row) if self._parent else None
        return self._taken[row]

    def allows(self, at: BaseRange) -> bool:
        """Whether a chunk may be encoded against a range of the parent.

        Not where a node that starts cold would have to decode too long a chain, or where a manifest of the
        lineage is not valid.

        Raises:
            NotFoundError: a manifest of the lineage is not to be had.
        """
        if self._parent is None:
            return False
        try:
            need = self._need(self._parent.cid, self._parent.manifest, at, _LOOK_DEPTH)
        except VerificationError:
            return False
        return need.depth <= self._deepest

    def read(self, at: BaseRange) -> bytes | None:
        """A range of the parent's plaintext; None where its blocks are not what its manifest names.

        Nobody can decode such a parent, but one can still publish a release that mends it.
        """
        if self._parent is None:
            return None
        try:
            return self._plaintext.range(self._parent.manifest, at.file, at.offset, at.length)
        except VerificationError:
            return None

    def _learn(self, parent: Parent, algorithm: HashAlgorithm) -> None:
        manifest = parent.manifest
        if manifest.algorithm is not algorithm:
            raise InputError(
                "the parent uses another hash", expected=manifest.algorithm.label, found=algorithm.label
            )
        self.bases = (Base(manifest.content_root, parent.cid), *manifest.bases)[:MAX_BASES]
        for number, file in enumerate(manifest.files):
            self._by_path[file.path] = number, file
            self._by_format.setdefault(file.format, []).append((number, file))

    def _accepted(self, parent: Parent, row: int) -> bool:
        at = parent.manifest.chunks[row].base
        if at is not None and at.base + 1 >= len(self.bases):
            return False
        try:
            return self._row_need(parent.cid, parent.manifest, row, _LOOK_DEPTH).depth <= MAX_DEPTH
        except (NotFoundError, VerificationError):
            return False

    def _take(self, parent: Parent, row: int) -> Chunk | None:
        try:
            if not parent.ours:
                self._plaintext.chunk(parent.manifest, row)
        except (NotFoundError, VerificationError):
            return None
        return _from_parent(parent.manifest.chunks[row])

    def _need(self, cid: Cid, manifest: Manifest, at: BaseRange, look: int) -> _Need:
        """What a chunk needs that is encoded against a range of `manifest`, looking at most so deep."""
        rows = manifest.covering(at.file, at.offset, at.length)
        if look == 0 or len(rows) > MAX_BASE_CHUNKS:
            return _TOO_MUCH
        depth = chunks = 0
        for row in rows:
            need = self._row_need(cid, manifest, row, look)
            depth, chunks = max(depth, need.depth), chunks + 1 + need.chunks
            if chunks > MAX_BASE_CHUNKS:
                return _TOO_MUCH
        return _Need(depth + 1, chunks)

    def _row_need(self, cid: Cid, manifest: Manifest, row: int, look: int) -> _Need:
        at = manifest.chunks[row].base
        if at is None:
            return _NOTHING
        if (cid, row) not in self._needs:
            base = manifest.bases[at.base].manifest
            self._needs[cid, row] = self._need(base, self._plaintext.manifest(base), at, look - 1)
        return self._needs[cid, row]


def _from_parent(row: Chunk) -> Chunk:
    """A parent's row as its child writes it, where the parent's bases stand one place later."""
    return row if row.base is None else replace(row, base=replace(row.base, base=row.base.base + 1))
