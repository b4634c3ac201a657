"""Batches of receipts and the roots that are anchored. Specified in docs/spec/receipt.md, section 5."""

from collections.abc import Sequence
from dataclasses import dataclass

from modelreg.errors import FormatError, VerificationError
from modelreg.format import tree
from modelreg.format.digest import DIGEST_BYTES, keccak256
from modelreg.format.receipt import INTEGER_END, Domain, Receipt

__all__ = ["MAX_RECEIPTS", "Batch", "BatchTree", "receipt_leaf"]

MAX_RECEIPTS = 1 << 20
_ROOT, _LEAF = b"\x03", b"\x04"


@dataclass(frozen=True, slots=True)
class Batch:
    """What ReceiptLog holds of a batch: receipts `first` to `first + count - 1` of a node's epoch.

    `node` is an address of 20 bytes, `root` has 32.

    Raises:
        FormatError: other lengths, no receipt or more than MAX_RECEIPTS, integers beyond 2^53 - 1.
    """

    node: bytes
    epoch: int
    first: int
    count: int
    root: bytes

    def __post_init__(self) -> None:
        if len(self.node) != 20 or len(self.root) != DIGEST_BYTES:
            raise FormatError("batch", expected="a node of 20 bytes, a root of 32")
        _check_place(self.epoch, self.first, self.count)

    def verify(self, seq: int, digest: bytes, proof: Sequence[bytes]) -> None:
        """Check that the batch holds a digest for `seq`, whatever the receipt with that digest says.

        This is what shows that a node anchored something else than it signed.

        Raises:
            VerificationError: `seq` is not in the batch, or the proof does not lead to its root.
        """
        if not self.first <= seq < self.first + self.count:
            last = self.first + self.count - 1
            raise VerificationError("batch", expected=f"seq {self.first} to {last}", found=seq)
        node = tree.climb(receipt_leaf(digest), seq - self.first, self.count, proof)
        found = _seal(self.node, self.epoch, self.first, self.count, node)
        if found != self.root:
            raise VerificationError("batch root", expected=f"0x{self.root.hex()}", found=f"0x{found.hex()}")

    def verify_receipt(self, receipt: Receipt, domain: Domain, proof: Sequence[bytes]) -> None:
        """Check that the batch holds a receipt, in its place.

        Raises:
            VerificationError: another node or epoch, or as `verify`.
        """
        if (receipt.node, receipt.epoch) != (self.node, self.epoch):
            raise VerificationError(
                "batch",
                expected=f"node 0x{receipt.node.hex()}, epoch {receipt.epoch}",
                found=f"node 0x{self.node.hex()}, epoch {self.epoch}",
            )
        self.verify(receipt.seq, receipt.digest(domain), proof)


class BatchTree:
    """All nodes over the digests of a batch, to prove any of them quickly: about 150 bytes a receipt.

    Raises:
        FormatError: no digest or more than MAX_RECEIPTS, other lengths, integers beyond 2^53 - 1.
    """

    def __init__(self, node: bytes, epoch: int, first: int, digests: Sequence[bytes]) -> None:
        _check_place(epoch, first, len(digests))
        self._levels = tree.levels([receipt_leaf(digest) for digest in digests])
        root = _seal(node, epoch, first, len(digests), self._levels[-1][0])
        self.batch = Batch(node, epoch, first, len(digests), root)

    def prove(self, seq: int) -> tuple[bytes, ...]:
        """The sibling hashes of the receipt `seq`, from the leaf up. Raises FormatError if it is not here."""
        return tree.siblings(self._levels, seq - self.batch.first)


def _check_place(epoch: int, first: int, count: int) -> None:
    if not 0 < count <= MAX_RECEIPTS:
        raise FormatError("batch", expected=f"1 to {MAX_RECEIPTS} receipts", found=count)
    if not 0 <= epoch < INTEGER_END or not 0 <= first <= INTEGER_END - count:
        raise FormatError("batch", expected="epoch and seq below 2^53", found=f"epoch {epoch}, first {first}")


def receipt_leaf(digest: bytes) -> bytes:
    """The leaf of a receipt, given by its digest. Raises FormatError for other than 32 bytes."""
    if len(digest) != DIGEST_BYTES:
        raise FormatError("receipt digest", expected=f"{DIGEST_BYTES} bytes", found=len(digest))
    return keccak256(_LEAF + digest)


def _seal(node: bytes, epoch: int, first: int, count: int, top: bytes) -> bytes:
    place = b"".join(number.to_bytes(8, "big") for number in (epoch, first, count))
    return keccak256(_ROOT + node.rjust(32, b"\0") + place + top)
