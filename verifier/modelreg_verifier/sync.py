"""Making a verified copy of a release on this machine, fetching only what is missing.

Nothing appears under its final name before every byte of it has been checked against the manifest. What was
staged before an interruption is checked and used again.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from modelreg.format.cid import Cid
from modelreg.format.digest import Digest
from modelreg.format.manifest import Manifest
from modelreg.format.selection import copied_names
from modelreg.parallel import map_ordered, worker_count
from modelreg.store.files import os_errors
from modelreg.store.plaintext import LocalPlaintext, Plaintext
from modelreg_verifier.atomic import replace_directory
from modelreg_verifier.fetch import FetchingSource
from modelreg_verifier.need import needed_blocks
from modelreg_verifier.staging import EarlySync, opened, remove_others, staged, sync_tree

__all__ = ["Copied", "copy_release", "stage_release"]


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
    *,
    note: Callable[[], None] = lambda: None,
    progress: Callable[[int], None] = lambda _: None,
    remark: Callable[[str], None] = lambda _: None,
) -> Copied:
    """Write the files of a release to `target`, whole or not at all.

    Args:
        manifest: the release, verified against the ledger.
        target: a directory that does not exist, is empty, or that the caller allows to be replaced.
        source: where blocks come from.
        local: plaintext on this machine that chunks may be taken from.
        rows: the chunk rows to copy, if not all; files that lack some of theirs are named `*.partial`.
        note: called when every byte is checked and durable, just before the copy appears, so that a copy
            which appears is always noted.
        progress: told the bytes done since the last call.
        remark: told if another process works at the same place, and this one waits for it.

    Raises:
        ConflictError: another process works at the same place for too long.
        VerificationError: a block or a decoded chunk is not what the manifest names.
        NotFoundError, UnreachableError: a block cannot be had.
        NotPermittedError: the target cannot be written.
    """
    with os_errors(f"cannot write {target}"), staged(target, remark) as staging:
        copied = _fill(staging, manifest, source, local, rows, progress)
        note()
        replace_directory(staging, target, remark)
    return copied


def stage_release(
    manifest: Manifest,
    target: Path,
    source: FetchingSource,
    local: LocalPlaintext,
    rows: frozenset[int] | None = None,
    *,
    progress: Callable[[int], None] = lambda _: None,
    remark: Callable[[str], None] = lambda _: None,
) -> Copied:
    """As `copy_release`, but leave it beside `target`, where the next `copy_release` finds it."""
    with os_errors(f"cannot write {target}"), staged(target, remark) as staging:
        return _fill(staging, manifest, source, local, rows, progress)


def _fill(
    staging: Path,
    manifest: Manifest,
    source: FetchingSource,
    local: LocalPlaintext,
    rows: frozenset[int] | None,
    progress: Callable[[int], None],
) -> Copied:
    """Make staging the checked and durable copy."""
    wanted = sorted(rows) if rows is not None else range(len(manifest.chunks))
    source.in_files = _lie_in_files(manifest, wanted)
    early = EarlySync()
    copier = _Copier(manifest, staging, copied_names(manifest, rows), Plaintext(source, local), local, early)
    copier.prepare(wanted, progress)
    reused = 0
    with (
        early,
        # No thread may write any more when others are let in, whatever `progress` raises.
        closing(map_ordered(copier.place, wanted, workers=worker_count())) as placed,
        source.ahead(copier.blocks(wanted)),
    ):
        for row, was_here in zip(wanted, placed, strict=True):
            reused += was_here
            progress(manifest.chunks[row].length)
    # Both wait for the disk, whose journal commits them together.
    with ThreadPoolExecutor(1) as pool:
        flushed = pool.submit(source.flush)
        sync_tree(staging)
        flushed.result()
    return Copied(len(wanted), reused)


def _lie_in_files(manifest: Manifest, rows: Sequence[int]) -> frozenset[Cid]:
    """The blocks that are the plaintext of a chunk."""
    chunks = (manifest.chunks[row] for row in rows)
    return frozenset(
        chunk.payload.block
        for chunk in chunks
        if chunk.payload is not None and chunk.payload.block.digest.value == chunk.digest
    )


class _Copier:
    def __init__(
        self,
        manifest: Manifest,
        staging: Path,
        names: dict[int, str],
        plaintext: Plaintext,
        local: LocalPlaintext,
        early: EarlySync,
    ) -> None:
        self._manifest = manifest
        self._staging = staging
        self._paths = {number: staging / name for number, name in names.items()}
        # The holes of a partial file are zeros: nothing that was staged before may show through them.
        self._whole = {number for number, name in names.items() if name == manifest.files[number].path}
        self._plaintext = plaintext
        self._local = local
        self._early = early
        self._staged: set[int] = set()

    def prepare(self, rows: Sequence[int], progress: Callable[[int], None]) -> None:
        """Make the files, all zeros unless they were staged before, and no others; see what is in them.

        That makes no progress, but takes time: it is told so of each chunk that was looked at.
        """
        remove_others(self._staging, set(self._paths.values()), {self._paths[n] for n in self._whole})
        before = {number for number, path in self._paths.items() if path.exists()}
        for number, path in self._paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with opened(path) as descriptor:
                os.ftruncate(descriptor, self._manifest.files[number].size)
        old = [row for row in rows if self._manifest.file_of(row) in before] if before else []
        with closing(map_ordered(self._is_staged, old, workers=worker_count())) as is_staged:
            for row, good in zip(old, is_staged, strict=True):
                progress(0)
                if good:
                    self._staged.add(row)

    def blocks(self, rows: Iterable[int]) -> Iterator[Cid]:
        """The blocks that these rows take, in the order of their use."""
        missing = (row for row in rows if row not in self._staged)
        return needed_blocks(self._manifest, missing, self._plaintext, self._local)

    def place(self, row: int) -> bool:
        """Write a chunk to its place; says whether it was on this machine already."""
        if row in self._staged:
            return True
        here = self._local.read(self._digest(row))
        data = self._plaintext.chunk(self._manifest, row) if here is None else here
        with opened(self._path(row)) as descriptor:
            _write_at(descriptor, data, self._manifest.offsets[row])
        self._early.wrote(self._path(row), len(data))
        return here is not None

    def _is_staged(self, row: int) -> bool:
        with opened(self._path(row)) as descriptor:
            length, offset = self._manifest.chunks[row].length, self._manifest.offsets[row]
            return _holds(descriptor, length, offset, self._digest(row))

    def _path(self, row: int) -> Path:
        return self._paths[self._manifest.file_of(row)]

    def _digest(self, row: int) -> Digest:
        return Digest(self._manifest.algorithm, self._manifest.chunks[row].digest)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all bytes, however few the operating system takes at a time."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def _holds(descriptor: int, length: int, offset: int, digest: Digest) -> bool:
    return digest.algorithm.digest(os.pread(descriptor, length, offset)) == digest
