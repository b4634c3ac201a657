"""Verified plaintext of releases, from files on this machine or decoded from blocks.

Implements the decoder's checks of docs/spec/manifest.md, section 5 (9 to 12).
"""

import os
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelreg.errors import FormatError, VerificationError
from modelreg.format.cid import Cid
from modelreg.format.delta import Encoding, decode
from modelreg.format.digest import Digest
from modelreg.format.manifest import (
    MAX_BASE_CHUNKS,
    MAX_DEPTH,
    OWN_BLOCK_BYTES,
    Base,
    BaseRange,
    Chunk,
    Manifest,
    Payload,
)
from modelreg.format.manifest_blocks import read_manifest
from modelreg.format.selection import copied_names
from modelreg.store.base import BlockSource
from modelreg.store.cache import Cache

__all__ = ["LocalPlaintext", "Plaintext"]

# What is kept for the next chunks: blocks that several share, base chunks that two of them straddle, and the
# manifests of a lineage (a row takes about 600 bytes).
_CACHED_BLOCK_BYTES = 16 << 20
_CACHED_CHUNK_BYTES = 24 << 20
_CACHED_ROWS = 1 << 20
_ITEM_BYTES = 256
_MOST_PLACES = 4


@dataclass(frozen=True, slots=True)
class _Place:
    path: Path
    offset: int
    length: int


_Way = tuple[Chunk, Base | None]
"""All that the decoding of a chunk depends on. Of two ways to one digest, one may lead nowhere."""


class LocalPlaintext:
    """Chunks in the files of releases on this machine, by digest. Files change: what is read is checked."""

    def __init__(self) -> None:
        self._places: dict[Digest, tuple[_Place, ...]] = {}

    def add(self, manifest: Manifest, root: Path, rows: Collection[int] | None = None) -> None:
        """Learn that a release lies under `root`, or some rows of it."""
        paths = {number: root / name for number, name in copied_names(manifest, rows).items()}
        for row in range(len(manifest.chunks)) if rows is None else rows:
            chunk = manifest.chunks[row]
            place = _Place(paths[manifest.file_of(row)], manifest.offsets[row], chunk.length)
            self._add(Digest(manifest.algorithm, chunk.digest), place)

    def knows(self, digest: Digest) -> bool:
        """Whether a file here should hold the chunk."""
        return digest in self._places

    def seems_here(self, digest: Digest) -> bool:
        """Whether a file here is long enough to hold the chunk; only reading it tells whether it does."""
        return any(_reaches(place) for place in self._places.get(digest, ()))

    def read(self, digest: Digest) -> bytes | None:
        """A chunk's plaintext, or None where no file here holds it (any more)."""
        for place in self._places.get(digest, ()):
            data = _read_file(place)
            if data is not None and digest.algorithm.digest(data) == digest:
                return data
        return None

    def _add(self, digest: Digest, place: _Place) -> None:
        """One place in each of a few files: copies are changed and deleted, and others may still be whole."""
        known = self._places.get(digest, ())
        if len(known) < _MOST_PLACES and all(other.path != place.path for other in known):
            self._places[digest] = (*known, place)


