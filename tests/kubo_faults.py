"""A proxy before Kubo's RPC that does something wrong to some requests, as networks and busy daemons do."""

import asyncio
import random
import threading
from collections import Counter
from contextlib import contextmanager

import aiohttp
from aiohttp import web

FAULTS = ("reset", "truncated", "429", "503", "drip", "wrong", "lost pin", "full", "nonsense", "silent")
_FULL = b'{"Message":"put: write /repo/blocks: no space left on device","Code":0,"Type":"error"}'


class Faulty:
    """Passes requests on; with a `share` of them one of `faults` happens."""

    def __init__(self, upstream, seed, share, faults=FAULTS):
        self.upstream, self.share, self.faults = upstream, share, faults
        self.random = random.Random(seed)
        self.happened = Counter()
        self._session = None

    async def close(self):
        await self._session.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def handle(self, request):
        fault = self.random.choice(self.faults) if self.random.random() < self.share else None
        body = await request.read()
        if fault:
            self.happened[fault] += 1
        if fault in ("429", "503"):
            return web.Response(status=int(fault), text="later\n")
        if fault == "full":
            return web.Response(status=500, body=_FULL, content_type="application/json")
        if fault == "nonsense":
            return web.Response(body=b"<html>", content_type="application/json")
        if fault == "reset":
            return self.abort(request)
        if fault == "silent":
            await asyncio.sleep(3600)
        headers = {"Content-Type": request.headers.get("Content-Type", "application/octet-stream")}
        async with self._session.post(self.upstream + request.path_qs, data=body, headers=headers) as answer:
            content, status = bytearray(await answer.read()), answer.status
        return await self.give(request, fault, status, answer.content_type, content)

    async def give(self, request, fault, status, kind, content):
        if fault == "lost pin" and "/pin/" in request.path:
            content = bytearray(b'{"Pins":null}')
        if fault == "wrong" and content:
            content[len(content) // 2] ^= 1
        response = web.StreamResponse(status=status, headers={"Content-Type": kind})
        response.enable_chunked_encoding()
        await response.prepare(request)
        if fault == "drip":
            for byte in content:
                await response.write(bytes([byte]))
                await asyncio.sleep(0.5)
            content = b""
        half = len(content) // 2 if fault == "truncated" else len(content)
        await response.write(bytes(content[:half]))
        if fault == "truncated" and self.random.random() < 0.5:
            return self.abort(request)  # else it ends as if that were all
        await response.write_eof()
        return response

    def abort(self, request):
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


@contextmanager
def faulty(upstream, seed, share, faults=FAULTS):
    """The proxy and its URL, in a thread of its own."""
    proxy, loop, ready = Faulty(upstream, seed, share, faults), asyncio.new_event_loop(), threading.Event()
    urls = []

    async def start():
        proxy._session = aiohttp.ClientSession()
        server = web.Server(proxy.handle, access_log=None)
        listener = await loop.create_server(server, "127.0.0.1", 0)
        urls.append(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
        ready.set()

    def run():
        loop.create_task(start())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield proxy, urls[0]
    finally:
        asyncio.run_coroutine_threadsafe(proxy.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
