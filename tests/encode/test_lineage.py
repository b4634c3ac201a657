"""Long and wide lineages: what a publisher writes, a node that starts cold can decode."""

import random
from dataclasses import replace

import numpy as np
import pytest

from modelreg.encode import Parent
from modelreg.errors import FormatError, NotFoundError
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import Digest, HashAlgorithm
from modelreg.format.manifest import (
    MAX_BASE_CHUNKS,
    MAX_BASES,
    Base,
    BaseRange,
    Chunk,
    FileEntry,
    Manifest,
    Payload,
)
from modelreg.format.manifest_blocks import write_manifest
from modelreg.format.merkle import content_root, file_leaves
from modelreg.format.tensors import FileFormat
from modelreg.lineage import Lineage
from modelreg.store.plaintext import Plaintext
from tests.encode.releases import World, normal, safetensors
from tests.store.blocks import leaf
from tests.store.memory import MemoryStore

BLAKE3 = HashAlgorithm.BLAKE3_256
CAP = 8


@pytest.fixture
def world(tmp_path):
    return World.at(tmp_path)


class Needs:
    """Depth and width of chunks, counted from the manifests alone, straight from the specification."""

    def __init__(self, plaintext):
        self.plaintext = plaintext

    def of(self, manifest, row):
        at = manifest.chunks[row].base
        if at is None:
            return 0, 0
        base = self.plaintext.manifest(manifest.bases[at.base].manifest)
        below = [self.of(base, number) for number in base.covering(at.file, at.offset, at.length)]
        return 1 + max(depth for depth, _ in below), sum(1 + width for _, width in below)


def needs(world, release):
    count = Needs(Plaintext(world.store))
    return [count.of(release.manifest, row) for row in range(len(release.manifest.chunks))]


def test_a_chain_of_40_releases_stays_decodable_from_a_cold_node(world):
    weights = normal(1, 200, 300)
    release, deepest = None, 0
    for number in range(40):
        weights = weights + normal(100 + number, 200, 300, scale=1e-6)
        files = {"model.safetensors": safetensors([("w", "F32", weights)])}
        if number % 3 == 0:
            files["notes.txt"] = f"release {number}\n".encode() * 400
        release = world.publish(files, release)
        assert world.read(release) == files
        depths = [depth for depth, _ in needs(world, release)]
        deepest = max(deepest, *depths)
        assert len(release.manifest.bases) <= MAX_BASES
    assert deepest == CAP


def test_more_than_16_bases_are_never_written(world):
    """Every release changes one of 24 tensors: chunks stand against as many older releases."""
    tensors = [[f"t{n}", "F32", normal(n, 160, 110)] for n in range(24)]
    release, most = None, 0
    for number in range(26):
        if number:
            tensors[number % 24][2] = tensors[number % 24][2] + normal(number, 160, 110, scale=1e-6)
        files = {"model.safetensors": safetensors(tensors)}
        release = world.publish(files, release)
        most = max(most, len(release.manifest.bases))
        assert len({base.manifest for base in release.manifest.bases}) == len(release.manifest.bases)
        assert len(release.manifest.bases) <= MAX_BASES
    assert most == MAX_BASES
    assert world.read(release) == files


def test_a_wide_lineage_is_cut_before_readers_refuse_it(world):
    """Bytes that change everywhere and move: a chunk's base straddles several chunks, and so do theirs."""
    chance = random.Random(1)
    data = bytearray(chance.randbytes(900_000))
    release, widest = None, 0
    for _ in range(10):
        data[:0] = chance.randbytes(20_000)
        for place in range(0, len(data), 30_000):
            data[place] ^= 1
        release = world.publish({"a.bin": bytes(data)}, release)
        assert world.read(release) == {"a.bin": bytes(data)}
        widest = max(widest, *(width for _, width in needs(world, release)))
    assert MAX_BASE_CHUNKS / 2 < widest <= MAX_BASE_CHUNKS


def built(store, name, rows, bases=()):
    """A release of one file whose rows somebody made up."""
    leaves = file_leaves(name, ((row.length, row.digest) for row in rows))
    size = sum(row.length for row in rows)
    file = FileEntry(name, size, FileFormat.BYTES, len(rows), ())
    manifest = Manifest(BLAKE3, content_root(leaves, BLAKE3), tuple(bases), (file,), tuple(rows))
    cid, blocks = write_manifest(manifest)
    store.put_many(blocks)
    return Parent(cid, manifest)


def raw(store, data):
    cid, block = leaf(data)
    store.put_many([(cid, block)])
    return Chunk(len(data), BLAKE3.digest(data).value, 0, Payload(cid, 0, len(data)))


