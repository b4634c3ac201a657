"""Sources that answer after a while, so that many blocks are asked of each at once."""

import threading
from typing import TYPE_CHECKING, Protocol

from modelreg.errors import UnreachableError
from modelreg.format.cid import Cid
from modelreg.store.base import BlockSource

if TYPE_CHECKING:
    import asyncio

    import aiohttp

__all__ = ["AsyncSource", "BusyError", "Threaded"]


class BusyError(UnreachableError):
    """The source asks to be left alone for `seconds`."""

    def __init__(self, what: str, *, found: str, seconds: float) -> None:
        super().__init__(what, found=found)
        self.seconds = seconds


class AsyncSource(Protocol):
    """Where blocks can be fetched from, many at a time."""

    @property
    def name(self) -> str:
        """What a person calls this source, for messages."""

    async def fetch(self, cid: Cid, session: "aiohttp.ClientSession") -> bytes:
        """Give a verified block; raises what `BlockSource.get` raises."""


class Threaded:
    """A source that takes a thread for each block while it waits for it.

    The threads do not keep the process alive: what is no longer wanted at its end is not waited for.
    """

    def __init__(self, source: BlockSource) -> None:
        self.name = source.name
        self._get = source.get

    async def fetch(self, cid: Cid, session: "aiohttp.ClientSession") -> bytes:  # noqa: ARG002
        """See AsyncSource."""
        import asyncio

        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()

        def run() -> None:
            try:
                block = self._get(cid)
            except BaseException as error:  # noqa: BLE001  whoever waits raises it
                loop.call_soon_threadsafe(_settle, answer, None, error)
            else:
                loop.call_soon_threadsafe(_settle, answer, block, None)

        threading.Thread(target=run, daemon=True).start()
        return await answer


def _settle(answer: "asyncio.Future[bytes]", block: bytes | None, error: BaseException | None) -> None:
    if answer.done():  # nobody waits any more
        return
    if block is None:
        answer.set_exception(error or AssertionError())
    else:
        answer.set_result(block)
