"""Encoding releases: what comes back, what is shared, and what a child costs."""

import random
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelreg.encode import Parent
from modelreg.errors import InputError
from modelreg.format.cid import Codec
from modelreg.format.delta import Encoding
from modelreg.format.digest import HashAlgorithm
from modelreg.format.manifest_blocks import write_manifest
from modelreg.format.selection import select_rows
from modelreg.parallel import map_ordered
from modelreg.store.plaintext import Plaintext
from tests.encode.releases import World, bf16, normal, safetensors


@pytest.fixture
def world(tmp_path):
    return World.at(tmp_path)


def small_model(seed, change=0.0):
    embed, layer = normal(seed, 600, 64), normal(seed + 1, 256, 256)
    layer = layer + normal(seed + 99, 256, 256, scale=change) if change else layer
    return safetensors(
        [
            ("embed", "F32", embed),
            ("layer.w", "F32", layer),
            ("layer.b", "BF16", bf16(normal(seed + 2, 300))),
            ("ids", "I64", np.arange(50, dtype="<i8")),
        ]
    )


def directory(seed, change=0.0):
    return {
        "config.json": b'{"hidden": 64}\n',
        "model.safetensors": small_model(seed, change),
        "sub/empty.txt": b"",
        "sub/notes.txt": random.Random(seed).randbytes(200_000),
    }


@pytest.mark.parametrize("effort", [0, 1, 2])
@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_decoding_gives_parent_and_child_byte_for_byte(world, effort, algorithm):
    parent = world.publish(directory(1), effort=effort, algorithm=algorithm)
    child = world.publish(directory(1, 1e-5), parent, effort=effort, algorithm=algorithm)
    assert world.read(parent) == directory(1)
    assert world.read(child) == directory(1, 1e-5)
    assert parent.manifest.algorithm is child.cid.digest.algorithm is algorithm
    assert child.stored_bytes < parent.stored_bytes


FILES = st.dictionaries(
    st.sampled_from(["a.bin", "b/c.bin", "z"]),
    st.builds(
        lambda seed, size, repeat: random.Random(seed).randbytes(size) * repeat,
        st.integers(0, 3),
        st.sampled_from([0, 1, 100, 70_000, 600_000]),
        st.integers(1, 2),
    ),
    min_size=1,
)


@given(st.lists(FILES, min_size=1, max_size=4), st.sampled_from([0, 1]))
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_line_of_releases_can_be_read_back(tmp_path, line, effort):
    world = World.at(tmp_path)
    release = None
    for files in line:
        release = world.publish(files, release, effort=effort)
        assert world.read(release) == files
        assert release.manifest == replace(release.manifest)


def test_equal_chunks_share_a_payload(world):
    piece = random.Random(5).randbytes(512 << 10)
    release = world.publish(
        {"model.safetensors": safetensors([(n, "U8", np.frombuffer(piece, "u1")) for n in "abc"])}
    )
    rows = [row for row in release.manifest.chunks if row.length == 512 << 10]
    assert len(rows) == 3
    assert len({row.payload for row in rows}) == 1
    assert release.new_bytes < (512 << 10) + 1000
    assert release.stored_bytes < (512 << 10) + 3000


def test_a_release_equal_to_its_parent_is_the_same_manifest(world):
    parent = world.publish(directory(1))
    again = world.publish(directory(1), parent)
    assert again.cid == parent.cid
    assert (again.new_bytes, again.stored_bytes) == (0, 0)
    line = world.publish(directory(1, 1e-5), parent)
    assert world.publish(directory(1, 1e-5), line).cid == line.cid


def test_unchanged_chunks_refer_to_the_parents_blocks(world):
    parent = world.publish(directory(1))
    files = directory(1) | {"sub/notes.txt": b"short"}
    child = world.publish(files, parent)
    held = {row.digest: row.payload for row in parent.manifest.chunks}
    shared = [row for row in child.manifest.chunks if row.digest in held]
    assert len(shared) == len(child.manifest.chunks) - 1
    assert all(row.payload == held[row.digest] for row in shared)
    assert child.new_bytes == 5
    assert child.stored_bytes < 2000


def test_unchanged_chunks_of_a_parent_with_a_base_keep_that_base(world):
    first = world.publish(directory(1))
    second = world.publish(directory(1, 1e-5), first)
    based = [row for row in second.manifest.chunks if row.base]
    assert based
    third = world.publish(directory(1, 1e-5) | {"config.json": b'{"hidden": 65}\n'}, second)
    assert world.read(third)["model.safetensors"] == directory(1, 1e-5)["model.safetensors"]
    rows = {row.digest: row for row in third.manifest.chunks}
    bases = {base.manifest for base in third.manifest.bases}
    assert first.cid in bases
    for row in based:
        same = rows[row.digest]
        assert same.payload == row.payload
        assert third.manifest.bases[same.base.base].manifest == first.cid
        assert replace(same.base, base=0) == replace(row.base, base=0)


