"""`settle`: the ruling on a dispute from a file, without the node."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelreg.format.names import AtRelease
from modelreg_cli.audit_blocks import FILE, read_calibrations
from modelreg_cli.dispute import show
from modelreg_cli.inference_extra import require_inference
from modelreg_cli.session import Session, located, pass_session
from modelreg_cli.verify import release_evidence

if TYPE_CHECKING:
    from modelreg.format.runtime_info import RuntimeInfo
    from modelreg.format.trace_plan import TracePlan
    from modelreg_verifier.audit.evidence import Evidence
    from modelreg_verifier.serving.copies import VerifiedCopy
    from modelreg_verifier.trace.bench import Bench

__all__ = ["settle_command"]


@click.command("settle")
@click.argument("file", type=FILE)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--calibration",
    "calibrations",
    multiple=True,
    required=True,
    type=FILE,
    help="What a party that you trust has measured.",
)
@click.option("--offline", type=FILE, metavar="BUNDLE", help="Verify against this bundle, without a chain.")
@click.option("--block", metavar="HASH", help="With --offline: a block hash of the chain that you trust.")
@pass_session
@click.pass_context
def settle_command(
    context: click.Context,
    session: Session,
    file: Path,
    directory: Path,
    calibrations: tuple[Path, ...],
    offline: Path | None,
    block: str | None,
) -> None:
    """Settle a dispute again from FILE, which `dispute --evidence` wrote, with the release in DIRECTORY.

    Every byte of DIRECTORY is compared with the release first. The node is not asked. With --offline nobody
    is: the bundle's proofs are checked against a block hash that this home has seen, or that --block gives.

    Exits with 7 if the node cheated.
    """
    require_inference()
    from modelreg.ledger.receipt_log_evidence import receipt_domain
    from modelreg_verifier.audit.dispute import settle
    from modelreg_verifier.audit.judge import Subject
    from modelreg_verifier.serving.copies import VerifiedCopy

    trusted, evidence = read_calibrations(calibrations), _read(file)
    release, receipt = evidence.opening.receipt.receipt.release_id, evidence.claim.receipt
    with release_evidence(session, AtRelease(release), offline, block) as known:
        manifest, domain = known.manifest, receipt_domain(known.chain_id)
        files = frozenset(row.path for row in manifest.files)
        copy = VerifiedCopy(manifest, located(directory), "fetch it again with `modelreg sync`")

        def prepare(plan: "TracePlan", runtime: "RuntimeInfo") -> "Bench":
            return _bench(copy, plan, runtime)

        subject = Subject(domain, receipt, release, files, trusted, prepare)
        found = settle(evidence.opening, evidence.claim, evidence.claim.segment, subject)
    show(context, session, receipt, found)


def _read(path: Path) -> "Evidence":
    from modelreg.store.files import os_errors
    from modelreg_verifier.audit.evidence import read_evidence

    with os_errors(f"cannot read {path}"), path.open("rb") as file:
        return read_evidence(file)


def _bench(copy: "VerifiedCopy", plan: "TracePlan", runtime: "RuntimeInfo") -> "Bench":
    from modelreg.errors import UnreachableError, VerificationError
    from modelreg_verifier.serving.whole_model import whole_model
    from modelreg_verifier.trace.bench import bench_of, settings_like

    try:
        model = whole_model(*copy.model(copy.onnx_file(plan.file)))
    except VerificationError as error:
        # What is wrong with this machine's copy is not the node's doing.
        raise UnreachableError(f"cannot read {plan.file}", found=str(error)) from None
    return bench_of(model, plan, settings_like(runtime))
