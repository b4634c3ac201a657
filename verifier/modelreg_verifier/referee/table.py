"""The operators that the referee knows."""

from collections.abc import Callable

from modelreg_verifier.referee.elementwise import ELEMENTWISE
from modelreg_verifier.referee.expected import Call, Expected
from modelreg_verifier.referee.linear import LINEAR
from modelreg_verifier.referee.normal import NORMAL
from modelreg_verifier.referee.pooling import POOLING
from modelreg_verifier.referee.quantized import QUANTIZED
from modelreg_verifier.referee.recurrent import RECURRENT
from modelreg_verifier.referee.reduce import REDUCE
from modelreg_verifier.referee.shapes import SHAPES

__all__ = ["OPERATORS"]

Operator = Callable[[Call], Expected | list[Expected]]

OPERATORS: dict[str, Operator] = {
    **ELEMENTWISE,
    **LINEAR,
    **NORMAL,
    **POOLING,
    **QUANTIZED,
    **RECURRENT,
    **REDUCE,
    **SHAPES,
}
"""By the name that ONNX's own domain has for them."""
