"""Plaintext out of blocks and files: hostile manifests, files that change, and what it costs."""

import os
import random
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modelreg.errors import FormatError, NotFoundError, UnreachableError, VerificationError
from modelreg.format.cid import Cid, Codec
from modelreg.format.delta import Encoding
from modelreg.format.digest import Digest
from modelreg.format.manifest import MAX_BASE_CHUNKS, MAX_BASE_RANGE, MAX_DEPTH, BaseRange, Chunk, Payload
from modelreg.store.cache import Cache
from modelreg.store.multi import MultiStore
from modelreg.store.plaintext import LocalPlaintext, Plaintext
from tests.encode.releases import World, normal, safetensors
from tests.store.handmade import BLAKE3, kept, made, patch, pyramid, raw, text
from tests.store.memory import MemoryStore

ABC = b"abc" * 100


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def first(store):
    """A release of one chunk, to stand against."""
    return made(store, ABC, [raw(store, ABC)])


def chunk(store, release, row=0, local=None):
    """A chunk as a node reads it that starts cold, its manifest included."""
    plaintext = Plaintext(store, local)
    return plaintext.chunk(plaintext.manifest(release.cid), row)


def with_row(store, row, *bases):
    return made(store, b"", [row], [base.base for base in bases])


def changed(row, **place):
    return replace(row, payload=replace(row.payload, **place))


def test_chunks_and_ranges_are_given(store, first):
    release = made(
        store, text(1, 1) + ABC, [patch(store, text(1, 1), first, 0, 300), raw(store, ABC)], [first.base]
    )
    plaintext = Plaintext(store)
    manifest = plaintext.manifest(release.cid)
    assert [plaintext.chunk(manifest, row) for row in (0, 1)] == [text(1, 1), ABC]
    whole = text(1, 1) + ABC
    for offset, length in ((0, len(whole)), (0, 0), (79, 2), (80, 300), (379, 1), (len(whole), 0)):
        assert plaintext.range(manifest, 0, offset, length) == whole[offset : offset + length]
    with pytest.raises(FormatError):
        plaintext.range(manifest, 0, 1, len(whole))


def test_an_empty_file_has_an_empty_chunk(store):
    nothing = Chunk(0, BLAKE3.digest(b"").value, 0, None)
    assert chunk(store, made(store, b"", [nothing])) == b""


