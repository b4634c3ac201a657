"""The inference server. Specified in docs/spec/serve.md, sections 2, 4 and 5."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from modelreg import __version__
from modelreg.errors import NotFoundError, UnreachableError
from modelreg.gateway import PATHS, BlockServer
from modelreg_verifier.serving.exchange import Refusal, Reply, send
from modelreg_verifier.serving.guard import Guard
from modelreg_verifier.serving.inference import FULL_SECONDS, Inferences
from modelreg_verifier.serving.limits import Limits
from modelreg_verifier.serving.metrics import CONTENT_TYPE, Metrics
from modelreg_verifier.serving.models import Served, ServedModels
from modelreg_verifier.serving.recorder import Recorder
from modelreg_verifier.serving.routes import Route, find_route, plain_path

__all__ = ["InferenceServer", "Page", "ServerSettings"]

_EXTENSIONS = ["binary_tensor_data", "model_configuration", "model_repository", "statistics"]
_LINGER_SECONDS = 1.0
_SHOWN = 300

Page = Callable[[str, Mapping[str, str], Mapping[str, str]], Awaitable[Reply]]
"""Answers GET for what stands behind its prefix in the path, the query and the headers; raises Refusal.

The clients' token is not asked for: a page knows who may see what.
"""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How to serve.

    Attributes:
        host: the interface to listen on.
        port: 0 lets the system choose.
        workers: how many inferences run at once.
        token: what clients must bring, if anything.
        allowed_hosts: names besides `localhost` under which clients may address the server.
        limits: what clients may take.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    token: bytes | None = None
    allowed_hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


class _ToLog(logging.Handler):
    """What aiohttp has to say, as a line of our log: requests that are no HTTP, above all."""

    def __init__(self, log: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        text = " ".join(str(error or record.getMessage()).split())
        self._log({"at": round(record.created, 3), "event": "http", "error": text[:_SHOWN]})


class _Listener(web.Server):
    """aiohttp's low-level server with a cap on connections."""

    most: int = 0

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > self.most:
            transport.abort()


