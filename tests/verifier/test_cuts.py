"""Choosing cuts: valid, within the limits, where tracing costs little."""

import numpy as np
import pytest

from modelreg.errors import InputError
from modelreg_verifier.trace.cuts import Limits, choose_cuts
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import Session, Settings, with_outputs
from modelreg_verifier.trace.samples import sample_inputs
from tests.verifier import graphs


@pytest.fixture(scope="module")
def program():
    return Program.of(graphs.bert())


def test_cuts_of_a_transformer_stand_behind_normalisations(program):
    cuts = choose_cuts(program, graphs.sentences(), Limits(cuts=4))
    assert len(cuts) == len(program.places(cuts)) == 4
    assert set(cuts[:3]) == {("layer.0", "mask.bias"), ("layer.0.middle", "mask.bias"), ("layer.1.middle",)}


def test_the_choice_is_the_same_each_time(program):
    assert choose_cuts(program, graphs.sentences()) == choose_cuts(program, graphs.sentences())


@pytest.mark.parametrize("limits", [Limits(2), Limits(12, 2), Limits(12, cut_bytes=700)])
def test_limits_hold(program, limits):
    inputs = graphs.sentences()
    cuts = choose_cuts(program, inputs, limits)
    made = Session(with_outputs(program.model, [n for cut in cuts for n in cut]), Settings()).run(inputs)
    assert 0 < len(cuts) <= limits.cuts
    for cut in cuts:
        assert len(cut) <= limits.tensors
        assert sum(made[name].nbytes for name in cut) <= limits.cut_bytes


def test_nothing_fits(program):
    assert choose_cuts(program, graphs.sentences(), Limits(cut_bytes=10)) == ()


FLAT = """
flat (float[N, 4] x) => (float[N, 4] y)
<float[4, 4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}, int64[2] s = {-1, 4}> {
  a = MatMul(x, w)
  b = Sigmoid(a)
  c = Reshape(b, s)
  d = Concat <axis = 0> (c, c)
  e = MatMul(d, w)
  y = Tanh(e)
}
"""


def test_no_cut_is_just_behind_what_saturates():
    cuts = choose_cuts(Program.of(graphs.parsed(FLAT)), {"x": np.ones((1, 4), np.float32)}, Limits(cuts=60))
    assert {name for cut in cuts for name in cut} == {"a", "e"}


HEADS = """
heads (float[N, 4] x) => (float[N, 12] y)
<float[4, 4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}> {
  a = MatMul(x, w)
  b = MatMul(a, w)
  c = Sigmoid(b)
  d = MatMul(a, w)
  e = MatMul(a, w)
  f = Sigmoid(e)
  y = Concat <axis = 1> (c, d, f)
}
"""


def test_a_sigmoid_that_waits_for_a_join_keeps_no_head_hidden():
    """The last cut has the last head itself, beside the sigmoid of another one that stood in a cut before."""
    program = Program.of(graphs.parsed(HEADS))
    cuts = choose_cuts(program, {"x": np.ones((1, 4), np.float32)}, Limits(cuts=4))
    assert ("a", "b") in cuts
    assert cuts[-1] == ("c", "d", "e")
    assert not any("f" in cut for cut in cuts)


GATED = """
gated (float[N, 4] x) => (float[N, %s] y, float[N, 4] z)
<float[4, 4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}, float[4, 1] v = {1,2,3,4}> {
  a = MatMul(x, w)
  b = Relu(a)
  c = MatMul(b, %s)
  y = Sigmoid(c)
  z = Identity(b)
}
"""


def test_the_last_cut_shows_what_a_sigmoid_hides_in_an_output():
    """Behind the sigmoid, what the last heavy operator made is in no tensor that is still read."""
    program = Program.of(graphs.parsed(GATED % (4, "w")))
    assert choose_cuts(program, {"x": np.ones((1, 4), np.float32)})[-1] == ("b", "c")


def test_a_single_number_shows_nothing_of_what_made_it():
    """It is near zero for some inputs, and honest machines then differ in it by any ratio."""
    program = Program.of(graphs.parsed(GATED % (1, "v")))
    assert choose_cuts(program, {"x": np.ones((1, 4), np.float32)})[-1] == ("b",)


def chain(heavy):
    """As many heavy operators; the last two are of one row."""
    rows = [f"a{at} = MatMul(a{at - 1}, w)" for at in range(1, heavy - 1)]
    rows += [f"r = ReduceSum(a{heavy - 2}, i)", "b = MatMul(r, w)", "y = MatMul(b, w)", "z = Neg(y)"]
    tables = "<float[4, 4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}, int64[1] i = {0}>"
    text = f"g (float[N, 4] a0) => (float[N, 4] z) {tables} {{ {' '.join(rows)} }}"
    return Program.of(graphs.parsed(text))