class TestHostileManifest:
    @pytest.mark.parametrize(
        "base", [(0, 0, 0, 301), (0, 0, 300, 1), (0, 0, 2**62, 1), (0, 1, 0, 1), (0, 65_535, 0, 1)]
    )
    def test_base_range_outside_the_files(self, store, first, base):
        row = replace(patch(store, text(1, 1), first, 0, 300), base=BaseRange(*base))
        with pytest.raises(FormatError, match="byte range"):
            chunk(store, with_row(store, row, first))

    def test_base_range_of_no_bytes(self, store, first):
        row = replace(patch(store, text(1, 1), first, 0, 300), base=BaseRange(0, 0, 0, 0))
        with pytest.raises(FormatError, match="base"):
            chunk(store, with_row(store, row, first))

    def test_base_of_another_content_root_than_its_manifest(self, store, first):
        row = patch(store, text(1, 1), first, 0, 300)
        other = made(store, ABC, [row], [replace(first.base, content_root=bytes(32))])
        with pytest.raises(FormatError, match="content root"):
            chunk(store, other)

    def test_base_manifest_that_is_a_chunk(self, store, first):
        """Its bytes are a manifest, but its link says they are a leaf."""
        leaf = Cid(Codec.RAW, first.cid.digest)
        store.kept[leaf] = store.kept[first.cid]
        with pytest.raises(FormatError, match="codec"):
            Plaintext(store).manifest(leaf)

    def test_base_manifest_that_is_nowhere(self, store, first):
        release = with_row(store, patch(store, text(1, 1), first, 0, 300), first)
        store.delete([first.cid])
        with pytest.raises(NotFoundError):
            chunk(store, release)

    @pytest.mark.parametrize(
        "place", [{"offset": 1}, {"size": 301}, {"offset": 300, "size": 1}, {"offset": 1 << 20, "size": 0}]
    )
    def test_payload_outside_its_block(self, store, place):
        with pytest.raises(FormatError, match="payload"):
            chunk(store, with_row(store, changed(raw(store, ABC), **place)))

    def test_large_payload_outside_its_block(self, store):
        data = random.Random(1).randbytes(200_000)
        with pytest.raises(FormatError, match="payload"):
            chunk(store, with_row(store, changed(raw(store, data), offset=1)))

    @pytest.mark.parametrize("size", [299, 0])
    def test_payload_shorter_than_the_chunk(self, store, size):
        with pytest.raises(FormatError):
            chunk(store, with_row(store, changed(raw(store, ABC), size=size)))

    def test_digest_of_other_bytes(self, store):
        row = replace(raw(store, ABC), digest=BLAKE3.digest(b"other").value)
        with pytest.raises(VerificationError, match="decoded chunk"):
            chunk(store, with_row(store, row))

    def test_payload_of_other_bytes(self, store):
        row = replace(raw(store, ABC), payload=kept(store, b"xyz" * 100))
        with pytest.raises(VerificationError, match="decoded chunk"):
            chunk(store, with_row(store, row))

    def test_base_of_other_bytes(self, store, first):
        """The payload was made against another release than the row names."""
        other = made(store, b"xyz" * 100, [raw(store, b"xyz" * 100)])
        long = (ABC * 10)[:2000]
        row = patch(store, long, first, 0, 300)
        assert chunk(store, with_row(store, row, first)) == long
        with pytest.raises(VerificationError):
            chunk(store, with_row(store, row, other))

    @pytest.mark.parametrize("encoding", [9, 255])
    def test_encoding_that_nobody_knows(self, store, encoding):
        with pytest.raises(FormatError, match="encoding"):
            chunk(store, with_row(store, replace(raw(store, ABC), encoding=encoding)))

    def test_base_that_the_encoding_does_not_take(self, store, first):
        row = replace(raw(store, ABC), base=BaseRange(0, 0, 0, 300))
        with pytest.raises(FormatError, match="base"):
            chunk(store, with_row(store, row, first))

    def test_base_that_the_encoding_takes_is_missing(self, store, first):
        row = replace(patch(store, text(1, 1), first, 0, 300), base=None)
        with pytest.raises(FormatError, match="base"):
            chunk(store, with_row(store, row))

    def test_a_source_that_lies(self, store):
        release = made(store, ABC, [raw(store, ABC)])

        class Liar(MemoryStore):
            def get(self, cid):
                block = store.get(cid)
                return block if cid.codec is Codec.DAG_CBOR else b"xyz" * 100

        with pytest.raises(VerificationError):
            chunk(MultiStore(MemoryStore(), [Liar()]), release)


