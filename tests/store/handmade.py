"""Releases of one file whose rows somebody made up, for tests of lineages made to harm."""

from dataclasses import dataclass

from modelreg.format.cid import Cid
from modelreg.format.delta import Encoding
from modelreg.format.delta.plain import pack_frame
from modelreg.format.digest import HashAlgorithm
from modelreg.format.manifest import Base, BaseRange, Chunk, FileEntry, Manifest, Payload
from modelreg.format.manifest_blocks import write_manifest
from modelreg.format.merkle import content_root, file_leaves
from modelreg.format.tensors import FileFormat
from tests.store.blocks import leaf

BLAKE3 = HashAlgorithm.BLAKE3_256


@dataclass(frozen=True)
class Made:
    cid: Cid
    manifest: Manifest
    data: bytes

    @property
    def base(self):
        return Base(self.manifest.content_root, self.cid)


def made(store, data, rows, bases=()):
    """A release of the file `f`, which holds `data`."""
    leaves = file_leaves("f", ((row.length, row.digest) for row in rows))
    file = FileEntry("f", sum(row.length for row in rows), FileFormat.BYTES, len(rows), ())
    manifest = Manifest(BLAKE3, content_root(leaves, BLAKE3), tuple(bases), (file,), tuple(rows))
    cid, blocks = write_manifest(manifest)
    store.put_many(blocks)
    return Made(cid, manifest, data)


def kept(store, data):
    cid, block = leaf(data)
    store.put_many([(cid, block)])
    return Payload(cid, 0, len(data))


def raw(store, data):
    return Chunk(len(data), BLAKE3.digest(data).value, int(Encoding.RAW), kept(store, data))


def patch(store, data, parent, offset, length, number=0):
    """A row that stands against a range of `parent`."""
    base = parent.data[offset : offset + length]
    payload = kept(store, pack_frame(memoryview(data), memoryview(base), 3))
    return Chunk(
        len(data),
        BLAKE3.digest(data).value,
        int(Encoding.PATCH),
        payload,
        BaseRange(number, 0, offset, length),
    )


def text(level, number):
    """What a chunk holds: 80 bytes that a frame of fewer than 80 can hold."""
    return (level.to_bytes(2, "big") + number.to_bytes(2, "big")) * 20


def pyramid(store, levels, width):
    """Releases on top of each other; each chunk stands against all `width` chunks of the release below."""
    pieces = [text(0, number) for number in range(width)]
    below = made(store, b"".join(pieces), [raw(store, piece) for piece in pieces])
    for level in range(1, levels + 1):
        pieces = [text(level, number) for number in range(width)]
        rows = [patch(store, piece, below, 0, len(below.data)) for piece in pieces]
        below = made(store, b"".join(pieces), rows, [below.base])
    return below
