"""Putting a finished directory in another's place, in one step or so that the next run can finish it."""

import ctypes
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from modelreg.errors import ConflictError, NotPermittedError
from modelreg.store.files import sync_directory
from modelreg.store.lock import holder_of, wait_for_lock

__all__ = ["hold_directory", "replace_directory", "settle"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_PATIENCE_SECONDS = 600.0
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def hold_directory(path: Path, remark: Callable[[str], None]) -> int:
    """Lock a directory of this user's; returns its descriptor, which holds the lock until it is closed.

    Raises:
        ConflictError: another process has it, and does not let go of it.
        NotPermittedError: it belongs to somebody else.
    """
    descriptor = os.open(path, _DIRECTORY_FLAGS)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise NotPermittedError(f"{path} belongs to somebody else", hint="remove it, or sync elsewhere")
        _lock(descriptor, path, remark)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def replace_directory(staging: Path, target: Path, remark: Callable[[str], None]) -> None:
    """Make `staging` appear as `target`, durably; a directory that stood there is removed afterwards.

    With renameat2(2) and RENAME_EXCHANGE a reader of `target` sees the old tree or the new one, never a mix.
    File systems that lack it get two renames, between which there is no `target`: whoever is killed there
    leaves the old tree for `settle`. The caller holds `staging`.
    """
    if not target.exists():
        staging.rename(target)
        sync_directory(target.parent)
        return
    # Whoever finds the old tree under another name waits for this lock until it is gone.
    old = os.open(target, _DIRECTORY_FLAGS)
    try:
        _lock(old, target, remark)
        place = staging if _exchange(staging, target) else _swap(staging, target)
        sync_directory(target.parent)
        shutil.rmtree(place)
    finally:
        os.close(old)
    sync_directory(target.parent)


def settle(staging: Path, target: Path, remark: Callable[[str], None]) -> None:
    """Undo or finish what a `replace_directory` left that was killed between its two renames or after them.

    The caller holds `staging`. If that is empty, the killed one's new tree has left it: then `target` was
    replaced, whether or not it is still there, and the old tree may be there in part only.
    """
    aside = _aside(staging)
    try:
        old = hold_directory(aside, remark)
    except FileNotFoundError:
        return
    try:
        if not aside.exists():  # removed by the one that we waited for
            return
        if not os.path.lexists(target) and any(staging.iterdir()):
            aside.rename(target)
        else:
            shutil.rmtree(aside)
        sync_directory(target.parent)
    finally:
        os.close(old)


def _lock(descriptor: int, path: Path, remark: Callable[[str], None]) -> None:
    if not wait_for_lock(descriptor, path, exclusive=True, timeout=_PATIENCE_SECONDS, remark=remark):
        raise ConflictError(
            f"another sync to the same place has locked {path}",
            expected=f"it to end within {_PATIENCE_SECONDS:g} s",
            found=f"{holder_of(descriptor)} still at it",
            hint="wait for it, or end it, and try again; or sync elsewhere",
        )


def _aside(staging: Path) -> Path:
    return staging.with_name(staging.name + ".old")


def _exchange(staging: Path, target: Path) -> bool:
    """Exchange two directories; False where the file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    renameat2 = getattr(libc, "renameat2", None)
    arguments = (_AT_FDCWD, os.fsencode(staging), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE)
    if renameat2 is None:
        return False
    if renameat2(*arguments) == 0:
        return True
    code = ctypes.get_errno()
    if code not in _NO_EXCHANGE:
        raise OSError(code, os.strerror(code), str(target))
    return False


def _swap(staging: Path, target: Path) -> Path:
    """Replace in two steps; returns where the old tree is then. Nothing is lost if the second one fails."""
    aside = _aside(staging)
    target.rename(aside)
    try:
        staging.rename(target)
    except OSError:
        aside.rename(target)
        raise
    return aside
