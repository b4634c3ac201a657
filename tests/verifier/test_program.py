"""Programs and their frontiers, against a brute-force reference and against hostile graphs."""

import time

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from modelreg.errors import FormatError, VerificationError
from modelreg.format.trace_plan import FixedInput
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import Session, Settings
from tests.reference import trace as reference
from tests.verifier import graphs

SLOW = FixedInput("rate", "INT64", (8000).to_bytes(8, "little"))
FAST = FixedInput("rate", "INT64", (16000).to_bytes(8, "little"))
X = np.array([[1.0, -2.0]], np.float32)


def operators(program):
    return [node.op_type for node in program.model.graph.node]


@pytest.mark.parametrize(("fixed", "rate"), [(FAST, 16000), (SLOW, 8000)])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_fixed_input_leaves_the_branch_it_takes(fixed, rate, rows):
    model = graphs.switch()
    program = Program.of(model, [fixed])
    x = np.repeat(X, rows, axis=0)
    whole = Session(model, Settings("disabled")).run({"x": x, "rate": np.int64(rate)})
    part = Session(program.model, Settings("disabled")).run({"x": x})
    assert program.inputs == ("x",)
    assert {name: array.tobytes() for name, array in part.items()} == {
        name: array.tobytes() for name, array in whole.items()
    }


def test_nodes_keep_their_order_and_a_branch_ends_in_identities():
    assert operators(Program.of(graphs.switch(), [SLOW])) == [
        "Equal",
        "Mul",
        "Sub",
        "Identity",
        "Identity",
        "Add",
    ]


def test_an_if_on_a_shape_stays():
    found = operators(Program.of(graphs.switch(), [FAST]))
    assert found == ["Equal", "Add", "Size", "Constant", "Less", "If", "Identity", "Identity", "Add"]


def test_without_fixed_inputs_nothing_changes():
    model = graphs.switch()
    program = Program.of(model)
    assert program.inputs == ("x", "rate")
    assert operators(program) == ["Equal", "If", "Add"]


def test_the_model_that_was_given_stays_as_it_was():
    model = graphs.switch()
    before = model.SerializeToString(deterministic=True)
    Program.of(model, [FAST])
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    "fixed",
    [
        FixedInput("other", "INT64", bytes(8)),
        FixedInput("rate", "INT32", bytes(4)),
        FixedInput("x", "FP32", bytes(4)),
        FixedInput("fast", "INT64", bytes(8)),
    ],
    ids=["no input", "another datatype", "more than one element", "an initializer"],
)
def test_fixed_inputs_that_do_not_fit(fixed):
    with pytest.raises(VerificationError):
        Program.of(graphs.switch(), [fixed])


def test_an_initializer_cannot_be_overridden():
    model = graphs.early()
    model.graph.input.append(helper.make_tensor_value_info("w", 1, [2]))
    assert Program.of(model).inputs == ("x",)


def test_a_name_that_comes_twice_is_refused():
    model = graphs.early()
    model.graph.node.append(helper.make_node("Identity", ["x"], ["kept"]))
    with pytest.raises(FormatError):
        Program.of(model)


def test_branches_that_share_names_are_refused():
    model = graphs.switch()
    again = onnx.NodeProto()
    again.CopyFrom(model.graph.node[1])
    again.output[:] = ["y2", "mid2"]
    model.graph.node.append(again)
    assert len(Program.of(model).reads) == 4
    with pytest.raises(FormatError):
        Program.of(model, [SLOW])


def test_a_branch_can_decide_another_if():
    inner = "inner () => (float[1] c) { c = Identity(x) }"
    branch = "<bool no = {0}> { a = If (no) <then_branch = bad, else_branch = INNER> }".replace(
        "INNER", inner
    )
    both = branch.replace("bad", inner.replace("Identity", "Neg"))
    text = f"""
    g (float[1] x, bool on) => (float[1] y) {{
      y = If (on) <
        then_branch = t () => (float[1] a) {both},
        else_branch = e () => (float[1] b) {{ b = Neg(x) }}
      >
    }}
    """
    program = Program.of(graphs.parsed(text), [FixedInput("on", "BOOL", b"\1")])
    assert operators(program) == ["Identity", "Identity", "Identity"]


def test_a_branch_with_other_outputs_is_refused():
    model = graphs.switch()
    for attribute in model.graph.node[1].attribute:
        attribute.g.output.add(name="more")
    with pytest.raises(FormatError):
        Program.of(model, [SLOW])


def test_operators_of_other_domains_only_share_a_name():
    for number in (0, 1):
        model = graphs.switch()
        model.graph.node[number].domain = "test"
        assert operators(Program.of(model, [SLOW])) == ["Equal", "If", "Add"]


def test_an_if_without_the_branch_it_takes_is_refused():
    model = graphs.switch()
    kept = [attribute for attribute in model.graph.node[1].attribute if attribute.name != "else_branch"]
    del model.graph.node[1].attribute[:]
    model.graph.node[1].attribute.extend(kept)
    with pytest.raises(FormatError):
        Program.of(model, [SLOW])


