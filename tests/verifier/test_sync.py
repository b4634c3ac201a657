"""Copies of releases: whole or not at all, whatever lies in the way, and with as little fetched as can be."""

import errno
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from modelreg.errors import (
    FormatError,
    InputError,
    ModelregError,
    NotPermittedError,
    UnreachableError,
    VerificationError,
)
from modelreg.format.delta import Encoding
from modelreg.format.selection import select_rows
from modelreg.store.plaintext import LocalPlaintext
from modelreg_verifier import atomic, staging
from modelreg_verifier.verify import verify_directory
from tests.store.blocks import leaf
from tests.store.unprivileged import without_privileges
from tests.verifier.copies import KIB, Node, Publisher, files, tree


@pytest.fixture
def publisher(tmp_path):
    return Publisher.at(tmp_path / "published")


@pytest.fixture
def release(publisher):
    return publisher.publish(files())


@pytest.fixture
def node(publisher):
    return Node(publisher.peer)


def staging_of(target):
    return target.with_name(f".{target.name}.modelreg-staging")


def nothing_beside(target):
    return [path.name for path in target.parent.iterdir() if path.name.startswith(f".{target.name}")] == []


class TestWholeCopies:
    def test_every_byte_is_there(self, release, node, tmp_path):
        told = []
        copied, fetched = node.copy(release.manifest, tmp_path / "new" / "copy", progress=told.append)
        assert tree(tmp_path / "new" / "copy") == files()
        assert nothing_beside(tmp_path / "new" / "copy")
        assert (copied.total, copied.reused) == (len(release.manifest.chunks), 0)
        assert copied.fetched == copied.total
        assert sum(told) == release.manifest.size
        assert fetched == sum(
            map(node.peer.size, {row.payload.block for row in release.manifest.chunks if row.payload})
        )

    @pytest.mark.parametrize("before", [None, {}, {"config.json": b"old", "other": b"x", "empty/file": b"y"}])
    def test_what_stood_there_is_replaced(self, release, node, tmp_path, before):
        target = tmp_path / "copy"
        for name, data in (before or {}).items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(data)
        if before is not None:
            target.mkdir(exist_ok=True)
        node.copy(release.manifest, target)
        assert tree(target) == files()
        assert nothing_beside(target)

    def test_an_update_fetches_what_changed(self, publisher, release, node, tmp_path):
        node.copy(release.manifest, tmp_path / "one")
        node.local.add(release.manifest, tmp_path / "one")
        new = files() | {"config.json": b"{}\n"}
        child = publisher.publish(new, release)
        copied, fetched = node.copy(child.manifest, tmp_path / "two")
        assert tree(tmp_path / "two") == new
        assert copied.fetched == 1
        assert fetched < 1000

    def test_delta_against_a_copy_on_this_machine_fetches_no_base(self, publisher, release, node, tmp_path):
        node.copy(release.manifest, tmp_path / "one")
        node.local.add(release.manifest, tmp_path / "one")
        new = files()
        model = bytearray(new["sub/model.safetensors"])
        model[100_000] ^= 1
        new["sub/model.safetensors"] = bytes(model)
        child = publisher.publish(new, release)
        assert any(row.base for row in child.manifest.chunks)
        _, fetched = node.copy(child.manifest, tmp_path / "two")
        assert tree(tmp_path / "two") == new
        assert fetched < 3000

    def test_blocks_that_lie_in_files_are_not_kept_twice(self, publisher, node, tmp_path):
        release = publisher.publish(files(), effort=0)
        node.copy(release.manifest, tmp_path / "copy")
        named = {row.payload.block: [] for row in release.manifest.chunks if row.payload}
        for row in release.manifest.chunks:
            if row.payload:
                named[row.payload.block].append(row)
        for block, rows in named.items():
            is_chunk = any(row.digest == block.digest.value for row in rows)
            assert node.store.has(block) != is_chunk, "each block is in the store or in a file"
        assert any(len(rows) > 1 and rows[0].encoding == Encoding.RAW for rows in named.values())

    def test_a_note_comes_before_the_copy_appears(self, release, node, tmp_path):
        seen = []
        node.copy(release.manifest, tmp_path / "copy", note=lambda: seen.append((tmp_path / "copy").exists()))
        assert seen == [False]

    def test_if_the_note_fails_nothing_appears(self, release, node, tmp_path):
        def fail():
            raise UnreachableError("no")

        with pytest.raises(UnreachableError):
            node.copy(release.manifest, tmp_path / "copy", note=fail)
        assert not (tmp_path / "copy").exists()