class TestLongLineages:
    @pytest.mark.parametrize("depth", [1, 8, MAX_DEPTH])
    def test_a_chain_of_16_bases_is_decoded(self, store, depth):
        assert chunk(store, pyramid(store, depth, 1)) == text(depth, 0)

    @pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 300])
    def test_attack_delta_chain_of_17_bases(self, store, depth):
        with pytest.raises(FormatError, match="at most 16 bases deep"):
            chunk(store, pyramid(store, depth, 1))

    @pytest.mark.parametrize(("levels", "width"), [(1, MAX_BASE_CHUNKS), (2, 15), (7, 2)])
    def test_256_base_chunks_are_decoded(self, store, levels, width):
        assert chunk(store, pyramid(store, levels, width)) == text(levels, 0)

    @pytest.mark.parametrize(("levels", "width"), [(1, MAX_BASE_CHUNKS + 1), (2, 300)])
    def test_attack_delta_bomb_of_257_base_chunks(self, store, levels, width):
        with pytest.raises(FormatError, match="at most 256 base chunks"):
            chunk(store, pyramid(store, levels, width))

    def test_attack_delta_bomb_of_a_pyramid_without_equal_chunks(self, store):
        """Each level needs other chunks, so that no cache makes it cheaper: 6 + 36 + 216 of them."""
        below = made(store, text(0, 0) * 216, [raw(store, text(0, n)) for n in range(216)])
        below = replace(below, data=b"".join(text(0, n) for n in range(216)))
        for level, width in ((1, 36), (2, 6), (3, 1)):
            pieces = [text(level, n) for n in range(width)]
            rows = [patch(store, piece, below, 480 * n, 480) for n, piece in enumerate(pieces)]
            below = made(store, b"".join(pieces), rows, [below.base])
        with pytest.raises(FormatError, match="at most 256 base chunks"):
            chunk(store, below)

    def test_attack_delta_bomb_of_many_tiny_base_chunks(self, store):
        tiny = raw(store, b"x")
        base = made(store, b"x" * 50_000, [tiny] * 50_000)
        row = replace(patch(store, text(1, 1), base, 0, 10), base=BaseRange(0, 0, 0, 50_000))
        asked = []
        store.get = lambda cid, get=store.get: asked.append(cid) or get(cid)
        with pytest.raises(FormatError, match="at most 256 base chunks"):
            chunk(store, with_row(store, row, base))
        assert len(asked) < 300

    def test_each_chunk_of_a_range_has_its_own_allowance(self, store):
        top = pyramid(store, 1, 200)
        plaintext = Plaintext(store)
        assert plaintext.range(plaintext.manifest(top.cid), 0, 0, 160) == text(1, 0) + text(1, 1)

    def test_what_is_at_hand_needs_no_chain(self, store, tmp_path):
        deep = pyramid(store, MAX_DEPTH, 1)
        above = made(store, text(99, 0), [patch(store, text(99, 0), deep, 0, 80)], [deep.base])
        with pytest.raises(FormatError):
            chunk(store, above)
        (tmp_path / "f").write_bytes(deep.data)
        local = LocalPlaintext()
        local.add(deep.manifest, tmp_path)
        assert chunk(store, above, local=local) == text(99, 0)

    def test_memory_of_a_chain_with_the_largest_bases_is_bounded(self, store):
        piece = random.Random(1).randbytes(1000) * 524
        below = made(store, piece * 4, [raw(store, piece)] * 4)
        for level in range(MAX_DEPTH):
            pieces = [bytes([level, n]) + piece[2:] for n in range(4)]
            below = replace(below, data=below.data[:MAX_BASE_RANGE])
            rows = [patch(store, data, below, 0, len(below.data)) for data in pieces]
            below = made(store, b"".join(pieces), rows, [below.base])
        tracemalloc.start()
        try:
            assert len(chunk(store, below)) == len(piece)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 128 << 20


