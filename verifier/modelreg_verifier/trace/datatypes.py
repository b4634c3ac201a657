"""Tensors of the protocol as numpy arrays, as JSON, and the runtime's types for them.

Specified in docs/spec/serve.md, section 3.
"""

import math
from collections.abc import Iterable
from itertools import chain
from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt

from modelreg.errors import FormatError
from modelreg.format.commitments import Tensor

__all__ = ["RUNTIME_TYPES", "from_array", "from_json", "strings", "to_array", "to_json"]

JSON_ELEMENTS_MAX = 1 << 20

_DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
    "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "BF16": "<u2",
}  # fmt: skip
_BINARY_ONLY = ("FP16", "BF16")
_FLOATS = ("FP32", "FP64")
_JSON_TYPES: dict[str, set[type]] = {
    "BOOL": {bool},
    "BYTES": {str},
    "FP32": {int, float},
    "FP64": {int, float},
}
_LENGTH = Struct("<I")

RUNTIME_TYPES = {
    "tensor(bool)": "BOOL", "tensor(uint8)": "UINT8", "tensor(uint16)": "UINT16", "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64", "tensor(int8)": "INT8", "tensor(int16)": "INT16", "tensor(int32)": "INT32",
    "tensor(int64)": "INT64", "tensor(float16)": "FP16", "tensor(float)": "FP32", "tensor(double)": "FP64",
    "tensor(bfloat16)": "BF16", "tensor(string)": "BYTES",
}  # fmt: skip
"""The protocol's datatype for each of onnxruntime's type names that the protocol has."""


def to_array(tensor: Tensor, errors: str = "strict") -> npt.NDArray[Any]:
    """The tensor in its shape: a view of its bytes, BF16 as the 16-bit words; BYTES as an array of str.

    Args:
        tensor: what is viewed.
        errors: what becomes of BYTES that are not UTF-8, as `bytes.decode` has it.

    Raises:
        FormatError: an element of BYTES is not UTF-8, or numpy has no such shape.
    """
    if tensor.datatype == "BYTES":
        flat = np.empty(math.prod(tensor.dims), dtype=object)
        flat[:] = strings(tensor, errors)
        return _shaped(flat, tensor.dims)
    array = _shaped(np.frombuffer(tensor.data, dtype=_DTYPES[tensor.datatype]), tensor.dims)
    return array if array.flags.aligned else array.copy()  # the runtime reads whole words


def _shaped(flat: npt.NDArray[Any], dims: tuple[int, ...]) -> npt.NDArray[Any]:
    try:
        return flat.reshape(dims)
    except ValueError:
        # A dim of 0 lets the others be as large as they like.
        raise FormatError("tensor dims", expected="dims that fit into memory", found=dims) from None


def from_array(datatype: str, array: npt.NDArray[Any]) -> Tensor:
    """A tensor that shares the array's memory where it can; BYTES come as an array of str."""
    if datatype == "BYTES":
        return Tensor(datatype, array.shape, _packed(str(item).encode() for item in array.ravel()))
    return Tensor(datatype, array.shape, np.ascontiguousarray(array, dtype=_DTYPES[datatype]).data)


def strings(tensor: Tensor, errors: str = "strict") -> list[str]:
    """The elements of BYTES. Raises FormatError where one is not UTF-8, unless `errors` says otherwise."""
    found, octets, at = [], memoryview(tensor.data), 0
    try:
        while at < octets.nbytes:
            start = at + _LENGTH.size
            at = start + _LENGTH.unpack_from(octets, at)[0]
            found.append(str(octets[start:at], "utf-8", errors))
    except UnicodeDecodeError:
        raise FormatError("element of BYTES", expected="UTF-8", found="other bytes") from None
    return found


def from_json(datatype: str, dims: tuple[int, ...], data: object) -> Tensor:
    """Read the `data` of an input: a list, flat or nested, row-major.

    Raises:
        FormatError: elements of another type, out of range, or not as many as the dims say.
    """
    if datatype in _BINARY_ONLY:
        raise FormatError(f"data of {datatype}", expected="binary data", found="JSON")
    if not isinstance(data, list):
        raise FormatError("data of an input", expected="a list", found=type(data).__name__)
    items: list[Any] = data
    while set(map(type, items)) == {list}:
        items = list(chain.from_iterable(items))
    if len(items) != math.prod(dims):
        raise FormatError("data of an input", expected=f"{math.prod(dims)} elements", found=len(items))
    return Tensor(datatype, dims, _elements(datatype, items))


def _elements(datatype: str, items: list[Any]) -> bytes:
    allowed = _JSON_TYPES.get(datatype, {int})
    if not set(map(type, items)) <= allowed:
        names = " or ".join(sorted(kind.__name__ for kind in allowed))
        raise FormatError(f"elements of {datatype}", expected=names, found="others")
    try:
        if datatype == "BYTES":
            return _packed(item.encode() for item in items)
        with np.errstate(over="ignore"):
            array = np.array(items, dtype=_DTYPES[datatype])
    except UnicodeEncodeError:
        raise FormatError("elements of BYTES", expected="Unicode texts", found="a lone surrogate") from None
    except OverflowError:
        raise FormatError(f"elements of {datatype}", expected="numbers in range", found="a greater") from None
    if datatype in _FLOATS and not np.isfinite(array).all():
        raise FormatError(f"elements of {datatype}", expected="numbers in range", found="a greater")
    return array.tobytes()


def _packed(items: Iterable[bytes]) -> bytes:
    return b"".join(chain.from_iterable((_LENGTH.pack(len(item)), item) for item in items))


def to_json(tensor: Tensor) -> list[Any]:
    """The elements as a flat list.

    Raises:
        FormatError: JSON cannot carry them: FP16, BF16, not finite, not UTF-8, too many.
    """
    hint = "ask for it with the parameter binary_data"
    if tensor.datatype in _BINARY_ONLY:
        raise FormatError(f"output of {tensor.datatype} as JSON", expected="binary data", hint=hint)
    if math.prod(tensor.dims) > JSON_ELEMENTS_MAX:
        expected = f"at most {JSON_ELEMENTS_MAX} elements"
        raise FormatError("output as JSON", expected=expected, found=math.prod(tensor.dims), hint=hint)
    if tensor.datatype == "BYTES":
        return list(strings(tensor))
    flat = to_array(tensor).reshape(-1)
    if tensor.datatype in _FLOATS and not np.isfinite(flat).all():
        raise FormatError("output as JSON", expected="finite numbers", found="NaN or infinity", hint=hint)
    return flat.tolist()
