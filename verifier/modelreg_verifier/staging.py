"""The directory beside a copy in which the next one is made."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from modelreg.errors import InputError
from modelreg.parallel import map_ordered
from modelreg.store.files import sync_directory
from modelreg_verifier.atomic import hold_directory, settle

__all__ = ["opened", "remove_others", "staged", "sync_tree"]

_SYNCED_AT_ONCE = 16


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
