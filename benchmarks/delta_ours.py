"""This project as a codec: a release of one file against another, and what a node fetches as one archive."""

import mmap
import os
from contextlib import closing
from pathlib import Path

import numpy as np

from modelreg.encode import Parent, encode_release
from modelreg.errors import NotFoundError
from modelreg.format.car import CarReader, write_car
from modelreg.format.cid import Cid
from modelreg.format.delta import WordType, decode
from modelreg.format.delta.kernels import part, prefer_compiled, subtract
from modelreg.format.delta.streams import pack_integers, unpack_only
from modelreg.format.manifest import Chunk, Payload
from modelreg.format.manifest_blocks import read_manifest
from modelreg.parallel import map_ordered, worker_count
from modelreg.source import find_sources

# Fewer are left to NumPy.
_WORDS = 8 << 10


class Blocks:
    """Blocks in memory; those that a child has besides its parent's are its patch."""

    name = "memory"

    def __init__(self) -> None:
        self.held: dict[Cid, bytes] = {}

    def get(self, cid: Cid) -> bytes:
        """A block."""
        if cid not in self.held:
            raise NotFoundError(f"no block {cid}")
        return self.held[cid]

    def has(self, cid: Cid) -> bool:
        """Whether it is here."""
        return cid in self.held

    def put(self, cid: Cid, block: bytes) -> None:
        """Keep a block."""
        self.held.setdefault(cid, block)


class Node:
    """Who has the parent already: its blocks, stored as they are, and its manifest."""

    def __init__(self, parent: Path) -> None:
        _load_machine_code()
        self._blocks = Blocks()
        made = encode_release(find_sources(parent), None, self._blocks, self._blocks.put, effort=0)
        self._parent = Parent(made.cid, made.manifest, ours=True)

    def encode(self, _: Path, child: Path, out: Path, __: str) -> None:
        """Write the archive of what a node needs that has the parent."""
        before = set(self._blocks.held)
        made = encode_release(find_sources(child), self._parent, self._blocks, self._blocks.put, effort=1)
        new = ((cid, block) for cid, block in self._blocks.held.items() if cid not in before)
        with out.open("wb") as file:
            file.writelines(write_car([made.cid], new))

    def decode(self, parent: Path, patch: Path, out: Path) -> None:
        """Write the child, from the parent's file and the archive; every chunk is checked."""
        with patch.open("rb") as archive:
            reader = CarReader(archive.read)
            blocks = self._blocks.held | dict(reader)
        manifest = read_manifest(reader.roots[0], lambda cids: map(blocks.__getitem__, cids))
        with parent.open("rb") as base, out.open("wb") as file:
            known = mmap.mmap(base.fileno(), 0, access=mmap.ACCESS_READ)
            os.ftruncate(file.fileno(), manifest.files[0].size)

            def place(row: int) -> int:
                chunk = manifest.chunks[row]
                data = _plain(chunk, blocks, known)
                if manifest.algorithm.digest(data).value != chunk.digest:
                    raise SystemExit(f"chunk {row} differs")
                return os.pwrite(file.fileno(), data, manifest.offsets[row])

            rows = range(len(manifest.chunks))
            with closing(map_ordered(place, rows, workers=worker_count())) as done:
                for _ in done:
                    pass


def _plain(chunk: Chunk, blocks: dict[Cid, bytes], known: mmap.mmap) -> memoryview:
    at, factors = chunk.base, chunk.factors
    return decode(
        chunk.encoding,
        _payload(chunk.payload, blocks),
        memoryview(known)[at.offset : at.offset + at.length] if at else None,
        chunk.length,
        _payload(factors, blocks) if factors else None,
    )


def _payload(at: Payload | None, blocks: dict[Cid, bytes]) -> memoryview:
    return memoryview(blocks[at.block])[at.offset : at.offset + at.size] if at else memoryview(b"")


def _load_machine_code() -> None:
    """Have numba ready, as others have theirs in a library."""
    prefer_compiled()
    for word in (WordType.I8, WordType.BF16, WordType.F32):
        # What is read from a file cannot be written to, and numba compiles that anew.
        base = np.frombuffer(bytes(_WORDS * word.width), f"<i{word.width}")
        difference = subtract(base, base, word, 0)
        unpack_only(memoryview(pack_integers(difference + 1, 8)), difference)
        if word.exponent_bits:
            parted = part(base, word, [0])
            parted.restore(parted.gather(difference), 0)
    # The allocator keeps memory from now on, as in the command, whose imports free larger blocks: anew, each
    # page costs two microseconds, which would be a quarter of encoding.
    np.zeros(24 << 20, np.uint8)
