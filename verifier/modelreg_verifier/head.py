"""The head that a node has seen and never goes below. Specified in docs/spec/ledger.md, section 7.

Pure: rules over values, no clock, no file, no network. The numbers in the comments are those of the
section's checks. A state machine of this kind: python-tuf's trusted metadata set.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

from modelreg.errors import FormatError, InputError, UnreachableError, VerificationError
from modelreg.format.json_depth import require_shallow
from modelreg.format.names import ReleaseId, check_branch
from modelreg.format.release import Release

__all__ = ["BranchHead", "HeadPolicy", "ObservedBlock", "TrustedHead"]

_SCHEMA = "modelreg/trusted-head/1"
_JSON_MAX = 8 << 20
_NUMBER_MAX = 2**63 - 1
_BLOCKS_PER_SECOND = 100
_AGAIN = "use another RPC; if the chain was made anew on purpose, remove the node's state of this ledger"


@dataclass(frozen=True, slots=True)
class ObservedBlock:
    """A verified header and what it belongs to.

    `hash_at_seen` is the hash that the endpoint gives now for the block number that was seen last, if
    it was asked.
    """

    chain_id: int
    contract: bytes
    genesis: bytes
    number: int
    hash: bytes
    parent_hash: bytes
    time: int
    hash_at_seen: bytes | None = None


@dataclass(frozen=True, slots=True)
class HeadPolicy:
    """What a node puts up with.

    Args:
        replaceable: how many of the newest blocks may still be replaced by a reorganisation; 0 where the
            block that is read is final, as on the embedded chain.
        max_age: seconds after which a head is taken for frozen; None where blocks come on demand.
        max_ahead: seconds that a block's time may be ahead of the clock; None where the times of blocks
            may outrun it, as on the embedded chain.
    """

    replaceable: int = 0
    max_age: int | None = None
    max_ahead: int | None = 900


@dataclass(frozen=True, slots=True)
class BranchHead:
    """The newest release seen on a branch; `model` is the id of 32 bytes."""

    model: bytes
    branch: str
    release: ReleaseId
    seq: int


@dataclass(frozen=True, slots=True)
class TrustedHead:
    """What was seen and accepted: one chain, its highest block, and the heads of the branches followed."""

    chain_id: int
    contract: bytes
    genesis: bytes
    number: int
    hash: bytes
    time: int
    branches: tuple[BranchHead, ...] = ()

    @classmethod
    def first(cls, block: ObservedBlock, policy: HeadPolicy, now: int) -> Self:
        """Trust on first use; `now` is unix seconds. Raises VerificationError, UnreachableError."""
        _require_plausible_time(block, policy, now)
        return cls(block.chain_id, block.contract, block.genesis, block.number, block.hash, block.time)

    def advance(self, block: ObservedBlock, policy: HeadPolicy, now: int) -> Self:
        """Accept a block. The highest one is kept, so that many small steps back are not a rollback.

        Raises VerificationError if the block breaks a rule, UnreachableError if it is too old.
        """
        self._require_same_chain(block)
        self._require_no_rollback(block, policy)
        self._require_no_fast_forward(block)
        self._require_no_reorg(block, policy)
        _require_plausible_time(block, policy, now)
        if block.number < self.number:
            return self
        return replace(self, number=block.number, hash=block.hash, time=block.time)

    def branch(self, model: bytes, branch: str) -> BranchHead | None:
        """What was seen on a branch."""
        found = (head for head in self.branches if (head.model, head.branch) == (model, branch))
        return next(found, None)

    def advance_branch(self, model: bytes, branch: str, lineage: Sequence[Release]) -> Self:
        """Accept the head of a branch.

        Args:
            model: the model's id.
            branch: the branch's label.
            lineage: the head, its parent and so on, down to the release seen before (inclusive); for a
                branch not seen before the head alone; empty if the ledger has no such branch.

        Raises VerificationError for a rollback or a head that does not descend from the one seen.
        """
        seen = self.branch(model, branch)
        if not lineage:
            if seen is not None:
                raise _broken("rollback: a branch is gone", expected=seen.release, found="no head")
            return self
        head = BranchHead(model, branch, lineage[0].release_id, lineage[0].seq)
        if lineage[0].model != model or lineage[0].branch != branch:
            raise _broken("the head belongs to another branch", branch, lineage[0].branch)
        if seen is not None:
            _require_descent(seen, head, lineage)
        others = (old for old in self.branches if old != seen)
        return replace(self, branches=tuple(sorted((*others, head), key=_branch_key)))

    def to_json(self) -> str:
        """The one text of this state."""
        document = {
            "branches": [
                {"branch": h.branch, "model": h.model.hex(), "release": str(h.release), "seq": h.seq}
                for h in self.branches
            ],
            "chain_id": self.chain_id,
            "contract": self.contract.hex(),
            "genesis": self.genesis.hex(),
            "hash": self.hash.hex(),
            "number": self.number,
            "schema": _SCHEMA,
            "time": self.time,
        }
        return json.dumps(document, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Raises FormatError for any other text."""
        try:
            require_shallow(text.encode(), "the state of the trusted head")
            state = cls._from_document(json.loads(text) if len(text) <= _JSON_MAX else None)
            same = state.to_json() == text
        except (ValueError, KeyError, TypeError, InputError, FormatError):
            same = False
        if not same:
            raise FormatError("the state of the trusted head", expected=f"the canonical JSON of {_SCHEMA}")
        return state

    @classmethod
    def _from_document(cls, document: Any) -> Self:
        branches = tuple(
            BranchHead(
                _unhex(entry["model"], 32),
                check_branch(entry["branch"]),
                ReleaseId.parse(entry["release"]),
                _number(entry["seq"]),
            )
            for entry in document["branches"]
        )
        keys = [_branch_key(head) for head in branches]
        if keys != sorted(set(keys)):
            raise ValueError("branches")
        return cls(
            _number(document["chain_id"]),
            _unhex(document["contract"], 20),
            _unhex(document["genesis"], 32),
            _number(document["number"]),
            _unhex(document["hash"], 32),
            _number(document["time"]),
            branches,
        )

    def _require_same_chain(self, block: ObservedBlock) -> None:
        # Checks 1 to 3.
        if block.chain_id != self.chain_id:
            raise _broken("another chain", self.chain_id, block.chain_id)
        if block.genesis != self.genesis:
            raise _broken(
                "another chain with the same id: its genesis", self.genesis.hex(), block.genesis.hex()
            )
        if block.contract != self.contract:
            raise _broken("another contract", self.contract.hex(), block.contract.hex())

    def _require_no_rollback(self, block: ObservedBlock, policy: HeadPolicy) -> None:
        # Check 4.
        lowest = self.number - policy.replaceable
        if block.number < lowest:
            raise _broken("rollback: an older block than was seen", f"block {lowest} or later", block.number)

    def _require_no_fast_forward(self, block: ObservedBlock) -> None:
        # Check 5: what is accepted once makes every lower block a rollback.
        elapsed = block.time - self.time
        if block.number > self.number and elapsed < 0:
            raise _broken("fast-forward: a later block with an earlier time", self.time, block.time)
        most = self.number + _BLOCKS_PER_SECOND * (max(elapsed, 0) + 1)
        if block.number > most or block.number > _NUMBER_MAX:
            raise _broken("fast-forward: more blocks than time", f"block {most} or earlier", block.number)

    def _require_no_reorg(self, block: ObservedBlock, policy: HeadPolicy) -> None:
        # Check 6.
        if policy.replaceable > 0:
            return
        now = block.hash_at_seen
        if block.number == self.number:
            now = block.hash
        elif block.number == self.number + 1:
            now = block.parent_hash
        if now is not None and now != self.hash:
            raise _broken(f"reorg: block {self.number} is another one now", self.hash.hex(), now.hex())


