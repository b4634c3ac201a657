"""Sources that answer after a while, so that many blocks are asked of each at once."""

import asyncio
from typing import TYPE_CHECKING, Protocol

from modelreg.errors import UnreachableError
from modelreg.format.cid import Cid
from modelreg.store.base import BlockSource

if TYPE_CHECKING:
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
    """A source that takes a thread for each block while it waits for it."""

    def __init__(self, source: BlockSource) -> None:
        self.name = source.name
        self._get = source.get

    async def fetch(self, cid: Cid, session: "aiohttp.ClientSession") -> bytes:  # noqa: ARG002
        """See AsyncSource."""
        return await asyncio.to_thread(self._get, cid)
