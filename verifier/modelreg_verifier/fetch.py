"""Fetching blocks that this machine lacks, counting them, and keeping those that files do not hold anyway."""

import threading

from modelreg.errors import NotFoundError, VerificationError
from modelreg.format.cid import Cid
from modelreg.store.base import BlockSource, BlockStore
from modelreg.store.buffer import BlockBuffer

__all__ = ["FetchingSource"]


class FetchingSource:
    """Gives blocks from the local store, else from elsewhere.

    A fetched block is kept in the local store, except those in `in_files`: their bytes are about to lie in a
    file of the release, from which they can be served again.
    """

    name = "the local store and its peers"

    def __init__(self, local: BlockStore, elsewhere: BlockSource) -> None:
        self._local = local
        self._elsewhere = elsewhere
        self._buffer = BlockBuffer(local)
        self._lock = threading.Lock()
        self._seen: set[Cid] = set()
        self.in_files: frozenset[Cid] = frozenset()
        self.fetched_bytes = 0

    def get(self, cid: Cid) -> bytes:
        """Give a verified block. Raises NotFoundError if nobody has it."""
        with self._lock:
            waiting = self._buffer.get(cid)
        if waiting is not None:
            return waiting
        try:
            return self._local.get(cid)
        except (NotFoundError, VerificationError):
            return self._fetch(cid)

    def has(self, cid: Cid) -> bool:
        """Whether the block is here or elsewhere."""
        return self._local.has(cid) or self._elsewhere.has(cid)

    def flush(self) -> None:
        """Make the kept blocks durable."""
        with self._lock:
            self._buffer.flush()

    def _fetch(self, cid: Cid) -> bytes:
        block = self._elsewhere.get(cid)
        with self._lock:
            if cid not in self._seen:
                self._seen.add(cid)
                self.fetched_bytes += len(block)
            if cid not in self.in_files:
                self._buffer.add(cid, block)
        return block
