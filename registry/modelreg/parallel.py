"""Threads for work that releases the GIL, with bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice, repeat
from threading import Event
from typing import TypeVar

__all__ = ["map_ordered", "worker_count"]

_T = TypeVar("_T")
_R = TypeVar("_R")

# The consumer writes results to disk a batch at a time, and syncs: what is queued keeps the workers busy for
# so long. A result is a chunk at most, so that they take 16 MiB and 2 MiB a worker.
_QUEUED = 32
# Handing over from thread to thread takes as long as a tenth of the work on a chunk.
_TOGETHER = 4


def worker_count() -> int:
    """How many threads to use: the processors that this process may run on."""
    return len(os.sched_getaffinity(0))


def map_ordered(
    function: Callable[[_T], _R],
    items: Iterable[_T],
    *,
    workers: int,
    queued: int = _QUEUED,
    together: int = _TOGETHER,
) -> Generator[_R]:
    """Apply `function` to items in threads and give the results in the order of the items.

    Each thread takes so many items together, but for the first ones: there may be few. At most `queued`
    results wait to be taken besides, so that memory is bounded whatever the number of items. The first error
    ends the work: what has not begun is dropped.
    """
    rest, ended = iter(items), Event()
    sizes = chain(repeat(1, workers), repeat(together))
    most = queued // together + workers
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[tuple[list[_R], BaseException | None]]] = deque()
        try:
            while (some := list(islice(rest, next(sizes)))) or waiting:
                if some:
                    waiting.append(pool.submit(_apply, function, some, ended))
                if len(waiting) >= most or not some:
                    results, error = waiting.popleft().result()
                    yield from results
                    if error is not None:
                        raise error
        finally:
            ended.set()
            for future in waiting:
                future.cancel()


def _apply(
    function: Callable[[_T], _R], items: Sequence[_T], ended: Event
) -> tuple[list[_R], BaseException | None]:
    """The results up to the first error, and that."""
    results: list[_R] = []
    try:
        for item in items:
            if ended.is_set():
                break
            results.append(function(item))
    except BaseException as error:  # noqa: BLE001  a library's panic is no Exception
        return results, error
    return results, None
