"""Writing blocks so that a crash leaves whole blocks or none. Specified in docs/spec/store.md, section 3."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelreg.format.cid import Cid
from modelreg.store.files import sync_directory, write_all

__all__ = ["TEMPORARY", "Staging", "clear_temporary", "open_shard", "place_of"]

TEMPORARY = "tmp"
# By measurement on ext4: twice as fast as syncing each block, and longer batches gain nothing.
_BATCH = 64
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def place_of(cid: Cid) -> tuple[str, str]:
    """The directory and the file name of a block: `next-to-last/2` of flatfs, over the CID's text."""
    name = str(cid)
    return name[-3:-1], name


@contextmanager
def open_shard(blocks: Path, shard: str) -> Iterator[int]:
    """A descriptor of a directory of the store, which is never reached through a link."""
    descriptor = os.open(blocks / shard, _DIRECTORY_FLAGS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def clear_temporary(blocks: Path) -> None:
    """Remove all temporary files; the caller knows that nobody is writing."""
    with open_shard(blocks, TEMPORARY) as place, os.scandir(place) as entries:
        for entry in entries:
            os.unlink(entry.name, dir_fd=place)


class Staging:
    """Blocks on their way into a store: written to temporary files, synced and renamed 64 at a time.

    Errors of the operating system pass through.
    """

    def __init__(self, blocks: Path) -> None:
        self._blocks = blocks
        self._temporary = os.open(blocks / TEMPORARY, _DIRECTORY_FLAGS)
        self._prefix = f"{os.getpid()}-{secrets.token_hex(8)}-"
        self._waiting: dict[Cid, tuple[str, int]] = {}
        self._shards: set[str] = set()

    def __contains__(self, cid: Cid) -> bool:
        return cid in self._waiting

    def add(self, cid: Cid, block: bytes) -> None:
        """Take a block; it is not yet durable, nor under its name."""
        temporary = f"{self._prefix}{secrets.token_hex(8)}"
        descriptor = os.open(temporary, _NEW_FLAGS, 0o666, dir_fd=self._temporary)
        self._waiting[cid] = temporary, descriptor
        write_all(descriptor, block)
        if len(self._waiting) >= _BATCH:
            self._flush()

    def note(self, cid: Cid) -> None:
        """A block is in its place already; another process may still owe it the sync of its directory."""
        self._shards.add(place_of(cid)[0])

    def finish(self) -> None:
        """Make everything durable."""
        self._flush()
        sync_directory(self._blocks)
        for shard in sorted(self._shards):
            sync_directory(self._blocks / shard)
        self._shards.clear()

    def close(self) -> None:
        """Drop what is not under its name; files that cannot be removed now wait for the next open."""
        for _, descriptor in self._waiting.values():
            os.close(descriptor)
        self._waiting.clear()
        # By their names: an interrupt can come between making a file and noting it.
        with suppress(OSError), os.scandir(self._temporary) as entries:
            for entry in entries:
                if entry.name.startswith(self._prefix):
                    os.unlink(entry.name, dir_fd=self._temporary)
        os.close(self._temporary)

    def _flush(self) -> None:
        # Starts writing out all files, so that the file system commits them together at the first fsync.
        for _, descriptor in self._waiting.values():
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        for _, descriptor in self._waiting.values():
            os.fsync(descriptor)
        for cid in list(self._waiting):
            self._rename(cid)

    def _rename(self, cid: Cid) -> None:
        temporary, descriptor = self._waiting[cid]
        shard, name = place_of(cid)
        (self._blocks / shard).mkdir(exist_ok=True)
        with open_shard(self._blocks, shard) as place:
            os.rename(temporary, name, src_dir_fd=self._temporary, dst_dir_fd=place)
        del self._waiting[cid]
        os.close(descriptor)
        self._shards.add(shard)
