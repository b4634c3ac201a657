"""JSON-RPC endpoints as the ledger sees them: something that answers a request, and is not trusted."""

from collections.abc import Sequence
from typing import Any, Protocol

from modelreg.errors import UnreachableError

__all__ = ["EmbeddedRpc", "Rpc", "RpcRefusedError"]


class Rpc(Protocol):
    """An endpoint."""

    @property
    def name(self) -> str:
        """How messages call the endpoint."""

    def request(self, method: str, params: Sequence[Any]) -> Any:
        """Answer one request with the JSON of its result.

        Raises RpcRefusedError for a JSON-RPC error and UnreachableError if there is no answer.
        """


class RpcRefusedError(UnreachableError):
    """A JSON-RPC error object: `code`, `message`, and `data` as the endpoint sent them."""

    def __init__(self, endpoint: str, method: str, code: int, message: str, data: object = None) -> None:
        super().__init__(f"{endpoint} refused {method}", found=f"{message[:400]} ({code})")
        self.code = code
        self.message = message
        self.data = data


class _Chain(Protocol):
    def request(self, method: str, params: list[Any]) -> Any: ...


class EmbeddedRpc:
    """The embedded chain, called in this process."""

    name = "the embedded chain"

    def __init__(self, chain: _Chain) -> None:
        self._chain = chain

    def request(self, method: str, params: Sequence[Any]) -> Any:
        """See `Rpc.request`."""
        from modelreg.chain.rpcerror import RpcError

        try:
            return self._chain.request(method, list(params))
        except RpcError as error:
            raise RpcRefusedError(self.name, method, error.code, error.message, error.data) from None
