"""`audit`: whether a node ran the models that its receipts name."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelreg.errors import (
    InputError,
    ModelregError,
    NotFoundError,
    NotPermittedError,
    UnreachableError,
    VerificationError,
)
from modelreg_cli.audit_blocks import FILE, plan_option, read_calibrations, read_plans
from modelreg_cli.inference_extra import require_inference
from modelreg_cli.password import password_file_option
from modelreg_cli.receipt_log import ADDRESS, WORD
from modelreg_cli.session import Session, pass_session

if TYPE_CHECKING:
    from modelreg_cli.audit_run import Audit

__all__ = ["CHEATED", "audit_command"]

CHEATED = 7
"""The exit code if the audit found what no honest machine makes."""

_DETECT, _SHARE = 0.99, 0.1
_PATIENCE_SECONDS = 600.0


@click.command("audit")
@click.argument("node", type=ADDRESS, metavar="NODE_ADDRESS")
@click.option("--url", help="Where the node answers.  [default: its endpoint on the ledger]")
@click.option("--policy", type=WORD, help="Judge under this policy, by the calibrations of its parties.")
@click.option(
    "--calibration",
    "calibrations",
    multiple=True,
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
    "--patience",
    type=click.FloatRange(0),
    default=_PATIENCE_SECONDS,
    show_default=True,
    help="Seconds to wait for answers of a node that gives none.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A page to write, and FILE.json beside; with --watch FILE-BATCH.",
)
@click.option(
    "--verdicts",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --policy: where a signed verdict on each receipt is written.",
)
@click.option("--watch", is_flag=True, help="Go on with each batch that the node anchors, until interrupted.")
@click.option(
    "--every",
    type=click.FloatRange(0.1),
    default=60.0,
    show_default=True,
    help="With --watch: seconds between looks at the ledger.",
)
@password_file_option
@pass_session
@click.pass_context
def audit_command(
    context: click.Context,
    session: Session,
    node: bytes,
    url: str | None,
    policy: bytes | None,
    calibrations: tuple[Path, ...],
    plans: tuple[Path, ...],
    index: int | None,
    draws: int | None,
    detect: float | None,
    share: float,
    patience: float,
    report: Path | None,
    verdicts: Path | None,
    watch: bool,  # noqa: FBT001  click passes options by name
    every: float,
    password_file: Path | None,
) -> None:
    """Find out whether the node NODE_ADDRESS ran the models that its receipts name.

    A sample of the receipts of an anchored batch is drawn from the hash of the block after it. The node is
    asked, with this home's key, for all that was computed for each of them, and each is computed again from
    the verified release. The node must have named this home's key with `serve --auditor`.

    Under a policy whose auditor this home's key is, verdicts can be signed: `modelreg verdict slash` brings
    those of a quorum before the ledger.

    Exits with 7 if the node cheated, and with 6 if it withheld something, or more than a tenth of the sample
    could not be decided.
    """
    require_inference()
    from modelreg_cli.audit_run import Audit, Wanted

    if draws is not None and detect is not None:
        raise InputError("--draws and --detect both say how many receipts", expected="one of them")
    if policy is None and not calibrations:
        raise InputError("nothing says how honest machines differ", expected="--policy or --calibration")
    if policy is None and verdicts is not None:
        raise InputError("--verdicts goes with --policy")
    wanted = Wanted(
        node=node,
        url=url,
        policy=policy,
        calibrations=tuple(read_calibrations(calibrations)),
        plans=frozenset(plan.plan_id for plan in read_plans(plans)),
        draws=draws,
        detect=detect or _DETECT,
        share=share,
        patience=patience,
        report=report,
        report_each=watch,
        verdicts=verdicts,
    )
    audit = Audit(session, wanted, password_file)
    if watch:
        _watch(session, audit, index, every)
        return
    failure = audit.run(index)
    if failure is not None:
        session.output.failure(failure)
        context.exit(CHEATED if isinstance(failure, VerificationError) else failure.exit_code)


def _watch(session: Session, audit: "Audit", index: int | None, every: float) -> None:
    """Audit each batch; one with which something goes wrong is tried again, and holds up no other."""
    waiting: set[int] = set()
    while True:
        try:
            newest = audit.newest()
            index = newest if index is None else index
            waiting.update(range(index, newest + 1))
            index = max(index, newest + 1)
        except (NotFoundError, UnreachableError) as error:
            session.output.remark(f"waiting: {error}")
        for number in sorted(waiting, reverse=True):
            if _is_done(session, audit, number):
                waiting.remove(number)
        time.sleep(every)


def _is_done(session: Session, audit: "Audit", number: int) -> bool:
    """Audit one batch; whether there is nothing more to do with it."""
    try:
        failure = audit.run(number)
    except NotPermittedError as error:
        session.output.failure(error)
        return True
    except ModelregError as error:
        session.output.remark(f"batch {number} has to wait: {error}")
        return False
    if failure is not None:
        session.output.failure(failure)
    return True
