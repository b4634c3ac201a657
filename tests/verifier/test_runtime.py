"""Sessions of onnxruntime, and the fingerprint of this machine."""

import numpy as np
import onnx
import pytest

from modelreg.errors import InputError
from modelreg.format.runtime_info import OPTIMIZATIONS, RuntimeInfo
from modelreg.format.trace_plan import NumericClass
from modelreg_verifier.trace.runtime import Session, Settings, runtime_info, with_outputs
from tests.verifier import graphs

X = {"x": np.array([[1.0, -2.0]], np.float32)}


@pytest.mark.parametrize("optimization", OPTIMIZATIONS)
def test_a_traced_session_gives_outputs_and_cut_tensors(optimization):
    model = with_outputs(graphs.early(), ["kept", "next", "first", "kept"])
    session = Session(model, Settings(optimization))
    found = session.run(X)
    assert list(found) == ["last", "first", "x2", "kept", "next"]
    assert set(session.types.values()) == {onnx.TensorProto.FLOAT}
    assert np.array_equal(found["kept"], [[2.0, -6.0]])
    assert np.array_equal(found["next"], found["first"] ** 2)


def test_the_graph_that_was_given_stays_as_it_was():
    model = graphs.early()
    with_outputs(model, ["kept"])
    assert [value.name for value in model.graph.output] == ["last", "first", "x2"]


def test_element_types():
    text = "g (int64[N] x) => (bool[N] a, float16[N] b) { a = Cast <to = 9> (x) b = Cast <to = 10> (x) }"
    types = Session(graphs.parsed(text), Settings()).types
    assert types == {"a": onnx.TensorProto.BOOL, "b": onnx.TensorProto.FLOAT16}


def test_a_graph_that_the_runtime_refuses():
    with pytest.raises(InputError):
        Session(graphs.made_of([(["x"], ["y"])], ["x"], ["y"]), Settings())


@pytest.mark.parametrize(
    "inputs",
    [{}, {"y": X["x"]}, {"x": X["x"].astype(np.float64)}, {"x": np.zeros((1, 3), np.float32)}],
    ids=["none", "another name", "another type", "another shape"],
)
def test_inputs_that_the_runtime_refuses(inputs):
    with pytest.raises(InputError):
        Session(graphs.early(), Settings()).run(inputs)


@pytest.mark.parametrize("settings", [("most", 1), ("all", 0)])
def test_settings_that_are_none(settings):
    with pytest.raises(InputError):
        Settings(*settings)


def test_the_fingerprint_of_this_machine():
    import onnxruntime

    info = runtime_info(Settings("basic", 2), NumericClass.FP16)
    assert (info.version, info.optimization, info.threads) == (onnxruntime.__version__, "basic", 2)
    assert info.numeric_class is NumericClass.FP16
    assert RuntimeInfo.from_bytes(bytes(info)) == info
    assert info.fingerprint == runtime_info(Settings("basic", 2), NumericClass.FP16).fingerprint
    assert info.fingerprint != runtime_info(Settings("basic", 1), NumericClass.FP16).fingerprint
