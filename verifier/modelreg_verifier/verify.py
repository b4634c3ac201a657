"""Checking a directory against a manifest, byte by byte."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelreg.errors import NotFoundError
from modelreg.format.digest import Digest
from modelreg.format.manifest import FileEntry, Manifest
from modelreg.format.selection import PARTIAL_SUFFIX
from modelreg.parallel import map_ordered, worker_count

__all__ = ["Problem", "verify_directory"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One difference between a directory and its release.

    `kind` is `missing`, `extra`, `type` (not a regular file), `size`, `bytes` or `unreadable`.
    """

    path: str
    kind: str
    expected: str
    found: str


def verify_directory(
    root: Path,
    manifest: Manifest,
    rows: frozenset[int] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Problem]:
    """Compare the files under `root` with a release.

    Args:
        root: a directory; or a file, if the release has just one.
        manifest: the release, itself verified against the ledger.
        rows: the chunk rows that should be there, if not all are; their files are named `*.partial`.
        progress: told the bytes checked since the last call.

    Returns:
        What differs, in the order of the manifest; nothing where every byte is as released.

    Raises:
        NotFoundError: there is nothing at `root`.
    """
    if not os.path.lexists(root):
        raise NotFoundError(f"nothing at {root}", hint="name the directory that `modelreg sync` wrote")
    problems: list[Problem] = []
    expected: dict[str, Path] = {}
    single = not root.is_dir() and len(manifest.files) == 1
    for number, file in enumerate(manifest.files):
        wanted = _wanted(manifest, number, rows)
        if not wanted and rows is not None:
            continue
        name = file.path if rows is None else file.path + PARTIAL_SUFFIX
        expected[name] = root if single else root / name
        problems += _check_file(expected[name], name, manifest, number, wanted, progress)
    if not single:
        problems += [Problem(name, "extra", "no such file", "a file") for name in _extra(root, expected)]
    return problems


def _wanted(manifest: Manifest, number: int, rows: frozenset[int] | None) -> list[int]:
    every = range(manifest.first_chunks[number], manifest.first_chunks[number + 1])
    return [row for row in every if rows is None or row in rows]


def _check_file(
    path: Path, name: str, manifest: Manifest, number: int, rows: list[int], progress: Callable[[int], None]
) -> list[Problem]:
    file = manifest.files[number]
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return [Problem(name, "type", "a regular file", _kind(status.st_mode))]
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return [Problem(name, "missing", f"{file.size} bytes", "no file")]
    except OSError as error:
        return [Problem(name, "unreadable", "a regular file", str(error.strerror))]
    try:
        problems = list(_check_chunks(descriptor, name, manifest, rows, progress))
        if status.st_size != file.size:
            problems.insert(0, Problem(name, "size", f"{file.size} bytes", f"{status.st_size} bytes"))
        return problems
    finally:
        os.close(descriptor)


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    return "a directory" if stat.S_ISDIR(mode) else "a special file"


def _check_chunks(
    descriptor: int, name: str, manifest: Manifest, rows: list[int], progress: Callable[[int], None]
) -> Iterator[Problem]:
    def check(row: int) -> Problem | None:
        chunk, offset = manifest.chunks[row], manifest.offsets[row]
        place = _place(manifest.files[manifest.file_of(row)], offset, chunk.length)
        try:
            data = os.pread(descriptor, chunk.length, offset)
        except OSError as error:
            return Problem(name, "unreadable", f"a chunk {place}", os.strerror(error.errno or 0))
        found = manifest.algorithm.digest(data)
        progress(chunk.length)
        if found.value == chunk.digest:
            return None
        wanted = Digest(manifest.algorithm, chunk.digest)
        return Problem(name, "bytes", f"{wanted} {place}", str(found))

    yield from filter(None, map_ordered(check, rows, workers=worker_count()))


def _place(file: FileEntry, offset: int, length: int) -> str:
    """Where a chunk lies, in words that help: its bytes, and the first tensor in them."""
    inside = [t.name for t in file.tensors if t.offset < offset + length and offset < t.offset + t.length]
    where = f"at bytes {offset} to {offset + length}"
    return f"{where}, tensor {inside[0]}" if inside else where


def _extra(root: Path, expected: dict[str, Path]) -> Iterator[str]:
    for directory, below, names in os.walk(root):
        links = [name for name in below if (Path(directory) / name).is_symlink()]
        for name in sorted([*names, *links]):
            relative = (Path(directory) / name).relative_to(root).as_posix()
            if relative not in expected:
                yield relative
