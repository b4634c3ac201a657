"""The content tree: keccak-256 over chunk leaves in file order. Specified in docs/spec/content.md, section 5.

`ContentProof.sol` checks the same proofs on the ledger.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from modelreg.errors import FormatError, VerificationError
from modelreg.format import tree
from modelreg.format.digest import HashAlgorithm, keccak256

__all__ = ["MAX_LEAVES", "Leaf", "content_root", "file_leaves", "prove", "verify"]

MAX_LEAVES = 1 << 32
_LEAF, _ROOT = b"\x00", b"\x02"


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
    count, node = tree.top(leaves)
    if not 0 < count <= MAX_LEAVES:
        raise FormatError("content tree", expected=f"1 to {MAX_LEAVES} leaves", found=count)
    return _seal(node, count, algorithm)


def prove(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The sibling hashes, from the leaf up, that lead from leaf `index` to the root."""
    return tree.siblings(tree.levels(leaves), index)


def verify(
    root: bytes, leaf: bytes, index: int, count: int, proof: Sequence[bytes], algorithm: HashAlgorithm
) -> None:
    """Check that `leaf` is leaf `index` of the `count` leaves under `root` (RFC 9162, section 2.1.3.2).

    Raises:
        VerificationError: it is not, or the proof is longer or shorter than the position needs.
    """
    if count > MAX_LEAVES:
        raise VerificationError("content proof", expected=f"at most {MAX_LEAVES} leaves", found=count)
    if _seal(tree.climb(leaf, index, count, proof), count, algorithm) != root:
        raise VerificationError("content proof", expected=f"root 0x{root.hex()}", found="another root")


def _leaf(name: bytes, offset: int, length: int, digest: bytes) -> bytes:
    return keccak256(_LEAF + name + offset.to_bytes(8, "big") + length.to_bytes(8, "big") + digest)


def _seal(node: bytes, count: int, algorithm: HashAlgorithm) -> bytes:
    return keccak256(_ROOT + bytes((algorithm.value,)) + count.to_bytes(8, "big") + node)
