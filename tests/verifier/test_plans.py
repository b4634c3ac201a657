"""Serving by a plan: which plan a file gets, and that its outputs stay the client's."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from modelreg.errors import FormatError, InputError, VerificationError
from modelreg.format.names import ReleaseId
from modelreg.format.trace_plan import FixedInput, NumericClass, TracePlan
from modelreg_verifier.serving.engine import Engine, ExternalValue, Stop
from modelreg_verifier.serving.whole_model import whole_model
from modelreg_verifier.trace.datatypes import to_array
from modelreg_verifier.trace.plans import PlanTable
from tests.serving import graphs

RELEASE, OTHER = ReleaseId(b"\x01" * 32), ReleaseId(b"\x02" * 32)
VALID = TracePlan("model.onnx", cuts=(("y",),))
INVALID = TracePlan("model.onnx", cuts=(("total",),))
X = np.arange(4, dtype="f4").reshape(1, 4)


def model():
    return onnx.ModelProto.FromString(graphs.linear())


def test_output_in_a_cut_is_an_output_still():
    traced = PlanTable([VALID]).trace(RELEASE, "model.onnx", model(), [VALID])
    engine = Engine(traced.raw, threads=1, cuts=traced.cuts, outputs=traced.outputs)
    assert [port.name for port in engine.outputs] == ["y", "total"]
    found = engine.run({"x": X}, Stop())
    assert list(found.outputs) == ["y", "total"]
    assert [list(cut) for cut in found.cuts] == [["y"]]
    assert np.array_equal(to_array(found.cuts[0]["y"]), X @ graphs.WEIGHTS)


def test_first_valid_plan_is_taken():
    table = PlanTable([INVALID, TracePlan("other.onnx"), VALID])
    candidates = table.candidates("model.onnx")
    assert candidates == (INVALID, VALID) and table.candidates("none.onnx") == ()
    assert table.plan_of(RELEASE, "model.onnx").is_bare
    assert table.trace(RELEASE, "model.onnx", model(), candidates).cuts == VALID.cuts
    assert table.plan_of(RELEASE, "model.onnx") is VALID
    assert table.plan_of(OTHER, "model.onnx") == TracePlan("model.onnx")


def test_plans_that_cannot_be_used():
    with pytest.raises(VerificationError, match="cut 0"):
        PlanTable([INVALID]).trace(RELEASE, "model.onnx", model(), [INVALID])
    with pytest.raises(InputError, match="class"):
        PlanTable([TracePlan("model.onnx", numeric_class=NumericClass.BF16)])
    with pytest.raises(InputError, match="not served"):
        PlanTable([VALID]).require_used({"other.onnx"})
    PlanTable([VALID]).require_used({"model.onnx"})


def test_attached_plans_stand_in_where_the_operator_gave_none():
    newer = TracePlan("model.onnx", cuts=(("total",),))
    fixed = TracePlan("model.onnx", (FixedInput("x", "FP32", bytes(4)),), cuts=(("y",),))
    other = TracePlan("model.onnx", numeric_class=NumericClass.BF16, cuts=(("y",),))
    attached = [VALID, newer, fixed, other, TracePlan("model.onnx"), TracePlan("other.onnx", cuts=(("y",),))]
    assert PlanTable().candidates("model.onnx", attached) == (newer, VALID)
    assert PlanTable([INVALID]).candidates("model.onnx", attached) == (INVALID,)


def test_whole_model_has_external_data():
    wanted = model()
    outside = model()
    [tensor] = outside.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights")
    found = whole_model(outside.SerializeToString(), [ExternalValue("w", TensorProto.FLOAT, graphs.WEIGHTS)])
    assert found == wanted
    with pytest.raises(FormatError, match="cannot read ONNX"):
        whole_model(b"\xff" * 9, [])
