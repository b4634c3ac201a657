"""Judging opened receipts: honest ones, cheats, and openings made to fool the auditor."""

from dataclasses import replace

import numpy as np
import pytest

from modelreg.errors import InputError, NotFoundError, VerificationError
from modelreg.format.commitments import Tensor
from modelreg.format.names import ReleaseId
from modelreg.format.signature import Signer
from modelreg.format.trace_plan import FixedInput, TracePlan
from modelreg_verifier.audit.judge import judge
from modelreg_verifier.audit.judge_segments import DISPUTE_ABOVE, FLOOR, PASS_UP_TO, envelope_of
from modelreg_verifier.audit.verdict import Reason, Ruling
from modelreg_verifier.receipts.opening import SetOpening
from modelreg_verifier.trace.bench import Bench, bench_of, settings_like
from modelreg_verifier.trace.distance import Outcome
from tests.verifier import graphs
from tests.verifier.auditing import DOMAIN, World, array_of, early, other_runtime


@pytest.fixture(scope="module")
def world():
    return early()


@pytest.fixture(scope="module")
def bert():
    from modelreg_verifier.trace.cuts import Limits, choose_cuts
    from modelreg_verifier.trace.program import Program

    model = graphs.bert()
    cuts = choose_cuts(Program.of(model), graphs.sentences(), Limits(cuts=4))
    return World(model, cuts, graphs.sentences(batch=2))


def verdict(world, trace=None, *, opening=None, subject=None, **made):
    opening = opening or world.opening(trace, **made)
    return judge(opening, world.subject(opening, **(subject or {})))


def ruled(found):
    return found.ruling, found.reason


def nudged(world, name, factor):
    """A tensor whose distance from the honest one is `factor` envelopes of 1e-6, in every row."""
    array = array_of(world.trace, name).astype(np.float64)
    return world.trace.changed(name, (array * (1 + factor * 1e-6)).astype(np.float32))


# Honest


def test_equal_bits_pass(world):
    found = verdict(world)
    assert ruled(found) == (Ruling.PASS, Reason.EQUAL)
    assert [row.outcome for row in found.segments] == [Outcome.EQUAL] * 4


def test_an_honest_transformer_on_another_optimization_passes(bert):
    found = verdict(
        bert, subject={"prepare": lambda plan, _: bench_like(bert, plan, "disabled")},
    )  # fmt: skip
    assert found.ruling is Ruling.PASS
    assert len(found.segments) == len(bert.plan.cuts) + 1


def bench_like(world, plan, optimization):
    """Another session, under the name of the runtime that the calibration has."""
    from modelreg_verifier.trace.runtime import Settings

    made = bench_of(world.model, plan, Settings(optimization))
    return Bench(made.program, made.replay, world.runtime)


def test_nan_inputs_of_a_client_accuse_nobody(world):
    trace = world.traced({"x": np.array([[np.nan, np.inf], [1.0, 2.0]], np.float32)})
    assert verdict(world, trace).ruling is Ruling.PASS


def test_one_salt_for_everything_is_the_nodes_own_loss(world):
    found = verdict(world, salts=lambda size: b"s" * size)
    assert found.ruling is Ruling.PASS


# The scale


@pytest.mark.parametrize(
    ("factor", "ruling"),
    [(5, Ruling.PASS), (15, Ruling.INCONCLUSIVE), (60, Ruling.DISPUTE)],
)
@pytest.mark.parametrize(("name", "segment"), [("next", 2), ("last", 3)])
def test_the_ratio_decides(world, factor, ruling, name, segment):
    found = verdict(world, nudged(world, name, factor))
    assert found.ruling is ruling
    assert found.reason is (Reason.NEAR if ruling is Ruling.PASS else Reason.DISTANCE)
    assert found.segment == (None if ruling is Ruling.PASS else segment)
    row = found.segments[segment]
    assert row.tensor == name and row.ratio == pytest.approx(factor, rel=0.15)
    assert row.ratio == row.distance / row.envelope


def test_the_thresholds_are_those_of_the_specification():
    assert (FLOOR, PASS_UP_TO, DISPUTE_ABOVE) == (3e-7, 10.0, 20.0)


