"""That a batch on the ledger holds a receipt, as JSON. Specified in docs/spec/receipt.md, section 6."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelreg.errors import FormatError, VerificationError
from modelreg.format.batch import MAX_RECEIPTS, Batch
from modelreg.format.receipt import Domain, Receipt
from modelreg.format.strict_json import hex_bytes, load, members, natural
from modelreg.ledger.receipt_log_records import AnchoredBatch

__all__ = ["MAX_JSON_BYTES", "SIBLINGS_MAX", "Inclusion"]

MAX_JSON_BYTES = 4096
SIBLINGS_MAX = (MAX_RECEIPTS - 1).bit_length()
_KEYS = ("digest", "node", "seq", "batch", "siblings")
_BATCH_KEYS = ("index", "epoch", "first", "count", "root", "blockNumber", "anchoredAt")
_WHAT = "inclusion proof"


@dataclass(frozen=True, slots=True)
class Inclusion:
    """Where the ledger has a receipt's batch, and the siblings from the receipt's leaf to its root.

    Attributes:
        digest: of the receipt, 32 bytes.
        seq: its place in the epoch.
        anchored: the seven words; whether they are the ledger's is to be asked there.
        siblings: 32 bytes each, from the leaf up.
    """

    digest: bytes
    seq: int
    anchored: AnchoredBatch
    siblings: tuple[bytes, ...]

    def check(self, receipt: Receipt, domain: Domain) -> None:
        """Check 9 of docs/spec/receipt.md, section 7, but for what the ledger has.

        Raises:
            VerificationError: it is of another receipt, or does not lead to the batch's root.
        """
        digest = receipt.digest(domain)
        if (self.digest, self.seq) != (digest, receipt.seq):
            raise VerificationError(
                "the inclusion proof is of another receipt",
                expected=f"0x{digest.hex()}, seq {receipt.seq}",
                found=f"0x{self.digest.hex()}, seq {self.seq}",
            )
        self.anchored.batch.verify_receipt(receipt, domain, self.siblings)

    def to_object(self) -> dict[str, Any]:
        """The object that `json.dumps` writes."""
        words = (_hex(word) if isinstance(word, bytes) else word for word in self.anchored.words)
        return {
            "digest": _hex(self.digest),
            "node": _hex(self.anchored.batch.node),
            "seq": self.seq,
            "batch": dict(zip(_BATCH_KEYS, words, strict=True)),
            "siblings": list(map(_hex, self.siblings)),
        }

    @classmethod
    def from_json(cls, raw: bytes) -> "Inclusion":
        """Read one. Raises FormatError for anything but the object of section 6."""
        found = members(load(raw, _WHAT, MAX_JSON_BYTES), _KEYS, _WHAT)
        row = members(found["batch"], _BATCH_KEYS, f"{_WHAT} batch")
        words = [
            hex_bytes(row[name], 32, f"{_WHAT} {name}")
            if name == "root"
            else natural(row[name], f"{_WHAT} {name}")
            for name in _BATCH_KEYS
        ]
        return cls.from_words(
            hex_bytes(found["digest"], 32, f"{_WHAT} digest"),
            natural(found["seq"], f"{_WHAT} seq"),
            hex_bytes(found["node"], 20, f"{_WHAT} node"),
            words,
            _siblings(found["siblings"]),
        )

    @classmethod
    def from_words(
        cls, digest: bytes, seq: int, node: bytes, words: Sequence[Any], siblings: Sequence[bytes]
    ) -> "Inclusion":
        """Of the seven words in their order, their types checked. Raises FormatError for other values."""
        index, epoch, first, count, root, block, at = words
        return cls(
            digest,
            seq,
            AnchoredBatch(Batch(node, epoch, first, count, root), index, block, at),
            tuple(siblings),
        )


def _siblings(value: Any) -> list[bytes]:
    if not isinstance(value, list) or len(value) > SIBLINGS_MAX:
        raise FormatError(
            f"{_WHAT} siblings", expected=f"a list of at most {SIBLINGS_MAX}", found=ascii(value)[:40]
        )
    return [hex_bytes(node, 32, f"{_WHAT} sibling") for node in value]


def _hex(raw: bytes) -> str:
    return f"0x{raw.hex()}"
