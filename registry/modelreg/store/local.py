"""The store of blocks in a directory. Specified in docs/spec/store.md, section 2."""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from modelreg.errors import FormatError, NotFoundError, NotPermittedError, UnreachableError, VerificationError
from modelreg.format.block import MAX_BLOCK_BYTES, check_block
from modelreg.format.cid import Cid
from modelreg.store.base import StoreStat
from modelreg.store.files import os_errors, read_regular, replace_file, sync_directory
from modelreg.store.lock import file_lock
from modelreg.store.staging import TEMPORARY, Staging, clear_temporary, open_shard, place_of

__all__ = ["LocalStore"]

_FORMAT = b"modelreg-store/1\n"
_LOCK_SECONDS = 60.0
_SHARD_NAME = 2


class LocalStore:
    """Blocks as files, spread over 1,024 directories. Several threads and processes may use one store.

    Args:
        root: the store's directory; made if it is missing.
        readonly: write nothing at all, not even to open the store.

    Raises:
        NotFoundError: there is no store to read.
        FormatError: another version of modelreg made it.
        NotPermittedError: the directory cannot be written, or read.
    """

    def __init__(self, root: Path, *, readonly: bool = False) -> None:
        self._root = root
        self._blocks = root / "blocks"
        self._readonly = readonly
        if not readonly:
            self._make()
        self._check_format()
        if not readonly:
            self._clean()

    @property
    def name(self) -> str:
        """For messages."""
        return f"store {self._root}"

    def get(self, cid: Cid) -> bytes:
        """See BlockSource."""
        block = self._read(cid)
        check_block(cid, block)
        return block

    def has(self, cid: Cid) -> bool:
        """See BlockSource. A block over the limit, a link or a directory under its name do not count."""
        try:
            return self.size(cid) <= MAX_BLOCK_BYTES
        except NotFoundError:
            return False

    def size(self, cid: Cid) -> int:
        """See BlockStore."""
        shard, name = place_of(cid)
        with os_errors(f"block {cid} in {self.name}"):
            status = (self._blocks / shard / name).lstat()
        if not stat.S_ISREG(status.st_mode):
            raise NotFoundError(f"block {cid} in {self.name}", found="no regular file")
        return status.st_size

    def put_many(self, blocks: Iterable[tuple[Cid, bytes]]) -> int:
        """See BlockStore."""
        self._check_writable()
        with self._lock(exclusive=False, timeout=_LOCK_SECONDS):
            with os_errors(f"cannot write to {self.name}"):
                staging = Staging(self._blocks)
            try:
                written = sum(self._put(staging, cid, block) for cid, block in blocks)
                with os_errors(f"cannot write to {self.name}"):
                    staging.finish()
            finally:
                staging.close()
        return written

    def delete(self, cids: Iterable[Cid]) -> None:
        """See BlockStore."""
        self._check_writable()
        for cid in cids:
            shard, name = place_of(cid)
            try:
                with os_errors(f"cannot remove from {self.name}"), open_shard(self._blocks, shard) as place:
                    os.unlink(name, dir_fd=place)
            except NotFoundError:
                continue

    def cids(self) -> Iterator[Cid]:
        """See BlockStore."""
        return (cid for cid, _ in self._entries())

    def stat(self) -> StoreStat:
        """See BlockStore."""
        blocks = size = 0
        for _, entry in self._entries():
            with os_errors(f"cannot list {self.name}"):
                size += entry.stat(follow_symlinks=False).st_size
            blocks += 1
        return StoreStat(blocks, size)

    def _put(self, staging: Staging, cid: Cid, block: bytes) -> int:
        check_block(cid, block)
        with os_errors(f"cannot write to {self.name}"):
            if cid in staging:
                return 0
            if self._holds(cid, block):
                staging.note(cid)
                return 0
            staging.add(cid, block)
        return len(block)

    def _holds(self, cid: Cid, block: bytes) -> bool:
        try:
            return self._read(cid) == block
        except (NotFoundError, VerificationError):
            return False

    def _read(self, cid: Cid) -> bytes:
        shard, name = place_of(cid)
        with os_errors(f"block {cid} in {self.name}"), open_shard(self._blocks, shard) as place:
            return read_regular(name, MAX_BLOCK_BYTES, directory=place)

    def _entries(self) -> Iterator[tuple[Cid, os.DirEntry[str]]]:
        """Every regular file that has a CID for a name and is in its place."""
        for shard in self._scan(self._blocks):
            if len(shard.name) != _SHARD_NAME or not shard.is_dir(follow_symlinks=False):
                continue
            for entry in self._scan(Path(shard.path)):
                cid = _parse(entry.name)
                if cid and place_of(cid)[0] == shard.name and entry.is_file(follow_symlinks=False):
                    yield cid, entry

    def _scan(self, directory: Path) -> list[os.DirEntry[str]]:
        try:
            with os_errors(f"cannot list {self.name}"), os.scandir(directory) as entries:
                return list(entries)
        except NotFoundError:
            return []

    def _check_writable(self) -> None:
        if self._readonly:
            raise NotPermittedError(f"{self.name} was opened for reading only")

    def _make(self) -> None:
        """Make what is missing; the mark of the format comes last."""
        with os_errors(f"cannot make {self.name}"):
            self._root.mkdir(parents=True, exist_ok=True)
            if not (self._root / "format").exists():
                with self._lock(exclusive=True, timeout=_LOCK_SECONDS):
                    self._blocks.mkdir(exist_ok=True)
                    replace_file(self._root / "format", _FORMAT)
                sync_directory(self._root.parent)

    def _clean(self) -> None:
        """Remove what writers that were killed left behind, unless somebody writes now."""
        with os_errors(f"cannot make {self.name}"):
            # Back-ups may leave out empty directories.
            (self._blocks / TEMPORARY).mkdir(parents=True, exist_ok=True)
        try:
            with self._lock(exclusive=True, timeout=0), os_errors(f"cannot clean {self.name}"):
                clear_temporary(self._blocks)
        except UnreachableError:
            return

    def _lock(self, *, exclusive: bool, timeout: float) -> AbstractContextManager[None]:
        """Writers hold it together, so that whoever holds it alone sees nothing but leftovers."""
        return file_lock(self._root / "write.lock", exclusive=exclusive, timeout=timeout)

    def _check_format(self) -> None:
        path = self._root / "format"
        try:
            with os_errors(f"no block store in {self._root}"):
                found = read_regular(path, 64)
        except NotFoundError as error:
            raise NotFoundError(error.what, hint="`modelreg init` makes one") from error
        if found != _FORMAT:
            raise FormatError(
                f"format of {self.name}",
                expected=_FORMAT.decode().strip(),
                found=ascii(found),
                hint="use the version of modelreg that made it",
            )


def _parse(name: str) -> Cid | None:
    try:
        return Cid.parse(name)
    except FormatError:
        return None
