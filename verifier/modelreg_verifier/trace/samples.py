"""Inputs to try a program with, made from what its graph says of them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import InputError
from modelreg.format.trace_plan import FixedInput
from modelreg_verifier.trace.elements import ONNX_TYPES
from modelreg_verifier.trace.program import Program

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

__all__ = ["FREE_DIM", "fixed_inputs", "sample_inputs"]

FREE_DIM = 32
_FLOATS = frozenset({"FP16", "FP32", "FP64", "BF16"})
_DATATYPES = {number: datatype for datatype, number in ONNX_TYPES.items()}
_PLAIN = frozenset({"Identity", "Cast", "Reshape", "Unsqueeze", "Squeeze", "Flatten"})


def sample_inputs(
    program: Program, rng: np.random.Generator, *, batch: int = 1, free: int = FREE_DIM
) -> dict[str, NDArray[Any]]:
    """One value for each input: normal numbers, indices inside the table that they look up, else ones.

    Args:
        program: whose inputs.
        rng: where numbers come from.
        batch: the first dim, where the graph leaves it open.
        free: the other dims that the graph leaves open.

    Raises:
        InputError: an input of strings, or of what is no tensor.
    """
    tables = _tables(program)
    return {
        value.name: _sample(value, rng, batch, free, tables.get(value.name))
        for value in program.model.graph.input
    }


def fixed_inputs(model: "ModelProto", values: Mapping[str, str]) -> tuple[FixedInput, ...]:
    """Inputs with a value of their own, each one number written as text, of the type that the graph declares.

    Raises:
        InputError: the graph has no such input of numbers, or the text is no number of its type.
    """
    declared = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    return tuple(
        FixedInput(name, *_number(name, text, declared.get(name, 0)))
        for name, text in sorted(values.items(), key=lambda item: item[0].encode())
    )


def _number(name: str, text: str, element: int) -> tuple[str, bytes]:
    datatype = _DATATYPES.get(element, "BYTES")
    if datatype == "BYTES":
        raise InputError(f"fixed input {name!a}", expected="an input of numbers", found="none")
    try:
        number = float(text) if datatype in _FLOATS else int(text)
        return datatype, np.array(number, _numpy_type(element)).tobytes()
    except (ValueError, OverflowError):
        raise InputError(f"value of {name!a}", expected=f"a number of {datatype}", found=text[:40]) from None


def _sample(
    value: "ValueInfoProto", rng: np.random.Generator, batch: int, free: int, rows: int | None
) -> NDArray[Any]:
    kind = value.type.tensor_type
    datatype = _DATATYPES.get(kind.elem_type, "BYTES")
    if datatype == "BYTES":
        raise InputError(
            f"input {value.name!a}", expected="a tensor of numbers", hint="give samples of your own"
        )
    shape = [dim.dim_value or (free if axis else batch) for axis, dim in enumerate(kind.shape.dim)]
    if datatype in _FLOATS:
        return rng.standard_normal(shape).astype(_numpy_type(kind.elem_type))
    ones = np.ones(shape, _numpy_type(kind.elem_type))
    return rng.integers(0, rows, shape).astype(ones.dtype) if rows else ones


def _numpy_type(element: int) -> "np.dtype[Any]":
    from onnx import helper

    found: np.dtype[Any] = helper.tensor_dtype_to_np_dtype(element)
    return found


def _tables(program: Program) -> dict[str, int]:
    """For each input that indexes constant tables by `Gather`, the rows of the smallest one."""
    graph = program.model.graph
    origin = {name: name for name in program.inputs}
    rows = {value.name: value.dims[0] for value in graph.initializer if value.dims}
    found: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in _PLAIN and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        elif node.op_type == "Gather" and node.input[0] in rows and node.input[1] in origin:
            name, count = origin[node.input[1]], rows[node.input[0]]
            found[name] = min(count, found.get(name, count))
    return found