class TestFilesOnThisMachine:
    @pytest.fixture
    def release(self, store):
        rows = [raw(store, ABC), raw(store, b"x" * 10)]
        return made(store, ABC + b"x" * 10, rows)

    @pytest.fixture
    def copy(self, release, tmp_path):
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / "f").write_bytes(release.data)
        return tmp_path / "copy"

    def local(self, release, *roots, rows=None):
        known = LocalPlaintext()
        for root in roots:
            known.add(release.manifest, root, rows)
        return known

    def test_a_chunk_comes_from_its_file_without_a_block(self, release, copy, store):
        local = self.local(release, copy)
        store.kept = {cid: block for cid, block in store.kept.items() if cid.codec is Codec.DAG_CBOR}
        assert [chunk(store, release, row, local) for row in (0, 1)] == [ABC, b"x" * 10]

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda path: path.unlink(),
            lambda path: path.write_bytes(b""),
            lambda path: path.write_bytes(ABC[:-1]),
            lambda path: path.write_bytes(b"xyz" * 100 + b"x" * 10),
            lambda path: (path.rename(path.with_name("g")), path.symlink_to("g")),
            lambda path: (path.unlink(), os.mkfifo(path)),
            lambda path: (path.unlink(), path.mkdir()),
            lambda path: (path.unlink(), path.parent.rmdir()),
            lambda path: (path.unlink(), path.parent.rmdir(), path.parent.write_bytes(b"")),
            lambda path: (path.unlink(), path.symlink_to(path)),
            lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
        ],
        ids=[
            "deleted",
            "emptied",
            "cut",
            "overwritten",
            "link",
            "pipe",
            "directory",
            "gone",
            "in_a_file",
            "loop",
            "device",
        ],
    )
    def test_a_file_that_changed_is_not_believed(self, release, copy, store, spoil):
        local = self.local(release, copy)
        spoil(copy / "f")
        digest = Digest(BLAKE3, release.manifest.chunks[0].digest)
        assert local.knows(digest)
        assert local.read(digest) is None
        assert chunk(store, release, 0, local) == ABC

    def test_a_file_that_changes_between_two_reads_is_not_believed(self, release, copy, store):
        local = self.local(release, copy)
        assert chunk(store, release, 0, local) == ABC
        with (copy / "f").open("r+b") as file:
            file.write(b"X")
        plaintext = Plaintext(MemoryStore(), local)
        with pytest.raises(NotFoundError):
            plaintext.chunk(release.manifest, 0)
        assert plaintext.chunk(release.manifest, 1) == b"x" * 10

    def test_another_copy_stands_in_for_one_that_was_deleted(self, release, copy, tmp_path):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "f").write_bytes(release.data)
        local = self.local(release, copy, tmp_path / "other")
        (copy / "f").unlink()
        assert Plaintext(MemoryStore(), local).chunk(release.manifest, 0) == ABC

    def test_another_copy_stands_in_for_one_that_had_a_chunk_often(self, store, tmp_path):
        often = made(store, ABC * 5, [raw(store, ABC)] * 5)
        once = made(store, ABC, [raw(store, ABC)])
        (tmp_path / "f").write_bytes(ABC)
        local = self.local(often, tmp_path / "deleted")
        local.add(once.manifest, tmp_path)
        assert local.read(BLAKE3.digest(ABC)) == ABC

    def test_some_rows_of_a_partial_copy(self, release, tmp_path):
        (tmp_path / "f.partial").write_bytes(bytes(300) + b"x" * 10)
        local = self.local(release, tmp_path, rows=[1])
        assert local.read(Digest(BLAKE3, release.manifest.chunks[1].digest)) == b"x" * 10
        assert not local.knows(Digest(BLAKE3, release.manifest.chunks[0].digest))

    def test_a_chunk_that_is_often_in_a_file_takes_little_memory(self, store):
        release = made(store, b"", [raw(store, b"x" * 100)] * 20_000)
        local = LocalPlaintext()
        tracemalloc.start()
        try:
            local.add(release.manifest, Path("/nowhere"))
            assert tracemalloc.get_traced_memory()[0] < 1 << 20
        finally:
            tracemalloc.stop()


