"""A JSON-RPC endpoint over HTTP, through web3's provider; patient, and never more than it can hold."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from modelreg.errors import FormatError, InputError, UnreachableError
from modelreg.format.json_depth import require_shallow
from modelreg.ledger.rpc import RpcRefusedError

if TYPE_CHECKING:
    import requests

__all__ = ["HttpRpc"]

_BODY_MAX = 32 << 20
_PIECE = 64 << 10
_BUSY_STATUS = {429, 502, 503, 504}
_BUSY_CODES = {429, -32005}
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 15.0


class _BusyError(Exception):
    """The endpoint asks to come again, after `pause` seconds if it says when."""

    def __init__(self, reason: str, pause: float | None) -> None:
        super().__init__(reason)
        self.pause = pause


class HttpRpc:
    """An endpoint over HTTP or HTTPS.

    Args:
        url: where it listens. Messages leave out what may hold a secret: user, path and query.
        timeout: seconds to wait for a connection and between two pieces of an answer.
        deadline: seconds for one request in all, pauses after "too many requests" included.
        body_max: the largest answer in bytes.
    """

    def __init__(
        self, url: str, *, timeout: float = 20.0, deadline: float = 90.0, body_max: int = _BODY_MAX
    ) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # a port or a bracket that cannot be
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(
                "not an RPC endpoint", expected="http://HOST:PORT or https://…", found=repr(url)[:90]
            )
        self.name = f"{parts.scheme}://{parts.hostname}" + (f":{port}" if port else "")
        self._url = url
        self._timeout = timeout
        self._deadline = deadline
        self._body_max = body_max
        self._make_request: Callable[[Any, Any], Any] | None = None
        self._session: requests.Session | None = None

    def request(self, method: str, params: Sequence[Any]) -> Any:
        """See `Rpc.request`."""
        end = time.monotonic() + self._deadline
        pause = _FIRST_PAUSE
        while True:
            try:
                return self._once(method, list(params), end)
            except _BusyError as busy:
                wait = pause * (1 + random.random()) if busy.pause is None else busy.pause
                if time.monotonic() + wait > end:
                    raise self._unreachable(str(busy)) from None
                time.sleep(wait)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            self._session.close()

    def _unreachable(self, found: str) -> UnreachableError:
        hint = "check that it runs and that the URL is right (--rpc-url, MODELREG_RPC_URL)"
        return UnreachableError(f"no answer from {self.name}", found=found[:300], hint=hint)

    def _once(self, method: str, params: list[Any], end: float) -> Any:
        import requests

        self._end = end
        try:
            answer = self._provider()(method, params)
        except requests.HTTPError as error:
            raise self._http_error(error) from None
        except (requests.RequestException, OSError) as error:
            raise self._unreachable(_reason(error)) from None
        except (ValueError, RecursionError):
            raise FormatError(f"the answer of {self.name} to {method}", expected="JSON") from None
        return self._result(method, answer)

    def _http_error(self, error: "requests.HTTPError") -> Exception:
        if error.response is None:
            return self._unreachable(str(error))
        status = error.response.status_code
        if status not in _BUSY_STATUS:
            return self._unreachable(f"HTTP status {status}")
        after = error.response.headers.get("Retry-After", "")
        pause = min(float(after), _LONGEST_PAUSE) if after.isdecimal() else None
        return _BusyError(f"HTTP status {status}", pause)

    def _result(self, method: str, answer: object) -> Any:
        if not isinstance(answer, Mapping):
            raise FormatError(f"the answer of {self.name} to {method}", expected="an object")
        error = answer.get("error")
        if error is None:
            if "result" not in answer:
                raise FormatError(f"the answer of {self.name} to {method}", expected="result or error")
            return answer["result"]
        if not isinstance(error, Mapping):
            raise FormatError(f"the answer of {self.name} to {method}", expected="an error object")
        code, message = error.get("code"), str(error.get("message"))
        if code in _BUSY_CODES:
            raise _BusyError(message, None)
        raise RpcRefusedError(
            self.name, method, code if isinstance(code, int) else 0, message, error.get("data")
        )

    def _provider(self) -> Callable[[Any, Any], Any]:
        if self._make_request is None:
            import requests
            from web3 import HTTPProvider

            session = self._session = requests.Session()
            session.hooks["response"].append(self._read_body)
            # No redirects: an endpoint that moves is one that nobody configured.
            options = {"timeout": self._timeout, "allow_redirects": False}
            provider = HTTPProvider(
                self._url, request_kwargs=options, session=session, exception_retry_configuration=None
            )
            self._make_request = provider.make_request
        return self._make_request

    def _read_body(self, response: "requests.Response", *_: object, **__: object) -> None:
        """Read the answer before requests does, which knows neither a cap nor a deadline."""
        pieces, size = [], 0
        for piece in response.iter_content(_PIECE):
            size += len(piece)
            if size > self._body_max or time.monotonic() > self._end:
                response.close()
                what = "too large" if size > self._body_max else "too slow"
                raise self._unreachable(f"an answer that is {what}: cut off after {size} bytes")
            pieces.append(piece)
        body = b"".join(pieces)
        require_shallow(body, f"the answer of {self.name}")
        response._content = body


def _reason(error: Exception) -> str:
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    return str(cause) or type(cause).__name__