def test_an_envelope_of_zero_has_a_floor(world):
    calibrations = [world.calibration([0.0] * 4)]
    found = verdict(world, nudged(world, "last", 0.5), subject={"calibrations": calibrations})
    assert found.ruling is Ruling.PASS
    assert {row.envelope for row in found.segments} == {FLOOR}


def test_a_cheating_model_is_disputed_where_it_cheats(bert):
    other = World(graphs.bert(seed=1), bert.plan.cuts, graphs.sentences(batch=2))
    found = verdict(bert, other.trace)
    assert ruled(found) == (Ruling.DISPUTE, Reason.DISTANCE)
    assert found.segment == 0


def test_an_edited_output_is_disputed_in_the_last_segment(bert):
    name = bert.program.outputs[0]
    found = verdict(bert, bert.trace.changed(name, array_of(bert.trace, name) * np.float32(1.01)))
    assert found.ruling is Ruling.DISPUTE
    assert found.segment == len(bert.plan.cuts)


def test_a_copied_answer_does_not_fit_the_input(world):
    other = world.traced({"x": np.array([[9.0, 9.0]] * 2, np.float32)})
    assert verdict(world, replace(other, inputs=world.trace.inputs)).ruling is Ruling.DISPUTE


# Calibrations


def test_a_runtime_outside_the_calibration_gives_no_verdict(world):
    found = verdict(world, nudged(world, "last", 900), runtime=other_runtime(world))
    assert ruled(found) == (Ruling.UNDECIDABLE, Reason.CALIBRATION)
    assert [row.ratio for row in found.segments] == [None] * 4


def test_equal_bits_need_no_envelope(world):
    assert ruled(verdict(world, runtime=other_runtime(world))) == (Ruling.PASS, Reason.EQUAL)


def test_calibration_of_another_release_or_plan_does_not_count(world):
    wide = [1.0] * 4
    other_plan = TracePlan("m.onnx", cuts=world.plan.cuts[:1])
    foreign = [
        world.calibration(wide, release=b"\x01" * 32),
        world.calibration(wide, plan=other_plan),
    ]
    found = verdict(world, subject={"calibrations": foreign})
    assert ruled(found) == (Ruling.UNDECIDABLE, Reason.CALIBRATION)
    found = verdict(
        world, nudged(world, "last", 60), subject={"calibrations": [*foreign, *world.calibrations]}
    )
    assert found.ruling is Ruling.DISPUTE


def test_the_widest_of_several_trusted_calibrations_counts(world):
    blocks = [world.calibration(row) for row in ([1e-6, 9e-6, 0, 1e-6], [2e-6, 1e-6, 0, 5e-6])]
    own = world.runtime.fingerprint
    assert envelope_of(blocks, own, own, 4) == pytest.approx([2e-6, 9e-6, 0, 5e-6])
    assert envelope_of([*blocks, world.calibration([1.0])], own, own, 4) == envelope_of(blocks, own, own, 4)
    assert envelope_of(blocks, own, b"?" * 32, 4) is None
    assert envelope_of(blocks, own, own, 3) is None


# Attacks: what does not open the receipt


def test_nothing_delivered_is_withheld(world):
    opening = world.opening()
    assert judge(None, world.subject(opening)).ruling is Ruling.WITHHELD


def test_receipt_of_another_chain_or_contract(world):
    for domain in (replace(DOMAIN, chain_id=1), replace(DOMAIN, contract=b"\x12" * 20)):
        found = verdict(world, subject={"domain": domain})
        assert ruled(found) == (Ruling.WITHHELD, Reason.RECEIPT)


def test_receipt_that_a_stranger_signed(world):
    opening = world.opening()
    forged = Signer(b"\x02" * 32).sign(opening.receipt.receipt.digest(DOMAIN))
    changed = replace(opening, receipt=replace(opening.receipt, signature=forged))
    assert ruled(verdict(world, opening=changed)) == (Ruling.WITHHELD, Reason.RECEIPT)


def test_receipt_other_than_the_one_drawn(world):
    opening = world.opening(seq=1)
    found = verdict(world, opening=opening, subject={"receipt": world.opening().receipt.verify(DOMAIN)})
    assert ruled(found) == (Ruling.WITHHELD, Reason.RECEIPT)


