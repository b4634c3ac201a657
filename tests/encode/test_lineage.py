"""Long and wide lineages: what a publisher writes, a node that starts cold can decode."""

import random
from dataclasses import replace

import numpy as np
import pytest

from modelreg.encode import Parent
from modelreg.errors import FormatError, NotFoundError
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import Digest
from modelreg.format.manifest import MAX_BASE_CHUNKS, MAX_BASES, BaseRange
from modelreg.format.manifest_blocks import write_manifest
from modelreg.lineage import Lineage
from modelreg.store.plaintext import Plaintext
from tests.encode.releases import World, normal, safetensors
from tests.store.handmade import BLAKE3, made, patch, pyramid, raw, text
from tests.store.memory import MemoryStore

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


def lineage(store, parent):
    return Lineage(Parent(parent.cid, parent.manifest), store, BLAKE3)


@pytest.mark.parametrize(
    ("levels", "width", "allowed"),
    [(0, 255, True), (0, 257, False), (1, 15, True), (1, 16, False), (3, 4, False), (6, 1, True)],
)
def test_attack_delta_pyramid_is_no_base(levels, width, allowed):
    store = MemoryStore()
    parent = pyramid(store, levels, width)
    assert lineage(store, parent).allows(BaseRange(0, 0, 0, len(parent.data))) == allowed


@pytest.mark.parametrize(("levels", "allowed"), [(7, True), (8, False), (15, False), (600, False)])
def test_attack_delta_chain_of_a_parent_is_no_base(levels, allowed):
    store = MemoryStore()
    parent = pyramid(store, levels, 1)
    assert lineage(store, parent).allows(BaseRange(0, 0, 0, 1)) == allowed


def test_a_base_outside_its_file_is_no_base():
    store = MemoryStore()
    first = made(store, b"abc", [raw(store, b"abc")])
    row = replace(patch(store, text(1, 1), first, 0, 3), base=BaseRange(0, 0, 2, 2))
    parent = made(store, text(1, 1), [row], [first.base])
    assert not lineage(store, parent).allows(BaseRange(0, 0, 0, 3))
    assert lineage(store, first).allows(BaseRange(0, 0, 0, 3))


def test_a_parent_of_which_a_base_is_missing_is_told():
    store = MemoryStore()
    first = made(store, b"abc", [raw(store, b"abc")])
    parent = made(store, text(1, 1), [patch(store, text(1, 1), first, 0, 3)], [first.base])
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
    """A base is named by the hash of its manifest, which would have to hold that hash itself."""
    store = MemoryStore()
    first = made(store, b"abc", [raw(store, b"abc")])
    guess = replace(first, cid=Cid(Codec.DAG_CBOR, Digest(BLAKE3, bytes(32))))
    seen = {guess.cid}
    for _ in range(3):
        guess = made(store, text(1, 1), [patch(store, text(1, 1), guess, 0, 3)], [guess.base])
        assert guess.cid not in seen
        seen.add(guess.cid)


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