class TestPartialCopies:
    def test_only_the_chosen_rows_are_written(self, release, node, tmp_path):
        rows = select_rows(release.manifest, ["b", "config.json"])
        copied, fetched = node.copy(release.manifest, tmp_path / "copy", rows)
        found = tree(tmp_path / "copy")
        assert set(found) == {"config.json", "sub/model.safetensors.partial"}
        assert found["config.json"] == files()["config.json"]
        whole, partial = files()["sub/model.safetensors"], found["sub/model.safetensors.partial"]
        assert len(partial) == len(whole)
        for row in range(len(release.manifest.chunks)):
            if release.manifest.files[release.manifest.file_of(row)].path != "sub/model.safetensors":
                continue
            start = release.manifest.offsets[row]
            end = start + release.manifest.chunks[row].length
            assert partial[start:end] == (whole[start:end] if row in rows else bytes(end - start))
        assert copied.total == len(rows)
        assert fetched == sum(
            map(node.peer.size, {release.manifest.chunks[row].payload.block for row in rows})
        )
        assert verify_directory(tmp_path / "copy", release.manifest, rows) == []

    def test_chunks_of_a_partial_copy_are_used_again(self, release, node, tmp_path):
        rows = select_rows(release.manifest, ["b"])
        node.copy(release.manifest, tmp_path / "some", rows)
        node.local.add(release.manifest, tmp_path / "some", rows)
        copied, _ = node.copy(release.manifest, tmp_path / "all")
        assert copied.reused >= len(rows)
        assert tree(tmp_path / "all") == files()

    def test_an_empty_file_can_be_chosen(self, release, node, tmp_path):
        node.copy(release.manifest, tmp_path / "copy", select_rows(release.manifest, ["empty"]))
        assert tree(tmp_path / "copy") == {"empty": b""}

    def test_a_part_and_a_file_that_is_called_like_it_do_not_mix(self, publisher, node, tmp_path):
        """A release may have a file of its own that is called as a part of another one would be."""
        release = publisher.publish(files() | {"sub/model.safetensors.partial": bytes(480_000)})
        rows = select_rows(release.manifest, ["b", "sub/*.partial"])
        with pytest.raises(FormatError, match="no two that are equal"):
            node.copy(release.manifest, tmp_path / "copy", rows)
        assert not (tmp_path / "copy").exists()

    def test_holes_of_a_part_are_zeros_whatever_was_staged(self, release, node, tmp_path):
        target = tmp_path / "copy"
        (staging_of(target) / "sub").mkdir(parents=True)
        planted = staging_of(target) / "sub/model.safetensors.partial"
        planted.write_bytes(b"planted!" * 80_000)
        node.copy(release.manifest, target, select_rows(release.manifest, ["b"]))
        assert b"planted" not in (target / "sub/model.safetensors.partial").read_bytes()

    def test_whole_files_of_a_part_go_on_where_they_were_interrupted(self, release, node, tmp_path):
        rows = select_rows(release.manifest, ["zeros.bin", "sub/*"])
        node.peer.fails_after = len(node.peer.asked) + 1
        with pytest.raises(UnreachableError, match="gone"):
            node.copy(release.manifest, tmp_path / "copy", rows)
        node.peer.fails_after = None
        node.store.kept.clear()
        copied, _ = node.copy(release.manifest, tmp_path / "copy", rows)
        assert copied.reused >= 1


