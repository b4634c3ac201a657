"""`calibrate`: where a model is cut, and how far honest machines lie apart there."""

import os
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelreg.errors import InputError
from modelreg_cli.audit_blocks import keep_block, plan_option, read_plans
from modelreg_cli.inference_extra import require_inference
from modelreg_cli.output import printable
from modelreg_cli.password import password_file_option
from modelreg_cli.receipt_log import cost, log_writer
from modelreg_cli.session import Session, pass_session

if TYPE_CHECKING:
    from onnx import ModelProto

    from modelreg.format.calibration import Calibration
    from modelreg.format.names import ReleaseId
    from modelreg.format.trace_plan import TracePlan
    from modelreg_verifier.trace.calibrate import Grid

__all__ = ["calibrate_command"]

_BATCHES = (1, 2, 4, 8)
_SEED = 0


@click.command("calibrate")
@click.argument("target", metavar="REF[/FILE]")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the two blocks are written.",
)
@click.option(
    "--python",
    "pythons",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="An interpreter that has onnxruntime and numpy.  [default: this one]",
)
@click.option(
    "--batch", "batches", multiple=True, type=click.IntRange(1, 1024), help="A size.  [default: 1, 2, 4, 8]"
)
@click.option("--samples", default=8, show_default=True, type=click.IntRange(1, 4096), help="Of each size.")
@click.option(
    "--dim",
    "free",
    default=32,
    show_default=True,
    type=click.IntRange(1),
    help="Where the graph leaves one open.",
)
@click.option(
    "--fix", "fixed", multiple=True, metavar="NAME=VALUE", help="An input that is part of the plan."
)
@plan_option("Measure this plan, not one that is chosen here.")
@click.option("--attach", is_flag=True, help="Put both on the ledger, beside the release.")
@password_file_option
@pass_session
def calibrate_command(
    session: Session,
    target: str,
    out: Path,
    pythons: tuple[Path, ...],
    batches: tuple[int, ...],
    samples: int,
    free: int,
    fixed: tuple[str, ...],
    plans: tuple[Path, ...],
    attach: bool,  # noqa: FBT001  click passes options by name
    password_file: Path | None,
) -> None:
    """Choose where the model of the release REF is cut, and measure how far honest machines lie apart there.

    The plan, for `modelreg serve --plan`, is written to PLAN_ID.plan, and what was measured, for
    `modelreg audit --calibration`, to DIGEST.calibration. Each interpreter runs the model with all levels of
    optimization and several numbers of threads; what it computes is replayed here.

    With --attach this home's key vouches for them: nodes serve by the plan that the publisher attached, and
    auditors judge by the calibrations of the parties that a policy names. Several parties can add theirs,
    each with --plan and the plan that is there.
    """
    require_inference()
    from modelreg_verifier.trace.calibrate import Grid, calibrate, sampled
    from modelreg_verifier.trace.program import Program
    from modelreg_verifier.trace.runtime import Settings

    threads = sorted({1, 2, len(os.sched_getaffinity(0))})
    grid = Grid(
        traced=[Settings(level, count) for level, count in product(_levels(), threads)],
        batches=batches or _BATCHES,
        samples=samples,
        pythons=pythons or (Path(sys.executable),),
    )
    release, file, model = _read(session, target)
    plan = _given(plans, file) or _chosen(model, file, fixed, free)

    def tell(done: int, of: int) -> None:
        session.output.remark(f"{done} of {of} runtimes measured")

    inputs = sampled(Program.of(model, plan.fixed), free)
    measured = calibrate(model, plan, release, grid, inputs=inputs, on_runtime=tell)
    attached = _attach(session, release, plan, measured, password_file) if attach else []
    _report(session, out, plan, measured, grid, attached)


def _attach(
    session: Session,
    release: "ReleaseId",
    plan: "TracePlan",
    measured: "Calibration",
    password_file: Path | None,
) -> list[dict[str, Any]]:
    rows = []
    with log_writer(session, password_file) as writer:
        for digest, block in ((plan.plan_id, bytes(plan)), (measured.digest, bytes(measured))):
            # Stored first: what is on the ledger can be had.
            keep_block(session, f"attached/{release}/{digest.hex()}", block)
            rows.append({"digest": f"0x{digest.hex()}", **cost(writer.attach(release, digest))})
    return rows