@pytest.mark.parametrize(("heavy", "most"), [(3, 4), (40, 5), (90, 8)])
def test_few_heavy_operators_get_few_cuts(heavy, most):
    cuts = choose_cuts(chain(heavy), {"a0": np.ones((1, 4), np.float32)})
    assert 2 < len(cuts) <= most


def test_the_last_cut_takes_the_place_of_one_that_stands_too_near():
    """Behind the sum all tensors are small, and the cut before the last would stand there."""
    cuts = choose_cuts(chain(64), {"a0": np.ones((1000, 4), np.float32)})
    assert cuts[-1] == ("y",)
    assert ("r",) not in cuts


def test_no_cut_comes_twice():
    """Not even where many nodes between two places make nothing of the input."""
    constants = " ".join(f"c{at} = Constant <value = float[4] {{1, 2, 3, 4}}> ()" for at in range(8))
    sums = " ".join(f"b{at + 1} = Add(b{at}, c{at})" for at in range(8))
    w = "<float[4, 4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}>"
    nodes = f"a = MatMul(x, w) b0 = Relu(a) {constants} {sums} y = Neg(b8)"
    program = Program.of(graphs.parsed(f"g (float[N, 4] x) => (float[N, 4] y) {w} {{ {nodes} }}"))
    cuts = choose_cuts(program, {"x": np.ones((1, 4), np.float32)})
    assert len(program.places(cuts)) == len(set(cuts)) == len(cuts) > 0


def test_a_quantized_program_is_cut_behind_each_layer_of_roundings():
    program = Program.of(graphs.quantized())
    cuts = choose_cuts(program, {"x": np.ones((1, 4), np.float32)})
    assert cuts == (("a",), ("d",))


ATTENTION = """
attention (float[N, 4] x) => (float[N, 4] y)
<float s = {0.05}, uint8 o = {128}, float[4, 4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}> {
  a = MatMul(x, w)
  aq = QuantizeLinear(a, s, o)
  b = DequantizeLinear(aq, s, o)
  c = Softmax(b)
  cq = QuantizeLinear(c, s, o)
  d = DequantizeLinear(cq, s, o)
  y = MatMul(d, w)
}
"""


@pytest.mark.parametrize("most", [1 << 20, 1])
def test_no_rounding_is_in_the_midst_of_a_segment(most):
    """Not even where its cut is too large, and not before a softmax."""
    program = Program.of(graphs.parsed(ATTENTION))
    sample = {"x": np.ones((1, 4), np.float32)}
    assert choose_cuts(program, sample, Limits(cut_bytes=most)) == (("aq",), ("cq",))


def test_many_integers_are_no_place_to_cut():
    text = """
    g (float[N, 4] x) => (float[N, 4] y) <float[4, 4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}> {
      a = MatMul(x, w)
      b = Abs(a)
      c = Less(a, b)
      d = Cast <to = 1> (c)
      e = Not(c)
      f = Cast <to = 1> (e)
      g = MatMul(d, w)
      y = Add(g, f)
    }
    """
    program = Program.of(graphs.parsed(text))
    few, many = ({"x": np.ones((rows, 4), np.float32)} for rows in (4, 1000))
    assert ("c",) in choose_cuts(program, few, Limits(tensors=1))
    assert ("c",) not in choose_cuts(program, many, Limits(tensors=1))


def test_samples_fit_the_graph(program):
    rng = np.random.default_rng(0)
    for _ in range(20):
        inputs = sample_inputs(program, rng, batch=2, free=8)
        assert inputs["input_ids"].shape == (2, 8)
        assert inputs["token_type_ids"].max() < 2
        assert 1 < inputs["input_ids"].max() < graphs.WORDS
        assert set(inputs["attention_mask"].reshape(-1)) == {1}
        Session(program.model, Settings()).run(inputs)


def test_samples_are_the_same_for_a_seed(program):
    one, two = (sample_inputs(program, np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_samples_fit_the_smallest_table(order):
    tables = "<float[3] a = {1, 2, 3}, float[9] b = {1, 2, 3, 4, 5, 6, 7, 8, 9}>"
    nodes = f"k = Gather({order[0]}, i) l = Gather({order[1]}, i) y = Add(k, l)"
    program = Program.of(graphs.parsed(f"g (int64[N] i) => (float[N] y) {tables} {{ {nodes} }}"))
    found = sample_inputs(program, np.random.default_rng(0), batch=50)["i"]
    assert found.max() == 2


def test_samples_of_strings_are_the_callers_to_give():
    program = Program.of(graphs.parsed("g (string[N] x) => (string[N] y) { y = Identity(x) }"))
    with pytest.raises(InputError):
        sample_inputs(program, np.random.default_rng(0))
