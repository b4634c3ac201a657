"""Fetching blocks that this machine lacks, counting them, and keeping those that files do not hold anyway."""

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from modelreg.errors import ModelregError
from modelreg.format.cid import Cid
from modelreg.store.buffer import BlockBuffer
from modelreg.store.multi import MultiStore

__all__ = ["FetchingSource"]

_FAILURES = 100  # more than threads that fail together


class FetchingSource:
    """Gives blocks of a store and its fallbacks, and counts what the fallbacks gave.

    A fetched block is kept in the store, except those in `in_files`: their bytes are about to lie in a file
    of the release, from which they can be served again. With `keep` false nothing is kept.

    Attributes:
        fetched_bytes: of blocks that were not here.
        failures: the last errors for which blocks could not be had.
    """

    def __init__(self, blocks: MultiStore, *, keep: bool = True) -> None:
        self._blocks, self._keep = blocks, keep
        self._buffer = BlockBuffer(blocks)
        self._lock = threading.Lock()
        self._seen: set[Cid] = set()
        self._left: float | None = None
        self._waiters, self._since = 0, 0.0
        self.in_files: frozenset[Cid] = frozenset()
        self.fetched_bytes = 0
        self.failures: deque[ModelregError] = deque(maxlen=_FAILURES)

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
        try:
            with self._waiting() as seconds:
                block, was_here = self._blocks.find(cid, seconds)
        except ModelregError as error:
            self.failures.append(error)
            raise
        if not was_here:
            self._take(cid, block)
        return block

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Within it, nobody waits longer for blocks that are far than so many seconds, all together."""
        self._left = seconds
        try:
            yield
        finally:
            self._left = None

    @contextmanager
    def _waiting(self) -> Iterator[float | None]:
        """Give the seconds that are left, and count the time in which anybody waits."""
        with self._lock:
            self._waiters += 1
            if self._waiters == 1:
                self._since = time.monotonic()
            spent = time.monotonic() - self._since
            left = None if self._left is None else max(0.0, self._left - spent)
        try:
            yield left
        finally:
            with self._lock:
                self._waiters -= 1
                if self._waiters == 0 and self._left is not None:
                    self._left -= time.monotonic() - self._since

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
