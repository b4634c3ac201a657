"""Inclusion proofs from a journal, in bounded memory. Specified in docs/spec/openings.md, section 6.

Of a batch's tree only the nodes above every 256 receipts are kept; what lies below one of them is computed
from the journal when a proof passes there.
"""

from collections import OrderedDict
from threading import Lock

from modelreg.errors import NotFoundError
from modelreg.format.batch import receipt_leaf
from modelreg.format.tree import levels, siblings
from modelreg.ledger.receipt_log_records import AnchoredBatch
from modelreg_verifier.receipts.inclusion import Inclusion
from modelreg_verifier.receipts.records import Anchored, Records

__all__ = ["NotAnchoredError", "Proofs"]

_BLOCK = 256
_READ = 16  # blocks at a time
_KEPT = 32  # batches of at most 8,192 nodes: some 20 MB at the worst

_Levels = list[list[bytes]]


class NotAnchoredError(NotFoundError):
    """The receipt is in no batch that the ledger is known to have, yet."""


class Proofs:
    """Proves receipts of a journal. Threads may share it; one at a time computes."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._kept: OrderedDict[tuple[int, int], _Levels] = OrderedDict()
        self._lock = Lock()

    def prove(self, digest: bytes) -> Inclusion:
        """Where a receipt is anchored, as the journal knows it.

        Raises:
            NotAnchoredError: nowhere yet.
            NotFoundError: there is no such receipt, or others of its batch are no longer kept.
        """
        receipt = self._records.find(digest).signed.receipt
        found = self._records.batch_of(receipt.epoch, receipt.seq)
        anchored = None if found is None else _anchored(found)
        if anchored is None:
            raise NotAnchoredError(f"receipt 0x{digest.hex()} is not anchored yet")
        place = receipt.seq - anchored.batch.first
        with self._lock:
            upper = self._upper(anchored)
            number = place // _BLOCK
            [lower] = self._blocks(anchored, number, number + 1)
        path = siblings(lower, place % _BLOCK) + siblings(upper, number)
        return Inclusion(digest, receipt.seq, anchored, path)

    def _upper(self, anchored: AnchoredBatch) -> _Levels:
        key = anchored.batch.epoch, anchored.batch.first
        if key not in self._kept:
            end = -(-anchored.batch.count // _BLOCK)
            tops = [
                below[-1][0]
                for at in range(0, end, _READ)
                for below in self._blocks(anchored, at, min(at + _READ, end))
            ]
            self._kept[key] = levels(tops)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _blocks(self, anchored: AnchoredBatch, begin: int, end: int) -> list[_Levels]:
        """The trees below some nodes, by the nodes' numbers."""
        batch = anchored.batch
        first = batch.first + begin * _BLOCK
        count = min(batch.first + batch.count - first, (end - begin) * _BLOCK)
        leaves = list(map(receipt_leaf, self._records.digests(batch.epoch, first, count)))
        return [levels(leaves[at : at + _BLOCK]) for at in range(0, count, _BLOCK)]


def _anchored(found: Anchored) -> AnchoredBatch | None:
    if found.position is None or found.block is None or found.at is None:
        return None
    return AnchoredBatch(found.batch, found.position, found.block, found.at)
