"""JSON-RPC 2.0 envelopes: bytes in, bytes out, whatever carries them. docs/spec/chain.md, section 11."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelreg.chain.chain import Chain
from modelreg.chain.render import Json
from modelreg.chain.rpcerror import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    LIMIT_EXCEEDED,
    PARSE_ERROR,
    SERVER_ERROR,
    RpcError,
)
from modelreg.errors import ModelregError, NotPermittedError

__all__ = ["MAX_BODY", "answer"]

MAX_BODY = 1 << 20  # bytes; the largest transaction is a quarter of it as hexadecimal digits
_MAX_BATCH = 100
_MAX_RESPONSE = 16 << 20
_BATCH_SECONDS = 30.0
_MAX_CONTAINERS = 4096  # lists and objects in one body, which also bounds how deep they nest
_INTERNAL_ERROR = -32603
_LOG = logging.getLogger(__name__)


@dataclass
class _Budget:
    """What is left for the rest of a batch."""

    response_bytes: int
    deadline: float

    def spend(self, text: str) -> None:
        self.response_bytes -= len(text)

    @property
    def is_spent(self) -> bool:
        return self.response_bytes <= 0 or time.monotonic() > self.deadline


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _parse(body: bytes) -> object:
    if body.count(b"[") + body.count(b"{") > _MAX_CONTAINERS:
        raise RpcError(INVALID_REQUEST, f"more than {_MAX_CONTAINERS} lists and objects in one request")
    try:
        parsed: object = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise RpcError(PARSE_ERROR, "parse error: not JSON") from None
    return parsed


def _error(code: int, message: str, data: str | None = None) -> dict[str, Json]:
    error: dict[str, Json] = {"code": code, "message": message}
    return {"error": error if data is None else {**error, "data": data}}


def _without_path(chain: Chain, error: ModelregError) -> str:
    return error.what.replace(str(chain.path), "<chain>")


def _guarded(chain: Chain, run: Callable[[], Json]) -> dict[str, Json]:
    """The result or the error; nothing that a request causes may end the server."""
    try:
        return {"result": run()}
    except RpcError as error:
        return _error(error.code, error.message, error.data)
    except NotPermittedError as error:
        return _error(SERVER_ERROR, _without_path(chain, error))
    except ModelregError as error:
        _LOG.error("request failed: %s", error)
        return _error(_INTERNAL_ERROR, "internal error: " + _without_path(chain, error))
    except Exception:  # noqa: BLE001  a server that falls over is worse; the log has the trace
        _LOG.exception("request failed")
        return _error(_INTERNAL_ERROR, "internal error")


def _valid(request: object) -> Mapping[str, object]:
    if not isinstance(request, Mapping) or not isinstance(request.get("method"), str):
        raise RpcError(INVALID_REQUEST, "invalid request: want an object with jsonrpc, method, params and id")
    if request.get("jsonrpc") != "2.0" or not isinstance(request.get("id"), str | int | float | None):
        raise RpcError(
            INVALID_REQUEST, "invalid request: want jsonrpc 2.0 and an id that is a string or a number"
        )
    return request


def _run(chain: Chain, request: object) -> Json:
    fields = _valid(request)
    params = fields.get("params")
    if params is not None and not isinstance(params, list):
        raise RpcError(INVALID_PARAMS, "non-array args")
    return chain.request(str(fields["method"]), params or [])


def _answer_one(chain: Chain, request: object, budget: _Budget) -> str | None:
    """The response as JSON; None for a notification, which has no id."""
    if budget.is_spent:
        outcome = _error(LIMIT_EXCEEDED, "batch response too large or too slow")
    else:
        outcome = _guarded(chain, lambda: _run(chain, request))
    fields = request if isinstance(request, Mapping) else {}
    if "id" not in fields and "method" in fields:
        return None
    identifier = fields.get("id")
    safe = identifier if isinstance(identifier, str | int | float) else None
    text = json.dumps({"jsonrpc": "2.0", "id": safe, **outcome}, separators=(",", ":"))
    budget.spend(text)
    return text


def _batch(chain: Chain, requests: list[object], budget: _Budget) -> str:
    answers = (_answer_one(chain, request, budget) for request in requests)
    told = [text for text in answers if text is not None]
    return "[" + ",".join(told) + "]" if told else ""


def answer(chain: Chain, body: bytes) -> bytes:
    """Answer one request or a batch. Never raises for what is in the body; empty for notifications only."""
    budget = _Budget(_MAX_RESPONSE, time.monotonic() + _BATCH_SECONDS)
    try:
        parsed = _parse(body)
        if isinstance(parsed, list) and not 0 < len(parsed) <= _MAX_BATCH:
            raise RpcError(INVALID_REQUEST, f"want a batch of 1 to {_MAX_BATCH} requests, got {len(parsed)}")
    except RpcError as error:
        refusal = {"jsonrpc": "2.0", "id": None, **_error(error.code, error.message)}
        return json.dumps(refusal, separators=(",", ":")).encode()
    if isinstance(parsed, list):
        return _batch(chain, parsed, budget).encode()
    return (_answer_one(chain, parsed, budget) or "").encode()
