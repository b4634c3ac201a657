"""The head that a node has seen and never goes below. Specified in docs/spec/ledger.md, section 7.

Pure: rules over values, no clock, no file, no network. The numbers in the comments are those of the
section's checks. A state machine of this kind: python-tuf's trusted metadata set.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from modelreg.errors import UnreachableError, VerificationError
from modelreg.format.release import Release
from modelreg_verifier.head_record import NUMBER_MAX, BranchHead, TrustedHead, branch_key

__all__ = ["HeadPolicy", "ObservedBlock", "advance", "advance_branch", "first"]

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


def first(block: ObservedBlock, policy: HeadPolicy, now: int) -> TrustedHead:
    """Trust on first use; `now` is unix seconds. Raises VerificationError, UnreachableError."""
    _require_plausible_time(block, policy, now)
    return TrustedHead(block.chain_id, block.contract, block.genesis, block.number, block.hash, block.time)


def advance(seen: TrustedHead, block: ObservedBlock, policy: HeadPolicy, now: int) -> TrustedHead:
    """Accept a block. The highest one is kept, so that many small steps back are not a rollback.

    Raises VerificationError if the block breaks a rule, UnreachableError if it is too old.
    """
    _require_same_chain(seen, block)
    _require_no_rollback(seen, block, policy)
    _require_no_fast_forward(seen, block, policy)
    _require_no_reorg(seen, block, policy)
    _require_plausible_time(block, policy, now)
    if block.number < seen.number:
        return seen
    return replace(seen, number=block.number, hash=block.hash, time=block.time)


def advance_branch(seen: TrustedHead, model: bytes, branch: str, lineage: Sequence[Release]) -> TrustedHead:
    """Accept the head of a branch.

    Args:
        seen: what was accepted before.
        model: the model's id.
        branch: the branch's label.
        lineage: the head, its parent and so on, down to the release seen before (inclusive); for a
            branch not seen before the head alone; empty if the ledger has no such branch.

    Raises VerificationError for a rollback or a head that does not descend from the one seen.
    """
    known = seen.branch(model, branch)
    if not lineage:
        if known is not None:
            raise _broken("rollback: a branch is gone", expected=known.release, found="no head")
        return seen
    head = BranchHead(model, branch, lineage[0].release_id, lineage[0].seq)
    if lineage[0].model != model or lineage[0].branch != branch:
        raise _broken("the head belongs to another branch", branch, lineage[0].branch)
    if known is not None:
        _require_descent(known, head, lineage)
    others = (old for old in seen.branches if old != known)
    return replace(seen, branches=tuple(sorted((*others, head), key=branch_key)))


def _require_same_chain(seen: TrustedHead, block: ObservedBlock) -> None:
    # Checks 1 to 3.
    if block.chain_id != seen.chain_id:
        raise _broken("another chain", seen.chain_id, block.chain_id)
    if block.genesis != seen.genesis:
        raise _broken("another chain with the same id: its genesis", seen.genesis.hex(), block.genesis.hex())
    if block.contract != seen.contract:
        raise _broken("another contract", seen.contract.hex(), block.contract.hex())


def _require_no_rollback(seen: TrustedHead, block: ObservedBlock, policy: HeadPolicy) -> None:
    # Check 4.
    lowest = seen.number - policy.replaceable
    if block.number < lowest:
        raise _broken("rollback: an older block than was seen", f"block {lowest} or later", block.number)


def _require_no_fast_forward(seen: TrustedHead, block: ObservedBlock, policy: HeadPolicy) -> None:
    # Check 5: what is accepted once makes every lower block a rollback.
    elapsed = block.time - seen.time
    # A branch that replaces the block that was seen may be longer, and earlier.
    if policy.replaceable == 0 and block.number > seen.number and elapsed < 0:
        raise _broken("fast-forward: a later block with an earlier time", seen.time, block.time)
    most = seen.number + _BLOCKS_PER_SECOND * (max(elapsed, 0) + 1)
    if block.number > most or block.number > NUMBER_MAX:
        raise _broken("fast-forward: more blocks than time", f"block {most} or earlier", block.number)


def _require_no_reorg(seen: TrustedHead, block: ObservedBlock, policy: HeadPolicy) -> None:
    # Check 6.
    if policy.replaceable > 0:
        return
    now = block.hash_at_seen
    if block.number == seen.number:
        now = block.hash
    elif block.number == seen.number + 1:
        now = block.parent_hash
    if now is not None and now != seen.hash:
        raise _broken(f"reorg: block {seen.number} is another one now", seen.hash.hex(), now.hex())


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
