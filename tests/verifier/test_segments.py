"""Segments, and cheats that must show in the segment where they happened."""

import numpy as np
import pytest
from onnx import numpy_helper

from modelreg.errors import InputError, VerificationError
from modelreg_verifier.trace.cuts import Limits, choose_cuts
from modelreg_verifier.trace.distance import Outcome, batch_of, compare
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import Session, Settings, with_outputs
from modelreg_verifier.trace.segments import Replay, segments
from tests.verifier import graphs

CUTS = [["kept"], ["kept", "next"]]
X = {"x": np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)}


def traced(program, cuts, settings, inputs):
    names = [name for cut in cuts for name in cut]
    return Session(with_outputs(program.model, names), settings).run(inputs)


def judged(replay, trace, inputs):
    batch = batch_of(inputs)
    return [
        compare(trace, replay.run(number, trace, inputs), batch) for number in range(len(replay.segments))
    ]


@pytest.fixture(scope="module")
def bert():
    program = Program.of(graphs.bert())
    return program, choose_cuts(program, graphs.sentences(), Limits(cuts=5))


def test_segments_part_the_graph():
    parts = segments(Program.of(graphs.early()), CUTS)
    assert [part.nodes for part in parts] == [(0,), (1, 2, 3), (4,)]
    assert [part.starts for part in parts] == [(), ("kept",), ("kept", "next")]
    assert [part.inputs for part in parts] == [("x",), (), ()]


def test_an_early_output_ends_the_segment_that_makes_it():
    parts = segments(Program.of(graphs.early()), CUTS)
    assert [part.ends for part in parts] == [("kept",), ("first", "next", "x2"), ("last",)]


def test_a_tensor_that_stays_is_not_replayed_again():
    parts = segments(Program.of(graphs.early()), [["kept"], ["first", "kept"], ["kept", "next"]])
    assert [part.ends for part in parts] == [("kept",), ("first",), ("next", "x2"), ("last",)]


def test_a_plan_without_cuts_is_one_segment():
    (part,) = segments(Program.of(graphs.early()), [])
    assert (part.starts, part.ends) == ((), ("first", "last", "x2"))


def test_an_output_that_no_input_changes_is_replayed_too():
    program = Program.of(
        graphs.parsed(
            "constant (float[N] x) => (float[N] y, float[1] z) <float[1] one = {1.0}> {"
            " y = Add(x, one) z = Identity(one) }"
        )
    )
    replay, inputs = Replay(program, [], Settings("all")), {"x": X["x"][0]}
    honest = Session(program.model, Settings("all")).run(inputs)
    assert replay.segments[0].ends == ("y", "z")
    assert [row.outcome for row in judged(replay, honest, inputs)] == [Outcome.EQUAL]
    [forged] = judged(replay, honest | {"z": honest["z"] + 98}, inputs)
    assert forged.distance > 0.5


def test_an_invalid_plan_has_no_segments():
    with pytest.raises(VerificationError):
        segments(Program.of(graphs.early()), [["first"]])


@pytest.mark.parametrize("optimization", ["disabled", "all"])
def test_honest_traces_replay_with_the_same_result(optimization):
    program = Program.of(graphs.early())
    replay = Replay(program, CUTS, Settings(optimization))
    found = judged(replay, traced(program, CUTS, Settings("all"), X), X)
    assert [row.outcome for row in found] == [Outcome.EQUAL] * 3


@pytest.mark.parametrize("batch", [1, 3])
def test_an_honest_transformer_stays_near(bert, batch):
    program, cuts = bert
    inputs = graphs.sentences(batch)
    trace = traced(program, cuts, Settings("all", 2), inputs)
    found = judged(Replay(program, cuts, Settings("disabled")), trace, inputs)
    assert all(row.outcome in (Outcome.EQUAL, Outcome.NEAR) for row in found)
    assert max(row.distance for row in found) < 1e-6


def test_a_changed_weight_shows_in_its_segment_alone(bert):
    program, cuts = bert
    changed = Program.of(program.model)
    number = next(
        n for n, node in enumerate(program.model.graph.node) if node.output[0] == "layer.1.grown.product"
    )
    name = program.model.graph.node[number].input[1]
    weight = next(value for value in changed.model.graph.initializer if value.name == name)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.001), name))
    inputs = graphs.sentences()
    replay = Replay(program, cuts, Settings())
    trace = traced(changed, cuts, Settings(), inputs)
    guilty = next(k for k, part in enumerate(replay.segments) if number in part.nodes)
    found = [row.distance for row in judged(replay, trace, inputs)]
    assert found[guilty] > 1e-5
    assert all(distance < 1e-6 for k, distance in enumerate(found) if k != guilty)


def test_a_copied_output_shows_in_the_last_segment(bert):
    program, cuts = bert
    inputs = graphs.sentences(seed=1)
    trace = traced(program, cuts, Settings(), inputs)
    other = traced(program, cuts, Settings(), graphs.sentences(seed=2))
    trace["last_hidden_state"] = other["last_hidden_state"]
    found = [row.distance for row in judged(Replay(program, cuts, Settings()), trace, inputs)]
    assert found[-1] > 0.01
    assert max(found[:-1]) < 1e-6


def test_another_input_shows_in_the_first_segment(bert):
    program, cuts = bert
    trace = traced(program, cuts, Settings(), graphs.sentences(seed=2))
    found = [
        row.distance for row in judged(Replay(program, cuts, Settings()), trace, graphs.sentences(seed=1))
    ]
    assert found[0] > 0.01


def test_segments_replay_in_any_order():
    program = Program.of(graphs.early())
    trace = traced(program, CUTS, Settings(), X)
    assert list(Replay(program, CUTS, Settings()).run(2, trace, X)) == ["last"]


def test_a_tensor_that_is_missing():
    replay = Replay(Program.of(graphs.early()), CUTS, Settings())
    with pytest.raises(VerificationError):
        replay.run(1, {}, X)
    with pytest.raises(VerificationError):
        replay.run(0, {}, {})


@pytest.mark.parametrize("wrong", [np.zeros((2, 3), np.float32), np.zeros((2, 2)), np.zeros(2, np.int64)])
def test_committed_tensors_that_the_segment_cannot_take(wrong):
    program = Program.of(graphs.early())
    trace = traced(program, CUTS, Settings(), X)
    with pytest.raises(InputError):
        Replay(program, CUTS, Settings()).run(1, trace | {"kept": wrong}, X)


def test_a_cut_through_a_sequence():
    nodes = "s = SequenceConstruct(x, x) i = Constant <value = int64 {0}> () y = SequenceAt(s, i)"
    model = graphs.parsed(f"g (float[N] x) => (float[N] y) {{ {nodes} }}")
    replay = Replay(Program.of(model), [["s"]], Settings())
    with pytest.raises(InputError):
        replay.run(1, {"s": [X["x"][0]]}, {"x": X["x"][0]})
