"""Locks between processes. Specified in docs/spec/store.md, section 4."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from modelreg.errors import UnreachableError
from modelreg.store.files import os_errors

__all__ = ["StoreLock", "file_lock"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05


@contextmanager
def file_lock(path: Path, *, exclusive: bool, timeout: float) -> Iterator[None]:
    """Hold a lock on a file, which is made if it is missing and is never removed.

    The operating system releases it when the process ends, however it ends.

    Args:
        path: the lock file.
        exclusive: alone, or together with other shared holders.
        timeout: how many seconds to wait for the other holders; 0 tries once.

    Raises:
        UnreachableError: others still hold it.
        NotPermittedError: the file cannot be made.
    """
    with os_errors(f"cannot lock {path}"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        _wait(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, timeout, path)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, mode: int, timeout: float, path: Path) -> None:
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while not _try(descriptor, mode, path):
        if time.monotonic() >= deadline:
            raise UnreachableError(
                f"{path.parent} is in use",
                expected=f"the other process to finish within {timeout:g} s",
                hint="wait for the running publish, sync or gc to end, then try again",
            )
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _try(descriptor: int, mode: int, path: Path) -> bool:
    try:
        with os_errors(f"cannot lock {path}"):
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except UnreachableError as error:
        if isinstance(error.__cause__, BlockingIOError):
            return False
        raise
    return True


class StoreLock:
    """Keeps gc and the commands that add blocks apart: many of these at once, or one gc.

    Everybody passes through a gate, and holds it while waiting for the lock itself. Else publishers that
    overlap would keep gc out for ever, and one gc after another would keep out a publisher. A process that
    holds the lock must therefore not take it again, in either way: it would wait for itself.
    """

    def __init__(self, root: Path, *, timeout: float = 60.0) -> None:
        self._root = root
        self._timeout = timeout

    def shared(self) -> AbstractContextManager[None]:
        """For publish and sync: from before the first block that is skipped or added until the pin is set."""
        return self._through_the_gate(exclusive=False)

    def exclusive(self) -> AbstractContextManager[None]:
        """For gc: from before the pins are read until the last block is removed."""
        return self._through_the_gate(exclusive=True)

    @contextmanager
    def _through_the_gate(self, *, exclusive: bool) -> Iterator[None]:
        with ExitStack() as held:
            with file_lock(self._root / "gc.gate", exclusive=True, timeout=self._timeout):
                lock = file_lock(self._root / "gc.lock", exclusive=exclusive, timeout=self._timeout)
                held.enter_context(lock)
            yield
