"""Reading what a publisher wants to release: a file or a directory, with what is unsafe in it refused."""

import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelreg.errors import FormatError, InputError, NotFoundError, NotPermittedError
from modelreg.format import onnx, safetensors
from modelreg.format.manifest import MAX_FILES
from modelreg.format.paths import check_path, check_paths
from modelreg.format.tensors import FileFormat, Tensor, detect, lay_out
from modelreg.format.unsafe import classify

__all__ = ["SourceFile", "open_sources"]

_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to release: an open descriptor, and its structure as the formats see it."""

    path: str
    descriptor: int
    size: int
    changed_ns: int
    format: FileFormat
    tensors: tuple[Tensor, ...]

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes at `offset`; the file must not shrink while it is published."""
        return _read_exactly(self.descriptor, offset, length, self.path)

    def check_unchanged(self) -> None:
        """Refuse a file that was written to since it was opened."""
        status = os.fstat(self.descriptor)
        if (status.st_size, status.st_mtime_ns) != (self.size, self.changed_ns):
            raise _changed(self.path)


def open_sources(root: Path, allow_unsafe: Sequence[str] = ()) -> tuple[SourceFile, ...]:
    """Open every file of a release, in the order of the manifest.

    Args:
        root: a regular file, or a directory whose regular files are released under their relative paths.
        allow_unsafe: glob patterns of paths that may hold a format that can run code.

    Raises:
        InputError: there is nothing to release, or a link, a special file, an unsafe format, a bad path or a
            broken model file in it.
        NotFoundError: there is no such path.
        NotPermittedError: something cannot be read.
    """
    paths = dict(sorted(_walk(root), key=lambda item: item[0].encode()))
    if not 0 < len(paths) <= MAX_FILES:
        raise InputError(
            f"nothing to publish in {root}" if not paths else f"too many files in {root}",
            expected=f"1 to {MAX_FILES} files",
            found=len(paths),
        )
    opened: list[_Opened] = []
    try:
        check_paths(paths)
        opened.extend(_open(name, path) for name, path in paths.items())
        return _index_all(opened, allow_unsafe)
    except BaseException as error:
        for file in opened:
            os.close(file.descriptor)
        if isinstance(error, FormatError):
            raise InputError(error.what, expected=error.expected, found=error.found, hint=error.hint) from None
        raise


@dataclass(frozen=True, slots=True)
class _Opened:
    path: str
    descriptor: int
    size: int
    changed_ns: int

    def read_at(self, offset: int, length: int) -> bytes:
        return _read_exactly(self.descriptor, offset, length, self.path)


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    mode = _mode(root)
    if stat.S_ISREG(mode):
        yield check_path(root.name), root
    elif stat.S_ISDIR(mode):
        yield from _walk_directory(root, "")
    else:
        raise _refuse(root, mode)


def _walk_directory(directory: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    try:
        names = sorted(os.listdir(directory))
    except PermissionError as error:
        raise NotPermittedError(f"cannot read {directory}", found=error.strerror) from None
    for name in names:
        path = directory / name
        mode = _mode(path)
        if stat.S_ISDIR(mode):
            yield from _walk_directory(path, f"{prefix}{name}/")
        elif stat.S_ISREG(mode):
            yield prefix + name, path
        else:
            raise _refuse(path, mode)


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        raise NotFoundError(f"no file or directory {path}") from None
    except PermissionError as error:
        raise NotPermittedError(f"cannot read {path}", found=error.strerror) from None


def _refuse(path: Path, mode: int) -> InputError:
    found = "a symbolic link" if stat.S_ISLNK(mode) else "a special file"
    hint = "copy the tree with `cp -rL` to publish what its links point to" if stat.S_ISLNK(mode) else None
    return InputError(f"cannot publish {path}", expected="regular files", found=found, hint=hint)


def _open(name: str, path: Path) -> _Opened:
    try:
        # O_NONBLOCK: a FIFO put in the file's place must not hang us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise NotPermittedError(f"cannot read {path}", found=error.strerror) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _refuse(path, status.st_mode)
    return _Opened(name, descriptor, status.st_size, status.st_mtime_ns)


def _index_all(opened: Sequence[_Opened], allow_unsafe: Sequence[str]) -> tuple[SourceFile, ...]:
    for file in opened:
        _refuse_unsafe(file, allow_unsafe)
    formats = {file.path: detect(file.path, file.read_at, file.size) for file in opened}
    sizes = {file.path: file.size for file in opened}
    tensors: dict[str, list[Tensor]] = {file.path: [] for file in opened}
    for file in opened:
        for path, tensor in _index(file, formats[file.path], sizes):
            tensors[path].append(tensor)
    return tuple(
        SourceFile(
            file.path,
            file.descriptor,
            file.size,
            file.changed_ns,
            formats[file.path],
            lay_out(tensors[file.path], file.size),
        )
        for file in opened
    )


def _refuse_unsafe(file: _Opened, allow_unsafe: Sequence[str]) -> None:
    head = file.read_at(0, min(_HEAD_BYTES, file.size))
    reason = classify(file.path, head, file.read_at, file.size)
    if reason and not any(fnmatch.fnmatchcase(file.path, pattern) for pattern in allow_unsafe):
        raise InputError(
            f"refused to publish {file.path}",
            expected="a format that cannot run code, such as safetensors or ONNX",
            found=reason,
            hint=f"to publish it all the same, name it: --allow-unsafe {file.path!r}",
        )


def _index(file: _Opened, kind: FileFormat, sizes: dict[str, int]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a file, with the path of the file that holds their bytes."""
    read_at: ReadAt = file.read_at
    if kind is FileFormat.SAFETENSORS:
        yield from ((file.path, tensor) for tensor in safetensors.index(read_at, file.size))
    elif kind is FileFormat.ONNX:
        yield from _index_onnx(file, sizes)


def _index_onnx(file: _Opened, sizes: dict[str, int]) -> Iterator[tuple[str, Tensor]]:
    raise NotImplementedError


def _read_exactly(descriptor: int, offset: int, length: int, path: str) -> bytes:
    data = os.pread(descriptor, length, offset)
    if len(data) != length:
        raise _changed(path)
    return data


def _changed(path: str) -> InputError:
    return InputError(
        f"{path} changed while it was being published", hint="publish again when nothing writes to it"
    )
