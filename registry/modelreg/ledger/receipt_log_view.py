"""The receipt log as it stands in one block, all proven: docs/spec/receipt-log.md, section 10."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

from modelreg.errors import FormatError, NotFoundError, VerificationError
from modelreg.format.names import ReleaseId
from modelreg.ledger import receipt_log_layout as layout
from modelreg.ledger.artifact import load_artifact
from modelreg.ledger.header import Header
from modelreg.ledger.layout import array_at, fields, string_from_words, string_slots
from modelreg.ledger.pinned import PinnedState
from modelreg.ledger.receipt_log_policy import AUDITORS_MAX, Policy, policy_of
from modelreg.ledger.receipt_log_records import (
    ATTACHMENTS_MAX,
    ENDPOINT_BYTES_MAX,
    AnchoredBatch,
    Challenge,
    Enrolment,
    Node,
    challenge_of,
    enrolment_of,
    node_of,
    place_id,
)
from modelreg.ledger.rpc import Rpc
from modelreg.ledger.view import View

__all__ = ["ReceiptLogView"]

_LIST_MAX = 1 << 20
_STEP = 64


@dataclass(frozen=True, slots=True)
class ReceiptLogView:
    """Reads at one pinned block. Nothing is cached; look-ups that find nothing give None."""

    state: PinnedState

    @classmethod
    def beside(cls, view: View) -> "ReceiptLogView":
        """The log in the block in which a trusted view reads the registry.

        Raises NotFoundError if the chain has no receipt log, VerificationError if its code is another.
        """
        contract = load_artifact("ReceiptLog")
        state = view.beside(contract.address)
        state.require_code(contract, "deploy it with `modelreg chain deploy`")
        return cls(state)

    @property
    def header(self) -> Header:
        """The verified header of the block that is read."""
        return self.state.header

    @property
    def rpc(self) -> Rpc:
        """The endpoint that is asked; not trusted."""
        return self.state.rpc

    def node(self, address: bytes) -> Node | None:
        """A node's standing."""
        return self._nodes([address])[0]

    def require_node(self, address: bytes) -> Node:
        """A node's standing. Raises NotFoundError for an account that never was one."""
        node = self.node(address)
        if node is None:
            hint = "list the nodes with `modelreg node list`"
            raise NotFoundError(f"0x{address.hex()} is not a node", hint=hint)
        return node

    def nodes(self) -> Iterator[Node]:
        """All nodes, in the order of their first registration."""
        found = self._array(layout.NODE_LIST, _LIST_MAX)
        while words := list(islice(found, _STEP)):
            addresses = [fields(word, 160)[0].to_bytes(20, "big") for word in words]
            for node in self._nodes(addresses):
                if node is None:
                    raise FormatError("list of nodes", found="a node without a record")
                yield node

    def sample_nodes(self, count: int, random: Random) -> list[Node]:
        """At most `count` nodes, drawn without preference."""
        size = min(self._word(layout.NODE_LIST), _LIST_MAX)
        places = random.sample(range(size), min(count, size))
        words = self.state.words([array_at(layout.NODE_LIST, at) for at in places])
        addresses = [fields(word, 160)[0].to_bytes(20, "big") for word in words]
        return [node for node in self._nodes(addresses) if node is not None]

    def balance(self, account: bytes) -> int:
        """What an account may withdraw, in wei."""
        return self._word(layout.balance_slot(account))

    def burned(self) -> int:
        """What slashes locked up for ever, in wei."""
        return self._word(layout.BURNED)

    def batch_hash(self, node: bytes, index: int) -> bytes | None:
        """The hash that is kept of a node's batch."""
        word = self._word(layout.batch_slot(node, index))
        return word.to_bytes(32, "big") if word else None

    def holds_batch(self, anchored: AnchoredBatch) -> bool:
        """Whether these seven words are what the node anchored."""
        return self.batch_hash(anchored.batch.node, anchored.index) == anchored.hash

    def require_batch(self, anchored: AnchoredBatch) -> None:
        """Raise NotFoundError if the node has no batch of this index, VerificationError if it has another."""
        self.require_batch_hash(anchored.batch.node, anchored.index, anchored.hash)

    def require_batch_hash(self, node: bytes, index: int, digest: bytes) -> None:
        """As `require_batch`, for words that nobody has understood yet."""
        found = self.batch_hash(node, index)
        if found is None:
            raise NotFoundError(f"node 0x{node.hex()} has anchored no batch {index}")
        if found != digest:
            raise VerificationError(
                f"batch {index} of node 0x{node.hex()}",
                expected=f"one with the hash 0x{found.hex()}, as the ledger has it",
                found=f"0x{digest.hex()}",
                hint="whoever gave it lies, or the chain reorganised: ask somebody else, or again",
            )

    def policy(self, policy: bytes) -> Policy | None:
        """A policy, its id recomputed."""
        slot = layout.policy_slot(policy)
        *words, size = self.state.words(range(slot, slot + layout.POLICY_WORDS))
        if size > AUDITORS_MAX:
            raise FormatError("auditors on the ledger", expected=f"at most {AUDITORS_MAX}", found=size)
        auditors = self.state.words([array_at(slot + layout.POLICY_WORDS - 1, at) for at in range(size)])
        return policy_of(policy, words, auditors)

    def require_policy(self, policy: bytes) -> Policy:
        """A policy. Raises NotFoundError."""
        found = self.policy(policy)
        if found is None:
            hint = "list a model's policies with `modelreg policy list MODEL`"
            raise NotFoundError(f"policy 0x{policy.hex()} is not on the ledger", hint=hint)
        return found

    def policies(self, model: bytes) -> list[bytes]:
        """The ids of a model's policies, oldest first. `model` is the model's id."""
        return [word.to_bytes(32, "big") for word in self._array(layout.policies_slot(model), _LIST_MAX)]

    def enrolment(self, node: bytes, policy: bytes) -> Enrolment | None:
        """Since when a node is under a policy; an enrolment outlives an exit."""
        return enrolment_of(self._word(layout.enrolment_slot(node, policy)))

    def challenge(self, receipt: bytes) -> Challenge | None:
        """The challenge of a receipt, given by its digest."""
        return challenge_of(self._word(layout.challenge_slot(receipt)))

    def place_challenge(self, node: bytes, index: int, seq: int) -> Challenge | None:
        """The challenge of a place: whoever holds it demands the receipt at `seq` of a node's batch."""
        return self.challenge(place_id(node, index, seq))

    def attachments(self, release: ReleaseId, account: bytes) -> tuple[bytes, ...]:
        """The digests that an account attached to a release, in their order; only the first 256."""
        slot = layout.attachments_slot(bytes(release), account)
        size = min(self._word(slot), ATTACHMENTS_MAX)
        words = self.state.words([array_at(slot, at) for at in range(size)])
        return tuple(word.to_bytes(32, "big") for word in words)

    def charged(self, policy: bytes, receipt: bytes) -> int:
        """What a receipt has cost its node under a policy, in wei."""
        return self._word(layout.charged_slot(policy, receipt))

    def recorded_at(self, verdict: bytes, auditor: bytes) -> int | None:
        """When an auditor's verdict, given by its digest, was recorded, in Unix seconds."""
        return self._word(layout.recorded_slot(verdict, auditor)) or None

    def announced_in(self, commitment: bytes) -> int | None:
        """The number of the block that announced a commitment."""
        return self._word(layout.announced_slot(commitment)) or None

    def _word(self, slot: int) -> int:
        [word] = self.state.words([slot])
        return word

    def _array(self, slot: int, most: int) -> Iterator[int]:
        size = self._word(slot)
        if size > most:
            raise FormatError("list on the ledger", expected=f"at most {most} entries", found=size)
        for start in range(0, size, _STEP):
            yield from self.state.words([array_at(slot, at) for at in range(start, min(start + _STEP, size))])

    def _nodes(self, addresses: Sequence[bytes]) -> list[Node | None]:
        """Several nodes in two steps: their own words, then what of the endpoints did not fit in them."""
        firsts = [layout.node_slot(address) for address in addresses]
        words = self.state.words([slot + at for slot in firsts for at in range(layout.NODE_WORDS)])
        rows = [words[at : at + layout.NODE_WORDS] for at in range(0, len(words), layout.NODE_WORDS)]
        further = [
            string_slots(slot + layout.NODE_WORDS - 1, row[-1], ENDPOINT_BYTES_MAX)
            for slot, row in zip(firsts, rows, strict=True)
        ]
        rest = iter(self.state.words([slot for more in further for slot in more]))
        nodes = []
        for address, (standing, bond, head), more in zip(addresses, rows, further, strict=True):
            endpoint = string_from_words(head, [next(rest) for _ in more])
            nodes.append(node_of(address, standing, bond, endpoint))
        return nodes