def test_edit_after_anchoring(world):
    opening = world.opening()
    edited = replace(opening.receipt.receipt, output_commit=b"\x09" * 32)
    changed = replace(opening, receipt=replace(opening.receipt, receipt=edited))
    found = judge(changed, world.subject(opening))
    assert ruled(found) == (Ruling.WITHHELD, Reason.RECEIPT)


def test_the_wrong_release_is_the_callers_error(world):
    with pytest.raises(VerificationError):
        verdict(world, subject={"release": ReleaseId(b"\x01" * 32)})


def test_plan_of_another_receipt(world):
    opening = replace(world.opening(), plan=bytes(TracePlan("m.onnx")))
    assert ruled(verdict(world, opening=opening)) == (Ruling.WITHHELD, Reason.PLAN_BLOCK)


def test_false_runtime_block(world):
    opening = replace(world.opening(), runtime=bytes(other_runtime(world)))
    assert ruled(verdict(world, opening=opening)) == (Ruling.WITHHELD, Reason.RUNTIME_BLOCK)


@pytest.mark.parametrize("part", ["inputs", "outputs", "cuts"])
def test_missing_parts_are_withheld(world, part):
    whole = world.opening()
    opening = replace(whole, **{part: whole.cuts[:1] + whole.cuts[2:] if part == "cuts" else None})
    found = verdict(world, opening=opening)
    assert ruled(found) == (Ruling.WITHHELD, Reason.PART)
    assert ("1" if part == "cuts" else part) in found.detail


def swapped(whole):
    first, second, *rest = whole.cuts
    return replace(whole, cuts=(replace(second, cut=0), replace(first, cut=1), *rest))


def other_tensors(whole):
    return replace(whole, outputs=SetOpening(whole.outputs.salt, whole.inputs.tensors))


def other_salt(whole):
    return replace(whole, inputs=SetOpening(b"\0" * 32, whole.inputs.tensors))


def sides_swapped(whole):
    return replace(whole, inputs=whole.outputs, outputs=whole.inputs)


def leaf_for_node(whole):
    first, *rest = whole.cuts
    return replace(whole, cuts=(replace(first, proof=first.proof[1:]), *rest))


@pytest.mark.parametrize("change", [swapped, other_tensors, other_salt, sides_swapped, leaf_for_node])
def test_what_does_not_open_its_commitment(world, change):
    found = verdict(world, opening=change(world.opening()))
    assert ruled(found) == (Ruling.WITHHELD, Reason.COMMITMENT)
    assert not found.segments


def test_commitments_are_checked_before_a_model_is_touched(world):
    def prepare(plan, runtime):
        pytest.fail("prepared")

    verdict(world, opening=other_tensors(world.opening()), subject={"prepare": prepare})


def test_swapped_salts_with_one_salt_for_all_still_tell_inputs_from_outputs(world):
    opening = sides_swapped(world.opening(salts=lambda size: b"s" * size))
    assert ruled(verdict(world, opening=opening)) == (Ruling.WITHHELD, Reason.COMMITMENT)


# Attacks: what was signed for, and is wrong


@pytest.mark.parametrize("block", [b"\xa0", b"plan"])
def test_signed_for_a_plan_that_is_none(world, block):
    assert ruled(verdict(world, plan=block)) == (Ruling.FAIL, Reason.PLAN)


def test_signed_for_a_runtime_that_is_none(world):
    assert ruled(verdict(world, runtime=b"\xa0")) == (Ruling.FAIL, Reason.RUNTIME)


def test_plan_of_another_file(world):
    plan = TracePlan("other.onnx", cuts=world.plan.cuts)
    assert ruled(verdict(world, plan=plan)) == (Ruling.FAIL, Reason.PLAN)


@pytest.mark.parametrize(
    "plan",
    [
        TracePlan("m.onnx", cuts=(("kept",), ("kept", "next"), ("first", "kept"))),
        TracePlan("m.onnx", cuts=(("first",), ("kept",), ("next",))),
        TracePlan("m.onnx", fixed=(FixedInput("x", "FP32", bytes(4)),), cuts=(("a",), ("b",), ("c",))),
    ],
    ids=["reordered cuts", "incomplete cuts", "fixed input of another shape"],
)
def test_plan_that_is_not_valid_for_the_file(world, plan):
    trace = replace(world.trace, cuts=tuple(dict.fromkeys(cut, t) for cut, t in
                    zip(plan.cuts, [next(iter(world.trace.outputs.values()))] * 3, strict=True)))  # fmt: skip
    assert ruled(verdict(world, trace, plan=plan)) == (Ruling.FAIL, Reason.PLAN)


