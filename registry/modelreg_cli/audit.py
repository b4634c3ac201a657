"""`audit`: whether a node ran the models that its receipts name."""

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelreg.errors import InputError, NotFoundError, UnreachableError, VerificationError
from modelreg_cli.audit_blocks import FILE, plan_option, read_calibrations, read_plans
from modelreg_cli.audit_report import show, write_report
from modelreg_cli.password import password_file_option
from modelreg_cli.receipt_log import ADDRESS
from modelreg_cli.session import Session, pass_session

if TYPE_CHECKING:
    from modelreg.format.batch import Batch
    from modelreg.format.calibration import Calibration
    from modelreg.format.receipt import Domain, SignedReceipt
    from modelreg.ledger.header import Header
    from modelreg.ledger.receipt_log_records import AnchoredBatch
    from modelreg.ledger.receipt_log_view import ReceiptLogView
    from modelreg_verifier.auditor import Auditor, Shown
    from modelreg_verifier.node_client import NodeClient
    from modelreg_verifier.receipts.opening import Opening

__all__ = ["CHEATED", "audit_command"]

CHEATED = 7
"""The exit code if the audit found what no honest machine makes."""

_REQUEST_SECONDS = 300
_TELL_SECONDS = 3.0
_DETECT, _SHARE = 0.99, 0.1


@click.command("audit")
@click.argument("node", type=ADDRESS, metavar="NODE_ADDRESS")
@click.option("--url", required=True, help="Where the node answers.")
@click.option(
    "--calibration",
    "calibrations",
    multiple=True,
    required=True,
    type=FILE,
    help="What a party that you trust has measured.",
)
@plan_option("A plan that the node is to run; receipts of others are counted.")
@click.option("--batch", "index", type=click.IntRange(0), help="Which of the node's.  [default: the newest]")
@click.option("--draws", type=click.IntRange(1), help="How many receipts are audited.")
@click.option(
    "--detect",
    type=click.FloatRange(0, 1, min_open=True),
    help=f"Or with which probability a cheat is to be found.  [default: {_DETECT}]",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=_SHARE,
    show_default=True,
    help="If this share of the receipts is false.",
)
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="A page to write, and FILE.json beside."
)
@password_file_option
@pass_session
@click.pass_context
def audit_command(
    context: click.Context,
    session: Session,
    node: bytes,
    url: str,
    calibrations: tuple[Path, ...],
    plans: tuple[Path, ...],
    index: int | None,
    draws: int | None,
    detect: float | None,
    share: float,
    report: Path | None,
    password_file: Path | None,
) -> None:
    """Find out whether the node NODE_ADDRESS ran the models that its receipts name.

    A sample of the receipts of an anchored batch is drawn from the hash of the block after it. The node is
    asked, with this home's key, for all that was computed for each of them, and each is computed again from
    the verified release. The node must have named this home's key with `serve --auditor`.

    Exits with 7 if the node cheated, and with 6 if it withheld something.
    """
    from modelreg.ledger.receipt_log_evidence import receipt_domain
    from modelreg_verifier.auditor import shown_by
    from modelreg_verifier.node_client import NodeClient
    from modelreg_verifier.sampling import sample, seed_of

    if draws is not None and detect is not None:
        raise InputError("--draws and --detect both say how many receipts", expected="one of them")
    trusted, wanted = read_calibrations(calibrations), {plan.plan_id for plan in read_plans(plans)}
    client, domain = NodeClient(url), receipt_domain(session.home.config.chain.chain_id)
    auditor = _auditor(session, client, trusted, domain, password_file)
    anchored, after = _find(session, node, index)
    batch, seed = anchored.batch, seed_of(after.hash, anchored.batch.root)
    shown = shown_by(_receipts(client, batch), batch, domain)
    count, false = _size(batch.count, draws, detect, share)
    found = auditor.audit(batch, shown, seed, sample(seed, shown.strata, count), false)
    if report is not None:
        write_report(report, found)
    others = _others(shown, wanted) if wanted else None
    failure = show(session, anchored, found, others)
    if failure is not None:
        session.output.failure(failure)
        context.exit(CHEATED if isinstance(failure, VerificationError) else failure.exit_code)


def _auditor(
    session: Session,
    client: "NodeClient",
    trusted: "list[Calibration]",
    domain: "Domain",
    password_file: Path | None,
) -> "Auditor":
    from modelreg.format.signature import Signer
    from modelreg.keys import KeyStore
    from modelreg_verifier.audit_subjects import Trusted, subjects
    from modelreg_verifier.auditor import Auditor
    from modelreg_verifier.receipts.access import sign_request

    home = session.home
    account = KeyStore(home.keystore).load(home.key, session.password(password_file))
    signer = Signer(bytes(account.key))

    def ask(digest: bytes) -> "Opening":
        deadline = int(time.time()) + _REQUEST_SECONDS
        return client.opening(digest, sign_request(signer, digest, deadline, domain))

    remark = session.output.remark
    subject = subjects(Trusted(session.root, session.ledger, domain, trusted, remark))
    return Auditor(ask, subject, _telling(remark))


def _telling(remark: Callable[[str], None]) -> Callable[[int], None]:
    last = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        if time.monotonic() - last > _TELL_SECONDS:
            last = time.monotonic()
            remark(f"{done} receipts judged")

    return tell


def _find(session: Session, node: bytes, index: int | None) -> "tuple[AnchoredBatch, Header]":
    """The batch, and the block that draws the sample."""
    from modelreg.ledger.receipt_log_view import ReceiptLogView
    from modelreg_verifier.auditor import block_after

    with session.ledger() as view:
        head = view.header
        anchored = _batch(ReceiptLogView.beside(view), node, index)
    with session.home.reader() as reader:
        return anchored, block_after(anchored.block, head, reader.header)


def _batch(log: "ReceiptLogView", node: bytes, index: int | None) -> "AnchoredBatch":
    from modelreg.ledger.receipt_log_batches import newest_batches

    if log.require_node(node).batches <= (index or 0):
        raise NotFoundError(
            f"node 0x{node.hex()} has anchored no batch" + ("" if index is None else f" {index}"),
            hint="nodes anchor with `modelreg anchor`",
        )
    return next(found for found in newest_batches(log, node) if index in (None, found.index))


def _receipts(client: "NodeClient", batch: "Batch") -> "Iterator[SignedReceipt]":
    try:
        yield from client.receipts(batch.epoch, batch.first, batch.count)
    except NotFoundError as error:
        raise UnreachableError("the node withholds receipts", found=str(error)) from None


def _size(count: int, draws: int | None, detect: float | None, share: float) -> tuple[int, int]:
    """How many receipts to draw, and for how many false ones that is enough."""
    from modelreg_verifier.detection import false_receipts, needed_draws

    false = false_receipts(count, Fraction(str(share)))
    if draws is None:
        draws = needed_draws(count, false, Fraction(str(detect or _DETECT)))
    return min(draws or count, count), false


def _others(shown: "Shown", wanted: set[bytes]) -> int:
    return sum(shown.plan(place) not in wanted for place in range(len(shown.digests)))
