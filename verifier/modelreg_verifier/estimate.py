"""What a sync would fetch, from manifests alone. Nothing is written and no payload is read."""

from collections.abc import Iterable
from dataclasses import dataclass

from modelreg.format.cid import Cid
from modelreg.format.digest import Digest
from modelreg.format.manifest import MAX_DEPTH, Chunk, Manifest, Payload
from modelreg.store.multi import MultiStore
from modelreg.store.plaintext import LocalPlaintext, Plaintext
from modelreg_verifier.fetch import FetchingSource

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes of the blocks that are to be fetched, and how the chunks of the copy would come about.

    Damaged copies and blocks, and what an interrupted sync left, only the sync itself notices. Where no
    source tells how long a block is, it counts as far as the manifests name it.
    """

    bytes: int
    total: int
    reused: int

    @property
    def fetched(self) -> int:
        """Chunks to decode from blocks."""
        return self.total - self.reused


def estimate(
    manifest: Manifest, rows: Iterable[int], source: FetchingSource, store: MultiStore, local: LocalPlaintext
) -> Estimate:
    """Find out what `copy_release` would fetch.

    Args:
        manifest: the release, verified against the ledger, and read from `source`.
        rows: the chunk rows to copy.
        source: keeps nothing, and counts what it fetches of manifests; those of bases are read too.
        store: tells which blocks are here.
        local: plaintext on this machine.

    Raises:
        FormatError, VerificationError, NotFoundError: of the manifests of bases.
    """
    need = _Need(Plaintext(source), local)
    wanted = list(rows)
    reused = sum(not need.add(manifest, row, MAX_DEPTH) for row in wanted)
    missing = sum(store.length(cid) or need.ends[cid] for cid in need.blocks if not store.holds(cid))
    return Estimate(source.fetched_bytes + missing, len(wanted), reused)


class _Need:
    """The blocks that decoding takes, and how far the manifests name each block of theirs."""

    def __init__(self, plaintext: Plaintext, local: LocalPlaintext) -> None:
        self._plaintext, self._local = plaintext, local
        self._seen: set[tuple[bytes, Payload | None]] = set()
        self._manifests: set[bytes] = set()
        self.blocks: set[Cid] = set()
        self.ends: dict[Cid, int] = {}

    def add(self, manifest: Manifest, row: int, depth: int) -> bool:
        """Add a chunk and all bases below it; False for one whose plaintext should be here."""
        self._read(manifest)
        chunk = manifest.chunks[row]
        if self._local.seems_here(Digest(manifest.algorithm, chunk.digest)):
            return False
        way = chunk.digest, chunk.payload
        if way in self._seen:
            return True
        self._seen.add(way)
        self.blocks.update(payload.block for payload in (chunk.payload, chunk.factors) if payload)
        self._add_base(manifest, chunk, depth)
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
        if manifest.content_root in self._manifests:
            return
        self._manifests.add(manifest.content_root)
        for chunk in manifest.chunks:
            for payload in (chunk.payload, chunk.factors):
                if payload is not None:
                    end = payload.offset + payload.size
                    self.ends[payload.block] = max(end, self.ends.get(payload.block, 0))