def _broken(what: str, expected: object, found: object) -> VerificationError:
    return VerificationError(what, expected=expected, found=found, hint=_AGAIN)


def _require_plausible_time(block: ObservedBlock, policy: HeadPolicy, now: int) -> None:
    # Checks 7 and 8.
    if policy.max_ahead is not None and block.time > now + policy.max_ahead:
        raise VerificationError(
            "fast-forward: a block from the future",
            expected=f"a time of at most {now + policy.max_ahead}",
            found=block.time,
            hint="check this machine's clock; if it is right, use another RPC",
        )
    if policy.max_age is not None and now - block.time > policy.max_age:
        raise UnreachableError(
            "freeze: the newest block that the RPC gives is too old",
            expected=f"at most {policy.max_age} s",
            found=f"{now - block.time} s",
            hint="the RPC may be stuck or cut off: use another one, or check this machine's clock",
        )


def _require_descent(seen: BranchHead, head: BranchHead, lineage: Sequence[Release]) -> None:
    # Checks 9 to 11.
    if head.seq < seen.seq:
        raise _broken(
            f"rollback: the head of branch {seen.branch}", f"{seen.release} (seq {seen.seq})", head.release
        )
    for child, parent in pairwise(lineage):
        if child.parent != parent.release_id or child.seq != parent.seq + 1:
            raise _broken(f"a gap in the lineage of branch {seen.branch}", child.parent, parent.release_id)
    if lineage[-1].release_id != seen.release:
        raise _broken(
            f"the head of branch {seen.branch} does not descend from the one seen",
            f"{seen.release} (seq {seen.seq})",
            lineage[-1].release_id,
        )


def _branch_key(head: BranchHead) -> tuple[bytes, str]:
    return head.model, head.branch


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _NUMBER_MAX:
        raise ValueError("number")
    return value


def _unhex(text: str, size: int) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != size:
        raise ValueError("length")
    return raw
