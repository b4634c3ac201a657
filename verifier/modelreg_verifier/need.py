"""Which blocks a copy takes, from manifests alone."""

from collections.abc import Iterable, Iterator
from itertools import islice
from weakref import ref

from modelreg.format.cid import Cid
from modelreg.format.digest import Digest
from modelreg.format.manifest import MAX_DEPTH, Chunk, Manifest, Payload
from modelreg.store.plaintext import LocalPlaintext, Plaintext

__all__ = ["Need", "needed_blocks"]


def needed_blocks(
    manifest: Manifest, rows: Iterable[int], plaintext: Plaintext, local: LocalPlaintext
) -> Iterator[Cid]:
    """Give the blocks that rows are decoded from, each once, in the order of their use.

    Args:
        manifest: the release.
        rows: the chunk rows, in the order in which they are copied.
        plaintext: reads the manifests of bases.
        local: plaintext on this machine, for which no block is needed.

    Raises:
        FormatError, VerificationError, NotFoundError: of the manifests of bases.
    """
    need, given = Need(plaintext, local), 0
    for row in rows:
        need.add(manifest, row)
        if len(need.blocks) > given:
            yield from islice(need.blocks, given, None)
            given = len(need.blocks)


class Need:
    """The blocks that decoding takes, and how far the manifests name each block of theirs.

    Attributes:
        blocks: in the order in which they are needed, each once.
        ends: the bytes of a block that payloads of the manifests take up.
    """

    def __init__(self, plaintext: Plaintext, local: LocalPlaintext) -> None:
        self._plaintext, self._local = plaintext, local
        self._seen: set[tuple[bytes, Payload | None]] = set()
        self._manifests: dict[int, ref[Manifest]] = {}
        self.blocks: dict[Cid, None] = {}
        self.ends: dict[Cid, int] = {}

    def add(self, manifest: Manifest, row: int, depth: int = MAX_DEPTH) -> bool:
        """Add a chunk and all bases below it; False for one whose plaintext should be here.

        Raises:
            FormatError, VerificationError, NotFoundError: of the manifests of bases.
        """
        self._read(manifest)
        chunk = manifest.chunks[row]
        if self._local.seems_here(Digest(manifest.algorithm, chunk.digest)):
            return False
        way = chunk.digest, chunk.payload
        if way in self._seen:
            return True
        self._seen.add(way)
        self._add_base(manifest, chunk, depth)
        for payload in (chunk.payload, chunk.factors):
            if payload:
                self.blocks.setdefault(payload.block)
        return True

    def _add_base(self, manifest: Manifest, chunk: Chunk, depth: int) -> None:
        if chunk.base is None or depth == 0:
            return
        at = chunk.base
        parent = self._plaintext.manifest(manifest.bases[at.base].manifest)
        for row in parent.covering(at.file, at.offset, at.length):
            self.add(parent, row, depth - 1)

    def _read(self, manifest: Manifest) -> None:
        """Blocks are shared: other rows may name more of them."""
        known = self._manifests.get(id(manifest))
        if known is not None and known() is manifest:
            return
        # Not by content root: releases with equal content may be in different blocks.
        self._manifests[id(manifest)] = ref(manifest)
        for chunk in manifest.chunks:
            for payload in (chunk.payload, chunk.factors):
                if payload is not None:
                    end = payload.offset + payload.size
                    self.ends[payload.block] = max(end, self.ends.get(payload.block, 0))
