"""Measuring how far honest machines lie apart. Specified in docs/spec, audit.md and trace.md, sections 6.

One trace is in memory at a time. What several parties measured stays as many blocks: `envelope_of` of
`judge_segments` takes the widest of those that an auditor trusts.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelreg.errors import InputError, ModelregError
from modelreg.format.calibration import Calibration, Distance, Row
from modelreg.format.names import ReleaseId
from modelreg.format.runtime_info import OPTIMIZATIONS, RuntimeInfo
from modelreg.format.trace_plan import TracePlan
from modelreg_verifier.trace.calibrate_node import Node, node_in
from modelreg_verifier.trace.distance import Outcome, batch_of, compare
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import Arrays, Settings, runtime_info, with_outputs
from modelreg_verifier.trace.samples import FREE_DIM, sample_inputs
from modelreg_verifier.trace.segments import Replay

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Grid", "Inputs", "calibrate", "sampled"]

Inputs = Callable[[int, int], Arrays]
"""Makes the inputs of a batch size and a number from 0."""

_SETTINGS = tuple(Settings(level, threads) for level, threads in product(OPTIMIZATIONS, (1, 2)))
_REPLAYED = (Settings("all"), Settings("disabled"))


@dataclass(frozen=True, slots=True)
class Grid:
    """What is tried.

    Args:
        traced: settings of nodes, each tried in every interpreter.
        replayed: settings of the auditor, in this process.
        batches: elements in a batch; a size that the graph does not take is left out.
        samples: inputs for each row.
        pythons: interpreters that have onnxruntime and numpy.
        seconds: the most that one inference may take.
    """

    traced: Sequence[Settings] = _SETTINGS
    replayed: Sequence[Settings] = _REPLAYED
    batches: Sequence[int] = (1, 2, 4, 8)
    samples: int = 8
    pythons: Sequence[Path] = field(default_factory=lambda: (Path(sys.executable),))
    seconds: float = 600.0

    def __post_init__(self) -> None:
        axes = (self.traced, self.replayed, self.batches, self.pythons)
        if not all(axes) or self.samples < 1 or min(self.batches) < 1:
            raise InputError("grid of a calibration", expected="something on each axis, and a sample")


@dataclass(frozen=True, slots=True)
class _Bench:
    """Everything that traces are compared with."""

    program: Program
    names: tuple[str, ...]
    replays: Mapping[RuntimeInfo, Replay]
    segments: int


def calibrate(
    model: "ModelProto",
    plan: TracePlan,
    release: ReleaseId,
    grid: Grid | None = None,
    *,
    inputs: Inputs | None = None,
    on_runtime: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Trace in every runtime of the grid, replay in this one, and keep the greatest distances.

    Args:
        model: the file that the plan names, with its external data.
        plan: with at least a cut.
        release: whose file it is.
        grid: what is tried.
        inputs: makes inputs, always the same ones; random ones by what the graph says, if it is not given.
        on_runtime: is told how many runtimes have traced, and of how many.

    Raises:
        InputError: a runtime refuses the graph, or honest results are not comparable at some tensor.
        VerificationError: the plan is not valid for the file.
        UnreachableError: an interpreter does not answer.
    """
    grid = grid or Grid()
    program = Program.of(model, plan.fixed)
    names = tuple(dict.fromkeys(name for cut in plan.cuts for name in cut))
    replays = {
        runtime_info(settings, plan.numeric_class): Replay(program, plan.cuts, settings)
        for settings in grid.replayed
    }
    bench = _Bench(program, names, replays, len(plan.cuts) + 1)
    made = inputs or sampled(program)
    found: dict[tuple[RuntimeInfo, RuntimeInfo, int], list[float]] = {}
    nodes = list(product(grid.pythons, grid.traced))
    for done, (python, settings) in enumerate(nodes):
        with node_in(python, with_outputs(program.model, names), settings, grid.seconds) as node:
            traced = replace(runtime_info(settings, plan.numeric_class), version=node.version)
            _measure(bench, node, traced, _inputs(grid, made), found)
        if on_runtime:
            on_runtime(done + 1, len(nodes))
    return _calibration(release, plan, grid.samples, found)


def sampled(program: Program, free: int = FREE_DIM) -> Inputs:
    """Random inputs by what the graph says, always the same ones; `free` is a dim that it leaves open."""

    def make(batch: int, number: int) -> Arrays:
        return sample_inputs(program, np.random.default_rng([batch, number]), batch=batch, free=free)

    return make


def _inputs(grid: Grid, make: Inputs) -> Iterator[tuple[int, Arrays]]:
    """Batch sizes and inputs; a size whose inputs look like those of the size before is none of its own."""
    seen: list[Mapping[str, tuple[int, ...]]] = []
    for batch in sorted(set(grid.batches)):
        shapes = {name: np.shape(array) for name, array in make(batch, 0).items()}
        if shapes in seen:
            continue
        seen.append(shapes)
        for number in range(grid.samples):
            yield batch, make(batch, number)


def _measure(
    bench: _Bench,
    node: Node,
    traced: RuntimeInfo,
    rows: Iterator[tuple[int, Arrays]],
    found: dict[tuple[RuntimeInfo, RuntimeInfo, int], list[float]],
) -> None:
    for batch, inputs in rows:
        trace = node.run(inputs)
        for replayed, replay in bench.replays.items():
            worst = found.setdefault((traced, replayed, batch), [0.0] * bench.segments)
            for number in range(bench.segments):
                made = replay.run(number, trace, inputs)
                apart = compare(trace, made, batch_of(inputs), bench.program.quantized)
                if apart.outcome not in (Outcome.EQUAL, Outcome.NEAR):
                    raise _incomparable(number, apart.outcome, apart.tensor)
                worst[number] = max(worst[number], apart.distance)


def _incomparable(segment: int, outcome: Outcome, tensor: str | None) -> ModelregError:
    return InputError(
        f"honest results of segment {segment} have no distance",
        expected="equal or near",
        found=f"{outcome.name.lower()} at {tensor!a}",
        hint="choose other inputs, or a plan that cuts elsewhere",
    )


def _calibration(
    release: ReleaseId,
    plan: TracePlan,
    samples: int,
    found: Mapping[tuple[RuntimeInfo, RuntimeInfo, int], Sequence[float]],
) -> Calibration:
    runtimes = sorted({runtime for key in found for runtime in key[:2]}, key=bytes)
    numbers = {runtime: number for number, runtime in enumerate(runtimes)}
    rows = [
        Row(numbers[traced], numbers[replayed], batch, tuple(map(Distance.above, worst)))
        for (traced, replayed, batch), worst in found.items()
    ]
    ordered = tuple(sorted(rows, key=lambda row: row.key))
    return Calibration(release.value, plan.plan_id, samples, tuple(runtimes), ordered)