def _levels() -> tuple[str, ...]:
    from modelreg.format.runtime_info import OPTIMIZATIONS

    return tuple(OPTIMIZATIONS)


def _read(session: Session, text: str) -> "tuple[ReleaseId, str, ModelProto]":
    """The release that is meant, the path of its ONNX file, and that file, verified."""
    from modelreg_verifier.serving.copies import resolve, verified_copy
    from modelreg_verifier.serving.target import parse_target
    from modelreg_verifier.serving.whole_model import whole_model

    target = parse_target(text)
    with session.ledger() as view:
        source = resolve(session.home, view, target, allow_yanked=False)
    copy = verified_copy(session.root, source, session.output.remark)
    file = copy.onnx_file(target.file)
    return source.release.release_id, file, whole_model(*copy.model(file))


def _given(files: tuple[Path, ...], file: str) -> "TracePlan | None":
    plans = read_plans(files)
    if len(plans) > 1:
        raise InputError("--plan", expected="one plan", found=len(plans))
    if plans and plans[0].file != file:
        raise InputError("the plan is of another file", expected=file, found=plans[0].file)
    return plans[0] if plans else None


def _chosen(model: "ModelProto", file: str, fixed: tuple[str, ...], free: int) -> "TracePlan":
    import numpy as np

    from modelreg.format.trace_plan import TracePlan
    from modelreg_verifier.trace.cuts import choose_cuts
    from modelreg_verifier.trace.program import Program
    from modelreg_verifier.trace.samples import fixed_inputs, sample_inputs

    rows = fixed_inputs(model, dict(map(_pair, fixed)))
    program = Program.of(model, rows)
    cuts = choose_cuts(program, sample_inputs(program, np.random.default_rng(_SEED), free=free))
    if not cuts:
        raise InputError(f"{file} cannot be cut", expected="a place with few and small tensors of floats")
    program.places(cuts)
    return TracePlan(file, rows, cuts=cuts)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not equals:
        raise InputError("--fix", expected="NAME=VALUE", found=ascii(text)[:80])
    return name, value


def _report(
    session: Session,
    out: Path,
    plan: "TracePlan",
    measured: "Calibration",
    grid: "Grid",
    attached: list[dict[str, Any]],
) -> None:
    from modelreg.store.files import os_errors, replace_file

    files = {
        "plan": (out / f"{plan.plan_id.hex()}.plan", bytes(plan)),
        "calibration": (out / f"{measured.digest.hex()}.calibration", bytes(measured)),
    }
    with os_errors(f"cannot write to {out}"):
        out.mkdir(parents=True, exist_ok=True)
        for path, block in files.values():
            replace_file(path, block)
    worst = [
        max(map(float, segment)) for segment in zip(*(row.distances for row in measured.rows), strict=True)
    ]
    document = {
        "release_id": f"0x{measured.release.hex()}",
        "plan_id": f"0x{plan.plan_id.hex()}",
        "calibration": f"0x{measured.digest.hex()}",
        "cuts": [list(cut) for cut in plan.cuts],
        "distances": worst,
        "runtimes": len(measured.runtimes),
        "rows": len(measured.rows),
        "samples": grid.samples,
        "attached": attached,
        "files": {name: str(path) for name, (path, _) in files.items()},
    }
    lines = [
        f"plan         {document['plan_id']}",
        f"calibration  {document['calibration']}",
        f"measured     {len(measured.runtimes)} runtimes, {len(measured.rows)} rows, {grid.samples} samples",
        *(
            f"segment {number:3}  at most {distance:.3g} apart, to {_end(plan, number)}"
            for number, distance in enumerate(worst)
        ),
        *(str(path) for path, _ in files.values()),
        *(f"attached     {row['digest']}" for row in attached),
    ]
    session.output.result(document, "\n".join(lines))


def _end(plan: "TracePlan", number: int) -> str:
    return printable(", ".join(plan.cuts[number])) if number < len(plan.cuts) else "the outputs"
