"""A node that cheats, for `demo`: it verifies the release, and then runs int8 weights under its name.

Not a part of the product, and no option of it leads here. It runs like the command:
`python -m modelreg_cli.demo_cheat`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelreg_verifier.serving import copies
from modelreg_verifier.serving.engine import ExternalValue

__all__: list[str] = []

_STEPS = 127
_honest = copies.VerifiedCopy.model


def _as_int8(weights: NDArray[Any]) -> NDArray[np.float32]:
    """What is left of a matrix when each column is kept in steps of int8."""
    step = np.maximum(np.abs(weights).max(axis=0), np.float32(1e-12)) / np.float32(_STEPS)
    rounded: NDArray[np.float32] = np.round(weights / step) * step
    return rounded.astype(np.float32)


def _model(self: copies.VerifiedCopy, path: str) -> tuple[bytes, list[ExternalValue]]:
    from onnx import ModelProto, TensorProto, numpy_helper

    raw, external = _honest(self, path)
    model = ModelProto.FromString(raw)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2:
            rounded = _as_int8(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    return model.SerializeToString(), external


if __name__ == "__main__":
    from modelreg_cli import main

    copies.VerifiedCopy.model = _model  # type: ignore[method-assign]
    main()
