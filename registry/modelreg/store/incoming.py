"""New blocks on their way into the stores of a home, while others are still made."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from modelreg.format.cid import Cid

__all__ = ["Incoming", "Lane", "incoming"]

_BATCH_BYTES = 16 << 20
_BATCH_BLOCKS = 1024
_UNDER_WAY = 3

_Batch = Sequence[tuple[Cid, bytes]]
Lane = Callable[[_Batch], object]
"""Makes a batch of blocks durable in one store."""


class Incoming:
    """Takes blocks; they are durable after `flush`. At most four batches of 16 MiB are in memory.

    Attributes:
        taken: the blocks that all stores have by now.
    """

    def __init__(
        self, lanes: Sequence[Lane], permit: Callable[[], object], threads: ThreadPoolExecutor
    ) -> None:
        self._lanes, self._permit, self._threads = lanes, permit, threads
        self._batch: dict[Cid, bytes] = {}
        self._bytes = 0
        self._under_way: deque[tuple[_Batch, list[Future[object]]]] = deque()
        self.taken: set[Cid] = set()

    def add(self, cid: Cid, block: bytes) -> None:
        """Take a block. Raises what the stores raise, for this block or an earlier one."""
        if cid in self._batch:
            return
        self._batch[cid] = block
        self._bytes += len(block)
        if self._bytes >= _BATCH_BYTES or len(self._batch) >= _BATCH_BLOCKS:
            self._send()

    def flush(self) -> None:
        """Wait until all stores have all blocks."""
        if self._batch:
            self._send()
        while self._under_way:
            self._wait()

    def _send(self) -> None:
        self._permit()
        batch, self._batch, self._bytes = list(self._batch.items()), {}, 0
        if len(self._under_way) >= _UNDER_WAY:
            self._wait()
        self._under_way.append((batch, [self._threads.submit(lane, batch) for lane in self._lanes]))

    def _wait(self) -> None:
        batch, done = self._under_way.popleft()
        for future in done:
            future.result()
        self.taken.update(cid for cid, _ in batch)


@contextmanager
def incoming(lanes: Sequence[Lane], permit: Callable[[], object]) -> Iterator[Incoming]:
    """Take blocks into stores.

    Args:
        lanes: one for each store; called from several threads at once.
        permit: called before anything is written; raises where nothing must be.
    """
    with ThreadPoolExecutor(_UNDER_WAY * len(lanes)) as threads:
        yield Incoming(lanes, permit, threads)
