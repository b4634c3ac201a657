"""As many requests as the processor takes, while the node is killed and started again."""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

ROOT = Path(__file__).parents[2]
AT_ONCE = 32
BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}'
GONE = (ConnectionError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)


@dataclass
class Round:
    """What came of one round; times are those of this process's monotonic clock."""

    seconds: float
    receipts: list[str] = field(default_factory=list)
    gone: list[float] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    down: tuple[float, float] = (0.0, 0.0)

    @property
    def rate(self):
        return len(self.receipts) / (self.seconds - (self.down[1] - self.down[0]))


class Node:
    """The server, in a process of its own."""

    def __init__(self, path, port):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-m", "tests.serving.serve_receipts", str(path), str(port)]
        self._process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    def wait(self):
        """Until it serves."""
        assert self._process.stdout.readline()

    def kill(self):
        self._process.kill()
        self._process.wait(30)
        self._process.stdout.close()

    def stop(self):
        self._process.terminate()
        self._process.wait(60)
        self._process.stdout.close()


async def _client(session, url, until, found):
    while time.monotonic() < until:
        try:
            async with session.post(url, data=BODY) as answer:
                await answer.read()
                if answer.status == 200:
                    found.receipts.append(answer.headers["modelreg-receipt"])
                else:
                    found.odd.append(f"status {answer.status}")
        except GONE:
            found.gone.append(time.monotonic())
            await asyncio.sleep(0.02)
        except Exception as error:  # noqa: BLE001  whatever it was, the test is told
            found.odd.append(repr(error))


async def _round(path, port, seconds, chance):
    found = Round(seconds)
    node = Node(path, port)
    await asyncio.to_thread(node.wait)
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(connector=connector) as session:
        until = time.monotonic() + seconds
        url = f"http://127.0.0.1:{port}/v2/models/acme/linear/infer"
        clients = [asyncio.create_task(_client(session, url, until, found)) for _ in range(AT_ONCE)]
        await asyncio.sleep(seconds * chance.uniform(0.35, 0.65))
        killed = time.monotonic()
        await asyncio.to_thread(node.kill)
        node = Node(path, port)
        await asyncio.to_thread(node.wait)
        found.down = killed, time.monotonic()
        await asyncio.gather(*clients)
    await asyncio.to_thread(node.stop)
    return found


def load(path, port, rounds, seconds, seed=7):
    """So many rounds; the node has two epochs in each."""
    chance = random.Random(seed)
    found = []
    for _ in range(rounds):
        with contextlib.closing(asyncio.new_event_loop()) as loop:
            found.append(loop.run_until_complete(_round(path, port, seconds, chance)))
    return found
