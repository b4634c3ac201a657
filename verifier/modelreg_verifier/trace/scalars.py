"""What is known of a graph before it runs: single elements that follow from others by simple operators.

Conditions of `If` on a fixed input are such elements. Nothing else is computed here, so that a hostile graph
costs no more than its size. Specified in docs/spec/trace.md, section 1.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from modelreg_verifier.trace.operators import STANDARD_DOMAINS

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

__all__ = ["Scalars"]

_ALIKE = frozenset({"Identity", "Squeeze", "Unsqueeze", "Reshape"})
_COMPARE = {
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
}
_LOGIC = {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor, "Not": np.logical_not}
# BOOL, the integers, FP32 and FP64, as TensorProto.DataType numbers them.
_TYPES = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13})


class Scalars:
    """Values by tensor name, filled in the order of the nodes."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[str, np.generic] = {}

    def truth(self, name: str) -> bool | None:
        """The value of a known element of type bool."""
        value = self._values.get(name)
        return bool(value) if isinstance(value, np.bool_) else None

    def put(self, name: str, tensor: "TensorProto") -> None:
        """Note an initializer, or the value of a `Constant`, if it has one element."""
        if tensor.data_type not in _TYPES or tensor.data_location or any(dim != 1 for dim in tensor.dims):
            return
        from onnx import numpy_helper

        try:
            array = numpy_helper.to_array(tensor)
        except (ValueError, TypeError):
            return
        if array.size == 1:
            self._values[name] = array.reshape(-1)[0]

    def follow(self, node: "NodeProto") -> None:
        """Note the output of a node, if it is one of the simple operators and its inputs are known."""
        if node.domain not in STANDARD_DOMAINS or len(node.output) != 1:
            return
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    self.put(node.output[0], attribute.t)
            return
        value = _compute(node, [self._values.get(name) for name in node.input])
        if value is not None:
            self._values[node.output[0]] = value


def _compute(node: "NodeProto", inputs: list[np.generic | None]) -> np.generic | None:
    first = inputs[0] if inputs else None
    if first is None:
        return None
    if node.op_type in _ALIKE:
        return first
    if node.op_type == "Cast":
        to_bool = any(attribute.name == "to" and attribute.i == 9 for attribute in node.attribute)
        return np.bool_(first) if to_bool else None
    known: list[Any] = [value for value in inputs if value is not None and value.dtype == first.dtype]
    if len(known) != len(inputs):
        return None
    if node.op_type in _COMPARE and len(known) == 2:
        return np.bool_(_COMPARE[node.op_type](*known))
    logical = isinstance(first, np.bool_) and len(known) == (1 if node.op_type == "Not" else 2)
    return np.bool_(_LOGIC[node.op_type](*known)) if node.op_type in _LOGIC and logical else None