def test_a_bare_plan_shows_nothing(world):
    trace = replace(world.trace, cuts=())
    found = verdict(world, trace, plan=TracePlan("m.onnx"))
    assert ruled(found) == (Ruling.UNDECIDABLE, Reason.BARE)


@pytest.mark.parametrize("error", [InputError("no"), NotFoundError("gone")])
def test_what_the_auditor_cannot_run_accuses_nobody(world, error):
    def prepare(plan, runtime):
        raise error

    assert ruled(verdict(world, subject={"prepare": prepare})) == (Ruling.UNDECIDABLE, Reason.REFUSED)


def test_wrong_names_in_a_cut(world):
    first, *rest = world.trace.cuts
    for cut in ({"other": first["kept"]}, {**first, "more": first["kept"]}):
        found = verdict(world, replace(world.trace, cuts=(cut, *rest)))
        assert ruled(found) == (Ruling.FAIL, Reason.NAMES)


def test_wrong_names_of_outputs(world):
    outputs = {name: t for name, t in world.trace.outputs.items() if name != "x2"}
    assert ruled(verdict(world, replace(world.trace, outputs=outputs))) == (Ruling.FAIL, Reason.NAMES)


X = Tensor("FP32", (2, 2), bytes(16))


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"y": X},
        {"x": X, "y": X},
        {"x": Tensor("FP64", (2, 2), bytes(32))},
        {"x": Tensor("FP32", (2, 3), bytes(24))},
        {"x": Tensor("FP32", (2,), bytes(8))},
    ],
    ids=["none", "another", "one more", "datatype", "dims", "rank"],
)
def test_inputs_that_the_graph_does_not_declare(world, inputs):
    found = verdict(world, replace(world.trace, inputs=inputs))
    assert ruled(found) == (Ruling.FAIL, Reason.INPUTS)


@pytest.mark.parametrize("place", [1, 2, "outputs"])
def test_same_tensor_with_two_values(world, place):
    """`kept` stands in three cuts, `first` in a cut and the outputs."""
    wrong = Tensor("FP32", (2, 2), bytes(16))
    if place == "outputs":
        trace = replace(world.trace, outputs={**world.trace.outputs, "first": wrong})
    else:
        cuts = list(world.trace.cuts)
        cuts[place] = {**cuts[place], "kept": wrong}
        trace = replace(world.trace, cuts=tuple(cuts))
    assert ruled(verdict(world, trace)) == (Ruling.FAIL, Reason.TWO_VALUES)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "segment"), [("kept", 0), ("next", 2), ("last", 3)])
def test_non_finite_values(world, value, name, segment):
    array = array_of(world.trace, name)
    array[0, 0] = value
    found = verdict(world, world.trace.changed(name, array))
    assert ruled(found) == (Ruling.DISPUTE, Reason.NON_FINITE)
    assert found.segment == segment


@pytest.mark.parametrize("dims", [(1, 4), (4,), (2, 2, 1)])
def test_wrong_shape(world, dims):
    wrong = Tensor("FP32", dims, world.trace.cuts[0]["kept"].data)
    found = verdict(world, world.trace.changed("kept", wrong))
    assert ruled(found) == (Ruling.FAIL, Reason.SHAPE)
    assert len(found.segments) == 1


def test_wrong_datatype(world):
    wrong = Tensor("INT32", (2, 2), world.trace.cuts[0]["kept"].data)
    found = verdict(world, world.trace.changed("kept", wrong))
    assert ruled(found) == (Ruling.FAIL, Reason.DATATYPE)


def test_bfloat16_words_are_no_integers():
    model = graphs.parsed("g (float[N, 2] x) => (uint16[N, 2] y) { a = Abs(x) \n y = Cast <to = 4> (a) }")
    made = World(model, [["a"]], {"x": np.ones((1, 2), np.float32)})
    assert verdict(made).ruling is Ruling.PASS
    wrong = Tensor("BF16", (1, 2), made.trace.outputs["y"].data)
    assert ruled(verdict(made, made.trace.changed("y", wrong))) == (Ruling.FAIL, Reason.DATATYPE)


