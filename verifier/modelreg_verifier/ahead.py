"""Work on a release before it is wanted, while everything else goes on."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from modelreg.format.names import ReleaseId

__all__ = ["Ahead"]

_T = TypeVar("_T")


class Ahead(Generic[_T]):
    """One piece of work, in a thread of its own.

    Attributes:
        release: what it is for.
    """

    def __init__(self, release: ReleaseId, work: Callable[[], _T]) -> None:
        self.release = release
        self._future: Future[_T] = Future()
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[], _T]) -> None:
        try:
            self._future.set_result(work())
        except BaseException as error:  # noqa: BLE001  whoever asks for the result raises it
            self._future.set_exception(error)

    @property
    def is_done(self) -> bool:
        """Whether `result` gives something at once."""
        return self._future.done()

    @property
    def has_failed(self) -> bool:
        """Whether it raised something."""
        return self._future.done() and self._future.exception() is not None

    def result(self) -> _T:
        """What came of it. Raises what the work raised."""
        return self._future.result()
