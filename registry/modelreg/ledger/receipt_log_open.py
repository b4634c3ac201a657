"""Finding the open challenges of a node, and their answers: events say where to look, storage decides.

Specified in docs/spec/receipt-log.md, section 10.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from modelreg.errors import FormatError, UnreachableError, VerificationError
from modelreg.format.digest import keccak256
from modelreg.format.receipt import Domain, SignedReceipt
from modelreg.format.signature import SIGNATURE_BYTES
from modelreg.ledger.receipt_log_events import Event, newest_events
from modelreg.ledger.receipt_log_records import AnchoredBatch, Challenge, ChallengeState, place_id
from modelreg.ledger.receipt_log_view import ReceiptLogView

__all__ = ["OpenChallenge", "open_challenges", "shown_receipt"]

_RECEIPT = keccak256(b"Challenged(address,bytes32,address,uint256)")
_PLACE = keccak256(b"PlaceChallenged(address,uint64,uint64,address,uint256)")
_WORDS = {_RECEIPT: 2, _PLACE: 3}
_STRUCT = "(uint16,address,bytes32,bytes32,bytes32,address," + 4 * "bytes32," + 3 * "uint64," + "bytes32)"
_ANSWER = keccak256(f"PlaceAnswered(address,bytes32,{_STRUCT},bytes)".encode())
# Bytes of a receipt's fields; a word each, and two before and three of the signature behind them.
_SIZES = (2, 20, 32, 32, 32, 20, 32, 32, 32, 32, 8, 8, 8, 32)
_ANSWER_WORDS = len(_SIZES) + 5


@dataclass(frozen=True, slots=True)
class OpenChallenge:
    """A challenge that waits for its answer.

    Attributes:
        id: the digest of the receipt, or the id of the place.
        place: index of the batch and seq; None for the challenge of a receipt.
        challenge: proven.
    """

    id: bytes
    place: tuple[int, int] | None
    challenge: Challenge


def open_challenges(log: ReceiptLogView, node: bytes, oldest: int = 0) -> Iterator[OpenChallenge]:
    """A node's open challenges, as far as the endpoint shows them, newest first.

    That each is open is proven, and that one of a place is the node's. Whose receipt has a digest, only the
    receipt proves; how many there are, `Node.open_challenges`.

    Args:
        log: where to read.
        node: an address.
        oldest: Unix time; challenges that were opened before are left out.

    Raises:
        FormatError: the endpoint gives what are no such events.
        UnreachableError: it knows no events.
    """
    seen = set()
    for event in newest_events(log, node, _WORDS, oldest):
        found = _named(node, event)
        if found is None or found[0] in seen:
            continue
        seen.add(found[0])
        challenge = log.challenge(found[0])
        if challenge is not None and challenge.state is ChallengeState.OPEN:
            yield OpenChallenge(*found, challenge)


def shown_receipt(log: ReceiptLogView, anchored: AnchoredBatch, seq: int, domain: Domain) -> SignedReceipt:
    """The receipt that answered the challenge of a place, its signature checked.

    Raises:
        UnreachableError: the endpoint does not show it.
    """
    batch = anchored.batch
    for event in newest_events(log, batch.node, {_ANSWER: _ANSWER_WORDS}, anchored.anchored_at):
        with suppress(FormatError, VerificationError):
            signed = _signed(event)
            receipt = signed.receipt
            if (receipt.node, receipt.epoch, receipt.seq) == (batch.node, batch.epoch, seq):
                signed.verify(domain)
                return signed
    raise UnreachableError(
        f"{log.rpc.name} does not show the receipt of epoch {batch.epoch}, seq {seq}",
        hint="use an RPC that keeps all events",
    )


def _signed(event: Event) -> SignedReceipt:
    """What the event says, cut to the fields' sizes; the signature is over that."""
    words = [word.to_bytes(32, "big") for word in event.words]
    fields = zip(words, _SIZES, strict=False)
    packed = b"".join(word[-size:] for word, size in fields)
    return SignedReceipt.from_bytes(packed + b"".join(words[-3:])[:SIGNATURE_BYTES])


def _named(node: bytes, event: Event) -> tuple[bytes, tuple[int, int] | None] | None:
    if event.signature == _RECEIPT:
        return event.key, None
    place = int.from_bytes(event.key, "big"), event.words[0]
    return None if max(place) >> 64 else (place_id(node, *place), place)
