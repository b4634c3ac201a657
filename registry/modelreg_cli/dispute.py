"""`dispute`: which operator of a receipt's inference a node did not run."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from modelreg.errors import InputError, ModelregError, UnreachableError, VerificationError
from modelreg_cli.audit_blocks import FILE, read_calibrations
from modelreg_cli.inference_extra import require_inference
from modelreg_cli.output import printable
from modelreg_cli.password import password_file_option
from modelreg_cli.receipt_log import ADDRESS, WORD, receipt_log
from modelreg_cli.session import Session, pass_session

if TYPE_CHECKING:
    from modelreg_verifier.audit.dispute import Settlement
    from modelreg_verifier.receipts.claim import Claim
    from modelreg_verifier.receipts.opening import Opening

__all__ = ["dispute_command", "show"]

_CHEATED = 7
_Part = TypeVar("_Part")


@click.command("dispute")
@click.argument("node", type=ADDRESS, metavar="NODE_ADDRESS")
@click.option("--url", help="Where the node answers.  [default: its endpoint on the ledger]")
@click.option("--policy", type=WORD, help="Judge under this policy, by the calibrations of its parties.")
@click.option("--receipt", required=True, type=WORD, metavar="DIGEST", help="Which receipt.")
@click.option(
    "--segment", type=click.IntRange(0), help="Of the trace.  [default: the first that an audit finds]"
)
@click.option(
    "--calibration",
    "calibrations",
    multiple=True,
    type=FILE,
    help="What a party that you trust has measured.",
)
@click.option("--evidence", type=FILE, help="A file to write, for `modelreg settle`.")
@password_file_option
@pass_session
@click.pass_context
def dispute_command(
    context: click.Context,
    session: Session,
    node: bytes,
    url: str | None,
    policy: bytes | None,
    receipt: bytes,
    segment: int | None,
    calibrations: tuple[Path, ...],
    evidence: Path | None,
    password_file: Path | None,
) -> None:
    """Settle whether the node NODE_ADDRESS computed a receipt's answer, by one operator.

    The node is asked, with this home's key, what each operator of a segment made, and signs for it. Each is
    computed again in float64, with a bound on what rounding can do; the first that is beyond it is named.

    Exits with 7 if the node cheated, and with 6 if it withheld its claim.
    """
    require_inference()
    from modelreg.ledger.receipt_log_evidence import receipt_domain
    from modelreg_verifier.audit.dispute import settle, without_dispute
    from modelreg_verifier.audit.judge import judge
    from modelreg_verifier.audit.node_client import NodeClient
    from modelreg_verifier.audit.subjects import Trusted, subjects
    from modelreg_verifier.terms.rules import Rules

    if policy is None and not calibrations:
        raise InputError("nothing says how honest machines differ", expected="--policy or --calibration")
    trusted = read_calibrations(calibrations)
    with receipt_log(session) as log:
        client = NodeClient(url or log.require_node(node).endpoint)
        rules = Rules.read(log, policy, session.home.blocks) if policy else None
    domain = receipt_domain(session.home.config.chain.chain_id)
    header = _asking(session, password_file)
    opening = client.opening(receipt, header(receipt))
    found = opening.receipt.receipt
    if found.node != node:
        raise VerificationError(
            "receipt", expected=f"one of node 0x{node.hex()}", found=f"0x{found.node.hex()}"
        )
    remark = session.output.remark
    known = Trusted(session.root, session.ledger, domain, trusted, remark, rules)
    subject = subjects(known)(found.release_id, receipt)
    settlement = None
    if segment is None:
        verdict = judge(opening, subject)
        settlement, segment = without_dispute(verdict), verdict.segment or 0
    if settlement is None:
        claim = _claim(lambda: client.claim(receipt, segment, header(receipt)), remark)
        settlement = settle(opening, claim, segment, subject)
        if evidence is not None and claim is not None:
            _write(evidence, opening, claim)
    show(context, session, receipt, settlement)


def _asking(session: Session, password_file: Path | None) -> Callable[[bytes], str]:
    """Makes the header by which this home's key asks for a receipt's opening."""
    from modelreg.format.signature import Signer
    from modelreg.keys import KeyStore
    from modelreg.ledger.receipt_log_evidence import receipt_domain
    from modelreg_verifier.receipts.access import sign_request_now

    home = session.home
    account = KeyStore(home.keystore).load(home.key, session.password(password_file))
    signer, domain = Signer(bytes(account.key)), receipt_domain(home.config.chain.chain_id)
    return lambda receipt: sign_request_now(signer, receipt, domain)


def _claim(ask: "Callable[[], Claim]", remark: Callable[[str], None]) -> "Claim | None":
    """What comes; a node that gives nothing that can be read has withheld it."""
    try:
        return ask()
    except ModelregError as error:
        remark(f"the node gives no claim: {error}")
        return None


def _write(path: Path, opening: "Opening", claim: "Claim") -> None:
    from modelreg.store.files import os_errors, replace_file
    from modelreg_verifier.audit.evidence import Evidence, write_evidence

    with os_errors(f"cannot write {path}"):
        replace_file(path, b"".join(write_evidence(Evidence(opening, claim))))


def show(context: click.Context, session: Session, receipt: bytes, found: "Settlement") -> None:
    """Print how a dispute ended, and leave with its exit code."""
    from modelreg_verifier.audit.dispute import Settled

    document: dict[str, Any] = {
        "ok": found.ruling in (Settled.CLEARED, Settled.UNDECIDABLE),
        "ruling": found.ruling.value,
        "receipt": f"0x{receipt.hex()}",
        "segment": found.segment,
        "operator": found.operator,
        "kind": found.kind,
        "ratio": found.ratio if found.ratio is None or found.ratio < float("inf") else None,
        "detail": found.detail,
    }
    where = "" if found.segment is None else f", segment {found.segment}"
    session.output.result(document, printable(f"{found.ruling.value}{where}: {found.detail}"))
    if found.ruling is Settled.FAIL:
        session.output.failure(VerificationError("the node did not run what its receipt names"))
        context.exit(_CHEATED)
    if found.ruling is Settled.WITHHELD:
        session.output.failure(UnreachableError("the node withheld its claim", found=found.detail))
        context.exit(UnreachableError.exit_code)
