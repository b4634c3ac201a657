"""The gateway over HTTP. Specified in docs/spec/gateway.md."""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from aiohttp import web

from modelreg.errors import ModelregError
from modelreg.format.car import write_car
from modelreg.format.cid import Cid
from modelreg.format.squash import Squash, write_offer
from modelreg.gateway.request import PROBE, BlockRequest, Form, Unacceptable, parse_range, parse_request
from modelreg.gateway.walk import walk
from modelreg.store.base import BlockSource

__all__ = ["BlockServer"]

_AT_ONCE = 64
_PIECES = 8
_WRITE_SECONDS = 30.0
_WRITE_BYTES = 64 << 10
_BLOCK_SECONDS = 180.0
_YEAR = 31_536_000
_SQUASHES = "/squashes/"
_ROOT = re.compile(r"0x([0-9a-f]{64})")
_CAR_TYPE = f"{Form.CAR.value}; version=1; order=dfs; dups=n"


class BlockServer:
    """Answers GET and HEAD below `/ipfs/` and `/squashes/`.

    Args:
        blocks: gives the source that is served, which may be another each time.
        squashes: gives the squashes that lead to a content root.
    """

    def __init__(
        self,
        blocks: Callable[[], BlockSource],
        squashes: Callable[[bytes], Sequence[Squash]] = lambda _: (),
    ) -> None:
        self._blocks, self._squashes = blocks, squashes
        self._running = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, to its end; a client that does not read loses its connection."""
        if self._running >= _AT_ONCE:
            return await _send(request, _refusal(503, "too many requests at once", {"Retry-After": "1"}))
        self._running += 1
        try:
            return await self._answer(request)
        except Unacceptable as refusal:
            return await _send(request, _refusal(refusal.status, refusal.text))
        finally:
            self._running -= 1

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return await _send(request, _refusal(405, "use GET or HEAD", {"Allow": "GET, HEAD"}))
        if request.path.startswith(_SQUASHES):
            return await _send(request, await asyncio.to_thread(self._offer, request.path))
        wanted = parse_request(request.path, request.query, request.headers)
        first = b"" if wanted.cid is None else await asyncio.to_thread(self._find, wanted.cid)
        if first is None:
            raise Unacceptable(412 if wanted.only_if_cached else 404, "this block is not here")
        if _is_known(request, wanted):
            return await _send(request, web.Response(status=304, headers=_headers(wanted)))
        if wanted.cid is None or wanted.form is Form.RAW:
            return await _send(request, _block(wanted, first, request.headers.get("Range")))
        source = await asyncio.to_thread(self._source)
        pieces = write_car([wanted.cid], walk(wanted.cid, wanted.scope, source))
        return await _send_archive(request, wanted, pieces)

    def _offer(self, path: str) -> web.Response:
        root = _ROOT.fullmatch(path.removeprefix(_SQUASHES))
        if root is None:
            raise Unacceptable(400, "a content root is expected after /squashes/")
        try:
            offer = write_offer(self._squashes(bytes.fromhex(root[1])))
        except ModelregError:
            raise Unacceptable(503, "the squashes of this home cannot be read now") from None
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        return web.Response(body=offer, content_type="application/json", headers=headers)

    def _source(self) -> BlockSource:
        try:
            return self._blocks()
        except ModelregError:
            raise Unacceptable(503, "the blocks of this home cannot be read now") from None

    def _find(self, cid: Cid) -> bytes | None:
        """A block; one that is damaged here is not here."""
        source = self._source()
        try:
            return source.get(cid)
        except ModelregError:
            return None


def _is_known(request: web.BaseRequest, wanted: BlockRequest) -> bool:
    known = request.headers.get("If-None-Match", "")
    weak = wanted.etag.removeprefix("W/")
    return known.strip() == "*" or weak in {tag.strip().removeprefix("W/") for tag in known.split(",")}


def _headers(wanted: BlockRequest) -> dict[str, str]:
    name = wanted.cid or PROBE
    extension = "bin" if wanted.form is Form.RAW else "car"
    return {
        "Etag": wanted.etag,
        "Cache-Control": f"public, max-age={_YEAR}, immutable",
        "X-Ipfs-Path": f"/ipfs/{name}",
        "X-Ipfs-Roots": str(name),
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f'attachment; filename="{name}.{extension}"',
        "Vary": "Accept",
    }


def _block(wanted: BlockRequest, block: bytes, asked: str | None) -> web.Response:
    headers = _headers(wanted) | {"Content-Type": Form.RAW.value, "Accept-Ranges": "bytes"}
    part = parse_range(asked, len(block))
    if part is None:
        return web.Response(body=block, headers=headers)
    start, end = part
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(block)}"
    return web.Response(status=206, body=block[start:end], headers=headers)


def _refusal(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    headers = {"Cache-Control": "no-store"} | (headers or {})
    return web.Response(status=status, text=text + "\n", headers=headers)


async def _send(request: web.BaseRequest, response: web.Response) -> web.StreamResponse:
    try:
        async with asyncio.timeout(_BLOCK_SECONDS):
            await response.prepare(request)
            await response.write_eof()
    except (TimeoutError, ConnectionError):
        _abort(request)
    return response


async def _send_archive(
    request: web.BaseRequest, wanted: BlockRequest, pieces: Iterator[bytes]
) -> web.StreamResponse:
    """Write the archive as it is read; where a block turns out to be missing, the connection breaks."""
    response = web.StreamResponse(headers=_headers(wanted) | {"Content-Type": _CAR_TYPE})
    response.enable_chunked_encoding()
    try:
        async with asyncio.timeout(_WRITE_SECONDS) as clock:
            await response.prepare(request)
            while request.method == "GET" and (some := await asyncio.to_thread(_take, pieces)):
                for start in range(0, len(some), _WRITE_BYTES):
                    clock.reschedule(asyncio.get_running_loop().time() + _WRITE_SECONDS)
                    await response.write(some[start : start + _WRITE_BYTES])
            await response.write_eof()
    except (TimeoutError, ConnectionError, ModelregError):
        _abort(request)
    return response


def _take(pieces: Iterator[bytes]) -> bytes:
    return b"".join(islice(pieces, _PIECES))


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
