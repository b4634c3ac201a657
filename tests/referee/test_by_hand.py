"""What ONNX's own evaluator cannot show, worked out by hand; bounds in fractions; what stays undecided."""

from fractions import Fraction

import numpy as np
import pytest
from onnx import helper, numpy_helper, parser

from modelreg_verifier.referee.expected import Call, Exact, UndecidableError, room
from modelreg_verifier.referee.recompute import made_by, recompute
from modelreg_verifier.referee.table import OPERATORS
from tests.referee.cases import Use, floats, ints
from tests.referee.test_operators import found, ran
from tests.reference import claims as reference


def made(operator, *inputs, opset=17, outputs=1, **attributes):
    arrays = [None if item is None else np.asarray(item) for item in inputs]
    return OPERATORS[operator](Call(attributes, arrays, opset, outputs))


def f4(*values):
    return np.array(values, np.float32)


def test_batch_normalization_9_uses_the_given_mean_and_variance():
    got = made(
        "BatchNormalization", f4(1, 3).reshape(1, 1, 2), f4(2), f4(5), f4(1), f4(4), opset=9, epsilon=0.0
    )
    assert got.value.tolist() == [[[5.0, 7.0]]]


def test_softmax_11_is_over_all_axes_from_its_own():
    got = made("Softmax", np.zeros((1, 2, 2), np.float32), opset=11, axis=1)
    assert got.value.tolist() == [[[0.25, 0.25], [0.25, 0.25]]]


def test_quantize_rounds_to_even_and_takes_either_step_at_a_tie():
    got = made("QuantizeLinear", f4(0.5, 1.5, 0.6, -300), f4(1).reshape(()), np.array(1, np.uint8))
    assert got.array.tolist() == [1, 3, 2, 0]
    assert got.other.tolist() == [2, 2, 2, 0]


def test_average_pool_counts_pads_only_if_told():
    x = f4(4, 8).reshape(1, 1, 2)
    window = {"kernel_shape": [2], "pads": [1, 1]}
    assert made("AveragePool", x, **window).value.tolist() == [[[4, 6, 8]]]
    assert made("AveragePool", x, **window, count_include_pad=1).value.tolist() == [[[2, 6, 4]]]


def test_max_pool_pads_with_nothing():
    x = f4(-4, -8, -1).reshape(1, 1, 3)
    got = made("MaxPool", x, kernel_shape=[2], strides=[2], pads=[1, 0], ceil_mode=1)
    assert got.array.tolist() == [[[-4, -1]]]


def test_convolution_correlates():
    x, w = f4(1, 2, 3).reshape(1, 1, 3), f4(10, 1).reshape(1, 1, 2)
    assert made("Conv", x, w).value.tolist() == [[[12, 23]]]


def test_slice_begins_at_the_first_element_where_it_would_begin_before():
    got = made("Slice", f4(1, 2, 3), ints(-9), ints(-9), ints(0), ints(-1))
    assert got.array.tolist() == [1]


def test_integers_are_divided_towards_zero():
    assert made("Div", ints(-7, 7), ints(2, -2)).array.tolist() == [-3, -3]


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_bounds_of_sums_are_those_of_the_reference(size):
    rng = np.random.default_rng(size)
    a, b, c = floats(rng, 2, size), floats(rng, size, 3), floats(rng, 3)
    plain, shifted = made("MatMul", a, b), made("Conv", a.reshape(2, size, 1), b.T.reshape(3, size, 1), c)
    for i in range(2):
        for j in range(3):
            products = [Fraction(float(a[i, k])) * Fraction(float(b[k, j])) for k in range(size)]
            bias = Fraction(float(c[j]))
            assert plain.value[i, j] == pytest.approx(float(sum(products)), rel=1e-12, abs=1e-14)
            assert plain.hard[i, j] == pytest.approx(reference.hard_bound(products), rel=1e-9)
            assert plain.soft[i, j] == pytest.approx(reference.soft_bound(products), rel=1e-9)
            assert shifted.hard[i, j, 0] == pytest.approx(reference.hard_bound(products, bias), rel=1e-9)
            assert shifted.soft[i, j, 0] == pytest.approx(reference.soft_bound(products, bias), rel=1e-9)


