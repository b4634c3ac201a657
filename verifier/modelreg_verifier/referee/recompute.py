"""Goes through the operators of a segment in their order. Specified in docs/spec/dispute.md, section 4."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelreg_verifier.operators import STANDARD_DOMAINS
from modelreg_verifier.referee.compare import Finding, compare
from modelreg_verifier.referee.expected import Array, Call, Expected, UndecidableError
from modelreg_verifier.referee.table import OPERATORS

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["CONSTANT", "OperatorFinding", "made_by", "recompute"]

CONSTANT = "Constant"
# What numpy raises where attributes and shapes do not fit: the runtime would have refused the node.
_REFUSALS = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class OperatorFinding:
    """What was found of the tensors that one node made; the worst of them counts.

    `ratio` is above 1 only if no honest machine makes this of the claimed inputs. `undecided` says why
    nothing can be told, and is empty where all can.
    """

    number: int
    operator: str
    name: str
    tensor: str
    ratio: float
    undecided: str = ""
    detail: str = ""


def made_by(model: "ModelProto", nodes: Sequence[int]) -> tuple[str, ...]:
    """The tensors that a claim over these nodes has: all that they make, but constants."""
    found = (model.graph.node[number] for number in nodes)
    return tuple(name for node in found if not _is_constant(node) for name in node.output if name)


def _is_constant(node: "NodeProto") -> bool:
    return node.op_type == CONSTANT and node.domain in STANDARD_DOMAINS


def recompute(
    model: "ModelProto", nodes: Sequence[int], given: Mapping[str, Array], claimed: Mapping[str, Array]
) -> Iterator[OperatorFinding]:
    """Recompute each node from the claimed values of what it reads.

    Args:
        model: the program graph.
        nodes: numbers of nodes, in order.
        given: the graph's inputs and the tensors that the segment starts from, as committed.
        claimed: all that `made_by` names.
    """
    values = _Values(model, given, claimed)
    opset = next((item.version for item in model.opset_import if item.domain in STANDARD_DOMAINS), 0)
    own = {(function.domain, function.name) for function in model.functions}
    for number in nodes:
        node = model.graph.node[number]
        if _is_constant(node):
            values.put_constant(node)
            continue
        known = node.domain in STANDARD_DOMAINS and (node.domain, node.op_type) not in own
        yield _node(number, node, values, opset if known else 0)


class _Values:
    """Tensors by name, made into arrays when they are read."""

    def __init__(self, model: "ModelProto", given: Mapping[str, Array], claimed: Mapping[str, Array]) -> None:
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self._given, self._claimed = given, claimed
        self._constants: dict[str, Array] = {}

    def claimed(self, name: str) -> Array:
        return self._claimed[name]

    def read(self, name: str) -> Array:
        for place in (self._claimed, self._given, self._constants):
            if name in place:
                return place[name]
        if name not in self._initializers:
            raise UndecidableError(f"nothing is known of {name!a}")
        from onnx import numpy_helper

        return numpy_helper.to_array(self._initializers[name])

    def put_constant(self, node: "NodeProto") -> None:
        from onnx import helper, numpy_helper

        for attribute in node.attribute:
            value = helper.get_attribute_value(attribute)
            if attribute.name == "value":
                self._constants[node.output[0]] = numpy_helper.to_array(value)
            elif attribute.name in ("value_float", "value_floats"):
                self._constants[node.output[0]] = np.array(value, np.float32)
            elif attribute.name in ("value_int", "value_ints"):
                self._constants[node.output[0]] = np.array(value, np.int64)


def _node(number: int, node: "NodeProto", values: _Values, opset: int) -> OperatorFinding:
    named = [(place, name) for place, name in enumerate(node.output) if name]
    place = (number, node.op_type, node.name or named[0][1])
    try:
        made = _expected(node, values, opset)
    except UndecidableError as error:
        return OperatorFinding(*place, named[0][1], 0.0, str(error))
    except _REFUSALS as error:
        return OperatorFinding(*place, named[0][1], 0.0, f"cannot be computed: {error}"[:200])
    found = [(compare(values.claimed(name), made[at]), name) for at, name in named]
    return _worst(place, found)


def _worst(place: tuple[int, str, str], found: list[tuple[Finding, str]]) -> OperatorFinding:
    worst, tensor = max(found, key=lambda pair: (pair[0].ratio, bool(pair[0].undecided)))
    undecided = next((finding.undecided for finding, _ in found if finding.undecided), "")
    return OperatorFinding(*place, tensor, worst.ratio, undecided, worst.detail)


def _expected(node: "NodeProto", values: _Values, opset: int) -> list[Expected]:
    from onnx import helper

    function = OPERATORS.get(node.op_type) if opset else None
    if function is None:
        raise UndecidableError(f"{node.domain or 'ONNX'}'s {node.op_type} is not in the referee's set")
    attributes: dict[str, Any] = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    inputs = [values.read(name) if name else None for name in node.input]
    with np.errstate(all="ignore"):
        made = function(Call(attributes, inputs, opset, len(node.output)))
    found = made if isinstance(made, list) else [made]
    if len(found) < len(node.output):
        raise UndecidableError(f"{node.op_type} with {len(node.output)} outputs")
    return found
