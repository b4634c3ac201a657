"""Evidence that one receipt is anchored, in a file. Specified in docs/spec/bundle.md, section 3."""

from dataclasses import dataclass
from typing import Any, BinaryIO

from modelreg.errors import FormatError
from modelreg.format import schema
from modelreg.format.receipt import SIGNED_BYTES, SignedReceipt
from modelreg_verifier.evidence_file import Evidence, read_evidence, write_evidence
from modelreg_verifier.receipts.inclusion import SIBLINGS_MAX, Inclusion

__all__ = ["ReceiptBundle", "read_receipt_bundle", "write_receipt_bundle"]

_KIND = "modelreg/receipt-bundle/1"
_NAMES = ("receipt", "digest", "words", "siblings")
_WORDS = 7
_ROOT = 4


@dataclass(frozen=True, slots=True)
class ReceiptBundle:
    """What the ledger says of a receipt and its batch, and the proof that the batch holds it."""

    evidence: Evidence
    signed: SignedReceipt
    inclusion: Inclusion


def write_receipt_bundle(file: BinaryIO, bundle: ReceiptBundle) -> None:
    """Write a bundle as a CAR file."""
    found = bundle.inclusion
    further = {
        "receipt": bytes(bundle.signed),
        "digest": found.digest,
        "words": list(found.anchored.words),
        "siblings": list(found.siblings),
    }
    write_evidence(file, _KIND, bundle.evidence, further, {})


def read_receipt_bundle(file: BinaryIO) -> ReceiptBundle:
    """Read a bundle; nothing but its form is checked. Raises FormatError for something else."""
    evidence, [receipt, digest, words, siblings], _ = read_evidence(file, _KIND, _NAMES)
    if not isinstance(receipt, bytes) or len(receipt) != SIGNED_BYTES:
        raise FormatError("receipt of a bundle", expected=f"{SIGNED_BYTES} bytes")
    signed = SignedReceipt.from_bytes(receipt)
    numbers = schema.array(words, _WORDS, exactly=(_WORDS,))
    inclusion = Inclusion.from_words(
        schema.digest(digest),
        signed.receipt.seq,
        signed.receipt.node,
        [_word(value, place) for place, value in enumerate(numbers)],
        [schema.digest(node) for node in schema.array(siblings, SIBLINGS_MAX)],
    )
    return ReceiptBundle(evidence, signed, inclusion)


def _word(value: Any, place: int) -> Any:
    return schema.digest(value) if place == _ROOT else schema.uint(value)
