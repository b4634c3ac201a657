"""Settling disputes: honest nodes, cheats that own up or do not, and claims made to fool a referee."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from onnx import numpy_helper

from modelreg.errors import VerificationError
from modelreg.format.commitments import Tensor
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import Domain
from modelreg.format.signature import Signer
from modelreg.format.trace_plan import NumericClass
from modelreg_verifier.audit.dispute import Settled, claim_envelope, settle
from modelreg_verifier.receipts.claim import sign_claim
from modelreg_verifier.receipts.claim_values import claim_values
from modelreg_verifier.referee.evaluate import Dialect, constant_of, evaluate
from modelreg_verifier.referee.expected import Exact, U
from modelreg_verifier.trace.cuts import Limits, choose_cuts
from modelreg_verifier.trace.datatypes import to_array
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import Session, Settings, with_outputs
from modelreg_verifier.trace.segments import segments
from tests.verifier import graphs
from tests.verifier.auditing import DOMAIN, NODE, World, array_of, tensors


@pytest.fixture(scope="module")
def bert():
    model = graphs.bert()
    cuts = choose_cuts(Program.of(model), graphs.sentences(), Limits(cuts=4))
    return World(model, cuts, graphs.sentences(batch=2))


def claim_of(world, number, trace=None, model=None, signer=NODE, **changes):
    """What a node that runs `model` claims of a segment, from what it committed to."""
    trace, program = trace or world.trace, Program.of(model) if model else world.program
    part = segments(program, world.plan.cuts)[number]
    committed = {name: tensor for cut in (*trace.cuts, trace.outputs) for name, tensor in cut.items()}
    made = claim_values(program, part, committed, trace.inputs) | changes
    return sign_claim(
        world.opening(trace, salts=zeros).receipt.receipt.digest(DOMAIN), number, made, DOMAIN, signer
    )


def zeros(count):
    return bytes(count)


def settled(world, number, claim=None, trace=None, honest=True, **subject):
    opening = world.opening(trace, salts=zeros)
    if claim is None and honest:
        claim = claim_of(world, number, trace)
    return settle(opening, claim, number, world.subject(opening, **subject))


def changed(model, change, names=None):
    made = type(model)()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        wanted = tensor.name in names if names else tensor.data_type == 1 and len(tensor.dims) == 2
        if wanted:
            array = change(numpy_helper.to_array(tensor)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
    return made


def int8(array):
    scale = np.abs(array).max() / 127
    return np.rint(array / scale) * scale


def edited(array):
    made = array.copy()
    made.reshape(-1)[7] += 0.01 * np.abs(array).max()
    return made


CHEATS = {
    "fp16": lambda a: a.astype(np.float16),
    "bf16": lambda a: a.astype(ml_dtypes.bfloat16),
    "int8": int8,
    "edited": edited,
}


@pytest.mark.parametrize("level", ["all", "disabled"])
def test_honest_nodes_are_cleared(bert, level):
    names = [name for cut in bert.plan.cuts for name in cut]
    made = tensors(
        Session(with_outputs(bert.program.model, names), Settings(level)).run(graphs.sentences(batch=2))
    )
    trace = replace(
        bert.trace,
        outputs={name: made[name] for name in bert.program.outputs},
        cuts=tuple({name: made[name] for name in cut} for cut in bert.plan.cuts),
    )
    for number in range(len(bert.plan.cuts) + 1):
        found = settled(bert, number, trace=trace)
        assert found.ruling is Settled.CLEARED, found
        assert found.ratio <= 1


@pytest.mark.parametrize("cheat", CHEATS)
def test_cheats_are_convicted_by_an_operator_or_by_the_ends(bert, cheat):
    model = changed(bert.model, CHEATS[cheat])
    trace = bert.traced(graphs.sentences(batch=2), Program.of(model).model)
    owned = [settled(bert, number, claim_of(bert, number, trace, model), trace)
             for number in range(len(bert.plan.cuts) + 1)]  # fmt: skip
    assert all(found.ruling is Settled.FAIL for found in owned[:-1]), owned
    assert all(found.kind in ("MatMul", "Gather") for found in owned[:-1]), owned
    denied = settled(bert, 1, claim_of(bert, 1, trace), trace)  # an honest machine's values
    assert denied.ruling is Settled.FAIL
    assert (denied.operator, "committed" in denied.detail) == (None, True)


def test_the_operator_with_an_edited_tensor_is_named(bert):
    name = next(
        t.name for t in bert.model.graph.initializer if "encoder.layer.1.output.dense.weight" in t.name
    )
    model = changed(bert.model, edited, {name})
    trace = bert.traced(graphs.sentences(batch=2), Program.of(model).model)
    reads = {row.name for row in bert.program.model.graph.node if name in row.input}
    found = [settled(bert, number, claim_of(bert, number, trace, model), trace)
             for number in range(len(bert.plan.cuts) + 1)]  # fmt: skip
    guilty = [row for row in found if row.ruling is Settled.FAIL]
    assert [row.operator in reads for row in guilty] == [True]
    assert all(row.ruling is Settled.CLEARED for row in found if row not in guilty)


def test_no_claim_is_withheld(bert):
    assert settled(bert, 0, honest=False).ruling is Settled.WITHHELD


def test_claims_that_the_node_did_not_sign_are_withheld(bert):
    """a claim by somebody else, over another segment, of another receipt, or for another chain"""
    good = claim_of(bert, 1)
    for bad in (
        claim_of(bert, 1, signer=Signer(b"\x05" * 32)),
        claim_of(bert, 0),
        replace(good, segment=2),
        replace(good, receipt=bytes(32)),
        replace(good, signature=bytes(65)),
        sign_claim(good.receipt, 1, good.tensors, Domain(1, DOMAIN.contract), NODE),
        replace(good, tensors={**good.tensors, next(iter(good.tensors)): Tensor("FP32", (0,), b"")}),
    ):
        assert settled(bert, 1, bad).ruling is Settled.WITHHELD


def test_a_claim_has_exactly_the_tensors_of_its_segment(bert):
    good = claim_of(bert, 1)
    name = next(iter(good.tensors))
    less = {key: tensor for key, tensor in good.tensors.items() if key != name}
    more = {**good.tensors, "more": Tensor("FP32", (1,), bytes(4))}
    for bad in (less, more):
        found = settled(bert, 1, sign_claim(good.receipt, 1, bad, DOMAIN, NODE))
        assert (found.ruling, "tensors of the claim" in found.detail) == (Settled.FAIL, True)


@pytest.mark.parametrize("wrong", ["dims", "datatype", "huge"])
def test_a_claim_of_another_shape_or_datatype_fails(bert, wrong):
    good = claim_of(bert, 1)
    name, tensor = next((n, t) for n, t in good.tensors.items() if t.datatype == "FP32")
    odd = {
        "dims": Tensor("FP32", (1, *tensor.dims), tensor.data),
        "datatype": Tensor("INT32", tensor.dims, tensor.data),
        "huge": Tensor("FP32", (0, 1 << 62, 1 << 62), b""),
    }[wrong]
    found = settled(bert, 1, claim_of(bert, 1, **{name: odd}))
    assert found.ruling is Settled.FAIL, found


def test_values_that_are_not_finite_fail(bert):
    """a cheat who claims NaN so that nothing compares"""
    good = claim_of(bert, 1)
    name, tensor = next((n, t) for n, t in good.tensors.items() if t.datatype == "FP32")
    count = len(tensor.data) // 4
    nan = Tensor("FP32", tensor.dims, np.full(count, np.nan, np.float32).tobytes())
    assert settled(bert, 1, claim_of(bert, 1, **{name: nan})).ruling is Settled.FAIL


def test_a_segment_that_the_plan_lacks_is_undecidable(bert):
    assert settled(bert, 99, honest=False).ruling is Settled.UNDECIDABLE


def test_another_class_is_undecidable(bert):
    plan = replace(bert.plan, numeric_class=NumericClass.TF32)
    opening = bert.opening(plan=plan, salts=zeros)
    subject = bert.subject(opening, calibrations=[bert.calibration([1e-6] * (len(plan.cuts) + 1), plan=plan)])
    assert settle(opening, None, 0, subject).ruling is Settled.UNDECIDABLE


def test_an_opening_that_does_not_stand_ends_the_dispute(bert):
    opening = bert.opening(salts=zeros)
    for bad, ruling in (
        (replace(opening, cuts=()), Settled.WITHHELD),
        (replace(opening, inputs=None), Settled.WITHHELD),
    ):
        assert settle(bad, None, 0, bert.subject(opening)).ruling is ruling
    assert settled(bert, 0, honest=False, calibrations=[]).ruling is Settled.UNDECIDABLE
    with pytest.raises(VerificationError):
        settle(opening, None, 0, bert.subject(opening, release=ReleaseId(b"\x01" * 32)))


def test_operators_outside_the_set_convict_nobody():
    """Two roundings in a branch: what is wrong in it cannot be told, what is wrong beside it can."""
    model = graphs.parsed(
        """
        switch (float[N, 2] x) => (float[N, 2] y) <float[2] two = {2.0, 2.0}, int64 four = {4}> {
          b = Add(x, two)
          size = Size(x)
          small = Less(size, four)
          a = If (small) <
            then_branch = t () => (float[N, 2] c) { p = Mul(b, two) c = Mul(p, two) },
            else_branch = e () => (float[N, 2] d) { d = Sub(b, two) }
          >
          y = Mul(a, two)
        }
        """
    )
    world = World(model, [["a"]], {"x": np.array([[1, 2]], np.float32)})
    found = settled(world, 0)
    assert (found.ruling, found.kind) == (Settled.UNDECIDABLE, "If")
    assert settled(world, 1).ruling is Settled.CLEARED
    odd = tensors({"b": np.array([[9, 9]], np.float32)})
    assert settled(world, 0, claim_of(world, 0, **odd)).kind == "Add"
    ends = tensors({"a": np.array([[9, 9]], np.float32)})
    assert settled(world, 0, claim_of(world, 0, **ends)).ruling is Settled.FAIL


def test_envelope_is_that_without_optimization_if_there_is_one(bert):
    wide, plain = bert.calibration([3.0]), bert.calibration([2.0])
    node = bert.runtime.fingerprint
    assert claim_envelope([wide, plain], node, 1) == (3.0,)
    other = replace(bert.runtime, optimization="disabled")
    assert claim_envelope([bert.calibration([1.0], other)], node, 1) is None
    both = replace(
        wide,
        runtimes=tuple(sorted((bert.runtime, other), key=bytes)),
        rows=tuple(
            replace(wide.rows[0], traced=at, replayed=to, distances=wide.rows[0].distances if at == to
                    else plain.rows[0].distances)
            for at in (0, 1) for to in (0, 1)
        ),
    )  # fmt: skip
    assert claim_envelope([both], node, 1) == (2.0,)
    assert claim_envelope([both], node, 2) is None


def ratio_world():
    model = graphs.parsed(
        """
        ratio (float[N, 2] x) => (float[N, 2] y, bool[N, 2] above) <float[2] two = {2.0, 2.0}> {
          b = Sub(x, two)
          c = Div(x, b)
          above = Greater(c, two)
          y = Mul(c, two)
        }
        """
    )
    return lambda *x: World(model, [["c"]], {"x": np.array([x], np.float32)})


def test_nan_where_numbers_are_is_convicted_and_a_division_by_almost_nothing_is_not():
    """a cheat who commits to NaN; and a machine that makes 0/0 of what is a small number elsewhere"""
    for x, ruling in (((5, 1), Settled.FAIL), ((2.000001, 3), Settled.UNDECIDABLE)):
        world = ratio_world()(*x)
        trace = world.trace.changed("c", np.array([[np.nan, 1.5]], np.float32))
        found = settled(world, 0, trace=trace)
        assert found.ruling is ruling, found


def test_a_comparison_that_came_out_otherwise_convicts_nobody():
    world = ratio_world()(5, 1)
    trace = world.trace.changed("above", np.array([[True, True]]))
    assert settled(world, 1, trace=trace).ruling is Settled.UNDECIDABLE
    assert settled(world, 1).ruling is Settled.CLEARED


def smeared(world, number, trace, false):
    """Claims that go to what was made with other weights, as far as each bound lets them."""
    program, part = world.program, segments(world.program, world.plan.cuts)[number]
    committed = {name: tensor for cut in (*trace.cuts, trace.outputs) for name, tensor in cut.items()}
    given = {name: to_array(tensor) for name, tensor in {**trace.inputs, **committed}.items()}
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in program.model.graph.initializer}
    made, dialect = {}, Dialect(17, ())

    def read(name):
        return Exact(next(place[name] for place in (made, given, weights) if name in place))

    for node in (program.model.graph.node[number] for number in part.nodes):
        if node.op_type == "Constant":
            given[node.output[0]] = constant_of(node)
            continue
        for name, expected in zip(node.output, evaluate(node, read, dialect), strict=False):
            made[name] = expected.array if isinstance(expected, Exact) else nearer(expected, false[name])
    return tensors({name: np.asarray(array) for name, array in made.items()})


def nearer(expected, wanted):
    most = np.maximum(
        0.9 * expected.hard - U * np.abs(expected.value), 0
    )  # what is left for its own rounding
    step = np.clip(wanted - expected.value, -most, most)
    if expected.soft is not None:
        rows = (len(step), -1) if step.ndim > 1 else (1, -1)
        limit, length = (np.linalg.norm(part.reshape(rows), axis=1) for part in (expected.soft, step))
        step = (
            step.reshape(rows) * np.minimum(1, 0.9 * limit / np.maximum(length, 1e-300))[:, None]
        ).reshape(step.shape)
    return (expected.value + step).astype(np.float32)


def test_a_cheat_who_spreads_its_lie_over_all_operators(bert):
    """Each operator stays inside its bound, and the ends are still not those of the other weights."""
    model = changed(bert.model, CHEATS["fp16"])
    inputs = graphs.sentences(batch=2)
    trace = bert.traced(inputs, Program.of(model).model)
    for number in range(1, len(bert.plan.cuts)):
        owned = {
            name: to_array(tensor) for name, tensor in claim_of(bert, number, trace, model).tensors.items()
        }
        claim = claim_of(bert, number, trace, **smeared(bert, number, trace, owned))
        found = settled(bert, number, claim, trace)
        assert (found.ruling, found.operator) == (Settled.FAIL, None), found


@pytest.mark.parametrize(("cuts", "ruling"), [([["b"]], Settled.UNDECIDABLE), ([["a"], ["d"]], Settled.FAIL)])
def test_a_rounding_in_the_midst_of_a_segment_excuses_its_ends(cuts, ruling):
    """x and the first cut are honest, the last segment that leads to y is not"""
    world = World(graphs.quantized(), cuts, {"x": np.array([[0.3, -0.2, 0.9, 0.1]], np.float32)})
    trace = world.trace.changed("y", array_of(world.trace, "y") * np.float32(1.001))
    number = len(cuts)
    found = settled(world, number, trace=trace)
    assert (found.ruling, found.ratio > 1) == (ruling, True), found
    assert settled(world, number).ruling is Settled.CLEARED
