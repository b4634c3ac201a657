"""Threads for work that releases the GIL, with bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["map_ordered", "worker_count"]

_T = TypeVar("_T")
_R = TypeVar("_R")

# The consumer writes results to disk a batch at a time, and syncs: what is queued keeps the workers busy for
# so long. A result is a chunk at most, so that they take 16 MiB and half a MiB a worker.
_QUEUED = 32


def worker_count() -> int:
    """How many threads to use: the processors that this process may run on."""
    return len(os.sched_getaffinity(0))


def map_ordered(
    function: Callable[[_T], _R], items: Iterable[_T], *, workers: int, queued: int = _QUEUED
) -> Generator[_R]:
    """Apply `function` to items in threads and give the results in the order of the items.

    At most `queued` results wait to be taken, so that memory is bounded whatever the number of items.
    The first error ends the work: what has not begun is dropped.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[_R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= queued + workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
