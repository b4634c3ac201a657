"""Making a verified copy of a release on this machine, fetching only what is missing.

Nothing appears under its final name before every byte of it has been checked against the manifest. What was
staged before an interruption is checked and used again.
"""

import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelreg.errors import InputError
from modelreg.format.delta import Encoding
from modelreg.format.digest import Digest
from modelreg.format.manifest import Manifest
from modelreg.format.selection import PARTIAL_SUFFIX
from modelreg.parallel import map_ordered, worker_count
from modelreg.store.files import os_errors, sync_directory
from modelreg.store.plaintext import LocalPlaintext, Plaintext
from modelreg_verifier.atomic import replace_directory
from modelreg_verifier.fetch import FetchingSource

__all__ = ["Copied", "copy_release"]


@dataclass(frozen=True, slots=True)
class Copied:
    """How the chunks of a copy came about: `reused` ones were on this machine."""

    total: int
    reused: int

    @property
    def fetched(self) -> int:
        """Chunks that were decoded from blocks."""
        return self.total - self.reused


def copy_release(
    manifest: Manifest,
    target: Path,
    source: FetchingSource,
    local: LocalPlaintext,
    rows: frozenset[int] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Copied:
    """Write the files of a release to `target`, whole or not at all.

    Args:
        manifest: the release, verified against the ledger.
        target: a directory that does not exist, is empty, or that the caller allows to be replaced.
        source: where blocks come from.
        local: plaintext on this machine that chunks may be taken from.
        rows: the chunk rows to copy, if not all; their files are named `*.partial`.
        progress: told the bytes done since the last call.

    Raises:
        VerificationError: a block or a decoded chunk is not what the manifest names.
        NotFoundError, UnreachableError: a block cannot be had.
        NotPermittedError: the target cannot be written.
    """
    wanted = sorted(rows) if rows is not None else range(len(manifest.chunks))
    source.in_files = frozenset(
        payload.block
        for payload, encoding in (
            (manifest.chunks[row].payload, manifest.chunks[row].encoding) for row in wanted
        )
        if payload is not None and encoding == Encoding.RAW and payload.offset == 0
    )
    suffix = "" if rows is None else PARTIAL_SUFFIX
    with os_errors(f"cannot write {target}"), _staging(target) as staging:
        copier = _Copier(manifest, staging, suffix, Plaintext(source, local), local)
        _remove_others(staging, set(copier.paths(wanted)))
        reused = 0
        for number in range(len(manifest.files)):
            file_rows = [row for row in copier.rows_of(number) if rows is None or row in rows]
            if file_rows:
                reused += copier.copy_file(number, file_rows, progress)
        source.flush()
        _sync_tree(staging)
        replace_directory(staging, target)
    return Copied(len(wanted), reused)


class _Copier:
    def __init__(
        self, manifest: Manifest, staging: Path, suffix: str, plaintext: Plaintext, local: LocalPlaintext
    ) -> None:
        self._manifest = manifest
        self._staging = staging
        self._suffix = suffix
        self._plaintext = plaintext
        self._local = local

    def rows_of(self, number: int) -> range:
        first = self._manifest.first_chunks
        return range(first[number], first[number + 1])

    def path(self, number: int) -> Path:
        return self._staging / (self._manifest.files[number].path + self._suffix)

    def paths(self, rows: Sequence[int]) -> Iterator[Path]:
        return (self.path(number) for number in {self._manifest.file_of(row) for row in rows})

    def copy_file(self, number: int, rows: Sequence[int], progress: Callable[[int], None]) -> int:
        """Write one file's rows; returns how many were on this machine already."""
        path = self.path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            staged = os.fstat(descriptor).st_size > 0
            os.ftruncate(descriptor, self._manifest.files[number].size)

            def place(row: int) -> bool:
                reused = self._place(descriptor, row, staged=staged)
                progress(self._manifest.chunks[row].length)
                return reused

            reused = sum(map_ordered(place, rows, workers=worker_count()))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return reused

    def _place(self, descriptor: int, row: int, *, staged: bool) -> bool:
        chunk, offset = self._manifest.chunks[row], self._manifest.offsets[row]
        digest = Digest(self._manifest.algorithm, chunk.digest)
        if staged and digest.algorithm.digest(os.pread(descriptor, chunk.length, offset)) == digest:
            return True
        data = self._local.read(digest)
        reused = data is not None
        if data is None:
            data = self._plaintext.chunk(self._manifest, row)
        os.pwrite(descriptor, data, offset)
        return reused


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A directory beside the target, held by this process alone."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InputError(f"cannot sync to {target}", expected="a directory", found="a file or a link")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f".{target.name}.modelreg-staging")
    descriptor = _lock_directory(staging)
    try:
        yield staging
    finally:
        os.close(descriptor)


def _lock_directory(staging: Path) -> int:
    while True:
        staging.mkdir(exist_ok=True)
        descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Whoever held the lock before may have moved this directory to its final name.
        if staging.exists() and os.path.samestat(staging.lstat(), os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)


def _remove_others(staging: Path, wanted: set[Path]) -> None:
    """Leave nothing in the staging directory but regular files of this release."""
    above = {parent for path in wanted for parent in path.parents}
    for directory, names, files in os.walk(staging):
        for name in [*files, *names]:
            path = Path(directory) / name
            mode = path.lstat().st_mode
            if path in wanted and stat.S_ISREG(mode):
                continue
            if stat.S_ISDIR(mode):
                if path not in above:
                    shutil.rmtree(path)
                    names.remove(name)
            else:
                path.unlink()


def _sync_tree(staging: Path) -> None:
    for directory, _, _ in os.walk(staging):
        sync_directory(directory)
