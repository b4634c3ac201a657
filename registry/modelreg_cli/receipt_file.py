"""Receipts in files, in each of their forms."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelreg.errors import FormatError, NotFoundError
from modelreg_cli.session import Session

if TYPE_CHECKING:
    from modelreg.format.receipt import Domain, SignedReceipt

__all__ = ["FILE", "fields_of", "own_domain", "parse_receipt", "read_file", "read_receipt", "stated_domain"]

FILE = click.Path(path_type=Path, dir_okay=False)


def read_receipt(session: Session, file: Path) -> "SignedReceipt":
    """A receipt in any of its forms, for this home's ledger and signed by its node.

    Raises NotFoundError without the file, FormatError for something else, VerificationError for a forgery.
    """
    domain = own_domain(session)
    signed = parse_receipt(read_file(file), domain)
    signed.verify(domain)
    return signed


def own_domain(session: Session) -> "Domain":
    """The domain of receipts on this home's chain."""
    from modelreg.ledger.receipt_log_evidence import receipt_domain

    return receipt_domain(session.home.config.chain.chain_id)


def read_file(file: Path) -> bytes:
    """The bytes of a receipt's file, or of an inclusion proof's. Raises NotFoundError, FormatError."""
    from modelreg.format.receipt_text import MAX_JSON_BYTES
    from modelreg.store.files import os_errors, read_regular

    if not file.exists():
        raise NotFoundError(f"nothing at {file}")
    with os_errors(f"cannot read {file}"):
        return read_regular(file, MAX_JSON_BYTES)


def parse_receipt(raw: bytes, domain: "Domain") -> "SignedReceipt":
    """A receipt in any of its forms; one in JSON must be of the domain."""
    from modelreg.format.receipt import SIGNED_BYTES, SignedReceipt
    from modelreg.format.receipt_text import from_header, read_answer, read_object

    if len(raw) == SIGNED_BYTES:
        return SignedReceipt.from_bytes(raw)
    text = raw.strip()
    if not text.startswith(b"{"):
        return from_header(text.decode("ascii", "replace"))
    try:
        return read_answer(text, domain)
    except FormatError:
        return read_object(text, domain)


def stated_domain(raw: bytes) -> "Domain | None":
    """The domain that a receipt claims; only some in JSON do."""
    from modelreg.format.receipt_text import stated_domain as stated

    try:
        return stated(raw.strip())
    except FormatError:
        return None


def fields_of(signed: "SignedReceipt") -> dict[str, Any]:
    """What a receipt says, as JSON has it."""
    from modelreg.format.receipt import Domain
    from modelreg.format.receipt_text import answer_object

    fields: dict[str, Any] = answer_object(signed, Domain(0, bytes(20)))["receipt"]
    return fields
