"""The shape of our Merkle trees: RFC 9162 over keccak-256. Specified in docs/spec/content.md, section 5.

Leaves are paired level by level and an odd last node moves up unhashed, so a proof binds the position. Leaves
are hashes already, and each kind of tree seals its top together with the number of leaves.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

from modelreg.errors import FormatError, VerificationError
from modelreg.format.digest import DIGEST_BYTES, keccak256

__all__ = ["climb", "levels", "siblings", "top"]

_NODE = b"\x01"
_BATCH = 4096


def top(leaves: Iterable[bytes]) -> tuple[int, bytes]:
    """The number of leaf hashes and the node above them all; no bytes where there is no leaf.

    Memory grows with the logarithm of their number.
    """
    remaining, count = iter(leaves), 0
    left: list[tuple[int, bytes]] = []
    while batch := list(islice(remaining, _BATCH)):
        count += len(batch)
        _append(left, len(batch), levels(batch)[-1][0])
    if not left:
        return 0, b""
    node = left.pop()[1]
    while left:
        node = keccak256(_NODE + left.pop()[1] + node)
    return count, node


def _append(left: list[tuple[int, bytes]], leaves: int, node: bytes) -> None:
    """Add a subtree to those that stand so far, ever smaller from left to right; equal ones become one."""
    while left and left[-1][0] == leaves:
        node = keccak256(_NODE + left.pop()[1] + node)
        leaves *= 2
    left.append((leaves, node))


def levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All nodes of a tree, from the leaf hashes up to the level of one."""
    level = list(leaves)
    all_levels = [level]
    while len(level) > 1:
        paired = [keccak256(_NODE + level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(level) - len(level) % 2 :]
        all_levels.append(level)
    return all_levels


def siblings(nodes: Sequence[Sequence[bytes]], index: int) -> tuple[bytes, ...]:
    """The proof of leaf `index` in the tree with these levels: the sibling hashes from the leaf up.

    Raises:
        FormatError: there is no such leaf.
    """
    if not 0 <= index < len(nodes[0]):
        raise FormatError("inclusion proof", expected=f"an index below {len(nodes[0])}", found=index)
    places = ((level, (index >> height) ^ 1) for height, level in enumerate(nodes))
    return tuple(level[place] for level, place in places if place < len(level))


def climb(leaf: bytes, index: int, count: int, proof: Sequence[bytes]) -> bytes:
    """The top that a proof leads to from leaf `index` of `count` (RFC 9162, section 2.1.3.2).

    Raises:
        VerificationError: the index is out of range, or the proof is longer or shorter than it needs.
    """
    if not 0 <= index < count or any(len(node) != DIGEST_BYTES for node in proof):
        raise VerificationError(
            "inclusion proof", expected=f"an index below {count}, siblings of 32 bytes", found=index
        )
    node, last, rest = leaf, count - 1, iter(proof)
    while last:
        if index & 1 or index < last:
            sibling = next(rest, None)
            if sibling is None:
                raise VerificationError("inclusion proof", expected="more siblings", found=len(proof))
            node = keccak256(_NODE + (sibling + node if index & 1 else node + sibling))
        index, last = index >> 1, last >> 1
    if next(rest, None) is not None:
        raise VerificationError("inclusion proof", expected="fewer siblings", found=len(proof))
    return node
