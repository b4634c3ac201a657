"""Reading ONNX files whole."""

from pathlib import Path
from typing import TYPE_CHECKING

from modelreg.errors import FormatError

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["read_model"]

_MAX_BYTES = (1 << 31) - 1


def read_model(path: Path) -> "ModelProto":
    """Read an ONNX file and the external data beside it.

    Raises:
        FormatError: it is no ONNX file, or has 2 GiB or more.
    """
    import onnx

    try:
        if path.stat().st_size > _MAX_BYTES:
            raise FormatError("ONNX file", expected="less than 2 GiB", found=path.stat().st_size)
        return onnx.load(path)
    except FormatError:
        raise
    except Exception as error:  # noqa: BLE001 - protobuf's errors have no common root below it
        raise FormatError(f"cannot read {path.name!a} as ONNX", found=ascii(str(error))[:120]) from None