def test_what_nested_graphs_read_is_read():
    program = Program.of(graphs.switch(), [FAST])
    number = operators(program).index("If")
    assert set(program.reads[number]) == {"small", "b", "two"}


@st.composite
def random_graphs(draw):
    names, rows = ["x", "constant"], []
    for number in range(draw(st.integers(1, 12))):
        reads = draw(st.lists(st.sampled_from(names), max_size=3))
        makes = [f"t{number}.{place}" for place in range(draw(st.integers(1, 2)))]
        names += makes
        rows.append((reads, makes))
    return rows, draw(st.lists(st.sampled_from(names[2:]), unique=True))


@settings(max_examples=60)
@given(random_graphs())
def test_frontiers_are_those_of_the_definition(drawn):
    rows, outputs = drawn
    program = Program.of(graphs.made_of(rows, ["x"], outputs))
    expected = {place: reference.frontier(rows, ["x"], place) for place in range(len(rows))}
    assert dict(program.frontiers()) == {place: f for place, f in expected.items() if 1 <= len(f) <= 16}
    assert dict(program.frontiers(1)) == {place: f for place, f in expected.items() if len(f) == 1}


def test_what_is_rounded_by_the_graph_is_quantized():
    """Outputs have a meaning of their own, such as a class, and constants are in the file."""
    assert Program.of(graphs.quantized()).quantized == {"a", "d"}


def test_places_of_a_valid_plan():
    program = Program.of(graphs.early())
    assert program.places([["kept"], ["first", "kept"], ["kept", "next"]]) == (0, 1, 3)


def test_an_empty_plan_is_valid():
    assert Program.of(graphs.early()).places([]) == ()


@pytest.mark.parametrize(
    "cuts",
    [
        [["first"]],
        [["first", "kept", "next"]],
        [["first", "kept", "x"]],
        [["first", "kept", "w"]],
        [["x"]],
        [["last"]],
        [["nothing"]],
        [["kept", "next"], ["kept"]],
        [["kept"], ["kept"]],
    ],
    ids=[
        "a tensor is left out",
        "a tensor too many",
        "with an input",
        "with a constant",
        "an input alone",
        "the output",
        "no such tensor",
        "out of order",
        "twice",
    ],
)
def test_an_attackers_plan_is_refused(cuts):
    with pytest.raises(VerificationError):
        Program.of(graphs.early()).places(cuts)


def test_the_place_of_a_cut_is_the_first_with_these_tensors():
    rows = [(["x"], ["a"]), (["a"], ["b"]), (["b"], ["c"]), (["a"], ["y"])]
    program = Program.of(graphs.made_of(rows, ["x"], ["y", "c"]))
    assert program.places([["a"], ["a", "b"]]) == (0, 1)
    with pytest.raises(VerificationError):
        program.places([["a", "b"], ["a"]])


def seconds(work):
    start = time.process_time()
    work()
    return time.process_time() - start


def test_a_wide_hostile_graph_takes_time_in_proportion():
    rows = [(["x"], [f"t{n}"]) for n in range(10_000)]
    rows.append(([f"t{n}" for n in range(10_000)], ["y"]))
    model = graphs.made_of(rows, ["x"], ["y"])
    assert seconds(lambda: list(Program.of(model).frontiers())) < 4


def test_a_long_row_of_decided_ifs_takes_time_in_proportion():
    model = graphs.switch()
    nodes = []
    for number in range(2_000):
        node = onnx.NodeProto()
        node.CopyFrom(model.graph.node[1])
        node.output[:] = [f"y{number}", f"mid{number}"]
        for attribute in node.attribute:
            del attribute.g.initializer[:]
            for inner in attribute.g.node:
                inner.output[:] = [f"{name}.{number}" for name in inner.output]
            for value in attribute.g.output:
                value.name += f".{number}"
        nodes.append(node)
    model.graph.node.extend(nodes)
    assert seconds(lambda: Program.of(model, [SLOW])) < 5


def test_too_many_nodes_are_refused():
    graph = helper.make_graph([], "many", [], [])
    for _ in range((1 << 17) + 1):
        graph.node.add()
    with pytest.raises(FormatError):
        Program.of(helper.make_model(graph))


def test_nodes_of_nested_graphs_count():
    inner = helper.make_graph([], "inner", [], [])
    for _ in range(1 << 17):
        inner.node.add()
    node = helper.make_node("If", ["x"], ["y"], then_branch=inner)
    with pytest.raises(FormatError):
        Program.of(helper.make_model(helper.make_graph([node], "outer", [], [])))


def test_a_condition_that_would_be_dear_to_compute_is_not_computed():
    """A constant of one element that lies about its data is left alone, and so is what follows from it."""
    model = graphs.switch()
    lie = onnx.TensorProto(name="fast", data_type=onnx.TensorProto.INT64, dims=[1] * 3, raw_data=b"\0")
    del model.graph.initializer[:]
    model.graph.initializer.extend([lie, numpy_helper.from_array(np.ones(2, np.float32), "one")])
    assert "If" in operators(Program.of(model, [SLOW]))
