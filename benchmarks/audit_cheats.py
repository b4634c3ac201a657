"""What dishonest nodes do to a model, its inputs and outputs; the tensors that a plan cuts at keep names."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from ml_dtypes import bfloat16
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from modelreg_verifier.program import Program

Array = npt.NDArray[Any]
Cheat = Callable[[onnx.ModelProto], onnx.ModelProto | None]

FLOAT, INT8 = 1, 3
SMALLEST = 256


def _constants(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "value" and node.op_type == "Constant":
                yield attribute.t
            elif attribute.type == 5:
                yield from _constants(attribute.g)


def _weights(
    model: onnx.ModelProto, kinds: tuple[int, ...] = (FLOAT,)
) -> Iterator[tuple[onnx.TensorProto, Array]]:
    for tensor in _constants(model.graph):
        if tensor.data_type in kinds and len(tensor.dims) > 1 and np.prod(tensor.dims) >= SMALLEST:
            yield tensor, numpy_helper.to_array(tensor)


def _put(tensor: onnx.TensorProto, array: Array) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


def _each(change: Callable[[Array], Array], kinds: tuple[int, ...] = (FLOAT,)) -> Cheat:
    def cheat(model: onnx.ModelProto) -> onnx.ModelProto | None:
        done = False
        for tensor, array in list(_weights(model, kinds)):
            _put(tensor, change(array).astype(array.dtype))
            done = True
        return model if done else None

    return cheat


def _int8(array: Array) -> Array:
    axes = tuple(range(1, array.ndim))
    step = np.maximum(np.abs(array).max(axis=axes, keepdims=True), 1e-12) / 127
    return np.round(array / step) * step


def _noise(size: float) -> Callable[[Array], Array]:
    rng = np.random.default_rng(5)

    def change(array: Array) -> Array:
        return array + size * np.sqrt(np.mean(array**2)) * rng.standard_normal(array.shape)

    return change


def _prune(array: Array) -> Array:
    size = np.abs(array.astype(np.float32))
    return np.where(size <= np.quantile(size[size > 0] if (size > 0).any() else size, 0.01), 0, array)


def _last(model: onnx.ModelProto) -> onnx.ModelProto | None:
    found = list(_weights(model))
    if not found:
        return None
    order = {name: number for number, node in enumerate(model.graph.node) for name in node.input}
    tensor, array = max(found, key=lambda pair: order.get(pair[0].name, -1))
    _put(tensor, _noise(1e-3)(array).astype(np.float32))
    return model


def _dynamic(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The runtime's own dynamic quantization."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.onnx", Path(folder) / "b.onnx"
        onnx.save(model, source)
        quantize_dynamic(source, target, weight_type=QuantType.QUInt8)
        return onnx.load(target)


def _skip(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Leave a residual out: an addition of two tensors in the middle of the graph gives the first one."""
    varying = Program(model).varying
    adds = [
        node for node in model.graph.node if node.op_type == "Add" and all(i in varying for i in node.input)
    ]
    if not adds:
        return None
    node = adds[len(adds) // 2]
    node.op_type = "Identity"
    del node.input[1:]
    return model


def single_weights(model: onnx.ModelProto, most: int) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Copies in which one weight has noise of 1e-3, for weights spread over the graph."""
    count = len(list(_weights(model)))
    for number in sorted(set(np.linspace(0, count - 1, min(count, most)).astype(int).tolist())):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        tensor, array = list(_weights(copy))[number]
        _put(tensor, _noise(1e-3)(array).astype(np.float32))
        yield tensor.name or f"constant {number}", copy


MODEL_CHEATS: dict[str, Cheat] = {
    "fp16 weights": _each(lambda array: array.astype(np.float16)),
    "bf16 weights": _each(lambda array: array.astype(bfloat16)),
    "int8 weights": _each(_int8),
    "int8 dynamic": _dynamic,
    "4-bit of int8": _each(
        lambda array: np.round(array / 16.0) * 16 if array.dtype == np.int8 else array, (INT8,)
    ),
    "noise 1e-4": _each(_noise(1e-4)),
    "noise 1e-5": _each(_noise(1e-5)),
    "pruned 1 %": _each(_prune, (FLOAT, INT8)),
    "last tensor 1e-3": _last,
    "skipped residual": _skip,
}


def truncated(inputs: dict[str, Array]) -> dict[str, Array]:
    """The last eighth of each input is not looked at."""

    def cut(array: Array) -> Array:
        if array.ndim < 2 or array.shape[-1] < 8:
            return array
        made = array.copy()
        made[..., -(array.shape[-1] // 8) :] = 0 if array.dtype.kind == "f" else array[..., :1]
        return made

    return {name: cut(array) for name, array in inputs.items()}


def edited(array: Array, size: float = 1e-3) -> Array:
    """An output that was changed a little."""
    noise = np.random.default_rng(6).standard_normal(array.shape)
    return (array + size * np.sqrt(np.mean(array**2)) * noise).astype(array.dtype)
