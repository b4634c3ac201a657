"""`receipt bundle`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelreg.errors import InputError, VerificationError
from modelreg.format.names import AtRelease, AtVersion, ReleaseId
from modelreg_cli.new_file import new_file, require_absent
from modelreg_cli.output import human_bytes
from modelreg_cli.receipt_evidence import Wanted, proof_of
from modelreg_cli.receipt_file import FILE, own_domain, read_receipt
from modelreg_cli.session import Session, pass_session

if TYPE_CHECKING:
    from modelreg.ledger.view import View

__all__ = ["bundle_command"]


@click.command("bundle")
@click.argument("receipt", type=FILE)
@click.argument("file", type=FILE)
@click.option("--proof", type=FILE, help="The inclusion proof, as a node gives it at /proofs.")
@click.option("--url", help="Ask here for the proof.  [default: the node's endpoint on the ledger]")
@pass_session
def bundle_command(session: Session, receipt: Path, file: Path, proof: Path | None, url: str | None) -> None:
    """Write the evidence that a RECEIPT is anchored to FILE: ledger proofs and its batch.

    `modelreg receipt verify RECEIPT --offline FILE` then needs no chain, no network and no home, only a block
    hash that the verifier trusts.
    """
    from modelreg.ledger.reader import Reader
    from modelreg.ledger.receipt_log_view import ReceiptLogView
    from modelreg_verifier.evidence_file import Evidence, RecordingRpc
    from modelreg_verifier.receipts.bundle import ReceiptBundle, write_receipt_bundle
    from modelreg_verifier.receipts.checks import LedgerChecks, Outcome, check_inclusion, check_release

    if proof is not None and url is not None:
        raise InputError("several places for the proof", expected="one of --proof and --url")
    require_absent(file)
    signed, domain, chain = read_receipt(session, receipt), own_domain(session), session.home.config.chain
    digest = signed.receipt.digest(domain)
    with session.ledger() as view:
        number = view.header.number
        found = proof_of(ReceiptLogView.beside(view), signed, digest, Wanted(proof, url))
    with session.home.rpc() as rpc:
        recorder = RecordingRpc(rpc)
        view = Reader(recorder, chain.contract, chain.chain_id).at_block(number)
        release = check_release(view, signed.receipt, history=False)
        log = ReceiptLogView.beside(view)
        checks = LedgerChecks(
            *release, *check_inclusion(log, signed.receipt, domain, found, chain.replaceable)
        )
        _ask_names(view, signed.receipt.release_id)
    if Outcome.NO in (checks.in_batch, checks.batch_on_ledger):
        raise VerificationError(
            "the proof does not show that the receipt is anchored",
            expected="a batch on the ledger that holds it",
            found="one that does not hold it" if checks.in_batch is Outcome.NO else "one that it lacks",
            hint="ask the node for a proof again, or another node that has one",
        )
    evidence = Evidence(chain.chain_id, chain.contract, number, recorder.answers)
    with new_file(file) as opened:
        write_receipt_bundle(opened, ReceiptBundle(evidence, signed, found))
    size = file.stat().st_size
    document = {
        "digest": f"0x{digest.hex()}",
        "file": str(file),
        "bytes": size,
        "block": number,
        "hash": f"0x{view.header.hash.hex()}",
        "final": str(checks.final),
    }
    text = f"wrote {human_bytes(size)} to {file}; trust block {document['hash']} to use it"
    session.output.result(document, text)


def _ask_names(view: "View", release_id: ReleaseId) -> None:
    """What whoever verifies may ask besides: the release by its id, and by its name."""
    release = view.resolve(AtRelease(release_id))
    name = view.model_name(release.model)
    if name is not None:
        view.resolve(AtVersion(name, release.version))
