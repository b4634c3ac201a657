"""The chain over HTTP, for any Ethereum tool. Specified in docs/spec/chain.md, section 11.

A web page that the user visits can send requests to the loopback interface. Three checks stop it: the Host
header is an address or a name that was allowed (DNS rebinding brings the page's own name), no Origin is given
(cross-origin requests carry one), and the body is declared as JSON (which takes a preflight, never granted).
"""

import asyncio
import ipaddress
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

from aiohttp import web

from modelreg.chain.chain import Chain
from modelreg.chain.jsonrpc import MAX_BODY, answer
from modelreg.errors import InputError, ModelregError, UnreachableError

__all__ = ["ChainServer", "serve"]

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_LOG = logging.getLogger(__name__)
_MAX_CONNECTIONS = 64
_WORKERS = 8
_READ_SECONDS = 10.0  # for the headers, and again for the body
_WRITE_SECONDS = 30.0
_IDLE_SECONDS = 15.0
_STOP_SECONDS = 10.0


class _Listener(web.Server):
    """aiohttp's low-level server with a cap on connections."""

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > _MAX_CONNECTIONS:
            transport.abort()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _host_name(header: str) -> str:
    """The Host header without its port."""
    if header.startswith("["):
        return header.partition("]")[0] + "]"
    return header.partition(":")[0].lower()


class ChainServer:
    """JSON-RPC over HTTP/1.1 for one open chain, which stays the caller's to close.

    Args:
        chain: what is served.
        host: the interface to listen on.
        port: 0 lets the system choose.
        allowed_hosts: names besides `localhost` under which clients may address the server.
        below: what answers what is asked below a path, by that path.
        block_seconds: after how long without a block an empty one is mined; None for never.

    Raises:
        InputError: strangers could reach a chain that is open for writing, where sending costs nothing; or
            one that is open for reading only is to mine.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        host: str = "127.0.0.1",
        port: int = 8545,
        allowed_hosts: Iterable[str] = (),
        below: Mapping[str, Handler] = MappingProxyType({}),
        block_seconds: float | None = None,
    ) -> None:
        if chain.readonly and block_seconds is not None:
            raise InputError(
                "cannot mine blocks", expected="a chain open for writing", found="for reading only"
            )
        if not (chain.readonly or _is_loopback(host)):
            raise InputError(
                f"cannot serve on {host}", expected="the loopback interface, or a chain open for reading only"
            )
        self._chain, self._below = chain, below
        self._host, self._port = host, port
        self._names = {"localhost", *(name.lower() for name in allowed_hosts)}
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="chain-rpc")
        self._listener: _Listener | None = None
        self._server: asyncio.Server | None = None
        self._block_seconds = block_seconds
        self._miner: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where clients connect; known after `start`."""
        shown = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{shown}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises UnreachableError where the address is taken or not ours."""
        self._listener = _Listener(
            self._handle,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=_IDLE_SECONDS,
            lingering_time=1.0,
        )
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._listener, self._host, self._port)
        except OSError as error:
            raise UnreachableError(
                f"cannot listen on {self._host}:{self._port}",
                found=error.strerror,
                hint="choose another port",
            ) from error
        self._port = self._server.sockets[0].getsockname()[1]
        if self._block_seconds is not None:
            self._miner = asyncio.create_task(self._mine(self._block_seconds))

    async def stop(self) -> None:
        """Take no more connections, let running requests finish for 10 s, and close."""
        if self._miner is not None:
            self._miner.cancel()
        if self._server is not None and self._listener is not None:
            self._server.close()
            self._listener.pre_shutdown()  # idle connections; the wait below is for those that work
            await self._listener.shutdown(_STOP_SECONDS)
        await asyncio.to_thread(self._workers.shutdown)

    async def _mine(self, seconds: float) -> None:
        """Keep the chain growing; a chain that cannot be written now is tried again."""
        loop = asyncio.get_running_loop()
        wait = seconds
        while True:
            await asyncio.sleep(wait)
            try:
                wait = await loop.run_in_executor(self._workers, self._chain.mine_empty, seconds)
            except ModelregError as error:
                wait = seconds
                _LOG.warning("no block mined: %s", error)

    def _refusal(self, request: web.BaseRequest) -> tuple[int, str] | None:
        host = _host_name(request.headers.get("Host", ""))
        if host not in self._names and not _is_address(host):
            return 403, "host not allowed\n"
        if "Origin" in request.headers:
            return 403, "requests from web pages are not allowed\n"
        if self._handler(request):
            return None
        if request.method != "POST":
            return 405, "this is a JSON-RPC endpoint: POST a request\n"
        if request.path != "/":
            return 404, "the endpoint is /\n"
        if request.content_type != "application/json" or "Content-Encoding" in request.headers:
            return 415, "content type must be application/json, without an encoding\n"
        return None

    def _handler(self, request: web.BaseRequest) -> Handler | None:
        below = (handler for start, handler in self._below.items() if request.path.startswith(start))
        return next(below, None)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        refusal, handler = self._refusal(request), self._handler(request)
        if handler and refusal is None:
            return await handler(request)
        body = None if refusal else await _read_body(request)
        if refusal or body is None:
            status, text = refusal or (413, f"body longer than {MAX_BODY} bytes, or too slow\n")
            response = web.Response(status=status, text=text)
            response.force_close()
            return response
        loop = asyncio.get_running_loop()
        content = await loop.run_in_executor(self._workers, answer, self._chain, body)
        return await _send(request, web.Response(body=content, content_type="application/json"))


async def _read_body(request: web.BaseRequest) -> bytes | None:
    """The body, or None where it is too long or too slow."""
    if (request.content_length or 0) > MAX_BODY:
        return None
    body = bytearray()
    try:
        async with asyncio.timeout(_READ_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY:
                    return None
    except TimeoutError:
        return None
    return bytes(body)


async def _send(request: web.BaseRequest, response: web.Response) -> web.StreamResponse:
    """Write the response; a client that does not read it loses its connection."""
    try:
        async with asyncio.timeout(_WRITE_SECONDS):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    return response


def serve(
    chain: Chain,
    *,
    host: str = "127.0.0.1",
    port: int = 8545,
    allowed_hosts: Iterable[str] = (),
    below: Mapping[str, Handler] = MappingProxyType({}),
    block_seconds: float | None = None,
    ready: Callable[[str], None] = lambda _url: None,
) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called with the URL once clients can connect."""

    async def run() -> None:
        server = ChainServer(
            chain,
            host=host,
            port=port,
            allowed_hosts=allowed_hosts,
            below=below,
            block_seconds=block_seconds,
        )
        stopping = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, stopping.set)
        await server.start()
        ready(server.url)
        try:
            await stopping.wait()
        finally:
            await server.stop()

    asyncio.run(run())
