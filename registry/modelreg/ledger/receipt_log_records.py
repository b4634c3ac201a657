"""What ReceiptLog's storage words mean. Specified in docs/spec/receipt-log.md, section 8. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from modelreg.errors import FormatError
from modelreg.format.batch import Batch
from modelreg.format.digest import keccak256
from modelreg.ledger.layout import fields

__all__ = [
    "ATTACHMENTS_MAX",
    "ENDPOINT_BYTES_MAX",
    "AnchoredBatch",
    "Challenge",
    "ChallengeState",
    "Enrolment",
    "Node",
    "Status",
    "challenge_of",
    "enrolment_of",
    "hash_of_words",
    "node_of",
    "place_id",
]

ENDPOINT_BYTES_MAX = 256
ATTACHMENTS_MAX = 256
"""How many digests of an account and release are read."""


class Status(IntEnum):
    """Where an account stands as a node."""

    UNKNOWN = 0
    ACTIVE = 1
    EXITING = 2
    EXITED = 3
    EXPELLED = 4


class ChallengeState(IntEnum):
    """What became of a challenge."""

    NONE = 0
    OPEN = 1
    ANSWERED = 2
    MISSED = 3


@dataclass(frozen=True, slots=True)
class Node:
    """A node's standing.

    Attributes:
        address: 20 bytes.
        status: never UNKNOWN, but for an account that was expelled without having registered.
        endpoint: where it serves, by its own word; any text of at most 256 bytes: check it, escape it.
        bond: what can be slashed, in wei.
        batches: how many it anchored.
        epoch: of the last batch.
        next_seq: the seq after the last one that is anchored.
        open_challenges: how many wait.
        registered_at: Unix seconds; 0 for an account that never registered.
        exitable_at: when the bond may be taken out; None unless EXITING.
    """

    address: bytes
    status: Status
    endpoint: str
    bond: int
    batches: int
    epoch: int
    next_seq: int
    open_challenges: int
    registered_at: int
    exitable_at: int | None


def place_id(node: bytes, index: int, seq: int) -> bytes:
    """What names a place in a batch where a receipt has its digest: docs/spec/receipt-log.md, section 5."""
    return keccak256(node.rjust(32, b"\0") + index.to_bytes(32, "big") + seq.to_bytes(32, "big"))


def hash_of_words(words: Sequence[int | bytes]) -> bytes:
    """The batch hash, whatever the seven words say."""
    whole = (word.to_bytes(32, "big") if isinstance(word, int) else word for word in words)
    return keccak256(b"".join(whole))


@dataclass(frozen=True, slots=True)
class AnchoredBatch:
    """A batch and where the ledger has it: its place among the node's, its block, that block's Unix time.

    Nothing is known of it before `ReceiptLogView.require_batch`.
    """

    batch: Batch
    index: int
    block: int
    anchored_at: int

    def __post_init__(self) -> None:
        places = (self.index, 64), (self.block, 64), (self.anchored_at, 40)
        if not all(0 <= number >> bits == 0 for number, bits in places):
            raise FormatError("place of a batch", expected="words of the contract", found=places)

    @property
    def words(self) -> tuple[int | bytes, ...]:
        """The seven words, in their order."""
        batch = self.batch
        place = self.index, batch.epoch, batch.first, batch.count
        return (*place, batch.root, self.block, self.anchored_at)

    @property
    def hash(self) -> bytes:
        """keccak256 of the seven words."""
        return hash_of_words(self.words)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """From when on, and until when, a node's batches are under a policy, in Unix seconds."""

    since: int
    until: int | None

    def covers(self, anchored_at: int) -> bool:
        """Whether a batch of this time is judged."""
        return self.since <= anchored_at and (self.until is None or anchored_at < self.until)


@dataclass(frozen=True, slots=True)
class Challenge:
    """Who challenged a receipt or place, until when (Unix seconds) it can be answered, what became of it."""

    challenger: bytes
    deadline: int
    state: ChallengeState


def _one_of(kind: type[IntEnum], number: int) -> IntEnum:
    try:
        return kind(number)
    except ValueError:
        raise FormatError(f"{kind.__name__} on the ledger", found=number) from None


def node_of(address: bytes, standing: int, bond: int, endpoint: bytes) -> Node | None:
    """Read a node's words; None for an account that never was one."""
    epoch, next_seq, batches, registered_at, exitable_at, status = fields(standing, 64, 64, 40, 40, 40, 8)
    amount, challenges = fields(bond, 128, 64)
    if standing == 0:
        return None
    return Node(
        address=address,
        status=Status(_one_of(Status, status)),
        endpoint=endpoint.decode("utf-8", "replace"),
        bond=amount,
        batches=batches,
        epoch=epoch,
        next_seq=next_seq,
        open_challenges=challenges,
        registered_at=registered_at,
        exitable_at=exitable_at or None,
    )


def enrolment_of(word: int) -> Enrolment | None:
    """Read an enrolment's word; None if the node never enrolled."""
    since, until = fields(word, 40, 40)
    return Enrolment(since, until or None) if since else None


def challenge_of(word: int) -> Challenge | None:
    """Read a challenge's word; None if the receipt was never challenged."""
    challenger, deadline, state = fields(word, 160, 40, 8)
    if state == ChallengeState.NONE:
        return None
    return Challenge(challenger.to_bytes(20, "big"), deadline, ChallengeState(_one_of(ChallengeState, state)))