class InferenceServer:
    """The protocol over HTTP/1.1 for a table of models, which may change meanwhile.

    Args:
        models: what is served.
        settings: how.
        recorder: makes receipts; None to serve without.
        pages: what else is answered, by prefix of the path, such as `/receipts`.
        blocks: answers below `/ipfs/`, to whoever may ask for inferences.
        log: takes a line of the log.
    """

    def __init__(
        self,
        models: ServedModels,
        settings: ServerSettings,
        *,
        recorder: Recorder | None = None,
        pages: Mapping[str, Page] | None = None,
        blocks: BlockServer | None = None,
        log: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        self._models, self._settings, self._log = models, settings, log
        self._pages, self._blocks = dict(pages or {}), blocks
        self._guard = Guard(settings.token, settings.allowed_hosts)
        self._inferences = Inferences(settings.workers, settings.limits, recorder)
        self._metrics = Metrics(
            waiting=lambda: self._inferences.waiting,
            pending_bytes=lambda: self._inferences.bodies.pending,
            connections=lambda: len(self._listener.connections) if self._listener else 0,
            room=None if recorder is None else lambda: recorder.room,
        )
        self._recorder, self._full = recorder, False
        self._port = settings.port
        self._draining = False
        self._listener: _Listener | None = None
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where clients connect; known after `start`."""
        host = self._settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises UnreachableError where the address is taken or not ours."""
        self._listener = _Listener(
            self._handle,
            access_log=None,
            logger=self._logger(),
            auto_decompress=False,
            keepalive_timeout=self._settings.limits.idle_seconds,
            lingering_time=_LINGER_SECONDS,
        )
        self._listener.most = self._settings.limits.connections
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._listener, self._settings.host, self._port)
        except OSError as error:
            raise UnreachableError(
                f"cannot listen on {self._settings.host}:{self._port}",
                found=error.strerror,
                hint="choose another port",
            ) from error
        self._port = self._server.sockets[0].getsockname()[1]

    def _logger(self) -> logging.Logger:
        logger = logging.Logger("http", logging.WARNING)
        logger.addHandler(_ToLog(self._log))
        return logger

    async def stop(self) -> None:
        """Take no more connections, let running requests finish for a while, and close."""
        self._draining = True
        if self._server is not None and self._listener is not None:
            self._server.close()
            self._listener.pre_shutdown()  # idle connections; the wait below is for those that work
            await self._listener.shutdown(self._settings.limits.drain_seconds)
        await self._inferences.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        started = time.perf_counter()
        facts: dict[str, Any] = {"route": "none"}
        try:
            if self._blocks is not None and request.path.startswith(PATHS):
                return await self._give_blocks(request, self._blocks, facts)
            reply = await self._reply(request, facts)
        except Refusal as refusal:
            facts["error"] = refusal.text
            reply = Reply.refusal(refusal)
        except NotFoundError as error:
            facts["error"] = str(error)
            reply = Reply.json({"error": str(error)}, 404)
        except Exception as error:  # noqa: BLE001  whatever it was, the client is told that it failed
            facts["error"] = f"unexpected {type(error).__name__}: {error}"[:_SHOWN]
            reply = Reply.json({"error": "internal error"}, 500)
        self._note(request, reply, facts, time.perf_counter() - started)
        try:
            return await send(request, reply, self._settings.limits)
        finally:
            reply.sent()

    def _note(self, request: web.BaseRequest, reply: Reply, facts: dict[str, Any], seconds: float) -> None:
        model, version = facts.get("model", ""), facts.get("version", "")
        self._metrics.count(facts["route"], reply.status, model, version)
        line = {"at": round(time.time(), 3), "method": request.method[:16], **facts}
        self._log({**line, "status": reply.status, "bytes_out": reply.size, "total_us": int(seconds * 1e6)})

    async def _give_blocks(
        self, request: web.BaseRequest, blocks: BlockServer, facts: dict[str, Any]
    ) -> web.StreamResponse:
        """Blocks are sent by the gateway itself, archives among them that fit into no reply."""
        facts["route"] = "ipfs"
        self._guard.check_origin(request)
        self._guard.check_token(request, request.path)
        response = await blocks.answer(request)
        self._metrics.count("ipfs", response.status, "", "")
        return response

    async def _reply(self, request: web.BaseRequest, facts: dict[str, Any]) -> Reply:
        path = plain_path(request.raw_path)
        self._guard.check_origin(request)
        for prefix, page in self._pages.items():
            if request.method == "GET" and path.startswith(prefix):
                facts["route"] = prefix.strip("/")
                return await page(path.removeprefix(prefix), request.query, request.headers)
        self._guard.check_token(request, path)
        route = find_route(request.method, path, self._models.names())
        facts["route"] = route.kind
        if route.kind == "infer":
            return await self._infer(request, route, facts)
        return self._describe(route)

    async def _infer(self, request: web.BaseRequest, route: Route, facts: dict[str, Any]) -> Reply:
        if self._draining:
            raise Refusal(503, "the server is stopping", close=True)
        try:
            served = self._served(route)
        except NotFoundError as error:
            raise Refusal(404, str(error), close=True) from None
        facts |= {"model": served.name, "version": served.version, "release": str(served.release)}
        self._require_room()
        return await self._inferences.answer(request, served, self._metrics, facts)

    def _require_room(self) -> None:
        """Refuse before the model runs what could not be recorded; what is kept is never dropped for it."""
        used, most = (0, 1) if self._recorder is None else self._recorder.room
        if self._full != (used >= most):
            self._full = used >= most
            event = "openings_full" if self._full else "openings_room"
            self._log({"at": round(time.time(), 3), "event": event, "used": used, "most": most})
        if self._full:
            text = "no room to keep what opens another receipt"
            raise Refusal(503, text, close=True, retry_after=FULL_SECONDS)

    def _served(self, route: Route) -> Served:
        return self._models.find(route.model or "", route.version)

    def _describe(self, route: Route) -> Reply:
        match route.kind:
            case "live":
                return Reply()
            case "ready":
                return Reply(200 if self._models.complete and not self._draining else 503)
            case "server":
                facts = {"name": "modelreg", "version": __version__, "extensions": _EXTENSIONS}
                return Reply.json(facts)
            case "metrics":
                return Reply(parts=[self._metrics.text()], content_type=CONTENT_TYPE)
            case "index":
                return Reply.json(self._models.index())
            case "stats":
                return Reply.json(self._models.statistics(route.model, route.version))
        return self._describe_model(route.kind, self._served(route))

    def _describe_model(self, kind: str, served: Served) -> Reply:
        match kind:
            case "config":
                return Reply.json(served.config())
            case "metadata":
                return Reply.json(self._models.metadata(served))
        return Reply()  # ready
