"""A stranger's parent whose rows name digests of good bytes, and payloads that do not decode to them.

Its content root is the one on the ledger, and whoever has the plaintext already cannot tell.
"""

import random
from dataclasses import replace

import numpy as np
import pytest

from modelreg.encode import Parent
from modelreg.errors import UnreachableError
from modelreg.format.cid import Cid, Codec
from modelreg.format.digest import HashAlgorithm
from modelreg.format.manifest import MAX_DEPTH
from modelreg.format.manifest_blocks import write_manifest
from modelreg.format.names import ModelName, Version
from modelreg.format.release import Release
from modelreg.lineage import Lineage
from modelreg.publish import Position, encode_sources
from modelreg.source import find_sources
from tests.encode.releases import World, normal, safetensors
from tests.store.handmade import BLAKE3, kept, made, patch, pyramid, raw, text

NOISE = random.Random(3).randbytes(1 << 19)


def model(step=0.0):
    step = np.float32(step)
    return {
        "m.safetensors": safetensors([(n, "F32", normal(s, 256, 200) + step) for s, n in enumerate("ab")])
    }


@pytest.fixture
def world(tmp_path):
    return World.at(tmp_path)


def poisoned(world, release, change):
    """The same release as somebody writes it who keeps the digests of its tensors, and nothing else."""
    rows = tuple(change(row) if row.length > 1000 else row for row in release.manifest.chunks)
    assert rows != release.manifest.chunks
    manifest = replace(release.manifest, chunks=rows)
    cid, blocks = write_manifest(manifest)
    world.store.put_many(blocks)
    return replace(release, cid=cid, manifest=manifest)


def noise_in(store):
    return lambda row: replace(row, encoding=0, payload=kept(store, NOISE[: row.length]), base=None)


def lineage(store, parent):
    return Lineage(Parent(parent.cid, parent.manifest), store, BLAKE3)


def test_attack_row_whose_payload_is_other_bytes_is_not_taken_over(world):
    parent = poisoned(world, world.publish(model()), noise_in(world.store))
    child = world.publish(model(), parent)
    assert world.read(child) == model()
    assert child.new_bytes == sum(row.length for row in child.manifest.chunks if row.length > 1000)


def test_attack_row_whose_block_is_nowhere_is_not_taken_over(world):
    nowhere = Cid.of(Codec.RAW, b"nobody has this", BLAKE3)
    parent = world.publish(model(), effort=0)
    parent = poisoned(world, parent, lambda row: replace(row, payload=replace(row.payload, block=nowhere)))
    assert world.read(world.publish(model(), parent, effort=0)) == model()


def test_attack_row_at_another_place_of_its_base_is_not_taken_over(world):
    second = world.publish(model(1e-6), world.publish(model()))
    assert all(row.base for row in second.manifest.chunks if row.length > 1000)
    parent = poisoned(
        world, second, lambda row: replace(row, base=replace(row.base, offset=row.base.offset - 4))
    )
    assert world.read(world.publish(model(1e-6), parent)) == model(1e-6)


def test_attack_poisoned_range_is_no_base(world):
    parent = poisoned(world, world.publish(model()), noise_in(world.store))
    child = world.publish(model(1e-6), parent)
    assert world.read(child) == model(1e-6)
    assert child.manifest.bases == ()


def test_attack_two_ways_to_a_digest_of_which_one_is_poisoned(world):
    """A base chunk that was decoded in one release says nothing of its like in another."""
    data = b"abc" * 100
    row = raw(world.store, data)
    good = made(world.store, data, [row])
    bad = made(world.store, data, [replace(row, payload=kept(world.store, NOISE[:300]))])
    rows = [
        patch(world.store, text(1, number), base, 0, 300, number) for number, base in ((0, good), (1, bad))
    ]
    parent = made(world.store, text(1, 0) + text(1, 1), rows, [good.base, bad.base])
    line = lineage(world.store, parent)
    assert line.known() == {row.digest: number for number, row in enumerate(rows)}
    assert line.take(0) == replace(rows[0], base=replace(rows[0].base, base=1))
    assert line.take(1) is None


@pytest.mark.parametrize(("levels", "width", "taken"), [(16, 1, 1), (17, 1, 0), (1, 256, 256), (2, 16, 0)])
def test_attack_rows_too_deep_or_too_wide_for_readers_are_not_taken_over(world, levels, width, taken):
    assert len(lineage(world.store, pyramid(world.store, levels, width)).known()) == taken


def test_what_stands_on_a_chain_too_deep_is_written_anew(world):
    deep = pyramid(world.store, MAX_DEPTH + 1, 1)
    child = world.publish({"f": deep.data}, deep)
    assert child.manifest.bases == ()
    assert world.read(child) == {"f": deep.data}
    most = pyramid(world.store, MAX_DEPTH, 1)
    assert world.publish({"f": most.data}, most).cid == most.cid


def test_rows_behind_a_manifest_that_is_nowhere_are_not_taken_over(world):
    parent = pyramid(world.store, 1, 1)
    world.store.delete([parent.manifest.bases[0].manifest])
    assert lineage(world.store, parent).known() == {}


def test_a_source_that_cannot_answer_now_is_told(world):
    """To write everything anew because a peer is down for a minute would cost its readers dearly."""
    parent = world.publish(model())

    class Down(type(world.store)):
        def get(self, cid):
            if cid.codec is Codec.RAW:
                raise UnreachableError("the peer is down")
            return world.store.get(cid)

    with pytest.raises(UnreachableError):
        world.publish(model(), parent, store=Down())


def test_equal_chunks_are_decoded_once(world, monkeypatch):
    monkeypatch.setattr("modelreg.encode.worker_count", lambda: 2)
    files = {"m.safetensors": safetensors([(n, "U8", np.frombuffer(NOISE, "u1")) for n in "abcdefgh"])}
    parent = world.publish(files)
    (block,) = {row.payload.block for row in parent.manifest.chunks if row.length == len(NOISE)}
    world.store.given.clear()
    assert world.publish(files, parent).cid == parent.cid
    # Both threads may begin with it at the same time.
    assert 1 <= world.store.given.count(block) <= 2


@pytest.mark.parametrize("ours", [True, False])
def test_only_what_others_published_is_decoded_before_it_is_taken_over(world, ours):
    encoded = world.publish(model())
    name, label, key, other = ModelName.parse("acme/tiny"), Version.parse("1.1.0"), bytes(20), b"o" * 20
    base = Release(
        name.id,
        None,
        encoded.manifest.content_root,
        encoded.cid.digest.value,
        Version.parse("1.0.0"),
        "main",
        key if ours else other,
        0,
        1,
        HashAlgorithm.BLAKE3_256,
    )
    world.store.given.clear()
    sources = find_sources(next(world.directory.iterdir()))
    position = Position(name, label, "main", base, base)
    child = encode_sources(position, sources, world.store, None, key=key, effort=1)
    assert child.cid == encoded.cid
    assert {cid.codec for cid in world.store.given} == ({Codec.DAG_CBOR} if ours else set(Codec))
