"""A verified ONNX file as one graph, with the data in it that it keeps in other files.

Traces are made of it, and replayed from it, so that both sides see the same graph.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelreg.errors import FormatError
from modelreg_verifier.serving.engine import ExternalValue

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["whole_model"]

_MAX_BYTES = (1 << 31) - 1


def whole_model(raw: bytes, external: Sequence[ExternalValue]) -> "ModelProto":
    """The graph of an ONNX file.

    Args:
        raw: the file, verified.
        external: what it keeps in other files, verified; initializers of the graph itself.

    Raises:
        FormatError: it is no ONNX file, or has 2 GiB or more together.
    """
    from onnx import ModelProto, TensorProto

    size = len(raw) + sum(item.array.nbytes for item in external)
    if size > _MAX_BYTES:
        raise FormatError("ONNX file with its data", expected="less than 2 GiB", found=size)
    try:
        model: ModelProto = ModelProto.FromString(raw)
    except Exception as error:  # noqa: BLE001 - protobuf's errors have no common root below it
        raise FormatError("cannot read ONNX", found=ascii(str(error))[:120]) from None
    values = {item.name: item.array for item in external}
    for tensor in model.graph.initializer:
        if tensor.name in values and tensor.data_location == TensorProto.EXTERNAL:
            tensor.raw_data = values[tensor.name].tobytes()
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    return model
