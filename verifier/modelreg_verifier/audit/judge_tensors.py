"""The tensors of an opening, as far as they can be checked before a replay: docs/spec/audit.md, section 4."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import FormatError
from modelreg.format.commitments import Tensor
from modelreg.format.digest import HashAlgorithm
from modelreg.format.trace_plan import TracePlan
from modelreg_verifier.audit.verdict import Reason, Ruling, StopError
from modelreg_verifier.receipts.opening import Opening
from modelreg_verifier.trace.datatypes import strings, to_array
from modelreg_verifier.trace.elements import ONNX_TYPES
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import Arrays

if TYPE_CHECKING:
    from onnx import ValueInfoProto

__all__ = ["Opened", "opened_of"]


@dataclass(frozen=True, slots=True)
class Opened:
    """The inputs; and all outputs and tensors of cuts by name, each of which has one value."""

    inputs: Arrays
    committed: Arrays


def opened_of(opening: Opening, plan: TracePlan, program: Program) -> Opened:
    """Checks 6 to 8 of a whole opening that opens its receipt. Raises StopError."""
    assert opening.inputs and opening.outputs  # noqa: S101 - the caller missed no part
    inputs, outputs = opening.inputs.tensors, opening.outputs.tensors
    _check_names("outputs", outputs, program.outputs)
    for number, (cut, names) in enumerate(zip(opening.cuts, plan.cuts, strict=True)):
        _check_names(f"cut {number}", cut.tensors, names)
    _check_inputs(inputs, program)
    sets = [inputs, outputs, *(cut.tensors for cut in opening.cuts)]
    _check_one_value(sets)
    committed = {name: tensor for tensors in sets[1:] for name, tensor in tensors.items()}
    arrays = {name: _array(name, tensor) for name, tensor in committed.items()}
    return Opened({name: _input(name, tensor) for name, tensor in inputs.items()}, arrays)


def _check_names(what: str, tensors: Mapping[str, Tensor], names: Iterable[str]) -> None:
    if tensors.keys() != set(names):
        odd = ascii(sorted(tensors.keys() ^ set(names)))[:100]
        raise StopError(Ruling.FAIL, Reason.NAMES, f"{what}: too many or missing {odd}")


def _check_inputs(inputs: Mapping[str, Tensor], program: Program) -> None:
    """No runtime takes inputs that the graph does not declare so; an answer to them was made up."""
    declared = {value.name: value for value in program.model.graph.input}
    if inputs.keys() != declared.keys():
        odd = ascii(sorted(inputs.keys() ^ declared.keys()))[:100]
        raise StopError(Ruling.FAIL, Reason.INPUTS, f"too many or missing {odd}")
    for name, tensor in inputs.items():
        if not _fits(tensor, declared[name]):
            found = f"{tensor.datatype} {list(tensor.dims)}"
            raise StopError(Ruling.FAIL, Reason.INPUTS, f"{name!a} is declared otherwise than as {found}")


def _fits(tensor: Tensor, declared: "ValueInfoProto") -> bool:
    if not declared.type.HasField("tensor_type"):
        return True  # the runtime decides
    kind = declared.type.tensor_type
    if ONNX_TYPES[tensor.datatype] != kind.elem_type:
        return False
    if not kind.HasField("shape"):
        return True
    wanted = [dim.dim_value for dim in kind.shape.dim]
    return len(wanted) == len(tensor.dims) and all(
        want <= 0 or want == dim for want, dim in zip(wanted, tensor.dims, strict=True)
    )


def _check_one_value(sets: Iterable[Mapping[str, Tensor]]) -> None:
    seen: dict[str, Tensor] = {}
    for tensors in sets:
        for name, tensor in tensors.items():
            if not _same(seen.setdefault(name, tensor), tensor):
                raise StopError(Ruling.FAIL, Reason.TWO_VALUES, f"{name!a} has two values")


def _same(a: Tensor, b: Tensor) -> bool:
    if a is b:
        return True
    return (a.datatype, a.dims) == (b.datatype, b.dims) and _digest(a) == _digest(b)


def _digest(tensor: Tensor) -> bytes:
    return HashAlgorithm.BLAKE3_256.digest(tensor.data).value


def _input(name: str, tensor: Tensor) -> NDArray[Any]:
    """Texts come from the client: other bytes than UTF-8 are not the node's doing."""
    if tensor.datatype == "BYTES":
        try:
            strings(tensor)
        except FormatError as error:
            raise StopError(Ruling.UNDECIDABLE, Reason.REFUSED, f"{name!a}: {error}") from None
    return _array(name, tensor)


def _array(name: str, tensor: Tensor) -> NDArray[Any]:
    """Elements of BYTES that are not UTF-8 get surrogates: they equal no text, and no runtime takes them."""
    try:
        array = to_array(tensor, errors="surrogateescape")
    except FormatError:  # no element, and other dims of a size that no machine has
        raise StopError(Ruling.FAIL, Reason.SHAPE, f"{name!a} has dims {list(tensor.dims)}") from None
    return array.view(_bfloat16()) if tensor.datatype == "BF16" else array


def _bfloat16() -> "np.dtype[Any]":
    import ml_dtypes

    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return found
