"""What a node makes of what it reads, nested graphs included. docs/spec/dispute.md, sections 4 and 5."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelreg_verifier.referee.expected import Array, Call, Exact, Expected, Rounded, UndecidableError
from modelreg_verifier.referee.table import OPERATORS
from modelreg_verifier.trace.operators import STANDARD_DOMAINS

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto

__all__ = ["CONSTANT", "Dialect", "Read", "constant_of", "evaluate", "is_standard"]

CONSTANT = "Constant"
Read = Callable[[str], Expected]
# They re-arrange their first input, so that they re-arrange its bounds too.
_MOVES = frozenset({"Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
_MEASURES = frozenset({"Shape", "Size"})


@dataclass(frozen=True, slots=True)
class Dialect:
    """The opset of ONNX's own domain, and the model's own functions by domain and name."""

    opset: int
    functions: Collection[tuple[str, str]]


def is_standard(node: "NodeProto") -> bool:
    """Whether a node is of ONNX's own domain."""
    return node.domain in STANDARD_DOMAINS


def constant_of(node: "NodeProto") -> Array:
    """The value of a `Constant`. Raises UndecidableError for a form that is not known."""
    from onnx import helper, numpy_helper

    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.name == "value":
            return numpy_helper.to_array(value)
        if attribute.name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
        if attribute.name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
    raise UndecidableError("Constant of another form")


def evaluate(node: "NodeProto", read: Read, dialect: Dialect) -> list[Expected]:
    """The outputs of a node, in order.

    Args:
        node: of the graph, or nested in it.
        read: gives a tensor by its name.
        dialect: of the model.

    Raises:
        UndecidableError: nothing can be told of it; numpy's own errors mean the same.
    """
    if not is_standard(node) or (node.domain, node.op_type) in dialect.functions:
        raise UndecidableError(
            f"{node.domain or 'the model'}'s own {node.op_type} is not in the referee's set"
        )
    if node.op_type == CONSTANT:
        return [Exact(constant_of(node))]
    if node.op_type == "If":
        return _branch(node, read, dialect)
    if node.op_type not in OPERATORS:
        raise UndecidableError(f"{node.op_type} is not in the referee's set")
    made = _made(node, [read(name) if name else None for name in node.input], dialect)
    if len(made) < len(node.output):
        raise UndecidableError(f"{node.op_type} with {len(node.output)} outputs")
    return made


def _made(node: "NodeProto", inputs: Sequence[Expected | None], dialect: Dialect) -> list[Expected]:
    from onnx import helper

    attributes: dict[str, Any] = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    rest = [None if item is None else _exact(item) for item in inputs[1:]]

    def run(first: Array | None) -> list[Expected]:
        with np.errstate(all="ignore"):
            made = OPERATORS[node.op_type](
                Call(attributes, [first, *rest] if inputs else [], dialect.opset, len(node.output))
            )
        return made if isinstance(made, list) else [made]

    first = inputs[0] if inputs else None
    if not isinstance(first, Rounded):
        return run(None if first is None else _exact(first))
    if node.op_type in _MEASURES:
        return run(first.value)
    if node.op_type not in _MOVES:
        raise UndecidableError(f"{node.op_type} behind a rounding that is not claimed")
    return [_moved(first, lambda array: _exact(run(array)[0]))]


def _exact(value: Expected) -> Array:
    if isinstance(value, Rounded) or value.other is not None:
        raise UndecidableError("a rounding that is not claimed")
    return value.array


def _moved(value: Rounded, move: Callable[[Array], Array]) -> Rounded:
    soft, again = value.soft, value.again
    return Rounded(
        move(value.value),
        move(value.hard),
        None if soft is None else move(soft),
        None if again is None else lambda: move(again()),
    )


def _branch(node: "NodeProto", read: Read, dialect: Dialect) -> list[Expected]:
    """The branch that the condition chooses; nothing in it is claimed but what it gives."""
    condition = _exact(read(node.input[0])).reshape(-1)
    if condition.dtype != bool or condition.size != 1:
        raise UndecidableError("If on what is no truth")
    name = "then_branch" if condition[0] else "else_branch"
    [graph] = [item.g for item in node.attribute if item.name == name]
    return _graph(graph, read, dialect)


def _graph(graph: "GraphProto", read: Read, dialect: Dialect) -> list[Expected]:
    from onnx import numpy_helper

    values: dict[str, Expected] = {}
    initializers: dict[str, TensorProto] = {tensor.name: tensor for tensor in graph.initializer}

    def inside(name: str) -> Expected:
        if name in values:
            return values[name]
        if name in initializers:
            return Exact(numpy_helper.to_array(initializers[name]))
        return read(name)

    for node in graph.node:
        made = evaluate(node, inside, dialect)
        values.update((name, made[at]) for at, name in enumerate(node.output) if name)
    return [inside(value.name) for value in graph.output]
