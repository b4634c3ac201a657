"""Proxies before a gateway that limit it, or make it misbehave: `python -m tests.peers UPSTREAM SPEC...`.

A SPEC is `RATE` or `RATE:FAULT`: bytes a second of all its connections together, and one of

- `lies`: one bit of each body is wrong
- `stalls`: half of each body comes, and then nothing
- `dies`: after its first 4 MiB nobody listens any more
- `drips`: a byte a second
- `resets`: connections break in the middle of the third body, and of each third after that
- `busy`: every other request is refused with 429
- `truncates`: half of each body comes, with a Content-Length that says it is all
"""

import asyncio
import contextlib
import json
import sys
import time

import aiohttp
from aiohttp import web

_PIECE = 16 << 10
_LIFE_BYTES = 4 << 20


class Bucket:
    """So many bytes a second, whoever takes them."""

    def __init__(self, rate):
        self.rate, self.free = rate, 0.0

    async def take(self, size):
        now = time.monotonic()
        self.free = max(self.free, now) + size / self.rate
        await asyncio.sleep(self.free - now)


class Proxy:
    def __init__(self, upstream, session, rate, fault):
        self.upstream, self.session, self.fault = upstream, session, fault
        self.bucket = Bucket(rate)
        self.requests = self.given = 0
        self.listener = None

    async def start(self):
        server = web.Server(self.handle, access_log=None)
        self.listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self.listener.sockets[0].getsockname()[1]}"

    async def handle(self, request):
        self.requests += 1
        if self.fault == "busy" and self.requests % 2:
            return web.Response(status=429, headers={"Retry-After": "0"})
        async with self.session.get(self.upstream + request.path_qs) as answer:
            body = bytearray(await answer.read())
            status, headers = answer.status, {"Content-Type": answer.headers["Content-Type"]}
        if self.fault == "lies" and body:
            body[len(body) // 2] ^= 1
        if self.fault == "truncates":
            body = body[: len(body) // 2]
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(body)
        await response.prepare(request)
        await self.send(request, response, body)
        return response

    async def send(self, request, response, body):
        for start in range(0, len(body), _PIECE):
            if start >= len(body) // 2:
                await self.misbehave(request)
            piece = bytes(body[start : start + _PIECE])
            await self.bucket.take(len(piece))
            self.given += len(piece)
            if request.transport is None:
                return
            await response.write(piece)

    async def misbehave(self, request):
        if self.fault == "stalls":
            await asyncio.sleep(3600)
        if self.fault == "drips":
            await asyncio.sleep(1)
        if self.fault == "dies" and self.given > _LIFE_BYTES:
            self.listener.close()
            request.transport.abort()
            raise ConnectionError
        if self.fault == "resets" and self.requests % 3 == 0:
            request.transport.abort()
            raise ConnectionError


async def main(upstream, specs):
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        proxies = []
        for spec in specs:
            rate, _, fault = spec.partition(":")
            proxies.append(Proxy(upstream, session, float(rate), fault))
        print(json.dumps([await proxy.start() for proxy in proxies]), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        print(json.dumps([{"requests": proxy.requests, "given": proxy.given} for proxy in proxies]))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1], sys.argv[2:]))