class TestInterruptions:
    def interrupted(self, release, node, target, after):
        node.peer.fails_after = after
        with pytest.raises(UnreachableError, match="gone"):
            node.copy(release.manifest, target)
        node.peer.fails_after = None
        asked = len(node.peer.asked)
        node.peer.asked.clear()
        return asked

    @pytest.mark.parametrize("after", [0, 1, 2])
    def test_nothing_appears_and_the_next_run_goes_on(self, release, node, tmp_path, after):
        target = tmp_path / "copy"
        asked = self.interrupted(release, node, target, after)
        assert not target.exists()
        node.store.kept.clear()
        copied, _ = node.copy(release.manifest, target)
        assert tree(target) == files()
        assert nothing_beside(target)
        assert asked == after
        assert copied.reused >= (1 if after else 0)

    def test_the_old_copy_stays_whole(self, publisher, release, node, tmp_path):
        target = tmp_path / "copy"
        node.copy(release.manifest, target)
        other = publisher.publish(files(seed=5))
        self.interrupted(other, node, target, 1)
        assert tree(target) == files()
        node.copy(other.manifest, target)
        assert tree(target) == files(seed=5)

    def test_staged_bytes_are_checked_before_they_are_used(self, release, node, tmp_path):
        target = tmp_path / "copy"
        self.interrupted(release, node, target, 2)
        staged = [path for path in staging_of(target).rglob("*") if path.is_file() and path.stat().st_size]
        for path in staged:
            path.write_bytes(b"garbage " * 3 + path.read_bytes()[24:])
        node.copy(release.manifest, target)
        assert tree(target) == files()

    @pytest.mark.parametrize("size", [0, 10, 5_000_000])
    def test_staged_files_of_another_size(self, release, node, tmp_path, size):
        target = tmp_path / "copy"
        for name in files():
            path = staging_of(target) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\x01" * size)
        node.copy(release.manifest, target)
        assert tree(target) == files()

    def test_staging_of_another_release_is_no_hindrance(self, publisher, release, node, tmp_path):
        target = tmp_path / "copy"
        other = publisher.publish(files(seed=5) | {"more": b"x"})
        self.interrupted(other, node, target, 2)
        node.copy(release.manifest, target)
        assert tree(target) == files()

    def test_a_directory_where_a_file_belongs_is_removed(self, release, node, tmp_path):
        target = tmp_path / "copy"
        (staging_of(target) / "config.json" / "deep").mkdir(parents=True)
        (staging_of(target) / "empty").symlink_to("nowhere")
        node.copy(release.manifest, target)
        assert tree(target) == files()

    def test_a_file_where_a_directory_belongs_is_removed(self, release, node, tmp_path):
        target = tmp_path / "copy"
        staging_of(target).mkdir()
        (staging_of(target) / "sub").write_bytes(b"a file")
        node.copy(release.manifest, target)
        assert tree(target) == files()


