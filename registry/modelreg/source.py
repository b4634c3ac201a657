"""Reading what a publisher wants to release: a file or a directory, with what is unsafe in it refused."""

import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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


@contextmanager
def open_sources(root: Path, allow_unsafe: Sequence[str] = ()) -> Iterator[tuple[SourceFile, ...]]:
    """Open every file of a release, in the order of the manifest; they are closed at the end of the block.

    Args:
        root: a regular file, or a directory whose regular files are released under their relative paths.
        allow_unsafe: glob patterns of paths that may hold a format that can run code.

    Raises:
        InputError: there is nothing to release, or a link, a special file, an unsafe format, a bad path or a
            broken model file in it.
        NotFoundError: there is no such path.
        NotPermittedError: something cannot be read.
    """
    with ExitStack() as stack:
        try:
            opened = _open_all(root, stack)
            sources = _index_all(opened, allow_unsafe)
        except FormatError as error:
            raise InputError(
                f"cannot publish {root}: {error.what}",
                expected=error.expected,
                found=error.found,
                hint=error.hint,
            ) from None
        yield sources


@dataclass(frozen=True, slots=True)
class _Opened:
    path: str
    descriptor: int
    size: int
    changed_ns: int

    def read_at(self, offset: int, length: int) -> bytes:
        return _read_exactly(self.descriptor, offset, length, self.path)


def _open_all(root: Path, stack: ExitStack) -> list[_Opened]:
    paths = sorted(_walk(root), key=lambda item: item[0].encode())
    if not paths:
        raise InputError(f"nothing to publish in {root}", expected="at least one file", found="none")
    if len(paths) > MAX_FILES:
        raise InputError(f"too many files in {root}", expected=f"at most {MAX_FILES}", found=len(paths))
    check_paths(name for name, _ in paths)
    opened = []
    for name, path in paths:
        opened.append(_open(name, path))
        stack.callback(os.close, opened[-1].descriptor)
    return opened


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
        names = sorted(path.name for path in directory.iterdir())
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


def _read_exactly(descriptor: int, offset: int, length: int, path: str) -> bytes:
    data = os.pread(descriptor, length, offset)
    if len(data) != length:
        raise _changed(path)
    return data


def _changed(path: str) -> InputError:
    return InputError(
        f"{path} changed while it was being published", hint="publish again when nothing writes to it"
    )
