"""Requests and answers of the Open Inference Protocol, version 2. Specified in docs/spec/serve.md, section 3.

Sources: github.com/kserve/open-inference-protocol, and the binary tensor extension of
github.com/triton-inference-server/server (docs/protocol/extension_binary_data.md).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from modelreg.errors import FormatError
from modelreg.format.commitments import DATATYPES, Tensor
from modelreg.format.json_depth import require_shallow
from modelreg_verifier.trace.datatypes import from_json, to_json

__all__ = ["JSON_BYTES_MAX", "Answer", "InferRequest", "Scalar", "Wanted", "parse_request"]

JSON_BYTES_MAX = 8 << 20
Scalar = str | int | float | bool
"""What a parameter can be."""

_TENSORS_MAX, _NAME_BYTES_MAX, _DIMS_MAX, _DIM_END = 256, 256, 16, 1 << 63
_ID_MAX, _PARAMETERS_MAX, _TEXT_MAX = 256, 64, 4096
_NOT_OFFERED = ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset", "classification")
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that is asked for, as binary data or as JSON."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class InferRequest:
    """One request, its tensors views of the body; `outputs` is None where it names none."""

    id: str
    parameters: Mapping[str, Scalar]
    inputs: Mapping[str, Tensor]
    outputs: tuple[Wanted, ...] | None
    binary: bool

    def wanted(self, names: tuple[str, ...]) -> tuple[Wanted, ...]:
        """What to send of a model that has these outputs. Raises FormatError for one that it has not."""
        if self.outputs is None:
            return tuple(Wanted(name, self.binary) for name in names)
        for output in self.outputs:
            if output.name not in names:
                raise _refused("outputs", f"names out of {list(names)}", output.name)
        return self.outputs


def parse_request(body: memoryview, header: int | None) -> InferRequest:
    """Read the body of a request.

    Args:
        body: JSON; and behind it binary data, if `header` is given.
        header: the bytes of JSON.

    Raises:
        FormatError: a rule of section 3 is broken.
    """
    length = body.nbytes if header is None else header
    if length > min(body.nbytes, JSON_BYTES_MAX):
        raise FormatError(
            "JSON of a request", expected=f"at most {JSON_BYTES_MAX} bytes, all sent", found=length
        )
    document = _object(_json(bytes(body[:length])), "request")
    identifier = document.get("id", "")
    if not isinstance(identifier, str) or len(identifier) > _ID_MAX:
        raise _refused("id", f"a text of at most {_ID_MAX} characters", identifier)
    parameters = _parameters(document, "request")
    binary = _flag(parameters, "binary_data_output", default=False)
    inputs = _Inputs(body[length:])
    for item in _list(document, "inputs"):
        inputs.add(item)
    outputs = _outputs(document, binary)
    return InferRequest(identifier, parameters, inputs.whole(), outputs, binary)


def _json(raw: bytes) -> object:
    require_shallow(raw, "request")
    try:
        return json.loads(raw.decode(), parse_constant=_no_constant, object_pairs_hook=_unique)
    except ValueError as error:
        raise FormatError("request", expected="JSON in UTF-8", found=str(error)[:_SHOWN]) from None


def _no_constant(name: str) -> NoReturn:
    raise FormatError("request", expected="finite numbers", found=name)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FormatError("request", expected="no key twice in an object", found="one that comes again")
    return found


def _refused(what: str, expected: str, found: object) -> FormatError:
    return FormatError(what, expected=expected, found=ascii(found)[:_SHOWN])


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refused(what, "an object", type(value).__name__)
    return value


def _list(document: dict[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if not isinstance(value, list) or len(value) > _TENSORS_MAX:
        raise FormatError(key, expected=f"a list of at most {_TENSORS_MAX}", found=type(value).__name__)
    return value


def _parameters(document: dict[str, Any], what: str) -> dict[str, Scalar]:
    found = _object(document.get("parameters", {}), f"parameters of {what}")
    if len(found) > _PARAMETERS_MAX:
        raise _refused(f"parameters of {what}", f"at most {_PARAMETERS_MAX}", len(found))
    for key, value in found.items():
        if len(key) > _NAME_BYTES_MAX or not _is_scalar(value):
            expected = f"texts of at most {_TEXT_MAX} characters, numbers and booleans"
            raise FormatError(f"parameters of {what}", expected=expected, found="another")
        if key in _NOT_OFFERED:
            raise _refused(f"parameters of {what}", "tensors in the request and the answer", key)
    return found


def _is_scalar(value: object) -> bool:
    finite = not isinstance(value, float) or math.isfinite(value)
    return isinstance(value, Scalar) and len(str(value)) <= _TEXT_MAX and finite


def _flag(parameters: Mapping[str, Scalar], key: str, *, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise _refused(f"parameter {key}", "true or false", value)
    return value


def _name(document: dict[str, Any], what: str) -> str:
    name = document.get("name")
    raw = name.encode("utf-8", "surrogatepass") if isinstance(name, str) else b""
    if not 0 < len(raw) <= _NAME_BYTES_MAX:
        raise _refused(f"name of an {what}", f"a text of 1 to {_NAME_BYTES_MAX} bytes", name)
    return str(name)


def _dims(document: dict[str, Any]) -> tuple[int, ...]:
    shape = document.get("shape")
    dims = tuple(shape) if isinstance(shape, list) and len(shape) <= _DIMS_MAX else None
    if dims is None or not all(type(dim) is int and 0 <= dim < _DIM_END for dim in dims):
        raise _refused("shape", f"at most {_DIMS_MAX} dims from 0 to 2^63 - 1", shape)
    return dims


@dataclass(slots=True)
class _Inputs:
    """Cuts the binary data into the inputs, in their order."""

    rest: memoryview
    found: dict[str, Tensor] = field(default_factory=dict)

    def add(self, item: object) -> None:
        document = _object(item, "input")
        name = _name(document, "input")
        if name in self.found:
            raise _refused("inputs", "no name twice", name)
        datatype = document.get("datatype")
        if not isinstance(datatype, str) or datatype not in DATATYPES:
            raise _refused(f"datatype of {name!a}", f"one of {sorted(DATATYPES)}", datatype)
        self.found[name] = self._tensor(document, datatype, _dims(document))

    def _tensor(self, document: dict[str, Any], datatype: str, dims: tuple[int, ...]) -> Tensor:
        size = _parameters(document, "input").get("binary_data_size")
        if (size is None) == ("data" not in document):
            raise FormatError("input", expected="either data or binary_data_size", found="both or none")
        if size is None:
            return from_json(datatype, dims, document["data"])
        if type(size) is not int or not 0 <= size <= self.rest.nbytes:
            raise _refused("binary_data_size", f"0 to {self.rest.nbytes}, the bytes that are left", size)
        data, self.rest = self.rest[:size], self.rest[size:]
        return Tensor(datatype, dims, data)

    def whole(self) -> dict[str, Tensor]:
        if self.rest.nbytes:
            expected = "as many bytes as the inputs' binary_data_size"
            raise FormatError("binary data", expected=expected, found=f"{self.rest.nbytes} more")
        return self.found


def _outputs(document: dict[str, Any], binary: bool) -> tuple[Wanted, ...] | None:  # noqa: FBT001
    if "outputs" not in document:
        return None
    found: dict[str, Wanted] = {}
    for item in _list(document, "outputs"):
        output = _object(item, "output")
        name = _name(output, "output")
        if name in found:
            raise _refused("outputs", "no name twice", name)
        found[name] = Wanted(name, _flag(_parameters(output, "output"), "binary_data", default=binary))
    return tuple(found.values()) or None


class Answer:
    """The answer to a request, encoded before the recorder hears of it, so that it can no longer fail.

    Args:
        wanted: which outputs to send, and how.
        outputs: all outputs of the model.

    Raises:
        FormatError: an output is asked for as JSON, which cannot carry it.
    """

    def __init__(self, wanted: tuple[Wanted, ...], outputs: Mapping[str, Tensor]) -> None:
        self._rows: list[str] = []
        self._binary: list[bytes | memoryview] = []
        self._has_binary = any(output.binary for output in wanted)
        for output in wanted:
            tensor = outputs[output.name]
            row: dict[str, Any] = {"name": output.name, "datatype": tensor.datatype, "shape": tensor.dims}
            if output.binary:
                row["parameters"] = {"binary_data_size": len(tensor.data)}
                self._binary.append(tensor.data)
            else:
                row["data"] = to_json(tensor)
            self._rows.append(_dumps(row))

    def parts(
        self, model: str, version: str, identifier: str, parameters: Mapping[str, Scalar]
    ) -> tuple[list[bytes | memoryview], int | None]:
        """The body in parts, and the bytes of JSON at its beginning if binary data follows."""
        document: dict[str, Any] = {"model_name": model, "model_version": version}
        if identifier:
            document["id"] = identifier
        if parameters:
            document["parameters"] = dict(parameters)
        header = f'{_dumps(document)[:-1]},"outputs":[{",".join(self._rows)}]}}'.encode()
        return [header, *self._binary], len(header) if self._has_binary else None


def _dumps(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)
