"""Arrays of numpy as tensors of receipts, and back. Specified in docs/spec/receipt.md, section 3."""

from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import FormatError
from modelreg.format.commitments import Tensor

__all__ = ["ONNX_TYPES", "to_array", "to_tensor"]

# Element types of ONNX (TensorProto.DataType in onnx.proto) by datatype of the Open Inference Protocol.
ONNX_TYPES = {
    "FP32": 1,
    "UINT8": 2,
    "INT8": 3,
    "UINT16": 4,
    "INT16": 5,
    "INT32": 6,
    "INT64": 7,
    "BYTES": 8,
    "BOOL": 9,
    "FP16": 10,
    "FP64": 11,
    "UINT32": 12,
    "UINT64": 13,
    "BF16": 16,
}
_NUMPY_NAMES = {
    "BOOL": "bool",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    **{f"{kind}{bits}": f"{kind.lower()}{bits}" for kind in ("UINT", "INT") for bits in (8, 16, 32, 64)},
}
_DTYPES = {datatype: np.dtype(name).newbyteorder("<") for datatype, name in _NUMPY_NAMES.items()}
_DATATYPES = {name: datatype for datatype, name in _NUMPY_NAMES.items()} | {"bfloat16": "BF16"}
_LENGTH = Struct("<I")


def to_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor with an array's elements; the bytes are shared where they lie as the protocol has them.

    Raises:
        FormatError: an element type that the Open Inference Protocol does not have.
    """
    if array.dtype.kind in "OSU":
        return Tensor("BYTES", array.shape, _join(array))
    datatype = _DATATYPES.get(array.dtype.name)
    if datatype is None:
        raise FormatError("tensor datatype", expected=", ".join(_DATATYPES), found=array.dtype.name)
    plain = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    return Tensor(datatype, array.shape, plain.reshape(-1).view(np.uint8).data)


def to_array(tensor: Tensor) -> NDArray[Any]:
    """A read-only array of a tensor's elements; those of BYTES are `bytes` objects.

    Raises:
        FormatError: a shape that numpy cannot have.
    """
    if tensor.datatype == "BYTES":
        flat: NDArray[Any] = np.array([None, *_split(memoryview(tensor.data).cast("B"))], dtype=object)[1:]
    else:
        flat = np.frombuffer(tensor.data, _dtype(tensor.datatype))
    try:
        return flat.reshape(tensor.dims)
    except (ValueError, OverflowError):
        raise FormatError("tensor dims", expected="a shape for numpy", found=tensor.dims) from None


def _dtype(datatype: str) -> np.dtype[Any]:
    if datatype == "BF16":
        import ml_dtypes

        brain: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return brain
    return _DTYPES[datatype]


def _join(array: NDArray[Any]) -> bytes:
    parts = [item.encode() if isinstance(item, str) else bytes(item) for item in array.reshape(-1)]
    return b"".join(piece for part in parts for piece in (_LENGTH.pack(len(part)), part))


def _split(data: memoryview) -> list[bytes]:
    """The elements of BYTES, whose lengths `Tensor` has checked."""
    parts, at = [], 0
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        parts.append(bytes(data[at + _LENGTH.size : at + _LENGTH.size + length]))
        at += _LENGTH.size + length
    return parts