def against(parent, data, offset, length, payload):
    base = BaseRange(0, 0, offset, length)
    return Chunk(len(data), BLAKE3.digest(data).value, 3, payload, base), Base(
        parent.manifest.content_root, parent.cid
    )


def lineage(store, parent):
    return Lineage(parent, Plaintext(store), BLAKE3)


def pyramid(store, levels, width):
    """Each release's chunks stand against `width` chunks of the one before."""
    payload = raw(store, b"some payload").payload
    rows = [raw(store, bytes([n % 256, n // 256])) for n in range(width)]
    parent = built(store, "f", rows)
    for level in range(levels):
        made = [
            against(parent, level.to_bytes(2, "big") + bytes([n % 256]), 0, parent.manifest.size, payload)
            for n in range(width)
        ]
        parent = built(store, "f", [row for row, _ in made], [made[0][1]])
    return parent


@pytest.mark.parametrize(
    ("levels", "width", "allowed"),
    [(0, 255, True), (0, 257, False), (1, 15, True), (1, 16, False), (3, 4, False), (6, 1, True)],
)
def test_attack_delta_pyramid_is_no_base(levels, width, allowed):
    store = MemoryStore()
    parent = pyramid(store, levels, width)
    assert lineage(store, parent).allows(BaseRange(0, 0, 0, parent.manifest.size)) == allowed


@pytest.mark.parametrize(("levels", "allowed"), [(7, True), (8, False), (15, False), (600, False)])
def test_attack_delta_chain_of_a_parent_is_no_base(levels, allowed):
    store = MemoryStore()
    parent = pyramid(store, levels, 1)
    assert lineage(store, parent).allows(BaseRange(0, 0, 0, 1)) == allowed


def test_a_base_outside_its_file_is_no_base():
    store = MemoryStore()
    first = built(store, "f", [raw(store, b"abc")])
    row, base = against(first, b"xyz", 2, 2, raw(store, b"p").payload)
    parent = built(store, "f", [row], [base])
    assert not lineage(store, parent).allows(BaseRange(0, 0, 0, 3))
    assert lineage(store, first).allows(BaseRange(0, 0, 0, 3))


def test_a_parent_of_which_a_base_is_missing_is_told(world):
    store = MemoryStore()
    first = built(store, "f", [raw(store, b"abc")])
    row, base = against(first, b"xyz", 0, 3, raw(store, b"p").payload)
    parent = built(store, "f", [row], [base])
    store.delete([first.cid])
    with pytest.raises(NotFoundError):
        lineage(store, parent).allows(BaseRange(0, 0, 0, 3))


def test_a_release_on_top_of_a_broken_one_mends_it(world):
    """The parent's manifest is fine, but its blocks do not decode to what it names."""
    weights = normal(1, 256, 200)
    parent = world.publish({"model.safetensors": safetensors([("w", "F32", weights)])}, effort=0)
    rows = [replace(row, encoding=1) if row.length > 1000 else row for row in parent.manifest.chunks]
    broken = replace(parent.manifest, chunks=tuple(rows))
    cid, blocks = write_manifest(broken)
    world.store.put_many(blocks)
    broken = replace(parent, cid=cid, manifest=broken)
    with pytest.raises(FormatError):
        world.read(broken)
    files = {"model.safetensors": safetensors([("w", "F32", weights + np.float32(1e-6))])}
    child = world.publish(files, broken)
    assert world.read(child) == files


def test_attack_delta_cycle_cannot_be_built():
    """A base is named by the hash of its manifest, and so would have to hold its own hash."""
    store = MemoryStore()
    first = built(store, "f", [raw(store, b"abc")])
    payload = raw(store, b"p").payload
    guess = Parent(Cid(Codec.DAG_CBOR, Digest(BLAKE3, bytes(32))), first.manifest)
    row, base = against(guess, b"xyz", 0, 3, payload)
    one = built(store, "f", [row], [base])
    assert one.cid != guess.cid
    row, base = against(one, b"xyz", 0, 3, payload)
    two = built(store, "f", [row], [base])
    assert two.cid not in (one.cid, guess.cid)


def test_a_release_that_goes_back_to_older_content_can_be_decoded(world):
    """Its chunks stand against the parent's, and those against chunks of the same digests as its own."""
    one = {"model.safetensors": safetensors([("w", "F32", normal(1, 200, 200))])}
    two = {
        "model.safetensors": safetensors(
            [("w", "F32", normal(1, 200, 200) + normal(2, 200, 200, scale=1e-6))]
        )
    }
    release = world.publish(one)
    for number in range(6):
        release = world.publish((two, one)[number % 2], release)
        assert world.read(release) == (two, one)[number % 2]
