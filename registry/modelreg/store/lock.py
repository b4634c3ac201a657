"""Locks between processes. Specified in docs/spec/store.md, section 4."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from modelreg.errors import UnreachableError
from modelreg.store.files import os_errors

__all__ = ["StoreLock", "file_lock", "holder_of", "wait_for_lock"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05
_REMARK_AFTER = 3.0
_FILE_LOCKS = Path("/proc/locks")
# gc keeps the others out while it waits, so it gives up before they do.
_GC_SECONDS, _STORE_SECONDS = 60.0, 600.0


def _no_remark(_: str) -> None:
    pass


@contextmanager
def file_lock(
    path: Path, *, exclusive: bool, timeout: float, remark: Callable[[str], None] = _no_remark
) -> Iterator[None]:
    """Hold a lock on a file, which is made if it is missing and is never removed.

    The operating system releases it when the process ends, however it ends.

    Args:
        path: the lock file.
        exclusive: alone, or together with other shared holders.
        timeout: how many seconds to wait for the other holders; 0 tries once.
        remark: told, once, if that takes more than a few seconds.

    Raises:
        UnreachableError: others still hold it.
        NotPermittedError: the file cannot be made.
    """
    with os_errors(f"cannot lock {path}"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        if not wait_for_lock(descriptor, path, exclusive=exclusive, timeout=timeout, remark=remark):
            raise UnreachableError(
                f"{path.parent} is in use",
                expected=f"the other process to finish within {timeout:g} s",
                found=f"{holder_of(descriptor)} at work",
                hint="wait for the running publish, sync or gc to end, then try again",
            )
        yield
    finally:
        os.close(descriptor)


def wait_for_lock(
    descriptor: int, path: Path, *, exclusive: bool, timeout: float, remark: Callable[[str], None]
) -> bool:
    """Lock an open file or directory, which `path` names in messages; False if others held it all the time.

    Takes what `file_lock` takes. Raises UnreachableError where the file system has no locks.
    """
    mode = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    started = time.monotonic()
    remark_after, pause = _REMARK_AFTER, _FIRST_PAUSE
    with os_errors(f"cannot lock {path}"):
        while not _try(descriptor, mode):
            waited = time.monotonic() - started
            if waited >= timeout:
                return False
            if waited >= remark_after:
                remark(f"waiting up to {timeout:g} s for {holder_of(descriptor)}, which has locked {path}")
                remark_after = timeout
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
    return True


def _try(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder_of(descriptor: int) -> str:
    """Who holds a lock on an open file, as far as /proc/locks (proc_locks(5)) tells: `process 123`."""
    status = os.fstat(descriptor)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        rows = [line.split() for line in _FILE_LOCKS.read_text().splitlines()]
    except OSError:
        rows = []
    # 1: FLOCK ADVISORY WRITE <pid> <device>:<inode> 0 EOF
    holders = [row[4] for row in rows if len(row) > 5 and row[1] == "FLOCK" and row[5] == place]
    return f"process {holders[0]}" if holders else "another process"


class StoreLock:
    """Keeps gc and the commands that add blocks apart: many of these at once, or one gc.

    Everybody passes through a gate, and holds it while waiting for the lock itself. Else publishers that
    overlap would keep gc out for ever, and one gc after another would keep out a publisher. A thread that
    holds the lock must therefore not take it again, in either way: it would wait for itself.

    Args:
        root: the store.
        timeout: how many seconds to wait at most; gc waits no longer than a minute.
    """

    def __init__(self, root: Path, *, timeout: float = _STORE_SECONDS) -> None:
        self._root = root
        self._timeout = timeout

    def shared(self, remark: Callable[[str], None] = _no_remark) -> AbstractContextManager[None]:
        """For publish and sync: from before the first block that is skipped or added until the pin is set.

        `remark` is told, once, if that takes more than a few seconds.
        """
        return self._through_the_gate(exclusive=False, timeout=self._timeout, remark=remark)

    def exclusive(self, remark: Callable[[str], None] = _no_remark) -> AbstractContextManager[None]:
        """For gc: from before the pins are read until the last block is removed; `remark` as above."""
        timeout = min(self._timeout, _GC_SECONDS)
        return self._through_the_gate(exclusive=True, timeout=timeout, remark=remark)

    @contextmanager
    def _through_the_gate(
        self, *, exclusive: bool, timeout: float, remark: Callable[[str], None]
    ) -> Iterator[None]:
        with ExitStack() as held:
            with file_lock(self._root / "gc.gate", exclusive=True, timeout=timeout, remark=remark):
                lock = file_lock(self._root / "gc.lock", exclusive=exclusive, timeout=timeout, remark=remark)
                held.enter_context(lock)
            yield
