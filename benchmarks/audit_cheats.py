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

from modelreg_verifier.trace.program import Program

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


def _hoisted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants as initializers, where the runtime's tool looks for weights."""
    kept = []
    for node in model.graph.node:
        tensor = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and tensor is not None:
            made = model.graph.initializer.add()
            made.CopyFrom(tensor)
            made.name = node.output[0]
        else:
            kept.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return model


def _dynamic(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The runtime's own dynamic quantization, which refuses what is of integers already."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.onnx", Path(folder) / "b.onnx"
        onnx.save(_hoisted(model), source)
        try:
            quantize_dynamic(source, target, weight_type=QuantType.QUInt8)
        except ValueError:
            return None
        return onnx.load(target)


def _eight_bits(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Float weights in steps of int8; where they are int8 already, in steps of 4 bits."""
    fewer = _each(lambda array: np.round(array / 16.0) * 16, (INT8,))
    return fewer(model) or _each(_int8)(model)


def _skip(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Leave a residual out: an addition of two tensors in the middle of the graph gives the first one."""
    program = Program(model)
    behind: dict[str, frozenset[str]] = {}
    softmax = {name for node in model.graph.node if node.op_type == "Softmax" for name in node.input}
    adds, residuals = [], []
    for node, reads in zip(model.graph.node, program.reads, strict=True):
        varying = [name for name in reads if name in program.varying]
        behind |= dict.fromkeys(node.output, frozenset(varying).union(*(behind[n] for n in varying)))
        feeds_softmax = any(name in softmax for name in node.output)  # the mask of an attention
        if node.op_type == "Add" and not feeds_softmax and len(varying) == 2:
            adds.append(node)
            one, other = node.input
            if one in behind[other] or other in behind[one]:
                residuals.append(node)
    chosen = residuals or adds
    if not chosen:
        return None
    node = chosen[(len(chosen) - 1) // 2]
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
    "int8": _dynamic,
    "8-bit weights": _eight_bits,
    "fp16 weights": _each(lambda array: array.astype(np.float16)),
    "bf16 weights": _each(lambda array: array.astype(bfloat16)),
    "pruned 1 %": _each(_prune, (FLOAT, INT8)),
    "skipped residual": _skip,
    "last tensor 1e-3": _last,
    "noise 1e-4": _each(_noise(1e-4)),
    "noise 1e-5": _each(_noise(1e-5)),
}
"""What a node runs instead of the model. None means that the model has nothing to change."""


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
    """A tensor that was changed a little."""
    noise = np.random.default_rng(6).standard_normal(array.shape)
    return (array + size * np.sqrt(np.mean(array.astype(np.float64) ** 2)) * noise).astype(array.dtype)


def random(array: Array) -> Array:
    """Made up, with the mean and the spread of the true one."""
    values = array.astype(np.float64)
    noise = np.random.default_rng(7).standard_normal(array.shape)
    return (values.mean() + (values.std() or abs(values.mean()) or 1.0) * noise).astype(array.dtype)