def test_unused_bases_are_left_out_and_the_rest_renumbered(world):
    line = [world.publish(directory(1))]
    line.append(world.publish(directory(1, 1e-5), line[-1]))
    line.append(world.publish(directory(1, 1e-5) | {"extra.bin": b"x" * 10}, line[-1]))
    assert [base.manifest for base in line[-1].manifest.bases] == [line[0].cid]
    alone = world.publish({"other.bin": bytes(10)}, line[-1])
    assert alone.manifest.bases == ()


def test_effort_0_stores_blocks_whose_cid_is_the_chunks_digest(world):
    data = small_model(3)
    release = world.publish({"model.safetensors": data}, effort=0)
    large = [row for row in release.manifest.chunks if row.length >= 128 << 10]
    assert large
    for row in large:
        assert row.encoding == Encoding.RAW
        assert row.payload.block.codec is Codec.RAW
        assert row.payload.block.digest.value == row.digest
        assert (row.payload.offset, row.payload.size) == (0, row.length)
    assert all(row.encoding == Encoding.RAW and row.base is None for row in release.manifest.chunks)
    world.store.given.clear()
    child = world.publish({"model.safetensors": small_model(3, 1e-5)}, release, effort=0)
    assert child.manifest.bases == ()
    taken = {row.payload.block for row in child.manifest.chunks if row in release.manifest.chunks}
    assert {cid for cid in world.store.given if cid.codec is Codec.RAW} == taken


def test_small_payloads_share_blocks_and_large_ones_do_not(world):
    files = {f"{n:02}.bin": random.Random(n).randbytes(40_000 if n else 200_000) for n in range(20)}
    release = world.publish(files)
    blocks = {}
    for row in release.manifest.chunks:
        blocks.setdefault(row.payload.block, []).append(row.payload)
    for block, payloads in blocks.items():
        size = world.store.size(block)
        assert sum(payload.size for payload in payloads) == size <= 256 << 10
        assert len(payloads) == 1 or size < (256 << 10) + 1
        at = 0
        for payload in payloads:
            assert payload.offset == at
            at += payload.size
    assert 4 <= len(blocks) <= 6
    assert len(blocks[release.manifest.chunks[0].payload.block]) == 1


def test_the_sink_takes_the_manifests_root_last(tmp_path):
    order = []

    class Store(type(World.at(tmp_path).store)):
        def put_many(self, blocks):
            blocks = list(blocks)
            order.extend(cid for cid, _ in blocks)
            return super().put_many(blocks)

    release = World(tmp_path, Store()).publish(directory(1))
    assert order[-1] == release.cid
    nodes = [cid.codec is Codec.DAG_CBOR for cid in order]
    assert nodes == sorted(nodes)


def test_the_manifest_does_not_depend_on_the_timing_of_threads(world, monkeypatch):
    first = world.publish(directory(1))
    cids = set()
    for workers, pause in ((1, 5e-3), (2, 1e-6), (7, 1e-5), (16, 1e-6)):
        monkeypatch.setattr("modelreg.encode.worker_count", lambda workers=workers: workers)
        before = sys.getswitchinterval()
        sys.setswitchinterval(pause)
        try:
            fresh = World.at(world.directory)
            parent = fresh.publish(directory(1))
            cids.add((parent.cid, fresh.publish(directory(1, 1e-5), parent).cid))
        finally:
            sys.setswitchinterval(before)
    assert len(cids) == 1
    assert first.cid == cids.pop()[0]


def test_stored_bytes_are_the_bytes_of_blocks_that_are_new(world):
    parent = world.publish(directory(1))
    before = set(world.store.kept)
    assert parent.stored_bytes == sum(len(block) for block in world.store.kept.values())
    child = world.publish(directory(1, 1e-5), parent)
    added = set(world.store.kept) - before
    assert child.stored_bytes == sum(len(world.store.kept[cid]) for cid in added)


def test_a_file_that_moved_is_encoded_against_the_only_one_of_its_format(world):
    parent = world.publish({"model.safetensors": small_model(1)})
    child = world.publish({"weights.safetensors": small_model(1, 1e-5)}, parent)
    assert [base.manifest for base in child.manifest.bases] == [parent.cid]
    assert world.read(child) == {"weights.safetensors": small_model(1, 1e-5)}
    two = world.publish({"a.safetensors": small_model(1), "b.safetensors": small_model(2)}, parent)
    other = world.publish({"c.safetensors": small_model(1, 1e-5)}, two)
    assert other.manifest.bases == ()


