"""Small ONNX models, made here."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from modelreg.format.names import ReleaseId
from modelreg_verifier.serving.engine import Engine
from modelreg_verifier.serving.models import Served, ServedModels

KINDS = {
    "BOOL": TensorProto.BOOL, "UINT8": TensorProto.UINT8, "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32, "UINT64": TensorProto.UINT64, "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16, "INT32": TensorProto.INT32, "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16, "FP32": TensorProto.FLOAT, "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16, "BYTES": TensorProto.STRING,
}  # fmt: skip
WEIGHTS = np.arange(12, dtype="<f4").reshape(4, 3)


def port(name, kind, dims):
    return helper.make_tensor_value_info(name, KINDS[kind], dims)


def serialized(nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def linear(weights=WEIGHTS):
    """y = x · W for x of [n, 4]; and the sum of y."""
    return serialized(
        [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("ReduceSum", ["y"], ["total"])],
        [port("x", "FP32", ["n", 4])],
        [port("y", "FP32", ["n", 3]), port("total", "FP32", [1, 1])],
        [numpy_helper.from_array(weights, "w")],
    )


def identity(kind, dims=("n", "m")):
    """out = in, of any type."""
    node = helper.make_node("Identity", ["in"], ["out"])
    return serialized([node], [port("in", kind, dims)], [port("out", kind, dims)])


def burner(rounds=64):
    """Fills a matrix of [n, n] and multiplies it with itself: as long and as large as the client wants."""
    nodes = [helper.make_node("ConstantOfShape", ["n"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{i}", "m0"], [f"m{i + 1}"]) for i in range(rounds)]
    nodes.append(helper.make_node("ReduceSum", [f"m{rounds}"], ["sum"], keepdims=0))
    return serialized(nodes, [port("n", "INT64", [2])], [port("sum", "FP32", [])])


def reciprocal():
    """1 / x: infinite where x is zero."""
    node = helper.make_node("Reciprocal", ["x"], ["y"])
    return serialized([node], [port("x", "FP32", ["n"])], [port("y", "FP32", ["n"])])


def gatherer():
    """Fails on an index that is not there."""
    node = helper.make_node("Gather", ["w", "i"], ["y"])
    table = numpy_helper.from_array(WEIGHTS, "w")
    return serialized([node], [port("i", "INT64", ["n"])], [port("y", "FP32", ["n", 3])], [table])


def served(name, raw, version="1.0.0", selector=None, **options):
    release = ReleaseId(bytes([1, *version.encode().ljust(31, b"\0")]))
    engine = Engine(raw, threads=1, **options)
    return Served(name, selector or version, version, release, b"\2" * 32, "model.onnx", engine)


def table(*models):
    found = ServedModels((model.name, model.selector) for model in models)
    for model in models:
        found.put(model)
    return found
