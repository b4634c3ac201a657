"""Putting a finished directory in another's place, in one step."""

import ctypes
import errno
import fcntl
import os
import shutil
from pathlib import Path

from modelreg.store.files import sync_directory

__all__ = ["replace_directory"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def replace_directory(staging: Path, target: Path) -> None:
    """Make `staging` appear as `target`, durably; a directory that stood there is removed afterwards.

    With renameat2(2) and RENAME_EXCHANGE a reader of `target` sees the old tree or the new one, never a mix;
    file systems that lack it get two renames.
    """
    if not target.exists():
        staging.rename(target)
        sync_directory(target.parent)
        return
    old = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # Whoever finds the old tree under the staging directory's name waits for this lock until it is gone.
        fcntl.flock(old, fcntl.LOCK_EX)
        _exchange(staging, target)
        sync_directory(target.parent)
        shutil.rmtree(staging)
    finally:
        os.close(old)
    sync_directory(target.parent)


def _exchange(staging: Path, target: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    renameat2 = getattr(libc, "renameat2", None)
    arguments = (_AT_FDCWD, os.fsencode(staging), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE)
    if renameat2 is not None and renameat2(*arguments) == 0:
        return
    code = ctypes.get_errno()
    if renameat2 is not None and code not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(code, os.strerror(code), str(target))
    aside = staging.with_name(staging.name + ".old")
    target.rename(aside)
    staging.rename(target)
    aside.rename(staging)
