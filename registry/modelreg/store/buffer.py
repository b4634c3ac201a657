"""Handing blocks to a store many at a time, so that it can make them durable together."""

from modelreg.format.cid import Cid
from modelreg.store.base import BlockStore

__all__ = ["BlockBuffer"]

_BLOCKS = 64
_BYTES = 16 << 20


class BlockBuffer:
    """Keeps blocks in memory until there are enough to write; `flush` writes the rest."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        self._waiting: dict[Cid, bytes] = {}
        self._bytes = 0

    def add(self, cid: Cid, block: bytes) -> None:
        """Take a block; it is durable only after `flush`."""
        if cid in self._waiting:
            return
        self._waiting[cid] = block
        self._bytes += len(block)
        if len(self._waiting) >= _BLOCKS or self._bytes >= _BYTES:
            self.flush()

    def get(self, cid: Cid) -> bytes | None:
        """A block that waits to be written."""
        return self._waiting.get(cid)

    def flush(self) -> None:
        """Write what waits, in the order in which it came."""
        waiting, self._waiting, self._bytes = self._waiting, {}, 0
        if waiting:
            self._store.put_many(waiting.items())
