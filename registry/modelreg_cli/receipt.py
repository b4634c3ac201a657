"""`receipt`."""

from pathlib import Path

import click

from modelreg_cli.receipt_bundle import bundle_command
from modelreg_cli.receipt_file import FILE, fields_of, own_domain, parse_receipt, read_file, stated_domain
from modelreg_cli.receipt_verify import verify_command
from modelreg_cli.session import Session, pass_session

__all__ = ["receipt_command"]


@click.group("receipt")
def receipt_command() -> None:
    """Show and verify the receipts that nodes sign."""


@receipt_command.command("show")
@click.argument("file", type=FILE)
@pass_session
def show_command(session: Session, file: Path) -> None:
    """Print what the receipt in FILE says; nothing of it is checked.

    FILE holds a receipt as a node hands it out: JSON, 387 bytes, or those in base64.
    """
    raw = read_file(file)
    signed = parse_receipt(raw, stated_domain(raw) or own_domain(session))
    fields = fields_of(signed)
    document = {"receipt": fields, "signature": f"0x{signed.signature.hex()}", "checked": False}
    lines = [f"{name:<18}  {value}" for name, value in fields.items()]
    remark = "nothing of this was checked; `modelreg receipt verify` does that"
    session.output.result(document, "\n".join([*lines, remark]))


receipt_command.add_command(verify_command)
receipt_command.add_command(bundle_command)
