"""What a sync would fetch, from manifests alone. Nothing is written and no payload is read."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from modelreg.format.cid import Cid
from modelreg.format.digest import Digest
from modelreg.format.manifest import MAX_DEPTH, Chunk, Manifest, Payload
from modelreg.store.multi import MultiStore
from modelreg.store.plaintext import LocalPlaintext, Plaintext

__all__ = ["Estimate", "LookedAt", "estimate"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes of the blocks that are to be fetched, and how the chunks of the copy would come about.

    A block that a release shares with others can be longer than what its manifest names of it.
    """

    bytes: int
    total: int
    reused: int

    @property
    def fetched(self) -> int:
        """Chunks to decode from blocks."""
        return self.total - self.reused


class LookedAt:
    """Gives the blocks of manifests, here or fetched, and keeps them in memory only."""

    def __init__(self, blocks: MultiStore) -> None:
        self._blocks = blocks
        self._lock = threading.Lock()
        self._held: dict[Cid, bytes] = {}
        self.fetched_bytes = 0

    @property
    def name(self) -> str:
        """For messages."""
        return self._blocks.name

    def get(self, cid: Cid) -> bytes:
        """Give a verified block. Raises NotFoundError if nobody has it."""
        with self._lock:
            held = self._held.get(cid)
        if held is not None:
            return held
        block, was_here = self._blocks.find(cid)
        with self._lock:
            if not was_here and cid not in self._held:
                self.fetched_bytes += len(block)
            self._held[cid] = block
        return block

    def has(self, cid: Cid) -> bool:
        """Whether the block is here or elsewhere."""
        return self._blocks.has(cid)


def estimate(
    manifest: Manifest, rows: Iterable[int], source: LookedAt, store: MultiStore, local: LocalPlaintext
) -> Estimate:
    """Find out what `copy_release` would fetch.

    Args:
        manifest: the release, verified against the ledger, and read from `source`.
        rows: the chunk rows to copy.
        source: counts what it fetches of manifests; those of bases are read too.
        store: tells which blocks are here.
        local: plaintext on this machine.

    Raises:
        FormatError, VerificationError, NotFoundError: of the manifests of bases.
    """
    need = _Need(Plaintext(source), local)
    wanted = list(rows)
    reused = sum(not need.add(manifest, row, MAX_DEPTH) for row in wanted)
    missing = sum(size for cid, size in need.blocks.items() if not store.holds(cid))
    return Estimate(source.fetched_bytes + missing, len(wanted), reused)


class _Need:
    """The blocks that decoding takes, each with the end of what is named of it."""

    def __init__(self, plaintext: Plaintext, local: LocalPlaintext) -> None:
        self._plaintext, self._local = plaintext, local
        self._seen: set[tuple[bytes, Payload | None]] = set()
        self.blocks: dict[Cid, int] = {}

    def add(self, manifest: Manifest, row: int, depth: int) -> bool:
        """Add a chunk and all bases below it; False for one whose plaintext should be here."""
        chunk = manifest.chunks[row]
        if self._local.knows(Digest(manifest.algorithm, chunk.digest)):
            return False
        way = chunk.digest, chunk.payload
        if way in self._seen:
            return True
        self._seen.add(way)
        for payload in (chunk.payload, chunk.factors):
            if payload is not None:
                self._extend(payload)
        self._add_base(manifest, chunk, depth)
        return True

    def _add_base(self, manifest: Manifest, chunk: Chunk, depth: int) -> None:
        if chunk.base is None or depth == 0:
            return
        at = chunk.base
        parent = self._plaintext.manifest(manifest.bases[at.base].manifest)
        for row in parent.covering(at.file, at.offset, at.length):
            self.add(parent, row, depth - 1)

    def _extend(self, payload: Payload) -> None:
        end = payload.offset + payload.size
        self.blocks[payload.block] = max(end, self.blocks.get(payload.block, 0))