class Plaintext:
    """Reads chunks and byte ranges of releases; every byte that it gives was verified.

    Without `local` it gives what a node can decode that has nothing yet, and no more.
    """

    def __init__(self, blocks: BlockSource, local: LocalPlaintext | None = None) -> None:
        self._blocks = blocks
        self._local = local or LocalPlaintext()
        self._manifests: Cache[Cid, Manifest] = Cache(_CACHED_ROWS, _rows)
        self._block_cache: Cache[Cid, bytes] = Cache(_CACHED_BLOCK_BYTES, _weight)
        self._chunk_cache: Cache[_Way, bytes] = Cache(_CACHED_CHUNK_BYTES, _weight)

    def manifest(self, cid: Cid) -> Manifest:
        """Read and check a manifest."""
        return self._manifests.get(cid, lambda: read_manifest(cid, self._fetch_many))

    def chunk(self, manifest: Manifest, index: int) -> bytes:
        """The plaintext of one chunk.

        Raises:
            FormatError: its encoding breaks a rule, or leads through too many bases.
            VerificationError: the plaintext is not what the manifest names.
            NotFoundError: a block is nowhere to be had.
        """
        return self._chunk(manifest, index, _Allowance())

    def range(self, manifest: Manifest, file: int, offset: int, length: int) -> bytes:
        """A byte range of one file; raises what `chunk` raises."""
        return self._range(manifest, file, offset, length, None)

    def _fetch_many(self, cids: Sequence[Cid]) -> Iterable[bytes]:
        return (self._blocks.get(cid) for cid in cids)

    def _chunk(self, manifest: Manifest, index: int, allowance: "_Allowance") -> bytes:
        chunk = manifest.chunks[index]
        local = self._local.read(Digest(manifest.algorithm, chunk.digest))
        return self._decode(manifest, chunk, allowance) if local is None else local

    def _decode(self, manifest: Manifest, chunk: Chunk, allowance: "_Allowance") -> bytes:
        if chunk.payload is None:
            return b""
        block = self._block(chunk.payload)
        if _is_block(chunk, chunk.payload, block):
            return block
        base = self._base(manifest, chunk.base, allowance) if chunk.base else None
        shared = _part(self._shared(chunk.factors), chunk.factors) if chunk.factors else None
        data = bytes(decode(chunk.encoding, _part(block, chunk.payload), base, chunk.length, shared))
        found = manifest.algorithm.digest(data)
        if found.value != chunk.digest:
            expected = f"{manifest.algorithm.label}:{chunk.digest.hex()}"
            raise VerificationError("decoded chunk", expected=expected, found=found)
        return data

    def _block(self, payload: Payload) -> bytes:
        if payload.size >= OWN_BLOCK_BYTES:  # nobody asks for it again
            return self._blocks.get(payload.block)
        return self._block_cache.get(payload.block, lambda: self._blocks.get(payload.block))

    def _shared(self, factors: Payload) -> bytes:
        return self._block_cache.get(factors.block, lambda: self._blocks.get(factors.block))

    def _base(self, manifest: Manifest, at: BaseRange, allowance: "_Allowance") -> bytes:
        base = manifest.bases[at.base]
        deeper = allowance.deeper()
        parent = self.manifest(base.manifest)
        if parent.content_root != base.content_root:
            raise FormatError(
                f"base {base.manifest}",
                expected=f"content root 0x{base.content_root.hex()}",
                found=f"0x{parent.content_root.hex()}",
            )
        return self._range(parent, at.file, at.offset, at.length, deeper)

    def _range(
        self, manifest: Manifest, file: int, offset: int, length: int, allowance: "_Allowance | None"
    ) -> bytes:
        """A range of a file; its chunks share an allowance if one is given, else each has its own."""
        rows = manifest.covering(file, offset, length)
        if not rows:
            return b""
        parts = []
        for row in rows:
            if allowance is not None:
                allowance.spend()
            parts.append(self._cached_chunk(manifest, row, allowance or _Allowance()))
        start = offset - manifest.offsets[rows[0]]
        return b"".join(parts)[start : start + length]

    def _cached_chunk(self, manifest: Manifest, row: int, allowance: "_Allowance") -> bytes:
        way = _way(manifest, manifest.chunks[row])
        data = self._chunk_cache.find(way)
        if data is None:
            data = self._chunk(manifest, row, allowance)
            self._chunk_cache.keep(way, data)
        return data


class _Allowance:
    """What the decoding of one chunk may still cost, against chains made to be deep or wide."""

    def __init__(self, depth: int = MAX_DEPTH, spent: list[int] | None = None) -> None:
        self._depth = depth
        self._spent = spent if spent is not None else [0]

    def deeper(self) -> "_Allowance":
        if self._depth == 0:
            raise FormatError("delta chain", expected=f"at most {MAX_DEPTH} bases deep", found="more")
        return _Allowance(self._depth - 1, self._spent)

    def spend(self) -> None:
        self._spent[0] += 1
        if self._spent[0] > MAX_BASE_CHUNKS:
            raise FormatError("delta chain", expected=f"at most {MAX_BASE_CHUNKS} base chunks", found="more")


def _way(manifest: Manifest, chunk: Chunk) -> _Way:
    return chunk, manifest.bases[chunk.base.base] if chunk.base else None


def _part(block: bytes, payload: Payload) -> memoryview:
    if payload.offset + payload.size > len(block):
        raise FormatError(
            f"payload in block {payload.block}",
            expected=f"{payload.size} bytes at {payload.offset}",
            found=f"a block of {len(block)} bytes",
        )
    return memoryview(block)[payload.offset : payload.offset + payload.size]


def _is_block(chunk: Chunk, payload: Payload, block: bytes) -> bool:
    """Whether a chunk is a block, as it is: then its digest is the block's, and checked."""
    plain = chunk.encoding == Encoding.RAW and chunk.base is None
    whole = payload.offset == 0 and payload.size == len(block) == chunk.length
    return plain and whole and payload.block.digest.value == chunk.digest


def _rows(manifest: Manifest) -> int:
    return len(manifest.chunks) + len(manifest.files) + sum(len(file.tensors) for file in manifest.files)


def _weight(data: bytes) -> int:
    return len(data) + _ITEM_BYTES


def _reaches(place: _Place) -> bool:
    try:
        status = place.path.lstat()
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size >= place.offset + place.length


def _read_file(place: _Place) -> bytes | None:
    try:
        descriptor = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = os.pread(descriptor, place.length, place.offset)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return data if len(data) == place.length else None
