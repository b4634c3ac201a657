"""Files that are appended to and removed whole. Specified in docs/spec/openings.md, section 5."""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from modelreg.errors import NotFoundError, UnreachableError
from modelreg.store.files import os_error, os_errors, sync_directory
from modelreg_verifier.serving.recorder import FullError

__all__ = [
    "Place",
    "Retention",
    "SegmentWriter",
    "bytes_of",
    "next_segment",
    "open_segment",
    "read_segment",
    "remove_segments",
    "sync_segments",
]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{8})")
_VECTORS_MAX = 512  # writev(2) takes 1,024
_JOINED_MAX = 64 << 10  # copying so few bytes is faster than telling the kernel where they are


@dataclass(frozen=True, slots=True)
class Place:
    """Where bytes lie: a file, by its epoch and number, and a range in it."""

    epoch: int
    segment: int
    start: int
    size: int

    @property
    def name(self) -> str:
        """The file's name; names ascend with time."""
        return f"{self.epoch:016x}-{self.segment:08x}"


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept of openings: all files together, one file, and the age of what was never anchored."""

    bytes_max: int = 8 << 30
    segment_bytes: int = 64 << 20
    seconds_max: int = 15 * 86_400


class SegmentWriter:
    """Appends to the files of one epoch; nobody else writes to them.

    Args:
        directory: where the files lie; it is made.
        epoch: one that no file is of.
        retention: says when the next file begins, and how much there may be of all.
    """

    def __init__(self, directory: Path, epoch: int, retention: Retention) -> None:
        self._directory, self._retention = directory, retention
        self._epoch, self._segment, self._size = epoch, 0, 0
        self._descriptor: int | None = None
        self._removed = False
        self._counting = Lock()
        self._written = 0
        with os_errors(f"cannot make {directory}"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.recount()

    @property
    def used(self) -> int:
        """Bytes of all files."""
        return self._written

    @property
    def most(self) -> int:
        """How many bytes there may be."""
        return self._retention.bytes_max

    def recount(self) -> None:
        """Look at the files again, some of which somebody removed."""
        with self._counting, os_errors(f"cannot use {self._directory}"):
            self._written = bytes_of(self._directory)

    def prepare(self, size: int) -> None:
        """Refuse what cannot be appended next, before anybody signs for it.

        Raises:
            FullError: there is no room for so many bytes; what is kept may not be dropped.
            ModelregError: there is no file to write to.
        """
        with self._counting:
            if self._written + size > self.most:
                raise FullError(
                    "no room to keep another opening",
                    expected=f"at most {self.most} bytes of them",
                    found=f"{self._written} and {size} more",
                    hint="they go 14 days after their receipts were anchored; or serve with more --openings",
                )
        if self._removed:
            raise _removed(self._directory)
        try:
            self._open(size)
        except OSError as error:
            raise os_error(error, f"cannot write to {self._directory}") from error

    def append(self, buffers: Sequence[bytes | memoryview]) -> None:
        """Write bytes behind each other; on return they outlive the process, though not a power loss.

        Raises:
            ModelregError: they cannot be written; of a part of them nothing is left.
        """
        size, before = sum(map(len, buffers)), self._size
        try:
            descriptor = self._open(size)
            try:
                _write(descriptor, buffers, size)
                self._check_linked(descriptor)
                self._size += size
            except BaseException:
                self._settle(descriptor, size)
                raise
            finally:
                with self._counting:
                    self._written += max(0, self._size - before)
        except OSError as error:
            raise os_error(error, f"cannot write to {self._directory}") from error

    def _settle(self, descriptor: int, size: int) -> None:
        """Keep what is whole after all, and take back what is not: the next bytes go where these began."""
        try:
            if os.fstat(descriptor).st_size >= self._size + size:
                self._size += size
            else:
                os.ftruncate(descriptor, self._size)
        except OSError:
            self.close()

    def _open(self, size: int) -> int:
        if self._descriptor is not None and self._size + size > self._retention.segment_bytes:
            self._check_linked(self._descriptor)  # the index would end at the gap
            self.close()
        if self._descriptor is None:
            path = self._directory / Place(self._epoch, self._segment + 1, 0, 0).name
            self._descriptor = os.open(path, _FLAGS, 0o600)
            self._segment, self._size = self._segment + 1, 0
        return self._descriptor

    def _check_linked(self, descriptor: int) -> None:
        if not os.fstat(descriptor).st_nlink:
            self._removed = True
            raise _removed(self._directory)

    def close(self) -> None:
        """End the file; `append` begins another."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _removed(directory: Path) -> UnreachableError:
    return UnreachableError(
        "no receipt can be kept",
        expected=f"the newest file in {directory}",
        found="it was removed while a node writes to it",
        hint="start `modelreg serve` again",
    )


