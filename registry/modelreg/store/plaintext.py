"""Verified plaintext of releases, from files on this machine or decoded from blocks.

Implements the decoder's checks of docs/spec/manifest.md, section 5 (9 to 12).
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from modelreg.errors import FormatError, VerificationError
from modelreg.format.cid import Cid
from modelreg.format.delta import decode
from modelreg.format.digest import Digest
from modelreg.format.manifest import MAX_DEPTH, BaseRange, Chunk, Manifest, Payload
from modelreg.format.manifest_blocks import read_manifest
from modelreg.format.selection import PARTIAL_SUFFIX
from modelreg.store.base import BlockSource

__all__ = ["LocalPlaintext", "Plaintext"]

# A chunk's base straddles few chunks of its parent; the rest is room for short rows.
_MAX_BASE_CHUNKS = 256
_CACHED_BLOCKS = 16
_CACHED_CHUNKS = 48
_CACHED_MANIFESTS = 32

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class _Cache(Generic[_K, _V]):
    """A least-recently-used cache for several threads; two of them may compute one value twice."""

    def __init__(self, most: int) -> None:
        self._items: OrderedDict[_K, _V] = OrderedDict()
        self._most = most
        self._lock = threading.Lock()

    def get(self, key: _K, make: Callable[[], _V]) -> _V:
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key]
        value = make()
        with self._lock:
            self._items[key] = value
            while len(self._items) > self._most:
                self._items.popitem(last=False)
        return value


@dataclass(frozen=True, slots=True)
class _Place:
    path: Path
    offset: int
    length: int


class LocalPlaintext:
    """Chunks in the files of releases on this machine, by digest. Files change: what is read is checked."""

    def __init__(self) -> None:
        self._places: dict[Digest, _Place] = {}

    def add(self, manifest: Manifest, root: Path, rows: Iterable[int] | None = None) -> None:
        """Learn that a release lies under `root`, or some rows of it in files named `*.partial`."""
        suffix = "" if rows is None else PARTIAL_SUFFIX
        paths = [root / (file.path + suffix) for file in manifest.files]
        for row in range(len(manifest.chunks)) if rows is None else rows:
            chunk = manifest.chunks[row]
            place = _Place(paths[manifest.file_of(row)], manifest.offsets[row], chunk.length)
            self._places.setdefault(Digest(manifest.algorithm, chunk.digest), place)

    def knows(self, digest: Digest) -> bool:
        """Whether a file here should hold the chunk."""
        return digest in self._places

    def read(self, digest: Digest) -> bytes | None:
        """A chunk's plaintext, or None where no file here holds it (any more)."""
        place = self._places.get(digest)
        data = _read_file(place) if place else None
        return data if data is not None and digest.algorithm.digest(data) == digest else None


class Plaintext:
    """Reads chunks and byte ranges of releases; every byte that it gives was verified."""

    def __init__(self, blocks: BlockSource, local: LocalPlaintext | None = None) -> None:
        self._blocks = blocks
        self._local = local or LocalPlaintext()
        self._manifests: _Cache[Cid, Manifest] = _Cache(_CACHED_MANIFESTS)
        self._block_cache: _Cache[Cid, bytes] = _Cache(_CACHED_BLOCKS)
        self._chunk_cache: _Cache[bytes, bytes] = _Cache(_CACHED_CHUNKS)

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
        """A byte range of one file."""
        return self._range(manifest, file, offset, length, _Allowance())

    def _fetch_many(self, cids: Sequence[Cid]) -> Iterable[bytes]:
        return (self._blocks.get(cid) for cid in cids)

    def _chunk(self, manifest: Manifest, index: int, allowance: "_Allowance") -> bytes:
        chunk = manifest.chunks[index]
        local = self._local.read(Digest(manifest.algorithm, chunk.digest))
        return self._decode(manifest, chunk, allowance) if local is None else local

    def _decode(self, manifest: Manifest, chunk: Chunk, allowance: "_Allowance") -> bytes:
        if chunk.payload is None:
            return b""
        payload = self._payload(chunk.payload)
        base = self._base(manifest, chunk.base, allowance) if chunk.base else None
        data = bytes(decode(chunk.encoding, payload, base, chunk.length))
        found = manifest.algorithm.digest(data)
        if found.value != chunk.digest:
            expected = f"{manifest.algorithm.label}:{chunk.digest.hex()}"
            raise VerificationError("decoded chunk", expected=expected, found=found)
        return data

    def _payload(self, payload: Payload) -> memoryview:
        block = self._block_cache.get(payload.block, lambda: self._blocks.get(payload.block))
        if payload.offset + payload.size > len(block):
            raise FormatError(
                f"payload in block {payload.block}",
                expected=f"{payload.size} bytes at {payload.offset}",
                found=f"a block of {len(block)} bytes",
            )
        return memoryview(block)[payload.offset : payload.offset + payload.size]

    def _base(self, manifest: Manifest, at: BaseRange, allowance: "_Allowance") -> bytes:
        base = manifest.bases[at.base]
        parent = self.manifest(base.manifest)
        if parent.content_root != base.content_root:
            raise FormatError(
                f"base {base.manifest}",
                expected=f"content root 0x{base.content_root.hex()}",
                found=f"0x{parent.content_root.hex()}",
            )
        return self._range(parent, at.file, at.offset, at.length, allowance.deeper())

    def _range(
        self, manifest: Manifest, file: int, offset: int, length: int, allowance: "_Allowance"
    ) -> bytes:
        rows = manifest.covering(file, offset, length)
        if not rows:
            return b""
        parts = []
        for index in rows:
            allowance.spend()
            digest = manifest.chunks[index].digest
            make = lambda index=index: self._chunk(manifest, index, allowance)  # noqa: E731
            parts.append(self._chunk_cache.get(digest, make))
        start = offset - manifest.offsets[rows[0]]
        return b"".join(parts)[start : start + length]


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
        if self._spent[0] > _MAX_BASE_CHUNKS:
            raise FormatError("delta chain", expected=f"at most {_MAX_BASE_CHUNKS} base chunks", found="more")


def _read_file(place: _Place) -> bytes | None:
    try:
        descriptor = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        data = os.pread(descriptor, place.length, place.offset)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return data if len(data) == place.length else None
