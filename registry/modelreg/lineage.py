"""What a new release may refer to: its parent's chunks, and byte ranges of the parent as bases."""

from dataclasses import dataclass, replace

from modelreg.errors import InputError, VerificationError
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
from modelreg.store.plaintext import Plaintext

__all__ = ["Lineage", "Parent"]

# Half of what a reader accepts: a node that starts cold decodes the whole chain.
_KEYFRAME_DEPTH = MAX_DEPTH // 2
# Deeper than any chain that readers accept: where looking into a lineage made to harm ends.
_LOOK_DEPTH = 4 * MAX_DEPTH


@dataclass(frozen=True, slots=True)
class Parent:
    """The release that a new one is encoded against."""

    cid: Cid
    manifest: Manifest


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

    Attributes:
        bases: these releases, at most MAX_BASES.
        known: rows for chunks that the parent holds, by digest.

    Raises, on construction: InputError if the parent uses another hash.
    """

    def __init__(self, parent: Parent | None, plaintext: Plaintext, algorithm: HashAlgorithm) -> None:
        self._parent = parent
        self._plaintext = plaintext
        self._needs: dict[tuple[Cid, int], _Need] = {}
        self._by_path: dict[str, tuple[int, FileEntry]] = {}
        self._by_format: dict[FileFormat, list[tuple[int, FileEntry]]] = {}
        self.bases: tuple[Base, ...] = ()
        self.known: dict[bytes, Chunk] = {}
        if parent is not None:
            self._learn(parent, algorithm)

    def counterpart(self, path: str, kind: FileFormat) -> tuple[int, FileEntry] | None:
        """The parent's file of the same path, or its only file of the format where the name changed."""
        alike = self._by_format.get(kind, [])
        return self._by_path.get(path) or (alike[0] if len(alike) == 1 else None)

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
        return need.depth <= _KEYFRAME_DEPTH

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
        for row in manifest.chunks:
            if row.base is None or row.base.base + 1 < len(self.bases):
                self.known.setdefault(row.digest, _from_parent(row))
        for number, file in enumerate(manifest.files):
            self._by_path[file.path] = number, file
            self._by_format.setdefault(file.format, []).append((number, file))

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
