"""Publishing small releases into a store in memory, and reading them back."""

import itertools
import json
import struct
from dataclasses import dataclass

import numpy as np

from modelreg.encode import EncodedRelease, Parent, encode_release
from modelreg.format.manifest_blocks import read_manifest
from modelreg.source import find_sources
from modelreg.store.plaintext import Plaintext
from tests.store.memory import MemoryStore

DTYPES = {"F32": "<f4", "BF16": "<u2", "I8": "<i1", "U8": "<u1", "I64": "<i8"}


def safetensors(tensors, metadata=None):
    """A file of (name, type, array) in the order given."""
    header, at = {"__metadata__": metadata} if metadata else {}, 0
    for name, dtype, array in tensors:
        size = array.nbytes
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for _, _, array in tensors)


def bf16(array):
    return (np.ascontiguousarray(array, "<f4").view("<u4") >> 16).astype("<u2")


def normal(seed, *shape, scale=0.02):
    return (np.random.default_rng(seed).standard_normal(shape, "f4") * scale).astype("<f4")


class CountingStore(MemoryStore):
    """Notes every block that it gives."""

    def __init__(self):
        super().__init__()
        self.given = []

    def get(self, cid):
        self.given.append(cid)
        return super().get(cid)


@dataclass
class World:
    """A directory to publish from, and a store that all releases share."""

    directory: object
    store: CountingStore

    @classmethod
    def at(cls, directory):
        return cls(directory, CountingStore())

    numbers = itertools.count()

    def publish(self, files, parent=None, effort=1, store=None, **options) -> EncodedRelease:
        """Publish {path: bytes}; `parent` is an EncodedRelease."""
        root = self.directory / str(next(self.numbers))
        for path, data in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        store = store or self.store

        def sink(cid, block):
            store.put_many([(cid, block)])

        parent = parent and Parent(parent.cid, parent.manifest)
        return encode_release(find_sources(root), parent, store, sink, effort=effort, **options)

    def read(self, release):
        """All files of a release, from blocks alone, by a reader that has nothing yet."""
        plaintext = Plaintext(self.store)
        manifest = plaintext.manifest(release.cid)
        return {
            file.path: b"".join(plaintext.chunk(manifest, row) for row in rows_of(manifest, number))
            for number, file in enumerate(manifest.files)
        }

    def blocks_of(self, cid):
        """The manifest's own blocks and the payload blocks that it names."""
        self.store.given.clear()
        manifest = read_manifest(cid, lambda cids: map(self.store.get, cids))
        return {*self.store.given, *(row.payload.block for row in manifest.chunks if row.payload)}


def rows_of(manifest, number):
    return range(manifest.first_chunks[number], manifest.first_chunks[number + 1])