class TestCache:
    def test_what_was_used_last_stays(self):
        cache = Cache(10, len)
        for key in "abc":
            cache.keep(key, key * 4)
        assert [cache.find(key) for key in "abc"] == [None, "bbbb", "cccc"]
        assert cache.find("b") == "bbbb"
        cache.keep("d", "dddd")
        assert [cache.find(key) for key in "bcd"] == ["bbbb", None, "dddd"]

    def test_one_value_stays_however_large(self):
        cache = Cache(10, len)
        cache.keep("a", "a" * 5)
        cache.keep("b", "b" * 50)
        assert (cache.find("a"), cache.find("b")) == (None, "b" * 50)
        cache.keep("c", "c")
        assert (cache.find("b"), cache.find("c")) == (None, "c")

    def test_a_value_that_comes_again_weighs_once(self):
        cache = Cache(10, len)
        for _ in range(5):
            cache.keep("a", "aaaa")
        cache.keep("b", "bbbb")
        assert (cache.find("a"), cache.find("b")) == ("aaaa", "bbbb")

    def test_several_threads_make_a_value_once(self):
        cache, made_values, started = Cache(10, len), [], threading.Barrier(8)

        def make():
            made_values.append(1)
            threading.Event().wait(0.05)
            return "value"

        def ask(_):
            started.wait()
            return cache.get("key", make)

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, range(8))) == {"value"}
        assert made_values == [1]

    def test_an_error_reaches_all_that_wait_and_is_not_kept(self):
        cache, started = Cache(10, len), threading.Barrier(4)

        def fail():
            threading.Event().wait(0.05)
            raise UnreachableError("no")

        def ask(_):
            started.wait()
            with pytest.raises(UnreachableError):
                cache.get("key", fail)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, range(4)))
        assert cache.get("key", lambda: "value") == "value"

    def test_threads_that_crowd_it_get_their_own_values(self):
        cache = Cache(50, len)
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)

        def ask(seed):
            chance = random.Random(seed)
            for _ in range(300):
                key = chance.randrange(30)
                assert cache.get(key, lambda key=key: str(key) * 5) == str(key) * 5
                assert cache.find(key) in (None, str(key) * 5)

        try:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(ask, range(8)))
        finally:
            sys.setswitchinterval(before)
        assert sum(len(cache.find(key) or "") for key in range(30)) <= 50


@pytest.fixture(scope="module")
def lineage(tmp_path_factory):
    """A release of 24 MB, encoded against one that is against another."""
    world = World.at(tmp_path_factory.mktemp("lineage"))
    weights, release = normal(1, 3000, 2000), None
    for number in range(3):
        weights = weights + normal(2 + number, 1, 2000, scale=1e-7)
        release = world.publish({"model.safetensors": safetensors([("w", "F32", weights)])}, release)
    return world, release


def test_threads_read_a_lineage_at_once(lineage):
    world, release = lineage
    plaintext = Plaintext(world.store)
    manifest = plaintext.manifest(release.cid)
    rows = [random.Random(7).randrange(len(manifest.chunks)) for _ in range(60)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda row: plaintext.chunk(manifest, row), rows))
    assert [BLAKE3.digest(data).value for data in found] == [manifest.chunks[row].digest for row in rows]


def test_memory_of_decoding_does_not_grow_with_the_release(lineage):
    world, release = lineage
    plaintext = Plaintext(world.store)
    manifest = plaintext.manifest(release.cid)
    assert manifest.size > 24_000_000
    assert len(manifest.bases) == 1
    assert plaintext.manifest(manifest.bases[0].manifest).bases
    tracemalloc.start()
    try:
        for row in range(len(manifest.chunks)):
            plaintext.chunk(manifest, row)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Base chunks and shared blocks that are kept (40 MB at most) and what one chunk takes.
    assert held < 44 << 20
    assert peak < 52 << 20


def test_a_block_that_chunks_share_is_asked_for_once(store):
    pieces = [np.random.default_rng(n).bytes(1000) for n in range(50)]
    shared = kept(store, b"".join(pieces))
    rows = [
        replace(raw(store, piece), payload=Payload(shared.block, 1000 * n, 1000))
        for n, piece in enumerate(pieces)
    ]
    release = made(store, b"".join(pieces), rows)
    asked = []
    store.get = lambda cid, get=store.get: asked.append(cid) or get(cid)
    plaintext = Plaintext(store)
    manifest = plaintext.manifest(release.cid)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda row: plaintext.chunk(manifest, row), range(50))) == pieces
    assert asked.count(shared.block) == 1
    assert len(asked) == len(set(asked))
    assert rows[0].encoding == Encoding.RAW
