"""Many sources at once, each as fast as it can. Specified in docs/spec/store.md, section 10.

Nothing is measured in advance: a source with a free slot takes the next block, and one that finds none left
takes over what another has held for longer than it would need itself. So a source that is slow, or stalls in
the middle of a block, holds up nothing, and gives what it can.

What is asked for belongs to the threads that ask, under a lock; all else belongs to one event loop.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress

from modelreg.errors import ModelregError, UnreachableError
from modelreg.format.cid import Cid
from modelreg.store.base import BadAnswer
from modelreg.store.dispatch import Dispatcher, Want
from modelreg.store.remote import AsyncSource

__all__ = ["Swarm"]

# Blocks that are asked for ahead of their use, and those that came and wait for it.
_WINDOW_BYTES = 64 << 20
_ASSUMED_BYTES = 512 << 10
# What came, and was not used while so many later ones were, is given up.
_PASSED_OVER = 512
_LOOK_SECONDS = 0.5


class Swarm:
    """Sources that are asked together.

    Args:
        sources: each gives verified blocks, or an error.
        note: told, from another thread, what sources got wrong; an absent block is nothing wrong.
    """

    def __init__(
        self, sources: Sequence[AsyncSource], note: Callable[[BadAnswer], None] = lambda _: None
    ) -> None:
        self.name = ", ".join(source.name for source in sources)
        self._dispatcher = Dispatcher(sources, note)
        self._changed = threading.Condition()
        self._wants: dict[Cid, Want] = {}
        self._used: set[Cid] = set()
        self._feeders = 0
        self._count = 0

    def get(self, cid: Cid, seconds: float | None = None) -> bytes:
        """See BlockSource: the first good answer, or if there is none, the error of the worst answer.

        Raises UnreachableError after `seconds` too, if they are given.
        """
        with self._changed:
            want = self._wants.get(cid) or self._add(cid)
            want.users += 1
        self._dispatcher.hasten(want)
        try:
            return want.future.result(seconds)
        except TimeoutError:
            raise UnreachableError(f"block {cid}", found="no source was fast enough") from None
        finally:
            with self._changed:
                want.users -= 1
                if not want.users:
                    want.future.cancel()  # does nothing to one that came
                if self._wants.get(cid) is want:
                    del self._wants[cid]
                if self._feeders:
                    self._used.add(cid)
                self._pass_over(want.number - _PASSED_OVER)
                self._changed.notify_all()

    def has(self, cid: Cid) -> bool:
        """Whether the block has come already; what a source has is known when it gives it."""
        want = self._wants.get(cid)
        return want is not None and _size(want) is not None

    @contextmanager
    def ahead(self, cids: Iterable[Cid]) -> Iterator[None]:
        """Ask for blocks in the order in which they will be used, as far ahead as memory allows."""
        stopping = threading.Event()
        feeder = threading.Thread(target=self._feed, args=(cids, stopping), daemon=True)
        with self._changed:
            self._feeders += 1
        feeder.start()
        try:
            yield
        except BaseException:
            self._release("interrupted")
            raise
        finally:
            stopping.set()
            with self._changed:
                self._feeders -= 1
                self._used.clear()
                self._pass_over(self._count + 1)
                self._changed.notify_all()
            feeder.join()

    def _release(self, reason: str) -> None:
        """Let go of whoever waits: nothing comes of it any more."""
        with self._changed:
            for want in self._wants.values():
                with suppress(InvalidStateError):
                    want.future.set_exception(UnreachableError(f"block {want.cid}", found=reason))

    def _feed(self, cids: Iterable[Cid], stopping: threading.Event) -> None:
        try:
            for cid in cids:
                with self._changed:
                    while self._held() >= _WINDOW_BYTES and not stopping.is_set():
                        self._changed.wait(_LOOK_SECONDS)
                    if stopping.is_set():
                        return
                    if cid not in self._wants and cid not in self._used:
                        self._add(cid)
        except ModelregError:
            return  # whoever uses the blocks meets the error itself

    def _add(self, cid: Cid) -> Want:
        self._count += 1
        want = self._wants[cid] = Want(cid, self._count, Future())
        self._dispatcher.add(want)
        return want

    def _held(self) -> int:
        return sum(_size(want) or _ASSUMED_BYTES for want in self._wants.values())

    def _pass_over(self, end: int) -> None:
        """Give up what was asked for before a number, and is not waited for."""
        for cid, want in list(self._wants.items()):
            if want.number >= end:
                break
            if not want.users:
                del self._wants[cid]
                want.future.cancel()


def _size(want: Want) -> int | None:
    done = want.future.done() and not want.future.cancelled() and want.future.exception() is None
    return len(want.future.result()) if done else None