@pytest.mark.parametrize("dims", [(0, 2**62), (2**62, 0, 2**62)])
def test_huge_dims(world, dims):
    wrong = Tensor("FP32", dims, b"")
    found = verdict(world, world.trace.changed("next", wrong))
    assert ruled(found) == (Ruling.FAIL, Reason.SHAPE)


NOT_UTF8 = Tensor("BYTES", (1,), b"\x01\0\0\0\xff")


def test_bytes_that_are_no_text_are_no_way_out(world):
    for name in ("last", "next"):
        found = verdict(world, world.trace.changed(name, NOT_UTF8))
        assert ruled(found) == (Ruling.FAIL, Reason.DATATYPE)


def test_bytes_that_are_no_text_beside_texts():
    """They stand in a cut, where the next segment starts from them."""
    model = graphs.parsed("g (string[1] x) => (string[1] y) { a = Identity(x) \n y = Identity(a) }")
    world = World(model, [["a"]], {"x": np.array(["\xff"], object)})
    assert verdict(world).ruling is Ruling.PASS
    found = verdict(world, world.trace.changed("a", NOT_UTF8))
    assert (*ruled(found), found.segment) == (Ruling.FAIL, Reason.UNEQUAL, 0)


def test_inputs_that_are_no_text_accuse_nobody():
    model = graphs.parsed("g (string[1] x) => (string[1] y) { a = Identity(x) \n y = Identity(a) }")
    world = World(model, [["a"]], {"x": np.array(["a"], object)})
    found = verdict(world, replace(world.trace, inputs={"x": NOT_UTF8}))
    assert ruled(found) == (Ruling.UNDECIDABLE, Reason.REFUSED)


def test_overflow_later_does_not_undo_what_a_segment_showed(world):
    """`next` is first squared: a huge `first` overflows there, and is wrong before."""
    array = np.full((2, 2), 3e38, np.float32)
    found = verdict(world, world.trace.changed("first", array))
    assert ruled(found) == (Ruling.DISPUTE, Reason.DISTANCE)
    assert found.segment == 1
    assert found.segments[2].outcome is Outcome.OVERFLOW


def test_nan_beside_an_overflow_is_not_excused_by_it(world):
    trace = world.traced({"x": np.array([[1e30, 1.0], [1.0, 1.0]], np.float32)})
    array = array_of(trace, "next")
    assert not np.isfinite(array[0, 0])
    array[0, 0] = 3e38
    found = verdict(world, trace.changed("next", array.copy()))
    assert (*ruled(found), found.segment) == (Ruling.UNDECIDABLE, Reason.OVERFLOW, 2)
    array[1, 1] = np.nan
    found = verdict(world, trace.changed("next", array))
    assert (*ruled(found), found.segment) == (Ruling.DISPUTE, Reason.NON_FINITE, 2)


def test_values_beside_an_overflow_are_measured(world):
    trace = world.traced({"x": np.array([[1e30, 1.0], [1.0, 1.0]], np.float32)})
    array = array_of(trace, "next")
    array[0, 0], array[1, 1] = 3e38, array[1, 1] * 1.01
    found = verdict(world, trace.changed("next", array))
    assert (*ruled(found), found.segment) == (Ruling.DISPUTE, Reason.DISTANCE, 2)


def test_a_cheat_behind_an_overflow_is_seen(world):
    trace = world.traced({"x": np.array([[1e30, 1.0], [1.0, 1.0]], np.float32)})
    next_, last = array_of(trace, "next"), array_of(trace, "last")
    next_[0, 0], last[0, 0] = 3e38, 3e38
    last[1, 1] *= 1.01
    found = verdict(world, trace.changed("next", next_).changed("last", last))
    assert (*ruled(found), found.segment) == (Ruling.DISPUTE, Reason.DISTANCE, 3)
    assert found.segments[2].outcome is Outcome.OVERFLOW


