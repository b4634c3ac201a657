"""Finding the open challenges of a node: events say where to look, storage decides.

Specified in docs/spec/receipt-log.md, section 10.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from modelreg.format.digest import keccak256
from modelreg.ledger.receipt_log_events import Event, newest_events
from modelreg.ledger.receipt_log_records import Challenge, ChallengeState, place_id
from modelreg.ledger.receipt_log_view import ReceiptLogView

__all__ = ["OpenChallenge", "open_challenges"]

_RECEIPT = keccak256(b"Challenged(address,bytes32,address,uint256)")
_PLACE = keccak256(b"PlaceChallenged(address,uint64,uint64,address,uint256)")
_WORDS = {_RECEIPT: 2, _PLACE: 3}


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


def _named(node: bytes, event: Event) -> tuple[bytes, tuple[int, int] | None] | None:
    if event.signature == _RECEIPT:
        return event.key, None
    place = int.from_bytes(event.key, "big"), event.words[0]
    return None if max(place) >> 64 else (place_id(node, *place), place)