class TestHostileSurroundings:
    """Others can write beside the target: what they plant must neither be followed nor kept."""

    def plant(self, target, name, make):
        path = staging_of(target) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)

    @pytest.mark.parametrize("name", ["config.json", "sub/deep/notes.txt", "foreign", "sub/foreign"])
    @pytest.mark.parametrize(
        "make",
        [
            lambda path: path.symlink_to("/etc/hostname"),
            lambda path: path.symlink_to(path.parent),
            os.mkfifo,
            lambda path: path.mkdir(),
            lambda path: path.write_bytes(b"planted"),
        ],
        ids=["link", "loop", "pipe", "directory", "file"],
    )
    def test_what_was_planted_is_gone(self, release, node, tmp_path, name, make):
        target = tmp_path / "copy"
        self.plant(target, name, make)
        node.copy(release.manifest, target)
        assert tree(target) == files()
        assert verify_directory(target, release.manifest) == []
        assert not any(path.is_symlink() for path in target.rglob("*"))

    def test_a_planted_link_to_a_file_of_ours_is_not_written_through(self, release, node, tmp_path):
        victim = tmp_path / "victim"
        victim.write_bytes(b"precious")
        self.plant(tmp_path / "copy", "config.json", lambda path: path.symlink_to(victim))
        node.copy(release.manifest, tmp_path / "copy")
        assert victim.read_bytes() == b"precious"
        assert not (tmp_path / "copy" / "config.json").is_symlink()

    def test_a_planted_link_to_a_directory_of_ours_is_not_entered(self, release, node, tmp_path):
        victim = tmp_path / "victim"
        (victim / "deep").mkdir(parents=True)
        (victim / "kept").write_bytes(b"precious")
        self.plant(tmp_path / "copy", "sub", lambda path: path.symlink_to(victim))
        node.copy(release.manifest, tmp_path / "copy")
        assert tree(victim) == {"kept": b"precious"}
        assert tree(tmp_path / "copy") == files()

    def test_a_planted_hard_link_to_a_file_of_ours_is_not_written_through(self, release, node, tmp_path):
        victim = tmp_path / "victim"
        victim.write_bytes(b"precious")
        self.plant(tmp_path / "copy", "config.json", lambda path: path.hardlink_to(victim))
        node.copy(release.manifest, tmp_path / "copy")
        assert victim.read_bytes() == b"precious"
        assert tree(tmp_path / "copy") == files()

    @pytest.mark.parametrize(
        "make", [lambda p: p.symlink_to("elsewhere"), lambda p: p.write_bytes(b""), os.mkfifo]
    )
    def test_a_planted_staging_directory_that_is_none_is_refused(self, release, node, tmp_path, make):
        (tmp_path / "elsewhere").mkdir()
        make(staging_of(tmp_path / "copy"))
        with pytest.raises(ModelregError):
            node.copy(release.manifest, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_hard_links_to_the_old_copy_keep_its_bytes(self, publisher, release, node, tmp_path):
        target = tmp_path / "copy"
        node.copy(release.manifest, target)
        (tmp_path / "kept").hardlink_to(target / "config.json")
        other = publisher.publish(files(seed=5))
        node.copy(other.manifest, target)
        assert (tmp_path / "kept").read_bytes() == files()["config.json"]
        assert tree(target) == files(seed=5)

    @pytest.mark.parametrize(
        "make",
        [
            lambda p: p.symlink_to("real"),
            lambda p: p.symlink_to("nowhere"),
            lambda p: p.write_bytes(b"x"),
            os.mkfifo,
        ],
        ids=["link", "dangling", "file", "pipe"],
    )
    def test_a_target_that_is_no_directory_is_refused(self, release, node, tmp_path, make):
        (tmp_path / "real").mkdir()
        make(tmp_path / "copy")
        with pytest.raises(InputError, match="a directory"):
            node.copy(release.manifest, tmp_path / "copy")
        assert list((tmp_path / "real").iterdir()) == []
        assert nothing_beside(tmp_path / "copy")
        assert node.peer.asked == []

    def test_a_peer_that_lies_is_named_and_nothing_appears(self, release, node, tmp_path):
        block = next(row.payload.block for row in release.manifest.chunks if row.payload)
        node.peer.kept[block] = b"garbage"
        with pytest.raises(VerificationError):
            node.copy(release.manifest, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()

    def test_a_manifest_that_does_not_fit_its_blocks_gives_nothing(self, release, node, tmp_path):
        rows = [
            replace(row, encoding=1) if row.encoding == 0 and row.payload else row
            for row in release.manifest.chunks
        ]
        with pytest.raises(VerificationError):
            node.copy(replace(release.manifest, chunks=tuple(rows)), tmp_path / "copy")
        assert not (tmp_path / "copy").exists()

    def test_a_parent_that_cannot_be_written(self, release, node, tmp_path):
        def attempt():
            Path("parent").mkdir(mode=0o500)
            with pytest.raises(NotPermittedError):
                node.copy(release.manifest, Path("parent/copy").absolute())

        (tmp_path / "place").mkdir()
        tmp_path.chmod(0o755)
        without_privileges(tmp_path / "place", attempt)


class TestFullDisk:
    """Errors of writing, in the middle of a copy that replaces another."""

    @pytest.fixture
    def target(self, release, node, tmp_path):
        node.copy(release.manifest, tmp_path / "copy")
        return tmp_path / "copy"

    @pytest.mark.parametrize("writes", [0, 1, 3])
    def test_the_old_copy_stays_whole(self, publisher, node, target, monkeypatch, writes):
        other = publisher.publish(files(seed=5))
        left = [writes]
        original = os.pwrite

        def full(*arguments):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*arguments)

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(UnreachableError, match="free some space"):
            node.copy(other.manifest, target)
        assert tree(target) == files()
        monkeypatch.setattr(os, "pwrite", original)
        node.copy(other.manifest, target)
        assert tree(target) == files(seed=5)

    def test_writes_that_take_only_a_part_are_finished(self, publisher, node, target, monkeypatch):
        """A disk that is almost full takes fewer bytes than it was given, and says how many."""
        original = os.pwrite

        def partly(descriptor, data, offset):
            return original(descriptor, memoryview(data)[: max(1, len(data) // 2)], offset)

        monkeypatch.setattr(os, "pwrite", partly)
        node.copy(publisher.publish(files(seed=5)).manifest, target)
        assert tree(target) == files(seed=5)

    def test_a_sync_that_fails_leaves_the_old_copy(self, publisher, node, target, monkeypatch):
        def fail(_):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(UnreachableError, match="Input/output error"):
            node.copy(publisher.publish(files(seed=5)).manifest, target)
        assert tree(target) == files()

    @pytest.mark.parametrize("fails", [1, 2])
    def test_the_disk_begins_early_and_its_error_is_not_lost(
        self, publisher, node, target, monkeypatch, fails
    ):
        """Linux says only once that a write failed, to whoever syncs next."""
        before, synced, real = publisher.publish(files(seed=5)).manifest, [], os.fsync

        def fail_once(descriptor):
            synced.append(descriptor)
            if len(synced) == fails:
                raise OSError(errno.EIO, "Input/output error")
            real(descriptor)

        monkeypatch.setattr(staging, "_EARLY_BYTES", 100 * KIB)
        monkeypatch.setattr(os, "fsync", fail_once)
        with pytest.raises(UnreachableError, match="Input/output error"):
            node.copy(before, target)
        assert tree(target) == files()
        node.copy(before, target)
        assert tree(target) == files(seed=5)


class TestSeveralAtOnce:
    def test_threads_that_copy_to_one_target(self, publisher, release, tmp_path):
        target, others = tmp_path / "copy", [release, publisher.publish(files(seed=5))]
        with ThreadPoolExecutor(4) as pool:
            jobs = [
                pool.submit(Node(publisher.peer).copy, others[number % 2].manifest, target)
                for number in range(8)
            ]
            for job in jobs:
                job.result()
        assert tree(target) in (files(), files(seed=5))
        assert nothing_beside(target)

    def test_processes_that_copy_to_one_target(self, publisher, release, tmp_path):
        target, others = tmp_path / "copy", [release, publisher.publish(files(seed=5))]
        fork = multiprocessing.get_context("fork")
        jobs = [
            fork.Process(target=_copy_often, args=(publisher.peer, others[number % 2].manifest, target))
            for number in range(3)
        ]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join(60)
        assert [job.exitcode for job in jobs] == [0, 0, 0]
        assert tree(target) in (files(), files(seed=5))
        assert nothing_beside(target)

    def test_a_reader_never_sees_a_mix(self, publisher, node, tmp_path):
        """The target is always there, and the files in it are those of one release."""
        target, ended, seen = tmp_path / "copy", threading.Event(), set()
        small = [{"a": b"%d" % n, "d/b": b"%d" % n} for n in range(2)]
        releases = [publisher.publish(contents) for contents in small]
        node.copy(releases[0].manifest, target)

        def look():
            while not ended.is_set():
                place = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    found = [_read(place, name) for name in ("a", "d/b")]
                finally:
                    os.close(place)
                # None: the old tree, which this reader still holds, is being removed.
                assert len({data for data in found if data is not None}) <= 1
                seen.update(found)

        with ThreadPoolExecutor(1) as pool:
            reader = pool.submit(look)
            try:
                for number in range(60):
                    node.copy(releases[number % 2].manifest, target)
            finally:
                ended.set()
            reader.result()
        assert {b"0", b"1"} <= seen

    @pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS])
    def test_file_systems_without_exchange_get_two_renames(
        self, publisher, release, node, tmp_path, monkeypatch, code
    ):
        target = tmp_path / "copy"
        node.copy(release.manifest, target)

        class Libc:
            def renameat2(self, *_):
                atomic.ctypes.set_errno(code)
                return -1

        monkeypatch.setattr(atomic.ctypes, "CDLL", lambda *_, **__: Libc())
        node.copy(publisher.publish(files(seed=5)).manifest, target)
        assert tree(target) == files(seed=5)
        assert nothing_beside(target)

    def test_an_exchange_that_is_refused_leaves_the_old_copy(
        self, publisher, release, node, tmp_path, monkeypatch
    ):
        target = tmp_path / "copy"
        node.copy(release.manifest, target)

        class Libc:
            def renameat2(self, *_):
                atomic.ctypes.set_errno(errno.EBUSY)
                return -1

        monkeypatch.setattr(atomic.ctypes, "CDLL", lambda *_, **__: Libc())
        with pytest.raises(UnreachableError):
            node.copy(publisher.publish(files(seed=5)).manifest, target)
        assert tree(target) == files()


def _copy_often(peer, manifest, target):
    for _ in range(4):
        Node(peer).copy(manifest, target)


def _read(place, name):
    try:
        descriptor = os.open(name, os.O_RDONLY, dir_fd=place)
    except FileNotFoundError:
        return None
    try:
        return os.read(descriptor, 10)
    finally:
        os.close(descriptor)


def test_many_files_need_few_descriptors(publisher, node, tmp_path):
    contents = {f"{n % 7}/{n}.txt": b"%d" % n for n in range(400)}
    release = publisher.publish(contents)
    opened, most, original, close = [0], [0], os.open, os.close

    def count(*arguments, **options):
        opened[0] += 1
        most[0] = max(most[0], opened[0])
        return original(*arguments, **options)

    def uncount(descriptor):
        opened[0] -= 1
        close(descriptor)

    os.open, os.close = count, uncount
    try:
        node.copy(release.manifest, tmp_path / "copy")
    finally:
        os.open, os.close = original, close
    assert tree(tmp_path / "copy") == contents
    assert most[0] < 60


def test_local_plaintext_of_a_deleted_copy_is_no_hindrance(release, node, tmp_path):
    node.copy(release.manifest, tmp_path / "one")
    node.local = LocalPlaintext()
    node.local.add(release.manifest, tmp_path / "gone")
    copied, _ = node.copy(release.manifest, tmp_path / "two")
    assert tree(tmp_path / "two") == files()
    assert copied.reused == 0
    assert leaf(bytes(512 * KIB))[0].digest.value in {row.digest for row in release.manifest.chunks}