def test_zeros_altered_beside_a_masks_huge_numbers_are_seen(world):
    model = graphs.parsed(
        "g (float[1, 4] x) => (float[1, 4] y) <float huge = {-3.4e38}> {"
        " a = Mul(x, huge) \n b = Abs(a) \n y = Sqrt(b) }"
    )
    made = World(model, [["a"]], {"x": np.array([[0, 0, 1, 1]], np.float32)}, envelope=0.0)
    assert verdict(made).ruling is Ruling.PASS
    array = array_of(made.trace, "a")
    array[0, 1] = -1e9
    found = verdict(made, made.trace.changed("a", array))
    assert (*ruled(found), found.segment) == (Ruling.DISPUTE, Reason.DISTANCE, 0)


def test_ties_that_two_honest_machines_break_otherwise_are_no_guilt():
    model = graphs.parsed(
        "g (float[N, 3] x) => (int64[N] y) { a = Abs(x) \n y = ArgMax <axis = 1, keepdims = 0> (a) }"
    )
    made = World(model, [["a"]], {"x": np.array([[1, 5, 5]], np.float32)})
    found = verdict(made, made.trace.changed("y", np.array([2], np.int64)))
    assert (*ruled(found), found.segment) == (Ruling.DISPUTE, Reason.UNEQUAL, 1)


def test_values_that_two_honest_machines_keep_or_drop_are_no_guilt():
    model = graphs.parsed(
        "g (float[3] x) => (int64[1, K] y) <float[1] one = {1.0}> { a = Abs(x) \n"
        " b = Greater(a, one) \n y = NonZero(b) }"
    )
    made = World(model, [["a"]], {"x": np.array([1, 5, 5], np.float32)})
    found = verdict(made, made.trace.changed("y", np.array([[0, 1, 2]], np.int64)))
    assert (*ruled(found), found.segment) == (Ruling.DISPUTE, Reason.SHAPE, 1)


EXACT = (
    "g (int64[N] x) => (int64[N] y, float[N] z) <int64[1] one = {1}> {"
    " a = Add(x, one) \n c = Constant <value = int64 {3}> () \n b = Mul(a, c) \n y = Sub(b, one)"
    " f = Cast <to = 1> (b) \n z = Sin(f) }"
)


@pytest.mark.parametrize(("name", "segment"), [("a", 0), ("b", 1), ("y", 2)])
def test_changed_integers_that_follow_from_integers_fail(name, segment):
    made = World(graphs.parsed(EXACT), [["a"], ["b"]], {"x": np.array([4, 5], np.int64)})
    assert verdict(made).ruling is Ruling.PASS
    found = verdict(made, made.trace.changed(name, np.array([7, 6], np.int64)))
    assert (*ruled(found), found.segment) == (Ruling.FAIL, Reason.UNEQUAL, segment)


@pytest.mark.parametrize(
    "made_by",
    [
        "b = Cast <to = 7> (x)",
        "f = Cast <to = 1> (i) \n b = ArgMax <axis = 0> (f)",
        "c = Constant <value = float {3}> () \n b = Cast <to = 7> (c)",
        "d = Cast <to = 7> (half) \n b = Add(i, d)",
        "d = Less(x, x) \n b = Where(d, i, i)",
        "d = Less(half, half) \n b = Where(d, i, i)",
    ],
)
def test_integers_that_come_from_floats_are_for_a_referee(made_by):
    text = f"g (float[1] x, int64[1] i) => (int64[1] y) <float[1] half = {{0.5}}> {{ {made_by} \n"
    model = graphs.parsed(text + " e = Mul(b, i) \n g = Cast <to = 7> (x) \n y = Add(e, g) }")
    made = World(model, [["e"]], {"x": np.ones(1, np.float32), "i": np.ones(1, np.int64)})
    found = verdict(made, made.trace.changed("e", np.full_like(as_integers(made.trace, "e"), 7)))
    assert (*ruled(found), found.segment) == (Ruling.DISPUTE, Reason.UNEQUAL, 0)


def as_integers(trace, name):
    found = trace.cuts[0][name]
    return np.frombuffer(found.data, np.int64).reshape(found.dims)


def test_nothing_is_looked_up_of_a_release_that_no_calibration_has(world):
    def prepare(plan, runtime):
        pytest.fail("prepared")

    foreign = [world.calibration([1.0] * 4, release=b"\x01" * 32)]
    found = verdict(world, subject={"calibrations": foreign, "files": frozenset(), "prepare": prepare})
    assert ruled(found) == (Ruling.UNDECIDABLE, Reason.CALIBRATION)


