"""One TensorProto of an ONNX file. Specified in docs/spec/content.md, section 2.2."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from modelreg.errors import FormatError
from modelreg.format.dtypes import DType
from modelreg.format.protobuf import Field, Wire, WireType
from modelreg.format.tensors import MAX_DIMENSIONS, MAX_NAME_BYTES, Tensor

__all__ = ["ExternalTensor", "read_tensor"]

_EXTERNAL = 1
_STRING = 8
_MAX_PROPERTIES = 64
_MAX_VALUE_BYTES = 2048
_MAX_DIGITS = 19

# TensorProto.DataType. What is not listed, STRING among it, has no elements of fixed size.
_TYPES = {
    1: DType.F32,
    2: DType.U8,
    3: DType.I8,
    4: DType.U16,
    5: DType.I16,
    6: DType.I32,
    7: DType.I64,
    9: DType.BOOL,
    10: DType.F16,
    11: DType.F64,
    12: DType.U32,
    13: DType.U64,
    14: DType.C64,
    15: DType.C128,
    16: DType.BF16,
    17: DType.F8_E4M3,
    18: DType.F8_E4M3FNUZ,
    19: DType.F8_E5M2,
    20: DType.F8_E5M2FNUZ,
    21: DType.U4,
    22: DType.I4,
    23: DType.F4,
    24: DType.F8_E8M0,
    25: DType.U2,
    26: DType.I2,
}

# The fields that hold elements. Packed floats lie as in memory; packed integers are varints.
_RAW_DATA = 9
_FLOATS = {4: {DType.F32, DType.C64}, 10: {DType.F64, DType.C128}}
_DATA = {4, 5, 6, 7, _RAW_DATA, 10, 11}
_ONCE = {2, 8, _RAW_DATA, 14}


@dataclass(frozen=True, slots=True)
class ExternalTensor:
    """A tensor whose bytes lie in another file.

    Attributes:
        location: path of the file relative to the model's directory, as the model gives it and unchecked.
        tensor: its span is one of that file.
        checksum: SHA-1 of the whole file in hexadecimal digits, where the model names one.
    """

    location: str
    tensor: Tensor
    checksum: str | None


@dataclass(slots=True)
class _Fields:
    """What a TensorProto says."""

    name: str = ""
    dims: list[int] = field(default_factory=list)
    data_type: int = 0
    location: int = 0
    data: Field | None = None
    scattered: bool = False
    properties: dict[str, str] = field(default_factory=dict)


def read_tensor(
    wire: Wire, message: Iterable[Field], label: str | None
) -> tuple[str, Tensor | ExternalTensor | None]:
    """Find where a tensor's elements lie.

    Args:
        wire: the file.
        message: the fields of the TensorProto.
        label: the name to give it, or None for its own.

    Returns:
        Its name, and the tensor; None where its elements lie scattered or are none.
    """
    said = _collect(wire, message)
    name = said.name if label is None else label
    if said.location == _EXTERNAL:
        return name, _external(name, said)
    return name, _inline(name, said)


def _collect(wire: Wire, message: Iterable[Field]) -> _Fields:
    said = _Fields()
    seen: set[int] = set()
    for item in message:
        if item.number in _ONCE and item.number in seen:
            raise FormatError("ONNX tensor", expected="each field once", found=f"field {item.number} again")
        seen.add(item.number)
        _take(wire, item, said)
    return said


def _take(wire: Wire, item: Field, said: _Fields) -> None:
    """Fields: dims 1, data_type 2, elements 4 to 11, name 8, external_data 13, data_location 14."""
    if item.number == 1:
        said.dims += wire.packed(item, MAX_DIMENSIONS)
        if len(said.dims) > MAX_DIMENSIONS:
            raise FormatError("ONNX tensor", expected=f"at most {MAX_DIMENSIONS} dimensions", found="more")
    elif item.number == 2:
        said.data_type = _integer(item)
    elif item.number == 8:
        said.name = wire.text(item, MAX_NAME_BYTES)
    elif item.number == 13:
        _add_property(wire, item, said.properties)
    elif item.number == 14:
        said.location = _integer(item)
    elif item.number in _DATA and item.length:
        said.scattered = said.data is not None or item.type is not WireType.BYTES
        _refuse_two_kinds(said, item)
        said.data = item


def _integer(item: Field) -> int:
    if item.type is not WireType.VARINT:
        raise FormatError("ONNX tensor", expected=f"an integer in field {item.number}", found=item.type.name)
    return item.value


def _refuse_two_kinds(said: _Fields, item: Field) -> None:
    wrong = item.number == _RAW_DATA and item.type is not WireType.BYTES
    if wrong or (said.data and said.data.number != item.number):
        raise FormatError(
            f"ONNX tensor {said.name[:60]!r}",
            expected="elements in one field",
            found=f"field {item.number} too",
        )


def _add_property(wire: Wire, item: Field, properties: dict[str, str]) -> None:
    """StringStringEntryProto: key 1, value 2."""
    if item.type is not WireType.BYTES:
        found = f"{item.type.name} at {item.offset}"
        raise FormatError("ONNX external data", expected="messages", found=found)
    entry = ["", ""]
    for part in wire.fields(item.offset, item.end):
        if part.number in (1, 2):
            entry[part.number - 1] = wire.text(part, _MAX_VALUE_BYTES)
    if entry[0] in properties or len(properties) == _MAX_PROPERTIES:
        raise FormatError(
            "ONNX external data",
            expected=f"at most {_MAX_PROPERTIES} keys, each once",
            found=repr(entry[0])[:60],
        )
    properties[entry[0]] = entry[1]


def _inline(name: str, said: _Fields) -> Tensor | None:
    data = said.data
    if data is None or said.scattered or data.type is not WireType.BYTES:
        return None
    dtype = _TYPES.get(said.data_type, DType.BYTES)
    if data.number == _RAW_DATA and said.data_type in (0, _STRING):
        raise FormatError(
            f"ONNX tensor {name[:60]!r}", expected="an element type of fixed size", found="none"
        )
    if data.number != _RAW_DATA and dtype not in _FLOATS.get(data.number, ()):
        dtype = DType.BYTES
    shape = (data.length,) if dtype is DType.BYTES else tuple(said.dims)
    return Tensor(name, dtype, shape, data.offset, data.length)


def _external(name: str, said: _Fields) -> ExternalTensor:
    properties = said.properties
    dtype = _TYPES.get(said.data_type)
    if dtype is None or said.data is not None or "location" not in properties:
        raise FormatError(
            f"ONNX external data of {name[:60]!r}",
            expected="a location, an element type of fixed size, and no data inside the model",
            found=f"{sorted(properties)}, type {said.data_type}"[:120],
        )
    needed = dtype.size_of(math.prod(said.dims))
    length = _decimal(properties, "length", needed)
    tensor = Tensor(name, dtype, tuple(said.dims), _decimal(properties, "offset", 0), length)
    return ExternalTensor(properties["location"], tensor, properties.get("checksum"))


def _decimal(properties: dict[str, str], key: str, default: int) -> int:
    text = properties.get(key)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        raise FormatError(f"ONNX external data, {key}", expected="decimal digits", found=repr(text)[:60])
    return int(text)