def _write(descriptor: int, buffers: Sequence[bytes | memoryview], size: int) -> None:
    rest: list[bytes | memoryview] = (
        [b"".join(buffers)] if size <= _JOINED_MAX else [part for part in buffers if len(part)]
    )
    while rest:
        written = os.writev(descriptor, rest[:_VECTORS_MAX])
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if written:
            rest[0] = memoryview(rest[0])[written:]


def open_segment(directory: Path, place: Place) -> int:
    """A descriptor, to read the file of a place."""
    return os.open(directory / place.name, _READ_FLAGS)


def next_segment(directory: Path, place: Place) -> Place | None:
    """The beginning of the next file of an epoch, if there is one: that of the place is then complete."""
    start = f"{place.epoch:016x}-"
    with suppress(FileNotFoundError):
        names = (path.name for path in directory.iterdir())
        names = (name for name in names if name.startswith(start) and name > place.name)
        following = min(names, default=None)
        return Place(place.epoch, int(following[-8:], 16), 0, 0) if following else None
    return None


def read_segment(directory: Path, place: Place) -> bytes:
    """The bytes of a place. Raises NotFoundError where they were removed, or lost with the power."""
    path = directory / place.name
    with os_errors(f"cannot read {path}"):
        descriptor = open_segment(directory, place)
        try:
            found = os.pread(descriptor, place.size, place.start)
        finally:
            os.close(descriptor)
    if len(found) != place.size:
        raise NotFoundError(f"{path} ends early", expected=f"{place.size} bytes", found=len(found))
    return found


def _segments(directory: Path) -> list[tuple[Path, os.stat_result]]:
    """All files, the oldest first."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name):
                with suppress(FileNotFoundError):  # removed meanwhile
                    found.append((entry.name, entry.stat()))
    return [(directory / name, status) for name, status in sorted(found)]


def bytes_of(directory: Path) -> int:
    """Bytes of all files; none where there is no such directory."""
    return sum(status.st_size for _, status in _segments(directory)) if directory.is_dir() else 0


def remove_segments(directory: Path, first_needed: Mapping[int, int], before: float) -> int:
    """Remove the files of each epoch whose number is below the first that is needed.

    The newest stays: a node may be writing to it.

    Args:
        directory: where they lie.
        first_needed: by epoch; of other epochs no file is needed.
        before: Unix seconds; a file that was written to since then stays, needed or not.

    Returns how many went.
    """
    removed = 0
    with os_errors(f"cannot use {directory}"):
        for path, status in _segments(directory)[:-1]:
            epoch, number = (int(part, 16) for part in path.name.split("-"))
            is_needed = epoch in first_needed and number >= first_needed[epoch]
            if not is_needed and status.st_mtime < before:
                path.unlink(missing_ok=True)
                removed += 1
    return removed


def sync_segments(directory: Path) -> None:
    """Wait until all files are on the disk; those that are there already cost nothing."""
    with os_errors(f"cannot sync {directory}"):
        for path, _ in _segments(directory):
            try:
                descriptor = os.open(path, _READ_FLAGS)
            except FileNotFoundError:
                continue
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(directory)
