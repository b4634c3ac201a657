"""`calibrate`: where a model is cut, and how far honest machines lie apart there."""

import os
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelreg.errors import InputError
from modelreg_cli.output import printable
from modelreg_cli.session import Session, pass_session

if TYPE_CHECKING:
    from onnx import ModelProto

    from modelreg.format.calibration import Calibration
    from modelreg.format.names import ReleaseId
    from modelreg.format.trace_plan import TracePlan
    from modelreg_verifier.calibrate import Grid

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
@pass_session
def calibrate_command(
    session: Session,
    target: str,
    out: Path,
    pythons: tuple[Path, ...],
    batches: tuple[int, ...],
    samples: int,
) -> None:
    """Choose where the model of the release REF is cut, and measure how far honest machines lie apart there.

    The plan, for `modelreg serve --plan`, is written to PLAN_ID.plan, and what was measured, for
    `modelreg audit --calibration`, to DIGEST.calibration. Each interpreter runs the model with all levels of
    optimization and several numbers of threads; what it computes is replayed here.
    """
    from modelreg_verifier.calibrate import Grid, calibrate
    from modelreg_verifier.runtime import Settings

    threads = sorted({1, 2, len(os.sched_getaffinity(0))})
    grid = Grid(
        traced=[Settings(level, count) for level, count in product(_levels(), threads)],
        batches=batches or _BATCHES,
        samples=samples,
        pythons=pythons or (Path(sys.executable),),
    )
    release, file, model = _read(session, target)
    plan = _plan(model, file)

    def tell(done: int, of: int) -> None:
        session.output.remark(f"{done} of {of} runtimes measured")

    measured = calibrate(model, plan, release, grid, on_runtime=tell)
    _report(session, out, plan, measured, grid)


def _levels() -> tuple[str, ...]:
    from modelreg.format.runtime_info import OPTIMIZATIONS

    return tuple(OPTIMIZATIONS)


def _read(session: Session, text: str) -> "tuple[ReleaseId, str, ModelProto]":
    """The release that is meant, the path of its ONNX file, and that file, verified."""
    from modelreg_verifier.serving.copies import resolve, verified_copy
    from modelreg_verifier.serving.target import parse_target
    from modelreg_verifier.whole_model import whole_model

    target = parse_target(text)
    with session.ledger() as view:
        source = resolve(session.home, view, target, allow_yanked=False)
    copy = verified_copy(session.root, source, session.output.remark)
    file = copy.onnx_file(target.file)
    return source.release.release_id, file, whole_model(*copy.model(file))


def _plan(model: "ModelProto", file: str) -> "TracePlan":
    import numpy as np

    from modelreg.format.trace_plan import TracePlan
    from modelreg_verifier.cuts import choose_cuts
    from modelreg_verifier.program import Program
    from modelreg_verifier.samples import sample_inputs

    program = Program.of(model)
    cuts = choose_cuts(program, sample_inputs(program, np.random.default_rng(_SEED)))
    if not cuts:
        raise InputError(f"{file} cannot be cut", expected="a place with few and small tensors of floats")
    program.places(cuts)
    return TracePlan(file, cuts=cuts)


def _report(session: Session, out: Path, plan: "TracePlan", measured: "Calibration", grid: "Grid") -> None:
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
    ]
    session.output.result(document, "\n".join(lines))


def _end(plan: "TracePlan", number: int) -> str:
    return printable(", ".join(plan.cuts[number])) if number < len(plan.cuts) else "the outputs"
