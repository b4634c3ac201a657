"""Goes through the operators of a segment in their order. Specified in docs/spec/dispute.md, section 4."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelreg_verifier.referee.compare import Finding, compare
from modelreg_verifier.referee.evaluate import CONSTANT, Dialect, constant_of, evaluate, is_standard
from modelreg_verifier.referee.expected import Array, Exact, UndecidableError
from modelreg_verifier.trace.operators import STANDARD_DOMAINS

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["OperatorFinding", "made_by", "recompute"]

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
    return node.op_type == CONSTANT and is_standard(node)


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
    dialect = Dialect(opset, {(function.domain, function.name) for function in model.functions})
    for number in nodes:
        node = model.graph.node[number]
        if _is_constant(node):
            values.put_constant(node)
        else:
            yield _node(number, node, values, dialect)


class _Values:
    """Tensors by name, made into arrays when they are read."""

    def __init__(self, model: "ModelProto", given: Mapping[str, Array], claimed: Mapping[str, Array]) -> None:
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self._given, self._claimed = given, claimed
        self._constants: dict[str, NodeProto] = {}

    def claimed(self, name: str) -> Array:
        return self._claimed[name]

    def put_constant(self, node: "NodeProto") -> None:
        self._constants[node.output[0]] = node

    def read(self, name: str) -> Exact:
        return Exact(self._array(name))

    def _array(self, name: str) -> Array:
        for place in (self._claimed, self._given):
            if name in place:
                return place[name]
        if name in self._constants:
            return constant_of(self._constants[name])
        if name not in self._initializers:
            raise UndecidableError(f"nothing is known of {name!a}")
        from onnx import numpy_helper

        return numpy_helper.to_array(self._initializers[name])


def _node(number: int, node: "NodeProto", values: _Values, dialect: Dialect) -> OperatorFinding:
    named = [(place, name) for place, name in enumerate(node.output) if name]
    place = (number, node.op_type, node.name or named[0][1])
    try:
        made = evaluate(node, values.read, dialect)
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
