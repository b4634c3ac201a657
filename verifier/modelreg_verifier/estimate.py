"""What a sync would fetch, from manifests alone. Nothing is written and no payload is read."""

from collections.abc import Iterable
from dataclasses import dataclass

from modelreg.format.manifest import Manifest
from modelreg.store.multi import MultiStore
from modelreg.store.plaintext import LocalPlaintext, Plaintext
from modelreg_verifier.fetch import FetchingSource
from modelreg_verifier.need import Need

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
    need = Need(Plaintext(source), local)
    wanted = list(rows)
    reused = sum(not need.add(manifest, row) for row in wanted)
    missing = sum(store.length(cid) or need.ends[cid] for cid in need.blocks if not store.holds(cid))
    return Estimate(source.fetched_bytes + missing, len(wanted), reused)
