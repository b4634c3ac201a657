"""The error of a JSON-RPC method, with go-ethereum's codes and texts. docs/spec/chain.md, section 8."""

from modelreg.errors import ModelregError

__all__ = [
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "LIMIT_EXCEEDED",
    "METHOD_NOT_FOUND",
    "PARSE_ERROR",
    "REVERTED",
    "SERVER_ERROR",
    "RpcError",
]

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
SERVER_ERROR = -32000
LIMIT_EXCEEDED = -32005
REVERTED = 3


class RpcError(ModelregError):
    """What a JSON-RPC answer carries under `error`.

    Args:
        code: one of this module's constants.
        message: go-ethereum's text where it has one, because clients match on it.
        data: the revert data as 0x-hex, for code REVERTED.
    """

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
