"""The directory beside a copy in which the next one is made."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Self

from modelreg.errors import InputError
from modelreg.parallel import map_ordered
from modelreg.store.files import sync_directory
from modelreg_verifier.atomic import hold_directory, settle

__all__ = ["EarlySync", "opened", "remove_others", "staged", "sync_tree"]

_SYNCED_AT_ONCE = 16
_EARLY_BYTES = 16 << 20


@contextmanager
def staged(target: Path, remark: Callable[[str], None]) -> Iterator[Path]:
    """A directory beside the target, held by this process alone, with what an interrupted run left in it.

    Args:
        target: where the copy will stand.
        remark: told if another process holds the directory for more than a few seconds.

    Raises:
        InputError: the target is no directory.
        ConflictError: another process does not let go of the directory.
        NotPermittedError: the directory is somebody else's.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InputError(f"cannot sync to {target}", expected="a directory", found="a file or a link")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f".{target.name}.modelreg-staging")
    descriptor = _hold(staging, remark)
    try:
        settle(staging, target, remark)
        yield staging
    finally:
        os.close(descriptor)


def _hold(staging: Path, remark: Callable[[str], None]) -> int:
    while True:
        staging.mkdir(exist_ok=True)
        descriptor = hold_directory(staging, remark)
        # Whoever held the lock before may have moved this directory to its final name.
        if staging.exists() and os.path.samestat(staging.lstat(), os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)


def remove_others(staging: Path, wanted: set[Path], keep: set[Path]) -> None:
    """Leave nothing in the staging directory but the directories of `wanted` and regular files of `keep`."""
    above = {parent for path in wanted for parent in path.parents}
    for directory, names, files in os.walk(staging):
        for name in [*files, *names]:
            path = Path(directory) / name
            status = path.lstat()
            # A file with a second name may be anybody's: writing to it would write there.
            if path in keep and stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                continue
            if stat.S_ISDIR(status.st_mode):
                if path not in above:
                    shutil.rmtree(path)
                    names.remove(name)
            else:
                path.unlink()


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A file of the staging directory; one descriptor at a time, for a release may have many files."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class EarlySync:
    """Has the disk begin on what was written while more is, so that the last wait is short.

    Used as a context; leaving it raises what a sync raised, as the system says that once only.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="early-sync")
        self._lock = Lock()
        self._paths: set[Path] = set()
        self._bytes = 0
        self._syncing: Future[None] | None = None

    def wrote(self, path: Path, size: int) -> None:
        """Note some bytes of a file."""
        with self._lock:
            self._paths.add(path)
            self._bytes += size
            if self._bytes >= _EARLY_BYTES and (self._syncing is None or self._syncing.done()):
                self._finish()
                self._syncing = self._pool.submit(_sync_files, list(self._paths))
                self._paths, self._bytes = set(), 0

    def _finish(self) -> None:
        if self._syncing is not None:
            self._syncing.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._pool.shutdown()
        if kind is None:
            self._finish()


def _sync_files(paths: list[Path]) -> None:
    for path in paths:
        _sync_file(path)


def sync_tree(staging: Path) -> None:
    """Make files and names durable; many at once, so that a journal commits them together."""
    paths = [Path(directory) / name for directory, _, names in os.walk(staging) for name in names]
    for _ in map_ordered(_sync_file, paths, workers=_SYNCED_AT_ONCE, together=1):
        pass
    for directory, _, _ in os.walk(staging):
        sync_directory(directory)


def _sync_file(path: Path) -> None:
    with opened(path) as descriptor:
        os.fsync(descriptor)
