"""Files that survive a crash, and errors of the operating system in our words.

Specified in docs/spec/store.md, sections 2 and 3.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelreg.errors import (
    ModelregError,
    NotFoundError,
    NotPermittedError,
    UnreachableError,
    VerificationError,
)

__all__ = ["os_error", "os_errors", "read_regular", "replace_file", "sync_directory", "write_all"]

# O_NONBLOCK: opening a named pipe that somebody planted must not hang.
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_WRONG_KIND = frozenset(
    {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.EEXIST, errno.ENOTEMPTY}
)


@contextmanager
def os_errors(what: str) -> Iterator[None]:
    """Turn an OSError of the enclosed statements into a ModelregError that says what to do about it.

    Args:
        what: what was being done, to be read before a colon.
    """
    try:
        yield
    except OSError as error:
        raise os_error(error, what) from error


def os_error(error: OSError, what: str) -> ModelregError:
    """What `os_errors` raises in place of an OSError."""
    found = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _FULL:
        return UnreachableError(
            what, found=found, hint="free some space, or run `modelreg gc`, and try again"
        )
    if error.errno in _REFUSED:
        return NotPermittedError(what, found=found, hint="check the owner and the mount of this directory")
    if error.errno in _NO_DESCRIPTORS:
        return UnreachableError(what, found=found, hint="raise the limit (`ulimit -n`) and try again")
    if error.errno == errno.ENOENT:
        return NotFoundError(what, found=found)
    if error.errno in _WRONG_KIND:
        return VerificationError(
            what, expected="regular files in real directories", found=found, hint="remove what stands there"
        )
    return UnreachableError(what, found=found)


def read_regular(path: str | Path, most: int, *, directory: int | None = None) -> bytes:
    """Read a regular file of at most `most` bytes; links, pipes and devices are not opened through.

    Args:
        path: the file; relative to `directory` if that is given.
        most: the size in bytes above which nothing is read.
        directory: a descriptor of a directory.

    Raises:
        OSError: the operating system's errors; ELOOP for a symbolic link.
        VerificationError: it is no regular file, or is larger.
    """
    descriptor = os.open(path, _READ_FLAGS, dir_fd=directory)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise VerificationError(str(path), expected="a regular file", found=stat.filemode(status.st_mode))
        if status.st_size > most:
            raise VerificationError(str(path), expected=f"at most {most} bytes", found=status.st_size)
        return _read_up_to(descriptor, status.st_size)
    finally:
        os.close(descriptor)


def _read_up_to(descriptor: int, size: int) -> bytes:
    first = os.read(descriptor, size)
    if len(first) == size:
        return first
    parts = [first]
    while parts[-1] and (rest := size - sum(map(len, parts))):
        parts.append(os.read(descriptor, rest))
    return b"".join(parts)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes, however few the operating system takes at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def replace_file(path: Path, data: bytes) -> None:
    """Write a small file so that after a crash it is there whole or is what it was before; durable on return.

    The caller holds a lock on the directory: the temporary file's name is fixed, so that a crash leaves at
    most one behind, which the next call takes over.
    """
    temporary = path.with_name(".new")
    descriptor = os.open(temporary, _WRITE_FLAGS | os.O_TRUNC, 0o666)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: str | Path, *, directory: int | None = None) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