def test_overflow_alone_accuses_nobody(world):
    trace = world.traced({"x": np.full((2, 2), 1e30, np.float32)})
    last = array_of(trace, "kept") + np.float32(1)
    found = verdict(world, trace.changed("next", np.ones((2, 2), np.float32)).changed("last", last))
    assert ruled(found) == (Ruling.UNDECIDABLE, Reason.OVERFLOW)
    assert found.segment == 2


def test_a_segment_that_the_runtime_refuses_accuses_nobody(world):
    class Broken:
        def __init__(self, replay):
            self.segments, self._replay = replay.segments, replay

        def run(self, number, start, inputs):
            if number == 2:
                raise InputError("the runtime refuses the segment")
            return self._replay.run(number, start, inputs)

    def prepare(plan, runtime):
        made = bench_of(world.model, plan, settings_like(runtime))
        return Bench(made.program, Broken(made.replay), made.runtime)

    for trace, ruling in ((None, Ruling.UNDECIDABLE), (nudged(world, "first", 15), Ruling.INCONCLUSIVE),
                          (nudged(world, "first", 60), Ruling.DISPUTE)):  # fmt: skip
        found = verdict(world, trace, subject={"prepare": prepare})
        assert found.ruling is ruling
        assert [row.segment for row in found.segments] == [0, 1, 3]
    calibrations = [world.calibration([1e-6] * 4, runtime=other_runtime(world))]
    found = verdict(world, subject={"prepare": prepare, "calibrations": calibrations})
    assert ruled(found) == (Ruling.UNDECIDABLE, Reason.REFUSED)


def test_overflow_after_a_doubtful_segment_is_for_another_auditor(world):
    class Overflowing:
        def __init__(self, replay):
            self.segments, self._replay = replay.segments, replay

        def run(self, number, start, inputs):
            found = self._replay.run(number, start, inputs)
            return {"next": np.full((2, 2), np.inf, np.float32)} if number == 2 else found

    def prepare(plan, runtime):
        made = bench_of(world.model, plan, settings_like(runtime))
        return Bench(made.program, Overflowing(made.replay), made.runtime)

    found = verdict(world, subject={"prepare": prepare})
    assert ruled(found) == (Ruling.UNDECIDABLE, Reason.OVERFLOW)
    found = verdict(world, nudged(world, "first", 15), subject={"prepare": prepare})
    assert ruled(found) == (Ruling.INCONCLUSIVE, Reason.DISTANCE)
    assert found.segment == 1


def test_one_element_of_a_batch_cannot_hide_behind_another():
    world = World(graphs.early(), [["kept"]], {"x": np.array([[1.0, 2.0], [1e4, 1e4]], np.float32)})
    array = array_of(world.trace, "last")
    array[0] *= np.float32(1.0001)
    assert verdict(world, world.trace.changed("last", array)).ruling is Ruling.DISPUTE


def test_one_step_of_a_quantized_tensor_is_no_other_integer():
    made = World(graphs.quantized(), [["a"]], {"x": np.ones((1, 4), np.float32)})
    steps = np.frombuffer(made.trace.cuts[0]["a"].data, np.uint8).reshape(1, 4).copy()
    steps[0, 0] += 1
    found = verdict(made, made.trace.changed("a", steps))
    assert found.segments[0].outcome is Outcome.NEAR


def test_changed_integers_of_a_rounded_output_are_disputed():
    made = World(graphs.quantized(), [["a"]], {"x": np.ones((1, 4), np.float32)})
    assert verdict(made).ruling is Ruling.PASS
    wrong = np.frombuffer(made.trace.outputs["z"].data, np.uint8).reshape(1, 4) ^ 1
    assert ruled(verdict(made, made.trace.changed("z", wrong))) == (Ruling.DISPUTE, Reason.UNEQUAL)


def test_the_ledgers_numbers():
    numbers = {ruling: ruling.ledger_code for ruling in Ruling}
    assert numbers == {
        Ruling.PASS: 1,
        Ruling.FAIL: 2,
        Ruling.INCONCLUSIVE: 3,
        Ruling.UNDECIDABLE: 4,
        Ruling.WITHHELD: 5,
        Ruling.DISPUTE: None,
    }