def test_half_precision_weights_are_inside_the_first_bound_and_not_the_second():
    rng = np.random.default_rng(0)
    a, b = floats(rng, 8, 1536), floats(rng, 1536, 64)
    use = Use("MatMul", [a, b])
    cheat = ran(Use("MatMul", [a, b.astype(np.float16).astype(np.float32)]))
    expected = made("MatMul", a, b)
    assert (np.abs(cheat["y0"] - expected.value) <= expected.hard).all()
    assert found(use, cheat).ratio > 5


def test_false_accusation_by_constant_data():
    """a client who asks with equal numbers, so that rounding errors add up, to convict an honest node"""
    worst = 0.0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        a, b = np.full((2, 4096), rng.normal(), np.float32), np.full((4096, 2), rng.normal(), np.float32)
        exact = a.astype(float) @ b.astype(float)
        total = np.zeros((2, 2), np.float32)
        for k in range(4096):  # as simple a machine as there is
            total += a[:, k, None] * b[None, k, :]
        expected = made("MatMul", a, b)
        worst = max(worst, float(np.linalg.norm(total - exact) / np.linalg.norm(expected.soft)))
        assert found(Use("MatMul", [a, b]), {"y0": total}).ratio <= 1
    assert worst > 1, "the second opinion was not needed"


def test_false_accusation_by_sorted_signs():
    """a client whose numbers make partial sums large that cancel at the end"""
    b = np.repeat(f4(1.001, -1.001), 20000).reshape(-1, 1)
    a = np.abs(floats(np.random.default_rng(1), 1, 40000)) + np.float32(1)
    use = Use("MatMul", [a, b])
    total = np.cumsum(a[0] * b[:, 0], dtype=np.float32)[-1].reshape(1, 1)
    assert found(use, {"y0": total}).ratio <= 1
    assert found(use, ran(use)).ratio <= 1


def test_overflow_convicts_nobody():
    a = np.full((1, 4), 1e38, np.float32)
    use = Use("MatMul", [a, a.T])
    for answer in (np.inf, np.nan, 1.0):
        finding = found(use, {"y0": np.full((1, 1), answer, np.float32)})
        assert (finding.ratio, bool(finding.undecided)) == (0, True)


def test_a_number_where_none_overflows_must_be_finite():
    use = Use("Add", [f4(1), f4(2)])
    assert found(use, {"y0": f4(np.nan)}).ratio == np.inf
    assert found(use, {"y0": f4(np.inf)}).ratio == np.inf


def test_overflow_in_one_element_hides_no_other():
    """a cheat who makes one element overflow so that another is not looked at"""
    use = Use("Mul", [f4(1e30, 1), f4(1e30, 1)])
    assert found(use, {"y0": f4(0, 1.001)}).ratio > 1
    assert found(use, {"y0": f4(np.inf, 1)}).ratio == 0


