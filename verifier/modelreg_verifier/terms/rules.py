"""By whose word receipts are judged under a policy. Specified in docs/spec/terms.md."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Self

from modelreg.errors import NotPermittedError
from modelreg.format.calibration import Calibration
from modelreg.format.release import Release
from modelreg.format.terms import Terms
from modelreg.ledger.receipt_log_policy import Policy
from modelreg.ledger.receipt_log_records import AnchoredBatch
from modelreg.ledger.receipt_log_view import ReceiptLogView
from modelreg.store.base import BlockSource
from modelreg_verifier.terms.attached import Attached, attached_to, block_of
from modelreg_verifier.terms.duty import Duty

__all__ = ["Rules", "attachments", "require_jurisdiction"]


@dataclass(frozen=True, slots=True)
class Rules:
    """A policy and its terms; those of a policy without terms are its auditors, and not strict."""

    policy: Policy
    terms: Terms

    @classmethod
    def read(cls, log: ReceiptLogView, policy: bytes, blocks: BlockSource) -> Self:
        """Get a policy, given by its id of 32 bytes, and the block of its terms.

        Raises:
            NotFoundError: there is no such policy, or its terms cannot be had.
            VerificationError: its terms are none.
        """
        found = log.require_policy(policy)
        if not any(found.terms):
            return cls(found, Terms(found.auditors))
        return cls(found, Terms.from_bytes(blocks.get(block_of(found.terms))))

    @property
    def parties(self) -> tuple[bytes, ...]:
        """The accounts whose calibrations count, 20 bytes each."""
        return tuple(dict.fromkeys((*self.terms.parties, *self.policy.auditors)))

    def vouched(
        self,
        log: ReceiptLogView,
        release: Release,
        files: Collection[str],
        blocks: BlockSource,
        remark: Callable[[str], None] = lambda _: None,
    ) -> tuple[tuple[Calibration, ...], Duty | None]:
        """The calibrations that count for a release, and what strict terms ask of its receipts.

        Args:
            log: where attachments are listed.
            release: of any model; those of others than the policy's owe nothing.
            files: the paths in it.
            blocks: where attachments are got.
            remark: told what cannot be had.
        """
        found = attachments(log, release, self.parties, files, blocks, remark)
        if not self.terms.strict or release.model != self.policy.model:
            return found.calibrations, None
        own = attachments(log, release, [release.publisher], files, blocks, remark)
        return found.calibrations, Duty.of(own + found, found)


def attachments(
    log: ReceiptLogView,
    release: Release,
    accounts: Collection[bytes],
    files: Collection[str],
    blocks: BlockSource,
    remark: Callable[[str], None] = lambda _: None,
) -> Attached:
    """What accounts, addresses of 20 bytes, attached to a release; arguments as for `Rules.vouched`."""
    release_id = release.release_id
    digests = [digest for account in accounts for digest in log.attachments(release_id, account)]
    return attached_to(release_id, files, digests, blocks, remark)


def require_jurisdiction(log: ReceiptLogView, policy: Policy, anchored: AnchoredBatch) -> None:
    """Raise NotPermittedError unless the node agreed to the policy before it anchored a batch.

    As docs/spec/receipt-log.md, section 6, has it; whether a receipt is of the policy's model is left.
    """
    node = anchored.batch.node
    enrolled = log.enrolment(node, policy.policy_id)
    if enrolled is None or not enrolled.covers(anchored.anchored_at):
        raise NotPermittedError(
            f"batch {anchored.index} of node 0x{node.hex()} is not judged under this policy",
            expected="a node that was enrolled when it anchored the batch",
            hint="see `modelreg policy show` and `modelreg node status`, or audit without --policy",
        )
