"""What convicts a node and what auditors say, brought before the receipt log so that a retry does it once.

Specified in docs/spec/receipt-log.md, sections 4, 6 and 11.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from modelreg.format.digest import keccak256
from modelreg.format.receipt import Domain, SignedReceipt
from modelreg.format.receipt import Receipt as NodeReceipt
from modelreg.format.signature import recover
from modelreg.ledger.artifact import load_artifact
from modelreg.ledger.endpoint import Receipt
from modelreg.ledger.receipt_log_policy import Outcome, Verdict
from modelreg.ledger.receipt_log_records import AnchoredBatch, Status
from modelreg.ledger.receipt_log_view import ReceiptLogView
from modelreg.ledger.receipt_log_writer import apply_to_log, receipt_struct
from modelreg.ledger.writer import Writer

__all__ = ["Evidence", "Vote", "receipt_domain", "reporter_salt"]

_SALT_TAG = keccak256(b"modelreg/reporter-salt/1")
# Where an endpoint estimates on top of the announcement's own block, it leaves out that the reporter is paid.
_PAYMENT_GAS = 30_000


@dataclass(frozen=True, slots=True)
class Vote:
    """What differs between the verdicts of a quorum: report, time, and the auditor's signature (65 bytes)."""

    report: bytes
    issued_at: int
    signature: bytes


def receipt_domain(chain_id: int) -> Domain:
    """The EIP-712 domain of receipts and verdicts on a chain."""
    return Domain(chain_id, load_artifact("ReceiptLog").address)


def reporter_salt(secret: bytes, first: bytes, second: bytes) -> bytes:
    """The salt of an announcement, which nobody can guess who lacks the reporter's key of 32 bytes.

    It is the same at every try, so that a retry after a crash finds its own announcement.
    """
    return keccak256(_SALT_TAG + secret + first + second)


class Evidence:
    """One account's verdicts and slashes; `chain_id` is that of the writer's chain.

    A call whose effect is there already, whoever brought it about, sends nothing.
    """

    def __init__(self, writer: Writer, chain_id: int) -> None:
        self._writer = writer
        self._domain = receipt_domain(chain_id)
        self.account = writer.account

    def record_verdict(self, verdict: Verdict, signature: bytes) -> Receipt | None:
        """Put an auditor's verdict on record. Raises VerificationError for no signature in canonical form."""
        digest = verdict.digest(self._domain)
        auditor = recover(digest, signature)
        return self._apply(
            "recordVerdict",
            [verdict.arguments, signature],
            lambda log: log.recorded_at(digest, auditor) is not None,
        )

    def slash_by_quorum(
        self,
        policy: bytes,
        outcome: Outcome,
        receipt: NodeReceipt,
        anchored: AnchoredBatch,
        proof: Sequence[bytes],
        votes: Sequence[Vote],
    ) -> Receipt | None:
        """Take the policy's penalty for FAIL or WITHHELD from the bond of the receipt's node.

        Raises NotFoundError for an unknown policy, VerificationError for a vote that nobody signed.
        """
        digest = receipt.digest(self._domain)
        about = Verdict(policy, digest, receipt.node, outcome, bytes(32), 0)
        arguments = [
            policy,
            int(outcome),
            receipt_struct(receipt),
            anchored.words,
            list(proof),
            self._ordered(about, votes),
        ]

        def is_done(log: ReceiptLogView) -> bool:
            return log.charged(policy, digest) >= log.require_policy(policy).penalty_of(outcome)

        return self._apply("slashByQuorum", arguments, is_done)

    def slash_equivocation(self, first: SignedReceipt, second: SignedReceipt, salt: bytes) -> Receipt | None:
        """Announce two receipts for one place, then expel the node that signed both.

        `salt` is `reporter_salt` over the two digests.
        """
        digests = first.verify(self._domain), second.verify(self._domain)
        arguments = [
            receipt_struct(first.receipt),
            first.signature,
            receipt_struct(second.receipt),
            second.signature,
            salt,
        ]
        return self._expel("slashEquivocation", first.receipt.node, arguments, digests, salt)

    def slash_misanchored(
        self,
        signed: SignedReceipt,
        anchored: AnchoredBatch,
        digest: bytes,
        proof: Sequence[bytes],
        salt: bytes,
    ) -> Receipt | None:
        """Announce that a batch holds `digest` in a signed receipt's place, then expel the node.

        `salt` is `reporter_salt` over the receipt's digest and `digest`.
        """
        digests = signed.verify(self._domain), digest
        where = anchored.words, digest, list(proof)
        arguments = [receipt_struct(signed.receipt), signed.signature, *where, salt]
        return self._expel("slashMisanchored", signed.receipt.node, arguments, digests, salt)

    def _expel(
        self, function: str, node: bytes, arguments: list[Any], digests: tuple[bytes, bytes], salt: bytes
    ) -> Receipt | None:
        def is_done(log: ReceiptLogView) -> bool:
            found = log.node(node)
            return found is not None and found.status is Status.EXPELLED

        commitment = keccak256(b"".join((self.account.rjust(32, b"\0"), *digests, salt)))
        self._apply(
            "announce",
            [commitment],
            lambda log: is_done(log) or log.announced_in(commitment) is not None,
        )
        return self._apply(function, arguments, is_done, spare=_PAYMENT_GAS)

    def _ordered(self, about: Verdict, votes: Sequence[Vote]) -> list[tuple[bytes, int, bytes]]:
        """The votes by their auditors' addresses, as the contract wants them."""

        def auditor(vote: Vote) -> bytes:
            return recover(about.of(vote.report, vote.issued_at).digest(self._domain), vote.signature)

        return [(vote.report, vote.issued_at, vote.signature) for vote in sorted(votes, key=auditor)]

    def _apply(
        self,
        function: str,
        arguments: Sequence[Any],
        is_done: Callable[[ReceiptLogView], bool],
        *,
        spare: int = 0,
    ) -> Receipt | None:
        return apply_to_log(self._writer, function, arguments, is_done, spare=spare)