def test_masks_of_minus_infinity_are_decided():
    use = Use("Softmax", [f4(0, -np.inf)], {"axis": -1})
    assert found(use, {"y0": f4(1, 0)}).ratio == 0
    assert found(use, {"y0": f4(1, 1e-3)}).ratio > 1


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "opset"),
    [
        ("Add", [np.zeros(2, np.float64)] * 2, {}, 17),
        ("Add", [np.zeros(2, np.float16)] * 2, {}, 17),
        ("Add", [np.zeros((2, 3), np.float32), np.zeros((2, 2), np.float32)], {}, 17),
        ("Expand", [f4(1), ints(1 << 40)], {}, 17),
        ("ConstantOfShape", [ints(1 << 20, 1 << 20)], {}, 17),
        ("ConstantOfShape", [ints(-1)], {}, 17),
        ("Range", [ints(0)[0], ints(1 << 60)[0], ints(1)[0]], {}, 17),
        ("Range", [ints(0)[0], ints(9)[0], ints(0)[0]], {}, 17),
        ("MatMul", [np.zeros((1 << 14, 1), np.float32), np.zeros((1, 1 << 14), np.float32)], {}, 17),
        ("Pad", [f4(1), ints(0, 1 << 40)], {}, 17),
        ("Gather", [f4(1, 2), ints(2)], {}, 17),
        ("Cast", [f4(1e20)], {"to": 7}, 17),
        ("Cast", [f4(np.nan)], {"to": 6}, 17),
        ("Div", [ints(1), ints(0)], {}, 17),
        ("Resize", [f4(1).reshape(1, 1, 1), None, f4(1, 1, 1.5)], {"mode": "nearest"}, 17),
        ("BatchNormalization", [f4(1, 2).reshape(1, 2)] + [f4(1, 1)] * 4, {"training_mode": 1}, 15),
        ("Conv", [np.zeros((1, 2, 3), np.float32), np.zeros((1, 1, 5), np.float32)], {}, 17),
        ("Squeeze", [f4(1, 2), ints(0)], {}, 17),
        ("Slice", [f4(1), ints(0), ints(1), ints(0), ints(0)], {}, 17),
    ],
    ids=str,
)
def test_undecidable(operator, inputs, attributes, opset):
    with pytest.raises(UndecidableError), np.errstate(all="ignore"):
        made(operator, *inputs, opset=opset, **attributes)


def test_room_ends():
    assert room((1 << 27,)) == (1 << 27,)
    for shape in ((1 << 27, 2), (-1, 2)):
        with pytest.raises(UndecidableError):
            room(shape)


def graph(*nodes, functions=(), domain=""):
    port = [helper.make_tensor_value_info("x", 1, [2])], [helper.make_empty_tensor_value_info("y")]
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    constant = numpy_helper.from_array(f4(1, 2), "w")
    made = helper.make_graph(nodes, "g", *port, [constant])
    return helper.make_model(made, opset_imports=opsets, functions=functions, ir_version=8)


def test_operators_of_other_domains_and_unknown_ones_are_undecided():
    for node in (
        helper.make_node("Add", ["x", "w"], ["y"], domain="com.microsoft"),
        helper.make_node("Unique", ["x"], ["y"]),
        helper.make_node("Add", ["x", "nowhere"], ["y"]),
        helper.make_node("Transpose", ["x"], ["y"], perm=[0, 1]),
        helper.make_node("Relu", [], ["y"]),
    ):
        [row] = recompute(graph(node), [0], {"x": f4(1, 1)}, {"y": f4(1, 1)})
        assert (row.ratio, bool(row.undecided)) == (0, True), node


def test_a_function_of_the_model_is_no_operator_of_onnx():
    """a file that has its own `Add`"""
    own = helper.make_function("", "Add", ["a", "b"], ["c"], [helper.make_node("Sub", ["a", "b"], ["c"])],
                               [helper.make_opsetid("", 17)])  # fmt: skip
    model = graph(helper.make_node("Add", ["x", "w"], ["y"]), functions=[own])
    [row] = recompute(model, [0], {"x": f4(1, 1)}, {"y": f4(0, 0)})
    assert row.undecided


def test_constants_are_not_claimed():
    nodes = [
        helper.make_node("Constant", [], ["two"], value_floats=[2.0]),
        helper.make_node("Mul", ["x", "two"], ["y"]),
    ]
    model = graph(*nodes)
    assert made_by(model, [0, 1]) == ("y",)
    [row] = recompute(model, [0, 1], {"x": f4(1, 3)}, {"y": f4(2, 6)})
    assert (row.ratio, row.number, row.operator) == (0, 1, "Mul")


def test_exact_values_may_differ_in_the_sign_of_zero_only():
    use = Use("Relu", [f4(-0.0, 1, np.nan)])
    assert found(use, {"y0": f4(0.0, 1, np.nan)}).ratio == 0
    assert found(use, {"y0": f4(1e-30, 1, np.nan)}).ratio == np.inf
    assert isinstance(made("Relu", f4(1)), Exact)


