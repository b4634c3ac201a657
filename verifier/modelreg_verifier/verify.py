"""Checking a directory, or a file of one, against a manifest, byte by byte."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from modelreg.errors import NotFoundError
from modelreg.format.digest import Digest
from modelreg.format.manifest import Manifest
from modelreg.format.selection import copied_names
from modelreg.parallel import map_ordered, worker_count

__all__ = ["Problem", "verify_directory", "verify_file"]


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
        root: a directory.
        manifest: the release, itself verified against the ledger.
        rows: the chunk rows that should be there, if not all are.
        progress: told the bytes checked since the last call.

    Returns:
        What differs, in the order of the manifest; nothing where every byte is as released.

    Raises:
        NotFoundError: there is nothing at `root`.
    """
    if not os.path.lexists(root):
        raise NotFoundError(f"nothing at {root}", hint="name the directory that `modelreg sync` wrote")
    names = copied_names(manifest, rows)
    problems: list[Problem] = []
    for number, name in names.items():
        problems += _check_file(root / name, name, manifest, number, rows, progress)
    return problems + [Problem(name, "extra", "no such file", "a file") for name in _extra(root, names)]


def verify_file(
    path: Path,
    manifest: Manifest,
    rows: frozenset[int] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[str, list[Problem]]:
    """Compare one file with the one of the release that it is by its path; the arguments are those above.

    Returns:
        What the release calls the file, and what differs. A release of one file has it under any name.
    """
    names = copied_names(manifest, rows)
    found = [
        (names[number], _check_file(path, names[number], manifest, number, rows, progress))
        for number in _candidates(path, names)
    ]
    if not found:
        return path.name, [Problem(path.name, "extra", "a file of the release", "another name")]
    return next((match for match in found if not match[1]), found[0])


def _candidates(path: Path, names: dict[int, str]) -> list[int]:
    """The files that a path may be: those that it ends with, the longest first; else those of its name."""
    if len(names) == 1:
        return list(names)
    tails = [n for n, name in names.items() if path.parts[-name.count("/") - 1 :] == PurePath(name).parts]
    named = [n for n, name in names.items() if PurePath(name).name == path.name]
    return sorted(tails, key=lambda n: -len(names[n])) or named


def _check_file(
    path: Path,
    name: str,
    manifest: Manifest,
    number: int,
    rows: frozenset[int] | None,
    progress: Callable[[int], None],
) -> list[Problem]:
    file = manifest.files[number]
    every = range(manifest.first_chunks[number], manifest.first_chunks[number + 1])
    wanted = [row for row in every if rows is None or row in rows]
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
        problems = list(_check_chunks(descriptor, name, manifest, wanted, progress))
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
        try:
            data = os.pread(descriptor, chunk.length, offset)
        except OSError as error:
            place = _place(manifest, row)
            return Problem(name, "unreadable", f"a chunk {place}", os.strerror(error.errno or 0))
        found = manifest.algorithm.digest(data)
        progress(chunk.length)
        if found.value == chunk.digest:
            return None
        wanted = Digest(manifest.algorithm, chunk.digest)
        return Problem(name, "bytes", f"{wanted} {_place(manifest, row)}", str(found))

    yield from filter(None, map_ordered(check, rows, workers=worker_count()))


def _place(manifest: Manifest, row: int) -> str:
    """Where a chunk lies, in words that help: its bytes, and the first tensor in them."""
    start, tensors = manifest.offsets[row], manifest.files[manifest.file_of(row)].tensors
    end = start + manifest.chunks[row].length
    inside = [tensor.name for tensor in tensors if tensor.offset < end and start < tensor.end]
    where = f"at bytes {start} to {end}"
    return f"{where}, tensor {inside[0]}" if inside else where


def _extra(root: Path, known: dict[int, str]) -> Iterator[str]:
    expected = set(known.values())
    for directory, below, names in os.walk(root):
        links = [name for name in below if (Path(directory) / name).is_symlink()]
        for name in sorted([*names, *links]):
            relative = (Path(directory) / name).relative_to(root).as_posix()
            if relative not in expected:
                yield relative
