"""The content tree: keccak-256 over chunk leaves in file order. Specified in docs/spec/content.md, section 5.

The shape is that of RFC 9162: leaves are paired level by level and an odd last node moves up unhashed, so a
proof binds the position. `ContentProof.sol` checks the same proofs on the ledger.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from modelreg.errors import FormatError, VerificationError
from modelreg.format.digest import DIGEST_BYTES, HashAlgorithm, keccak256

__all__ = ["MAX_LEAVES", "Leaf", "content_root", "file_leaves", "prove", "verify"]

MAX_LEAVES = 1 << 32
_LEAF, _NODE, _ROOT = b"\x00", b"\x01", b"\x02"
_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Leaf:
    """One chunk's place and content: `offset` and `length` in bytes of the file at `path`."""

    path: str
    offset: int
    length: int
    digest: bytes

    def hash(self) -> bytes:
        """The leaf's 32-byte hash."""
        return _leaf(keccak256(self.path.encode()), self.offset, self.length, self.digest)


def file_leaves(path: str, chunks: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    """The leaf hashes of a file whose chunks, in order, have these lengths and digests."""
    name, offset = keccak256(path.encode()), 0
    for length, digest in chunks:
        yield _leaf(name, offset, length, digest)
        offset += length


def content_root(leaves: Iterable[bytes], algorithm: HashAlgorithm) -> bytes:
    """The root over leaf hashes in order; memory grows with the logarithm of their number.

    Raises:
        FormatError: there is no leaf, or more than MAX_LEAVES.
    """
    remaining, count = iter(leaves), 0
    left: list[tuple[int, bytes]] = []
    while batch := list(islice(remaining, _BATCH)):
        count += len(batch)
        _append(left, len(batch), _top(batch))
    if not 0 < count <= MAX_LEAVES:
        raise FormatError("content tree", expected=f"1 to {MAX_LEAVES} leaves", found=count)
    top = left.pop()[1]
    while left:
        top = keccak256(_NODE + left.pop()[1] + top)
    return _seal(top, count, algorithm)


def _append(left: list[tuple[int, bytes]], leaves: int, top: bytes) -> None:
    """Add a subtree to those that stand so far, ever smaller from left to right; equal ones become one."""
    while left and left[-1][0] == leaves:
        top = keccak256(_NODE + left.pop()[1] + top)
        leaves *= 2
    left.append((leaves, top))


def _top(level: list[bytes]) -> bytes:
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def prove(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The sibling hashes, from the leaf up, that lead from leaf `index` to the root."""
    if not 0 <= index < len(leaves):
        raise FormatError("content proof index", expected=f"0 to {len(leaves) - 1}", found=index)
    level, proof = list(leaves), []
    while len(level) > 1:
        if index ^ 1 < len(level):
            proof.append(level[index ^ 1])
        level, index = _parents(level), index >> 1
    return tuple(proof)


def verify(
    root: bytes, leaf: bytes, index: int, count: int, proof: Sequence[bytes], algorithm: HashAlgorithm
) -> None:
    """Check that `leaf` is leaf `index` of the `count` leaves under `root` (RFC 9162, section 2.1.3.2).

    Raises:
        VerificationError: it is not, or the proof is longer or shorter than the position needs.
    """
    if not 0 <= index < count <= MAX_LEAVES or any(len(node) != DIGEST_BYTES for node in proof):
        raise VerificationError("content proof", expected="an index below the leaf count", found=index)
    node, last, siblings = leaf, count - 1, iter(proof)
    while last:
        if index & 1 or index < last:
            sibling = next(siblings, None)
            if sibling is None:
                raise VerificationError(
                    "content proof ends early", expected="more siblings", found=len(proof)
                )
            node = keccak256(_NODE + (sibling + node if index & 1 else node + sibling))
        index, last = index >> 1, last >> 1
    if next(siblings, None) is not None or _seal(node, count, algorithm) != root:
        raise VerificationError("content proof", expected=f"root 0x{root.hex()}", found="another root")


def _leaf(name: bytes, offset: int, length: int, digest: bytes) -> bytes:
    return keccak256(_LEAF + name + offset.to_bytes(8, "big") + length.to_bytes(8, "big") + digest)


def _parents(level: list[bytes]) -> list[bytes]:
    paired = [keccak256(_NODE + level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return paired + level[len(level) - len(level) % 2 :]


def _seal(top: bytes, count: int, algorithm: HashAlgorithm) -> bytes:
    return keccak256(_ROOT + bytes((algorithm.value,)) + count.to_bytes(8, "big") + top)
