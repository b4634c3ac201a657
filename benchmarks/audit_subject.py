"""One model with its plan, nodes that trace it, and an auditor that judges by the project's own rule."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx

from benchmarks.audit_models import Inputs, Model, read
from modelreg.format.calibration import Calibration, Distance, Row
from modelreg.format.runtime_info import OPTIMIZATIONS, RuntimeInfo
from modelreg.format.trace_plan import FixedInput, TracePlan
from modelreg_verifier.audit.judge_segments import envelope_of, rule
from modelreg_verifier.audit.judge_tensors import Opened
from modelreg_verifier.audit.verdict import Verdict
from modelreg_verifier.trace.bench import Bench, settings_like
from modelreg_verifier.trace.calibrate_node import Node, node_in
from modelreg_verifier.trace.cuts import choose_cuts
from modelreg_verifier.trace.distance import batch_of, compare
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import Settings, runtime_info, with_outputs
from modelreg_verifier.trace.segments import Replay

RELEASE = bytes(32)
SETTINGS = tuple(Settings(level, threads) for level, threads in product(OPTIMIZATIONS, (1, 2)))
DATATYPES = {"int64": "INT64", "int32": "INT32", "float32": "FP32", "bool": "BOOL"}


class _Cached:
    """Replays each segment from equal tensors once."""

    def __init__(self, replay: Replay) -> None:
        self.segments, self._replay = replay.segments, replay
        self._made: dict[bytes, Any] = {}

    def run(self, number: int, start: Inputs, inputs: Inputs) -> Inputs:
        segment = self.segments[number]
        key = hashlib.blake2b(str(number).encode())
        for names, tensors in ((segment.starts, start), (segment.inputs, inputs)):
            for name in names:
                key.update(np.ascontiguousarray(tensors[name]).data)
        digest = key.digest()
        if digest not in self._made:
            self._made[digest] = self._replay.run(number, start, inputs)
        return self._made[digest]

    def forget(self) -> None:
        self._made.clear()


class Subject:
    """A model, its program and plan, and a bench for each level of optimization."""

    def __init__(self, model: Model, wheels: Path) -> None:
        fixed = tuple(FixedInput(n, DATATYPES[v.dtype.name], v.tobytes()) for n, v in model.fixed.items())
        self.model = model
        self.program = Program.of(read(wheels, model.wheel, model.inside), fixed)
        cuts = choose_cuts(self.program, model.sample(np.random.default_rng(0), 1))
        self.plan = TracePlan("model.onnx", fixed, cuts=cuts)
        self.names = tuple(dict.fromkeys(name for cut in cuts for name in cut))
        self._replays = {
            level: _Cached(Replay(self.program, cuts, Settings(level))) for level in OPTIMIZATIONS
        }

    def bench(self, traced: RuntimeInfo) -> Bench:
        """Where an auditor replays what came from a runtime: with the level that the node states."""
        settings = settings_like(traced)
        replay = cast("Replay", self._replays[settings.optimization])
        return Bench(self.program, replay, runtime_info(settings))

    def distances(self, traced: RuntimeInfo, trace: Inputs, inputs: Inputs) -> list[float]:
        """What a calibration measures."""
        bench, batch = self.bench(traced), batch_of(inputs)
        made = (bench.replay.run(k, trace, inputs) for k in range(len(self.plan.cuts) + 1))
        return [compare(trace, ends, batch, self.program.quantized).distance for ends in made]

    def judge(self, calibration: Calibration, traced: RuntimeInfo, trace: Inputs, inputs: Inputs) -> Verdict:
        """What an auditor says, who has that calibration alone."""
        bench = self.bench(traced)
        pair = traced.fingerprint, bench.runtime.fingerprint
        envelope = envelope_of([calibration], *pair, len(self.plan.cuts) + 1)
        return rule(bench, Opened(inputs, trace), envelope)

    def calibration(
        self, measured: Sequence[tuple[RuntimeInfo, int, list[float]]], samples: int
    ) -> Calibration:
        """The block that a party would publish: by runtime and batch the greatest distances."""
        worst: dict[tuple[RuntimeInfo, int], list[float]] = {}
        for traced, batch, found in measured:
            old = worst.get((traced, batch), found)
            worst[traced, batch] = list(map(max, old, found))
        pairs = {key: self.bench(key[0]).runtime for key in worst}
        runtimes = sorted({*(key[0] for key in worst), *pairs.values()}, key=bytes)
        rows = [
            Row(runtimes.index(key[0]), runtimes.index(pairs[key]), key[1], tuple(map(Distance.above, found)))
            for key, found in worst.items()
        ]
        ordered = tuple(sorted(rows, key=lambda row: row.key))
        return Calibration(RELEASE, self.plan.plan_id, samples, tuple(runtimes), ordered)

    def forget(self, but: RuntimeInfo | None = None) -> None:
        """Replays are kept for traces of the same inputs and level only: they are large."""
        for level, replay in self._replays.items():
            if but is None or level != but.optimization:
                replay.forget()


@dataclass(frozen=True)
class Runner:
    """A node: an interpreter whose runtime runs a graph, and the fingerprint that it states."""

    node: Node
    runtime: RuntimeInfo

    @property
    def name(self) -> str:
        return f"{self.runtime.version} {self.runtime.optimization}/{self.runtime.threads}"


@contextmanager
def runners(
    graph: onnx.ModelProto, names: Sequence[str], nodes: Sequence[tuple[Path, Settings]]
) -> Iterator[list[Runner]]:
    """Start nodes that trace a graph."""
    with ExitStack() as stack:
        traced, found = with_outputs(graph, names), []
        for python, settings in nodes:
            node = stack.enter_context(node_in(python, traced, settings))
            found.append(Runner(node, replace(runtime_info(settings), version=node.version)))
        yield found
