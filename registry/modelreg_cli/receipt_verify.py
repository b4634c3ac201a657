"""`receipt verify`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelreg.errors import InputError, VerificationError
from modelreg_cli.receipt_evidence import Wanted, domain_of, ledger_checks, opened_view, read_bundle_file
from modelreg_cli.receipt_file import FILE, fields_of, parse_receipt, read_file
from modelreg_cli.session import REFERENCE, Session, pass_session

if TYPE_CHECKING:
    from modelreg.format.names import Reference
    from modelreg.format.receipt import Receipt, SignedReceipt
    from modelreg_verifier.receipts.bundle import ReceiptBundle

__all__ = ["verify_command"]

_YES, _NO = "yes", "no"
_LABELS = {
    "signature": "signed by its node, for this ledger",
    "node": "the node that was asked",
    "request_id": "for this request",
    "client": "for this client",
    "release": "for the release that was asked for",
    "on_ledger": "its release is on the ledger",
    "not_yanked": "its release was not yanked before",
    "in_batch": "the proof leads to its batch's root",
    "batch_on_ledger": "its node anchored this batch",
    "final": "the anchoring block is final",
    "anchored": "anchored",
}


@click.command("verify")
@click.argument("file", type=FILE)
@click.option("--node", metavar="ADDRESS", help="The node that was asked.")
@click.option("--release", "reference", type=REFERENCE, help="The release that was asked for.")
@click.option("--request-id", metavar="0x…", help="The request id that was sent.")
@click.option("--client", metavar="ADDRESS", help="The client's address that was sent.")
@click.option("--proof", type=FILE, help="The inclusion proof, as a node gives it at /proofs.")
@click.option("--url", help="Ask here for the proof.  [default: the node's endpoint on the ledger]")
@click.option("--offline", type=FILE, metavar="BUNDLE", help="Verify against this bundle, without a chain.")
@click.option("--block", metavar="HASH", help="With --offline: a block hash of the chain that you trust.")
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
    proof: Path | None,
    url: str | None,
    offline: Path | None,
    block: str | None,
) -> None:
    """Check the receipt in FILE: its signature, its release, its anchor, and what you say of your request.

    It is anchored if a batch that its node anchored holds it, in a final block. What shows that is asked of
    the node, or comes from --proof, or with all else from a bundle; none of them is trusted. With --node,
    --release and --request-id the receipt must be the answer to your own request; without them it is a
    receipt of somebody, for something.

    A receipt that is not anchored yet passes; what could not be found out is said.
    """
    if sum(option is not None for option in (proof, url, offline)) > 1:
        raise InputError("several places for the proof", expected="one of --proof, --url and --offline")
    expected = _Expected(
        _hex("--node", node, 20),
        _hex("--request-id", request_id, 32),
        # A request without an address gets a receipt without: only its client could challenge another.
        _hex("--client", client, 20) or (bytes(20) if request_id else None),
    )
    bundle = None if offline is None else read_bundle_file(offline)
    domain = domain_of(session, bundle)
    signed = parse_receipt(read_file(file), domain)
    digest = signed.verify(domain)
    _require_same(bundle, signed)
    checks = {"signature": _YES, **expected.check(signed.receipt)}
    with opened_view(session, bundle, block) as view:
        if reference is not None:
            wanted = view.resolve(reference).release_id
            checks["release"] = _YES if wanted == signed.receipt.release_id else _NO
        found = ledger_checks(session, view, signed, domain, Wanted(proof, url, bundle))
    checks |= {name: str(outcome) for name, outcome in asdict(found).items()}
    checks["anchored"] = str(found.anchored)
    failed = [name for name, outcome in checks.items() if outcome == _NO]
    document = {
        "ok": not failed,
        "digest": f"0x{digest.hex()}",
        "chain_id": domain.chain_id,
        "receipt": fields_of(signed),
        "checks": checks,
    }
    lines = [f"{_LABELS[name]:<40} {outcome}" for name, outcome in checks.items()]
    head = f"receipt 0x{digest.hex()} on chain {domain.chain_id}"
    session.output.result(document, "\n".join([head, *lines]))
    if failed:
        session.output.failure(
            VerificationError(f"{file} is not the receipt that it should be", found=failed)
        )
        context.exit(VerificationError.exit_code)


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
            name: _YES if wanted == found else _NO
            for name, (wanted, found) in pairs.items()
            if wanted is not None
        }


def _require_same(bundle: "ReceiptBundle | None", signed: "SignedReceipt") -> None:
    if bundle is not None and bundle.signed != signed:
        raise VerificationError(
            "the bundle is of another receipt",
            expected=f"epoch {signed.receipt.epoch}, seq {signed.receipt.seq}",
            found=f"epoch {bundle.signed.receipt.epoch}, seq {bundle.signed.receipt.seq}",
            hint="make one: modelreg receipt bundle RECEIPT FILE",
        )


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
