"""Which challenges wait for a node, and what answers them from its journal.

Specified in docs/spec/receipt-log.md, sections 5 and 10.
"""

from dataclasses import dataclass

from modelreg.errors import NotFoundError
from modelreg.format.batch import BatchTree
from modelreg.format.receipt import SignedReceipt
from modelreg.ledger.endpoint import Receipt
from modelreg.ledger.receipt_log_batches import find_batch, find_batch_at
from modelreg.ledger.receipt_log_challenges import RESPONSE_SECONDS, Challenges
from modelreg.ledger.receipt_log_open import OpenChallenge, open_challenges
from modelreg.ledger.receipt_log_records import AnchoredBatch
from modelreg.ledger.receipt_log_view import ReceiptLogView
from modelreg_verifier.receipts.records import Anchored, Record, Records

__all__ = ["Answer", "Respondent", "waiting_challenges"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What answers a challenge: the receipt, its batch and place in it, and what opens its commitments."""

    challenge: OpenChallenge
    signed: SignedReceipt
    response: bytes
    anchored: AnchoredBatch
    proof: tuple[bytes, ...]

    def send(self, challenges: Challenges) -> Receipt | None:
        """Answer on the ledger, unless that was done."""
        if self.challenge.place is None:
            return challenges.respond(self.signed.receipt, self.response, self.anchored, self.proof)
        return challenges.respond_place(self.signed, self.anchored, self.proof)


def waiting_challenges(log: ReceiptLogView, records: Records) -> list[OpenChallenge]:
    """What a journal's node can still answer, the most urgent first.

    Among them may be receipts that the journal does not have: it has lost them, or the endpoint lies.

    Raises:
        UnreachableError: the endpoint knows no events.
    """
    node = log.node(records.node)
    unseen = node.open_challenges if node else 0
    now, found = log.header.time, []
    for each in open_challenges(log, records.node, now - RESPONSE_SECONDS) if unseen else ():
        if each.challenge.deadline >= now:
            found.append(each)
        # One of somebody else must not stand for one of this node that is withheld.
        unseen -= each.place is not None or records.knows(each.id)
        if unseen == 0:
            break
    return sorted(found, key=lambda each: each.challenge.deadline)


class Respondent:
    """Makes answers from a journal; keeps the tree of one batch, since challenges often come for one."""

    def __init__(self, log: ReceiptLogView, records: Records) -> None:
        self._log, self._records = log, records
        self._tree: tuple[AnchoredBatch, BatchTree] | None = None

    def answer(self, found: OpenChallenge) -> Answer:
        """What answers a challenge.

        Raises:
            NotFoundError: the journal lacks the receipt, or others of its batch.
        """
        if found.place is None:
            record = self._records.find(found.id)
            anchored = self._batch_of(record)
        else:
            anchored = self._batch_at(found.place[0])
            record = self._record_at(anchored.batch.epoch, found.place[1])
        proof = self._tree_of(anchored).prove(record.signed.receipt.seq)
        return Answer(found, record.signed, record.response, anchored, proof)

    def _record_at(self, epoch: int, seq: int) -> Record:
        page = self._records.page(epoch, seq, 1)
        if not page:
            raise NotFoundError(f"no receipt of epoch {epoch}, seq {seq} in the journal")
        signed = SignedReceipt.from_bytes(page[0])
        return self._records.find(signed.receipt.digest(self._records.domain))

    def _batch_of(self, record: Record) -> AnchoredBatch:
        epoch, seq = record.signed.receipt.epoch, record.signed.receipt.seq
        anchored = self._noted(self._records.batch_of(epoch, seq)) or find_batch(
            self._log, self._records.node, epoch, seq
        )
        if anchored is None:
            raise NotFoundError(f"epoch {epoch}, seq {seq} is in no batch on the ledger")
        return anchored

    def _batch_at(self, index: int) -> AnchoredBatch:
        noted = self._noted(self._records.batch_at(index))
        return noted or find_batch_at(self._log, self._records.node, index)

    def _noted(self, row: Anchored | None) -> AnchoredBatch | None:
        """Where the ledger has a batch, if the journal knows and is right."""
        if row is None or row.position is None or row.block is None or row.at is None:
            return None
        anchored = AnchoredBatch(row.batch, row.position, row.block, row.at)
        return anchored if self._log.holds_batch(anchored) else None

    def _tree_of(self, anchored: AnchoredBatch) -> BatchTree:
        if self._tree is None or self._tree[0] != anchored:
            batch = anchored.batch
            self._tree = anchored, self._records.tree(batch.epoch, batch.first, batch.count)
        return self._tree[1]
