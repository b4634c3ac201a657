"""Handing blocks to a store many at a time, so that it can make them durable together."""

from concurrent.futures import Future, ThreadPoolExecutor

from modelreg.format.cid import Cid
from modelreg.store.base import BlockStore

__all__ = ["BlockBuffer"]

_BLOCKS = 64
_BYTES = 16 << 20


class BlockBuffer:
    """Keeps blocks in memory until there are enough to write, and writes them in a thread while others come.

    What a write raises, the next call that waits for it does: `flush`, or an `add` that fills it again.
    """

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        self._waiting: dict[Cid, bytes] = {}
        self._bytes = 0
        self._writing: dict[Cid, bytes] = {}
        self._write: Future[int] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="block-buffer")

    def add(self, cid: Cid, block: bytes) -> None:
        """Take a block; it is durable only after `flush`."""
        if self.get(cid) is not None:
            return
        self._waiting[cid] = block
        self._bytes += len(block)
        if len(self._waiting) >= _BLOCKS or self._bytes >= _BYTES:
            self._begin()

    def get(self, cid: Cid) -> bytes | None:
        """A block that waits to be written, or is."""
        return self._waiting.get(cid) or self._writing.get(cid)

    def flush(self) -> None:
        """Write the rest, and wait until all is written; blocks go in the order in which they came."""
        self._begin()
        self._finish()

    def _begin(self) -> None:
        self._finish()
        self._writing, self._waiting, self._bytes = self._waiting, {}, 0
        if self._writing:
            self._write = self._pool.submit(self._store.put_many, list(self._writing.items()))

    def _finish(self) -> None:
        write, self._write = self._write, None
        if write is not None:
            write.result()
        self._writing = {}
