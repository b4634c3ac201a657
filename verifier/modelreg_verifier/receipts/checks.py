"""What the ledger says of a receipt. Specified in docs/spec/receipt.md, section 7, checks 8 to 10."""

from dataclasses import dataclass
from enum import StrEnum

from modelreg.errors import NotFoundError, UnreachableError, VerificationError
from modelreg.format.receipt import Domain, Receipt
from modelreg.ledger.receipt_log_view import ReceiptLogView
from modelreg.ledger.view import View
from modelreg_verifier.receipts.inclusion import Inclusion

__all__ = ["LedgerChecks", "Outcome", "check_inclusion", "check_release"]


class Outcome(StrEnum):
    """What became of a check; NOT_YET may still become YES, UNKNOWN was not to be found out."""

    YES = "yes"
    NO = "no"
    NOT_YET = "not yet"
    UNKNOWN = "unknown"

    @classmethod
    def of(cls, holds: bool) -> "Outcome":  # noqa: FBT001  the check itself
        """YES or NO."""
        return cls.YES if holds else cls.NO


@dataclass(frozen=True, slots=True)
class LedgerChecks:
    """Each check that a receipt has to pass to be called anchored.

    Attributes:
        on_ledger: the ledger has its release.
        not_yanked: which was not yanked before `issuedAt`.
        in_batch: the siblings lead from the receipt to the batch's root, in the receipt's place.
        batch_on_ledger: the node anchored this batch.
        final: the anchoring block is final by the reader's rules.
    """

    on_ledger: Outcome
    not_yanked: Outcome
    in_batch: Outcome = Outcome.UNKNOWN
    batch_on_ledger: Outcome = Outcome.UNKNOWN
    final: Outcome = Outcome.UNKNOWN

    @property
    def anchored(self) -> Outcome:
        """YES if all hold, else the worst of them."""
        found = {self.on_ledger, self.not_yanked, self.in_batch, self.batch_on_ledger, self.final}
        order = (Outcome.NO, Outcome.NOT_YET, Outcome.UNKNOWN)
        return next((outcome for outcome in order if outcome in found), Outcome.YES)


def check_release(view: View, receipt: Receipt, *, history: bool = True) -> tuple[Outcome, Outcome]:
    """Check 8: whether the release is on the ledger, and was not yanked before the receipt.

    The state says that a release is yanked, not since when, so older states are asked; `history` is False
    where nobody vouches for those.
    """
    try:
        release = view.existing(receipt.release_id)
    except NotFoundError:
        return Outcome.NO, Outcome.UNKNOWN
    if not release.yanked:
        return Outcome.YES, Outcome.YES
    return Outcome.YES, _yanked_since(view, receipt) if history else Outcome.UNKNOWN


def _yanked_since(view: View, receipt: Receipt) -> Outcome:
    try:
        then = view.before(receipt.issued_at)
        return Outcome.of(then is None or not then.existing(receipt.release_id).yanked)
    except NotFoundError:
        return Outcome.YES  # it was not released yet
    except UnreachableError:
        return Outcome.UNKNOWN


def check_inclusion(
    log: ReceiptLogView, receipt: Receipt, domain: Domain, found: Inclusion, replaceable: int
) -> tuple[Outcome, Outcome, Outcome]:
    """Checks 9 and 10: the proof, the batch on the ledger, and its block.

    Args:
        log: in the block that the reader accepts.
        receipt: whose signature was checked.
        domain: of the receipt.
        found: whoever it comes from.
        replaceable: how many of the newest blocks may still be replaced.
    """
    try:
        found.check(receipt, domain)
        leads = Outcome.YES
    except VerificationError:
        leads = Outcome.NO
    held = Outcome.of(log.holds_batch(found.anchored))
    if held is not Outcome.YES:
        return leads, held, Outcome.UNKNOWN
    is_final = found.anchored.block <= log.header.number - replaceable
    return leads, held, Outcome.YES if is_final else Outcome.NOT_YET
