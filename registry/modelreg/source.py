"""Reading what a publisher wants to release: a file or a directory, with what is unsafe in it refused."""

import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelreg.errors import FormatError, InputError
from modelreg.format import onnx, safetensors
from modelreg.format.manifest import MAX_FILES
from modelreg.format.paths import check_path, check_paths
from modelreg.format.tensors import FileFormat, Tensor, detect, lay_out
from modelreg.format.unsafe import classify
from modelreg.store.files import os_errors

__all__ = ["SourceFile", "find_sources"]

# O_NONBLOCK: a FIFO put in the file's place must not hang us.
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to release, and its structure as the formats see it.

    It is opened for each read, because a release may have more files than a process may open. `state` is its
    device, inode, size in bytes and time of change in nanoseconds when it was found.
    """

    path: str
    location: Path
    state: tuple[int, int, int, int]
    format: FileFormat = FileFormat.BYTES
    tensors: tuple[Tensor, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.state[2]

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes at `offset`. Raises InputError if the file is not as it was found."""
        with os_errors(f"cannot read {self.location}"):
            descriptor = os.open(self.location, _READ_FLAGS)
            try:
                data = os.pread(descriptor, length, offset)
                status = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        self._require(_state(status) == self.state and len(data) == length)
        return data

    def check_unchanged(self) -> None:
        """Raise InputError if the file is not as it was found."""
        self._require(_state(_status(self.location)) == self.state)

    def _require(self, unchanged: bool) -> None:  # noqa: FBT001  it is the sentence's object
        if not unchanged:
            raise InputError(
                f"{self.path} changed while it was being published",
                hint="publish again when nothing writes to it",
            )


def find_sources(root: Path, allow_unsafe: Sequence[str] = ()) -> tuple[SourceFile, ...]:
    """Find and check every file of a release, in the order of the manifest.

    Args:
        root: a regular file, or a directory whose regular files are released under their relative paths.
        allow_unsafe: glob patterns of paths that may hold a format that can run code.

    Raises:
        InputError: there is nothing to release, or a link, a special file, an unsafe format, a bad path or a
            broken model file in it.
        NotFoundError: there is no such path.
        NotPermittedError: something cannot be read.
    """
    try:
        found = sorted(_walk(root), key=lambda file: file.path.encode())
        if not found:
            raise InputError(f"nothing to publish in {root}", expected="at least one file", found="none")
        if len(found) > MAX_FILES:
            raise InputError(f"too many files in {root}", expected=f"at most {MAX_FILES}", found=len(found))
        check_paths(file.path for file in found)
        return _index_all(found, allow_unsafe)
    except FormatError as error:
        raise InputError(
            f"cannot publish {root}: {error.what}",
            expected=error.expected,
            found=error.found,
            hint=error.hint,
        ) from None


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns


def _walk(root: Path) -> Iterator[SourceFile]:
    status = _status(root)
    if stat.S_ISDIR(status.st_mode):
        yield from _walk_directory(root, "")
    else:
        yield _file(root.name, root, status)


def _walk_directory(directory: Path, prefix: str) -> Iterator[SourceFile]:
    with os_errors(f"cannot read {directory}"):
        locations = list(directory.iterdir())
    for location in locations:
        path = check_path(prefix + location.name)
        status = _status(location)
        if stat.S_ISDIR(status.st_mode):
            yield from _walk_directory(location, path + "/")
        else:
            yield _file(path, location, status)


def _status(location: Path) -> os.stat_result:
    with os_errors(f"cannot read {location}"):
        return location.lstat()


def _file(path: str, location: Path, status: os.stat_result) -> SourceFile:
    if stat.S_ISREG(status.st_mode):
        return SourceFile(path, location, _state(status))
    is_link = stat.S_ISLNK(status.st_mode)
    raise InputError(
        f"cannot publish {location}",
        expected="regular files",
        found="a symbolic link" if is_link else "a special file",
        hint="copy the tree with `cp -rL` to publish what its links point to" if is_link else None,
    )


def _index_all(found: Sequence[SourceFile], allow_unsafe: Sequence[str]) -> tuple[SourceFile, ...]:
    for file in found:
        _refuse_unsafe(file, allow_unsafe)
    formats = {file.path: detect(file.path, file.read_at, file.size) for file in found}
    sizes = {file.path: file.size for file in found}
    tensors: dict[str, list[Tensor]] = {file.path: [] for file in found}
    for file in found:
        for path, tensor in _index(file, formats[file.path], sizes):
            tensors[path].append(tensor)
    return tuple(
        replace(file, format=formats[file.path], tensors=lay_out(tensors[file.path], file.size))
        for file in found
    )


def _refuse_unsafe(file: SourceFile, allow_unsafe: Sequence[str]) -> None:
    reason = classify(file.path, b"", file.read_at, file.size)
    if reason and not any(fnmatch.fnmatchcase(file.path, pattern) for pattern in allow_unsafe):
        raise InputError(
            f"refused to publish {file.path}",
            expected="a format that cannot run code, such as safetensors or ONNX",
            found=reason,
            hint=f"to publish it all the same, name it: --allow-unsafe {file.path!r}",
        )


def _index(file: SourceFile, kind: FileFormat, sizes: dict[str, int]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a file, each with the path of the file that holds its bytes."""
    try:
        if kind is FileFormat.SAFETENSORS:
            for tensor in safetensors.index(file.read_at, file.size):
                yield file.path, tensor
        elif kind is FileFormat.ONNX:
            found = onnx.index(file.read_at, file.size)
            for tensor in found.tensors:
                yield file.path, tensor
            yield from onnx.resolve(file.path, found.external, sizes)
    except FormatError as error:
        raise InputError(
            f"{file.path} is not a valid {kind.label} file: {error.what}",
            expected=error.expected,
            found=error.found,
            hint=error.hint,
        ) from None
