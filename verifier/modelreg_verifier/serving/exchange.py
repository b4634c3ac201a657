"""One HTTP request and its answer: bodies read with limits, answers written to clients that may not read.

Specified in docs/spec/serve.md, sections 2 and 4.
"""

import asyncio
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, web

from modelreg_verifier.serving.limits import Limits

__all__ = ["BodyReader", "Refusal", "Reply", "send"]

_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_STEP = 256 << 10
_GONE = (web.RequestPayloadError, ClientError, ConnectionError)
_JOINED = 1 << 20


class Refusal(Exception):  # noqa: N818  it says no, and is no defect
    """Ends a request with an HTTP status; `close` where the rest of the request was not read."""

    def __init__(
        self, status: int, text: str, *, close: bool = False, retry_after: int | None = None
    ) -> None:
        super().__init__(text)
        self.status, self.text, self.close, self.retry_after = status, text, close, retry_after


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `parts` are sent one after the other, and `sent` is called when they are or cannot be."""

    status: int = 200
    parts: Sequence[bytes | memoryview] = (b"",)
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False
    sent: Callable[[], None] = lambda: None

    @classmethod
    def json(cls, document: Any, status: int = 200) -> "Reply":
        """An answer of JSON."""
        return cls(status, [json.dumps(document, separators=(",", ":")).encode()])

    @classmethod
    def refusal(cls, refusal: Refusal) -> "Reply":
        """The error object of the protocol."""
        headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
        if refusal.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        body = json.dumps({"error": refusal.text}).encode()
        return cls(refusal.status, [body], headers=headers, close=refusal.close)

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(memoryview(part).nbytes for part in self.parts)


class BodyReader:
    """Reads bodies, and counts the bytes of all that are in memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.pending = 0

    async def read(self, request: web.BaseRequest) -> bytearray:
        """A whole body, decompressed; give its length back with `release`.

        Raises:
            Refusal: it is too long or too slow, its encoding is unknown or broken, or memory is short.
        """
        coding = request.headers.get("Content-Encoding", "identity").lower()
        if coding not in ("identity", *_WINDOW):
            raise Refusal(415, "Content-Encoding must be gzip or deflate", close=True)
        declared = request.content_length
        if declared is None and "Transfer-Encoding" not in request.headers:
            raise Refusal(411, "a body with Content-Length is expected", close=True)
        if (declared or 0) > self._limits.body_bytes:
            raise self._too_long()
        await _invite(request)
        body = bytearray()
        try:
            await self._fill(request, body, coding)
        except BaseException:
            self.release(body)
            raise
        return body

    def release(self, body: bytearray) -> None:
        """Say that a body is no longer in memory."""
        self.pending -= len(body)

    async def _fill(self, request: web.BaseRequest, body: bytearray, coding: str) -> None:
        inflater = None if coding == "identity" else zlib.decompressobj(_WINDOW[coding])
        started = asyncio.get_running_loop().time()
        received = 0
        try:
            async with asyncio.timeout(self._limits.read_seconds) as clock:
                async for chunk in request.content.iter_any():
                    received += len(chunk)
                    seconds = self._limits.read_seconds + received / self._limits.bytes_per_second
                    clock.reschedule(started + seconds)
                    if inflater is None:
                        self._append(body, chunk)
                    else:
                        self._inflate(body, inflater, chunk)
        except TimeoutError:
            raise Refusal(408, "the body came too slowly", close=True) from None
        except _GONE:
            raise Refusal(400, "the body ended early", close=True) from None
        if inflater is not None and (not inflater.eof or inflater.unused_data):
            raise Refusal(400, f"the body is not one whole {coding} stream")

    def _append(self, body: bytearray, chunk: bytes) -> None:
        if len(body) + len(chunk) > self._limits.body_bytes:
            raise self._too_long()
        if self.pending + len(chunk) > self._limits.pending_bytes:
            raise Refusal(429, "too many bodies in memory", close=True, retry_after=1)
        self.pending += len(chunk)
        body += chunk

    def _inflate(self, body: bytearray, inflater: Any, chunk: bytes) -> None:
        """Decompress a little at a time: a few bytes can stand for a thousand times as many."""
        try:
            while chunk and not inflater.eof:
                self._append(body, inflater.decompress(chunk, _STEP))
                chunk = inflater.unconsumed_tail
        except zlib.error:
            raise Refusal(400, "the body cannot be decompressed", close=True) from None

    def _too_long(self) -> Refusal:
        return Refusal(413, f"the body is longer than {self._limits.body_bytes} bytes", close=True)


async def _invite(request: web.BaseRequest) -> None:
    """Tell a client that waits for it that its body is welcome (RFC 9110, section 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def send(request: web.BaseRequest, reply: Reply, limits: Limits) -> web.StreamResponse:
    """Write an answer; a client that does not read it loses its connection."""
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_type, response.content_length = reply.content_type, reply.size
    if reply.close:
        response.force_close()
    parts = [b"".join(reply.parts)] if reply.size <= _JOINED else reply.parts
    try:
        async with asyncio.timeout(limits.write_seconds + reply.size / limits.bytes_per_second):
            await response.prepare(request)
            for part in parts:
                await response.write(part)
            await response.write_eof()
    except (TimeoutError, ConnectionError):
        if request.transport is not None:
            request.transport.abort()
    return response