def test_a_sibling_that_is_the_parent_too_is_one_base(world):
    """A branch for another precision may begin at the release whose values it casts."""
    notes = random.Random(2).randbytes(90_000)
    wide, narrow = normal(1, 300, 256), bf16(normal(1, 300, 256))
    wide = (narrow.astype("<u4") << 16).view("<f4")
    parent = world.publish({"model.safetensors": safetensors([("w", "F32", wide)]), "notes": notes})
    files = {"model.safetensors": safetensors([("w", "BF16", narrow)]), "notes": notes[:-1] + b"!"}
    child = world.publish(files, parent, sibling=Parent(parent.cid, parent.manifest))
    assert {Encoding(row.encoding) for row in child.manifest.chunks} >= {Encoding.CAST, Encoding.PATCH}
    assert [base.manifest for base in child.manifest.bases] == [parent.cid]
    assert world.read(child) == files


def test_a_parent_of_another_hash_is_refused(world):
    parent = world.publish({"a": b"a"}, algorithm=HashAlgorithm.SHA2_256)
    with pytest.raises(InputError, match="another hash"):
        world.publish({"a": b"b"}, parent)


def test_a_file_that_changes_meanwhile_is_refused(world, monkeypatch):
    path = world.directory / "growing"
    original = map_ordered

    def interfering(function, items, *, workers):
        for number, done in enumerate(original(function, items, workers=workers)):
            if number == 1:
                with next(world.directory.glob("*/model.safetensors")).open("r+b") as file:
                    file.write(b"\x00")
            yield done

    monkeypatch.setattr("modelreg.encode.map_ordered", interfering)
    with pytest.raises(InputError, match="changed"):
        world.publish({"model.safetensors": small_model(1)})
    assert not path.exists()


def test_progress_counts_every_byte(world):
    told = []
    release = world.publish(directory(1), progress=told.append)
    assert sum(told) == release.manifest.size == sum(map(len, directory(1).values()))


def test_an_error_while_encoding_ends_the_threads(world):
    def progress(_):
        raise KeyError("the caller's")

    with pytest.raises(KeyError, match="the caller's"):
        world.publish(directory(1), progress=progress)


def test_writing_what_was_read_gives_the_same_manifest(world):
    parent = world.publish(directory(1))
    child = world.publish(directory(1, 1e-5), parent)
    for release in (parent, child):
        assert write_manifest(release.manifest)[0] == release.cid


def test_only_some_tensors_touch_no_block_without_a_wanted_chunk(world):
    tensors = [(f"h.{n}.w", "F32", normal(n, 60 + n, 64)) for n in range(100)]
    parent = world.publish({"model.safetensors": safetensors(tensors)})
    tuned = [(name, dtype, array + normal(7, *array.shape, scale=1e-6)) for name, dtype, array in tensors]
    child = world.publish({"model.safetensors": safetensors(tuned)}, parent)
    manifest = child.manifest
    names = [f"h.{n}.w" for n in (3, 17, 42, 43, 80, 99)]
    rows = select_rows(manifest, names)
    wanted = {manifest.chunks[row].payload.block for row in rows}
    for row in rows:
        at = manifest.chunks[row].base
        if at:
            covered = parent.manifest.covering(at.file, at.offset, at.length)
            wanted |= {parent.manifest.chunks[number].payload.block for number in covered}
    world.store.given.clear()
    plaintext = Plaintext(world.store)
    for row in sorted(rows):
        plaintext.chunk(manifest, row)
    fetched = {cid for cid in world.store.given if cid.codec is Codec.RAW}
    assert fetched == wanted
    assert sum(map(world.store.size, fetched)) < 0.5 * (parent.stored_bytes + child.stored_bytes)
    assert len(rows) <= 1 + len(names)


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_a_header_that_grew_and_8_vocabulary_rows_cost_a_thousandth(world, dtype):
    def cast(array):
        return bf16(array) if dtype == "BF16" else array

    width, vocabulary = 512, 4000 if dtype == "F32" else 8000
    layers = [
        (f"layers.{n}.weight", dtype, cast(normal(n, 1024, 1024))) for n in range(8 if dtype == "F32" else 16)
    ]
    embedding = normal(99, vocabulary, width)
    grown = np.concatenate([embedding, normal(98, 8, width)])
    metadata = {"format": "pt", "note": "x" * 300}
    parent_file = safetensors([("embed.weight", dtype, cast(embedding)), *layers])
    child_file = safetensors(
        [("embed.weight", dtype, cast(grown)), *layers, ("extra", "F32", normal(1, 16))], metadata
    )
    parent = world.publish({"model.safetensors": parent_file})
    before = set(world.store.kept)
    child = world.publish({"model.safetensors": child_file}, parent)
    added = sum(len(world.store.kept[cid]) for cid in set(world.store.kept) - before)
    assert len(child_file) > 40_000_000
    assert added == child.stored_bytes
    assert added <= 0.001 * len(child_file)
