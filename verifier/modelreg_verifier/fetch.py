"""Fetching blocks that this machine lacks, counting them, and keeping those that files do not hold anyway."""

import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager

from modelreg.format.cid import Cid
from modelreg.store.buffer import BlockBuffer
from modelreg.store.multi import MultiStore

__all__ = ["FetchingSource"]


class FetchingSource:
    """Gives blocks of a store and its fallbacks, and counts what the fallbacks gave.

    A fetched block is kept in the store, except those in `in_files`: their bytes are about to lie in a file
    of the release, from which they can be served again. With `keep` false nothing is kept.
    """

    def __init__(self, blocks: MultiStore, *, keep: bool = True) -> None:
        self._blocks, self._keep = blocks, keep
        self._buffer = BlockBuffer(blocks)
        self._lock = threading.Lock()
        self._seen: set[Cid] = set()
        self.in_files: frozenset[Cid] = frozenset()
        self.fetched_bytes = 0

    @property
    def name(self) -> str:
        """For messages."""
        return self._blocks.name

    def get(self, cid: Cid) -> bytes:
        """Give a verified block. Raises NotFoundError if nobody has it."""
        with self._lock:
            waiting = self._buffer.get(cid)
        if waiting is not None:
            return waiting
        block, was_here = self._blocks.find(cid)
        if not was_here:
            self._take(cid, block)
        return block

    def has(self, cid: Cid) -> bool:
        """Whether the block is here or elsewhere."""
        return self._blocks.has(cid)

    def ahead(self, cids: Iterable[Cid]) -> AbstractContextManager[None]:
        """Within it, fetch blocks in this order before they are asked for, as memory allows."""
        return self._blocks.ahead(cids)

    def flush(self) -> None:
        """Make the kept blocks durable."""
        with self._lock:
            self._buffer.flush()

    def _take(self, cid: Cid, block: bytes) -> None:
        with self._lock:
            if cid not in self._seen:
                self._seen.add(cid)
                self.fetched_bytes += len(block)
            if self._keep and cid not in self.in_files:
                self._buffer.add(cid, block)
