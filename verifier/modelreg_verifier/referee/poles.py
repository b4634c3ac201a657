"""Where a last bit decides between a number and none. Specified in docs/spec/dispute.md, section 3."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from modelreg_verifier.referee.expected import Array
from modelreg_verifier.trace.operators import STANDARD_DOMAINS

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["near_pole"]

_PLACES = {"Div": 1, "Reciprocal": 0, "Sqrt": 0, "Log": 0, "Pow": 0}
_NEAR = 2.0**-12


def near_pole(model: "ModelProto", nodes: Sequence[int], values: Mapping[str, Array]) -> bool:
    """Whether one of these nodes divides by what is nearly 0, or the like; constants are passed over."""
    for number in nodes:
        node = model.graph.node[number]
        place = _PLACES.get(node.op_type, len(node.input))
        if node.domain not in STANDARD_DOMAINS or place >= len(node.input):
            continue
        array = values.get(node.input[place])
        if array is not None and array.dtype.kind == "f" and array.size and _is_near(array):
            return True
    return False


def _is_near(array: Array) -> bool:
    sizes = np.abs(array.astype(np.float64))
    finite = sizes[np.isfinite(sizes)]
    return not finite.size or bool(finite.min() <= _NEAR * finite.max())
