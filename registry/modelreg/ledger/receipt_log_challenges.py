"""Challenges of receipts and of places, and their answers, each so that a retry does it once.

Specified in docs/spec/receipt-log.md, sections 5 and 11.
"""

from collections.abc import Callable, Sequence
from typing import Any

from modelreg.errors import InputError
from modelreg.format.receipt import Receipt as NodeReceipt
from modelreg.format.receipt import SignedReceipt
from modelreg.ledger.endpoint import Receipt
from modelreg.ledger.hexdata import address_text
from modelreg.ledger.receipt_log_evidence import receipt_domain
from modelreg.ledger.receipt_log_records import AnchoredBatch, Challenge, ChallengeState, place_id
from modelreg.ledger.receipt_log_view import ReceiptLogView
from modelreg.ledger.receipt_log_writer import apply_to_log, receipt_struct
from modelreg.ledger.writer import Writer

__all__ = ["DEPOSIT", "RESPONSE_SECONDS", "Challenges"]

DEPOSIT = 10**16
"""What a challenge costs, in wei."""
RESPONSE_SECONDS = 3 * 86_400
"""How long a node has to answer."""

_RESPONSE_BYTES = 128
_NO_POLICY = bytes(32)


class Challenges:
    """One account's challenges and answers; `chain_id` is that of the writer's chain.

    A call whose effect is there already, whoever brought it about, sends nothing.
    """

    def __init__(self, writer: Writer, chain_id: int) -> None:
        self._writer = writer
        self._domain = receipt_domain(chain_id)
        self.account = writer.account

    def challenge(
        self, signed: SignedReceipt, anchored: AnchoredBatch, policy: bytes = _NO_POLICY
    ) -> Receipt | None:
        """Demand proof and opening of a receipt, for a deposit.

        `policy` names the one whose auditor this account is; of no matter where the receipt's client is
        nobody or this account.
        """
        digest = signed.verify(self._domain)
        arguments = [receipt_struct(signed.receipt), signed.signature, anchored.words, policy]
        return self._open("challenge", arguments, digest)

    def respond(
        self, receipt: NodeReceipt, response: bytes, anchored: AnchoredBatch, proof: Sequence[bytes]
    ) -> Receipt | None:
        """Answer the challenge of a receipt; `response` are the 128 bytes that the journal keeps for it."""
        if len(response) != _RESPONSE_BYTES:
            raise InputError(
                "answer to a challenge", expected=f"{_RESPONSE_BYTES} bytes", found=len(response)
            )
        opening = tuple(response[at : at + 32] for at in range(0, _RESPONSE_BYTES, 32))
        arguments = [receipt_struct(receipt), opening, anchored.words, list(proof)]
        return self._answer("respond", arguments, receipt.digest(self._domain))

    def slash_timeout(self, receipt: NodeReceipt) -> Receipt | None:
        """Slash the whole bond of a node that let the deadline of a receipt's challenge pass."""
        return self._slash("slashTimeout", [receipt_struct(receipt)], receipt.digest(self._domain))

    def challenge_place(self, anchored: AnchoredBatch, seq: int) -> Receipt | None:
        """Demand the signed receipt that stands at `seq` in a batch of its node, for a deposit."""
        node = anchored.batch.node
        arguments = [address_text(node), anchored.words, seq]
        return self._open("challengePlace", arguments, place_id(node, anchored.index, seq))

    def respond_place(
        self, signed: SignedReceipt, anchored: AnchoredBatch, proof: Sequence[bytes]
    ) -> Receipt | None:
        """Answer the challenge of a place with the receipt that stands there."""
        receipt = signed.receipt
        arguments = [receipt_struct(receipt), signed.signature, anchored.words, list(proof)]
        return self._answer("respondPlace", arguments, place_id(receipt.node, anchored.index, receipt.seq))

    def slash_place_timeout(self, node: bytes, index: int, seq: int) -> Receipt | None:
        """Slash the whole bond of a node that let the deadline of a place's challenge pass."""
        arguments = [address_text(node), index, seq]
        return self._slash("slashPlaceTimeout", arguments, place_id(node, index, seq))

    def _open(self, function: str, arguments: Sequence[Any], challenged: bytes) -> Receipt | None:
        is_done = _when(challenged, lambda found: found.challenger == self.account)
        return apply_to_log(self._writer, function, arguments, is_done, value=DEPOSIT)

    def _answer(self, function: str, arguments: Sequence[Any], challenged: bytes) -> Receipt | None:
        is_done = _when(challenged, lambda found: found.state is ChallengeState.ANSWERED)
        return apply_to_log(self._writer, function, arguments, is_done)

    def _slash(self, function: str, arguments: Sequence[Any], challenged: bytes) -> Receipt | None:
        def due(log: ReceiptLogView) -> int | None:
            found = log.challenge(challenged)
            return found.deadline + 1 if found else None

        is_done = _when(challenged, lambda found: found.state is ChallengeState.MISSED)
        return apply_to_log(self._writer, function, arguments, is_done, due=due)


def _when(challenged: bytes, holds: Callable[[Challenge], bool]) -> Callable[[ReceiptLogView], bool]:
    """Whether there is the challenge of a digest or place, and it is so."""

    def is_done(log: ReceiptLogView) -> bool:
        found = log.challenge(challenged)
        return found is not None and holds(found)

    return is_done
