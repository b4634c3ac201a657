"""`receipt`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelreg.errors import FormatError, InputError, NotFoundError, VerificationError
from modelreg_cli.session import REFERENCE, Session, pass_session

if TYPE_CHECKING:
    from modelreg.format.names import Reference
    from modelreg.format.receipt import Domain, Receipt, SignedReceipt

__all__ = ["read_receipt", "receipt_command"]

_FILE = click.Path(path_type=Path, dir_okay=False)
_DONE, _FAILED, _UNKNOWN = "yes", "no", "unknown"


@click.group("receipt")
def receipt_command() -> None:
    """Show and verify the receipts that nodes sign."""


@receipt_command.command("show")
@click.argument("file", type=_FILE)
@pass_session
def show_command(session: Session, file: Path) -> None:
    """Print what the receipt in FILE says; nothing of it is checked.

    FILE holds a receipt as a node hands it out: JSON, 387 bytes, or those in base64.
    """
    raw = _read(file)
    signed = _parse(raw, _stated_domain(raw) or _own_domain(session))
    fields = _fields(signed)
    document = {"receipt": fields, "signature": f"0x{signed.signature.hex()}", "checked": False}
    lines = [f"{name:<18}  {value}" for name, value in fields.items()]
    remark = "nothing of this was checked; `modelreg receipt verify` does that"
    session.output.result(document, "\n".join([*lines, remark]))


@receipt_command.command("verify")
@click.argument("file", type=_FILE)
@click.option("--node", metavar="ADDRESS", help="The node that was asked.")
@click.option("--release", "reference", type=REFERENCE, help="The release that was asked for.")
@click.option("--request-id", metavar="0x…", help="The request id that was sent.")
@click.option("--client", metavar="ADDRESS", help="The client's address that was sent.")
@pass_session
@click.pass_context
def verify_command(
    context: click.Context,
    session: Session,
    file: Path,
    node: str | None,
    reference: "Reference | None",
    request_id: str | None,
    client: str | None,
) -> None:
    """Check the receipt in FILE: its signature, the release on the ledger, and what you say of your request.

    Whether the node anchored it is said as far as it is known. With --node, --release and --request-id the
    receipt must be the answer to your own request; without them it is a receipt of somebody, for something.
    """
    expected = _Expected(
        _hex("--node", node, 20),
        _hex("--request-id", request_id, 32),
        # A request without an address gets a receipt without: only its client could challenge another.
        _hex("--client", client, 20) or (bytes(20) if request_id else None),
    )
    domain = _own_domain(session)
    signed = _parse(_read(file), domain)
    digest = signed.verify(domain)
    checks = {"signature": _DONE, **expected.check(signed.receipt)}
    checks |= _check_release(session, signed.receipt, reference)
    checks["anchored"] = _UNKNOWN
    failed = [name for name, outcome in checks.items() if outcome == _FAILED]
    document = {
        "ok": not failed,
        "digest": f"0x{digest.hex()}",
        "receipt": _fields(signed),
        "checks": checks,
    }
    lines = [f"{_LABELS[name]:<40} {outcome}" for name, outcome in checks.items()]
    session.output.result(document, "\n".join([f"receipt 0x{digest.hex()}", *lines]))
    if failed:
        session.output.failure(
            VerificationError(f"{file} is not the receipt that it should be", found=failed)
        )
        context.exit(VerificationError.exit_code)


_LABELS = {
    "signature": "signed by its node, for this ledger",
    "node": "the node that was asked",
    "request_id": "for this request",
    "client": "for this client",
    "release": "for the release that was asked for",
    "on_ledger": "its release is on the ledger",
    "not_yanked": "its release was not yanked before",
    "anchored": "anchored",
}


@dataclass(frozen=True, slots=True)
class _Expected:
    """What whoever asked knows of the request; None for what was not said."""

    node: bytes | None
    request_id: bytes | None
    client: bytes | None

    def check(self, receipt: "Receipt") -> dict[str, str]:
        pairs = {
            "node": (self.node, receipt.node),
            "request_id": (self.request_id, receipt.request_id),
            "client": (self.client, receipt.client),
        }
        return {
            name: _DONE if wanted == found else _FAILED
            for name, (wanted, found) in pairs.items()
            if wanted is not None
        }


def _check_release(session: Session, receipt: "Receipt", reference: "Reference | None") -> dict[str, str]:
    """Checks 5 and 8 of docs/spec/receipt.md, section 7. Raises NotFoundError for a release of no ledger."""
    found = {}
    with session.ledger() as view:
        if reference is not None:
            wanted = view.resolve(reference).release_id
            found["release"] = _DONE if wanted == receipt.release_id else _FAILED
        release = view.existing(receipt.release_id)
    # The ledger's state says that a release is yanked, not since when.
    return {**found, "on_ledger": _DONE, "not_yanked": _UNKNOWN if release.yanked else _DONE}


def read_receipt(session: Session, file: Path) -> "SignedReceipt":
    """A receipt in any of its forms, for this home's ledger and signed by its node.

    Raises NotFoundError without the file, FormatError for something else, VerificationError for a forgery.
    """
    domain = _own_domain(session)
    signed = _parse(_read(file), domain)
    signed.verify(domain)
    return signed


def _own_domain(session: Session) -> "Domain":
    from modelreg.ledger.receipt_log_evidence import receipt_domain

    return receipt_domain(session.home.config.chain.chain_id)


def _read(file: Path) -> bytes:
    from modelreg.format.receipt_text import MAX_JSON_BYTES
    from modelreg.store.files import os_errors, read_regular

    if not file.exists():
        raise NotFoundError(f"nothing at {file}")
    with os_errors(f"cannot read {file}"):
        return read_regular(file, MAX_JSON_BYTES)


def _parse(raw: bytes, domain: "Domain") -> "SignedReceipt":
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


def _stated_domain(raw: bytes) -> "Domain | None":
    """The domain that a receipt claims; only some in JSON do."""
    from modelreg.format.receipt_text import stated_domain

    try:
        return stated_domain(raw.strip())
    except FormatError:
        return None


def _fields(signed: "SignedReceipt") -> dict[str, Any]:
    from modelreg.format.receipt import Domain
    from modelreg.format.receipt_text import answer_object

    fields: dict[str, Any] = answer_object(signed, Domain(0, bytes(20)))["receipt"]
    return fields


def _hex(option: str, text: str | None, size: int) -> bytes | None:
    if text is None:
        return None
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise InputError(f"{option} {text!a}"[:90], expected=f"0x and {2 * size} hexadecimal digits")
    return raw