def branches(text):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')


NESTED = """
nested (float[1, 2] x) => (float[2] y) <float[2] w = {2.0, 3.0}, bool yes = {1}> {
  y = If (yes) <
    then_branch = t () => (float[2] d) <int64[1] first = {0}> {
      c = Mul(x, w)
      n = Size(c)
      two = Constant <value = int64 {2}> ()
      same = Equal(n, two)
      d = If (same) <
        then_branch = u () => (float[2] e) { e = Squeeze(c, first) },
        else_branch = v () => (float[2] f) { f = Identity(w) }
      >
    },
    else_branch = s () => (float[2] g) { g = Identity(w) }
  >
}
"""


def test_the_branch_that_runs_is_recomputed():
    model = branches(NESTED)
    for answer, right in ((f4(10, 15), True), (f4(10, 15.01), False), (f4(2, 3), False)):
        [row] = recompute(model, [0], {"x": f4(5, 5).reshape(1, 2)}, {"y": answer})
        assert ((row.ratio <= 1), row.undecided) == (right, ""), row


def test_bounds_move_with_what_a_branch_moves():
    """a large and a small sum that change places: each keeps its own bound"""
    swap = "p = Squeeze(c, first) back = Constant <value = int64[2] {1, 0}> () e = Gather(p, back)"
    text = NESTED.replace("e = Squeeze(c, first)", swap)
    x = f4(5, 5e6).reshape(1, 2)
    [row] = recompute(branches(text), [0], {"x": x}, {"y": f4(1.5e7, 10)})
    assert row.ratio <= 1
    [row] = recompute(branches(text), [0], {"x": x}, {"y": f4(1.5e7, 10.1)})
    assert row.ratio > 1


def test_two_roundings_in_a_branch_are_undecided():
    model = branches(NESTED.replace("e = Squeeze(c, first)", "p = Mul(c, w) e = Squeeze(p, first)"))
    [row] = recompute(model, [0], {"x": f4(5, 5).reshape(1, 2)}, {"y": f4(0, 0)})
    assert (row.ratio, "not claimed" in row.undecided) == (0, True)


def test_lstm_of_other_forms_is_undecided():
    x, w, r = (
        np.zeros((1, 1, 2), np.float32),
        np.zeros((1, 8, 2), np.float32),
        np.zeros((1, 8, 2), np.float32),
    )
    assert len(made("LSTM", x, w, r, hidden_size=2)) == 3
    for attributes in ({"direction": b"reverse"}, {"clip": 1.0}, {"layout": 1}, {"input_forget": 1},
                       {"activations": [b"Relu"]}):  # fmt: skip
        with pytest.raises(UndecidableError):
            made("LSTM", x, w, r, **attributes)
    for inputs in (
        (np.ones((2, 4)),),
        (None, ints(1)),
        (None, None, None, None, np.zeros((1, 6), np.float32)),
    ):
        with pytest.raises(UndecidableError):
            made("LSTM", x, w, r, *inputs)


def test_lstm_gates_are_in_onnx_order():
    """One unit: i open, o open, f shut, c saturated, so that the new cell is i times c."""
    x, w = np.ones((1, 1, 1), np.float32), f4(50, 50, -50, 50).reshape(1, 4, 1)
    y, h, c = made(
        "LSTM", x, w, np.zeros((1, 4, 1), np.float32), None, None, None, np.full((1, 1, 1), 7, np.float32)
    )
    assert (float(c.value.item()), float(h.value.item())) == (1, pytest.approx(np.tanh(1)))
    assert y.value.shape == (1, 1, 1, 1)


def test_false_accusation_of_a_runtime_that_rounds_roots_badly():
    """onnxruntime 1.20 on AVX: a square root that is off by 3.5 u"""
    x = np.exp(floats(np.random.default_rng(3), 1000)).astype(np.float32)
    root = (np.sqrt(x.astype(np.float64)) * (1 + 3.5 * 2.0**-24)).astype(np.float32)
    assert found(Use("Sqrt", [x]), {"y0": root}).ratio < 0.5
