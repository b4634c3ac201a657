"""The local store's files: their places, and what was planted, left behind or taken away."""

import os
import threading
import time
from pathlib import Path

import pytest

from modelreg.errors import NotFoundError, NotPermittedError, UnreachableError, VerificationError
from modelreg.store import staging
from modelreg.store.base import StoreStat
from modelreg.store.local import LocalStore
from tests.store.blocks import files_under, leaf, leaves
from tests.store.unprivileged import without_privileges

CID, BLOCK = leaf(b"weights")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


def path_of(root, cid):
    return root / "blocks" / str(cid)[-3:-1] / str(cid)


def test_layout(root):
    LocalStore(root).put_many([(CID, BLOCK)])
    assert files_under(root) == {"format", "write.lock", f"blocks/{str(CID)[-3:-1]}/{CID}"}
    assert (root / "format").read_bytes() == b"modelreg-store/1\n"
    assert path_of(root, CID).read_bytes() == BLOCK


def test_a_block_that_is_there_keeps_its_file_and_a_damaged_one_gets_another(root):
    store = LocalStore(root)
    store.put_many([(CID, BLOCK)])
    before = path_of(root, CID).stat()
    store.put_many([(CID, BLOCK)])
    after = path_of(root, CID).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    path_of(root, CID).write_bytes(b"weightS")
    store.put_many([(CID, BLOCK)])
    assert path_of(root, CID).read_bytes() == BLOCK


def test_files_that_are_no_blocks_are_passed_over(root):
    store = LocalStore(root)
    store.put_many([(CID, BLOCK)])
    shard = path_of(root, CID).parent
    (shard / "README").write_text("not a block")
    (shard / str(leaf(b"elsewhere")[0])).write_text("in the wrong directory")
    (shard / str(CID).upper()).write_text("another spelling")
    (root / "blocks" / "stray").write_text("not a directory")
    (root / "blocks" / "no").write_text("not a directory")
    (root / "blocks" / "tmp" / str(CID)).write_text("temporary")
    assert list(store.cids()) == [CID]
    assert store.stat() == StoreStat(1, len(BLOCK))


def test_a_symlink_under_a_blocks_name_is_not_followed(root, tmp_path):
    store = LocalStore(root)
    outside = tmp_path / "outside"
    outside.write_bytes(BLOCK)
    path_of(root, CID).parent.mkdir()
    path_of(root, CID).symlink_to(outside)
    assert not store.has(CID)
    assert list(store.cids()) == []
    with pytest.raises(VerificationError):
        store.get(CID)
    with pytest.raises(NotFoundError):
        store.size(CID)
    outside.write_bytes(b"precious")
    assert store.put_many([(CID, BLOCK)]) == len(BLOCK)
    assert outside.read_bytes() == b"precious"
    assert store.get(CID) == BLOCK


def test_a_symlink_in_place_of_a_shard_is_not_followed(root, tmp_path):
    store = LocalStore(root)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / str(CID)).write_bytes(BLOCK)
    path_of(root, CID).parent.symlink_to(outside)
    with pytest.raises(VerificationError):
        store.get(CID)
    with pytest.raises(VerificationError):
        store.delete([CID])
    assert list(store.cids()) == []
    (outside / str(CID)).unlink()
    with pytest.raises(VerificationError, match="remove what stands there"):
        store.put_many([(CID, BLOCK)])
    assert files_under(outside) == set()
    assert files_under(root / "blocks" / "tmp") == set()


def test_a_symlink_in_place_of_the_temporary_directory_is_not_followed(root, tmp_path):
    LocalStore(root)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    (root / "blocks" / "tmp").rmdir()
    (root / "blocks" / "tmp").symlink_to(outside)
    with pytest.raises(VerificationError):
        LocalStore(root)
    assert files_under(outside) == {"precious"}


def test_a_symlink_in_place_of_a_lock_is_not_followed(root, tmp_path):
    LocalStore(root)
    (root / "write.lock").unlink()
    (root / "write.lock").symlink_to(tmp_path / "outside")
    with pytest.raises(VerificationError):
        LocalStore(root)
    assert not (tmp_path / "outside").exists()


def test_a_planted_pipe_does_not_hang(root):
    store = LocalStore(root)
    path_of(root, CID).parent.mkdir()
    os.mkfifo(path_of(root, CID))
    with pytest.raises(VerificationError, match="a regular file, found p"):
        store.get(CID)
    assert not store.has(CID)
    store.put_many([(CID, BLOCK)])
    assert store.get(CID) == BLOCK


def test_a_planted_directory_is_named_in_the_error(root):
    store = LocalStore(root)
    (path_of(root, CID) / "inner").mkdir(parents=True)
    with pytest.raises(VerificationError):
        store.get(CID)
    with pytest.raises(VerificationError, match="remove what stands there"):
        store.put_many([(CID, BLOCK)])
    assert files_under(root / "blocks") == set()


def test_a_huge_planted_file_is_not_read(root):
    store = LocalStore(root)
    path_of(root, CID).parent.mkdir()
    with path_of(root, CID).open("wb") as file:
        file.truncate(1 << 40)
    started = time.monotonic()
    with pytest.raises(VerificationError, match="at most 1048576 bytes"):
        store.get(CID)
    assert not store.has(CID)
    store.put_many([(CID, BLOCK)])
    assert time.monotonic() - started < 5
    assert store.get(CID) == BLOCK


def test_leftovers_of_a_crash_are_removed_when_nobody_writes(root):
    LocalStore(root)
    leftover = root / "blocks" / "tmp" / "1-0123456789abcdef"
    leftover.write_bytes(b"half")
    assert list(LocalStore(root, readonly=True).cids()) == []
    assert leftover.exists()
    LocalStore(root)
    assert not leftover.exists()


def test_the_files_of_a_running_writer_are_not_taken_for_leftovers(root):
    store = LocalStore(root)
    begun, go_on = threading.Event(), threading.Event()

    def blocks():
        yield CID, BLOCK
        begun.set()
        go_on.wait(20)

    writer = threading.Thread(target=store.put_many, args=(blocks(),))
    writer.start()
    assert begun.wait(20)
    LocalStore(root)
    assert len(files_under(root / "blocks" / "tmp")) == 1
    go_on.set()
    writer.join()
    assert store.get(CID) == BLOCK


def test_blocks_are_synced_before_they_get_their_names_and_names_before_put_returns(root, monkeypatch):
    store = LocalStore(root)
    events = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor):
        events.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink()))
        real_fsync(descriptor)

    def rename(source, target, **directories):
        place = Path(f"/proc/self/fd/{directories['src_dir_fd']}").readlink()
        events.append(("rename", place / source, target))
        real_rename(source, target, **directories)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    blocks = leaves(3)
    store.put_many(blocks)
    renames = [event for event in events if event[0] == "rename"]
    assert [name for _, _, name in renames] == [str(cid) for cid, _ in blocks]
    for event in renames:
        synced = events.index(("sync", event[1]))
        named = events.index(("sync", path_of(root, blocks[0][0]).parent.with_name(event[2][-3:-1])))
        assert synced < events.index(event) < named
    assert ("sync", root / "blocks") in events


def test_a_block_of_another_writer_is_made_durable_too(root, monkeypatch):
    LocalStore(root).put_many([(CID, BLOCK)])
    synced = []
    monkeypatch.setattr(staging, "sync_directory", lambda path: synced.append(path))
    assert LocalStore(root).put_many([(CID, BLOCK)]) == 0
    assert path_of(root, CID).parent in synced


def test_a_failed_sync_is_an_error_and_leaves_nothing(root, monkeypatch):
    store = LocalStore(root)

    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UnreachableError, match="Input/output error"):
        store.put_many([(CID, BLOCK)])
    assert files_under(root / "blocks") == set()


def snapshot(root):
    return {path: (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in [root, *root.rglob("*")]}


def test_readonly_writes_nothing(root):
    LocalStore(root).put_many([(CID, BLOCK)])
    (root / "blocks" / "tmp" / "leftover").write_text("half")
    before = snapshot(root)
    store = LocalStore(root, readonly=True)
    assert store.get(CID) == BLOCK
    assert store.has(CID)
    assert list(store.cids()) == [CID]
    assert store.stat().blocks == 1
    for write in (lambda: store.put_many(leaves(1)), lambda: store.delete([CID])):
        with pytest.raises(NotPermittedError, match="for reading only"):
            write()
    assert snapshot(root) == before


def test_an_interrupt_right_after_a_file_was_made_leaves_nothing(root, monkeypatch):
    store, real = LocalStore(root), os.open

    def interrupted(path, flags, *arguments, **options):
        descriptor = real(path, flags, *arguments, **options)
        if flags & os.O_EXCL:
            os.close(descriptor)
            raise KeyboardInterrupt
        return descriptor

    monkeypatch.setattr(staging.os, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.put_many([(CID, BLOCK)])
    monkeypatch.undo()
    assert list((root / "blocks" / "tmp").iterdir()) == []


def test_readonly_finds_no_store(tmp_path):
    with pytest.raises(NotFoundError, match="no block store"):
        LocalStore(tmp_path / "absent", readonly=True)
    with pytest.raises(NotFoundError, match="no block store"):
        LocalStore(tmp_path, readonly=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("found", [b"modelreg-store/2\n", b"", b"\xff\x00", bytes(1 << 20)], ids=len)
@pytest.mark.parametrize("readonly", [True, False])
def test_a_store_of_another_format_is_not_touched(root, found, readonly):
    LocalStore(root)
    (root / "format").write_bytes(found)
    (root / "blocks" / "tmp" / "theirs").write_bytes(b"theirs")
    with pytest.raises(VerificationError):
        LocalStore(root, readonly=readonly)
    assert (root / "format").read_bytes() == found
    assert (root / "blocks" / "tmp" / "theirs").exists()


def test_a_store_whose_making_was_interrupted_is_finished(root):
    (root / "blocks" / "tmp").mkdir(parents=True)
    (root / ".new").write_bytes(b"model")
    LocalStore(root).put_many([(CID, BLOCK)])
    assert LocalStore(root, readonly=True).get(CID) == BLOCK
    assert not (root / ".new").exists()


def test_a_store_restored_without_its_empty_directories_opens(root):
    LocalStore(root).put_many([(CID, BLOCK)])
    (root / "blocks" / "tmp").rmdir()
    (root / "write.lock").unlink()
    assert LocalStore(root, readonly=True).get(CID) == BLOCK
    assert LocalStore(root).put_many([(CID, BLOCK), *leaves(1)]) == 100


def test_a_file_in_place_of_the_store(tmp_path):
    (tmp_path / "store").write_text("file")
    with pytest.raises(VerificationError):
        LocalStore(tmp_path / "store")
    with pytest.raises(VerificationError):
        LocalStore(tmp_path / "store", readonly=True)


def test_a_readonly_directory_is_not_permitted(tmp_path):
    def check():
        store = LocalStore(Path("store"))
        store.put_many([(CID, BLOCK)])
        for directory in [Path("store"), *Path("store").rglob("*/"), Path("store/write.lock")]:
            directory.chmod(0o555)
        for write in (lambda: LocalStore(Path("store")), lambda: store.put_many(leaves(1))):
            with pytest.raises(NotPermittedError, match="check the owner"):
                write()
        with pytest.raises(NotPermittedError, match="check the owner"):
            store.delete([CID])
        assert LocalStore(Path("store"), readonly=True).get(CID) == BLOCK
        Path("closed").mkdir(mode=0)
        with pytest.raises(NotPermittedError):
            LocalStore(Path("closed/store"))
        with pytest.raises(NotPermittedError):
            LocalStore(Path("closed/store"), readonly=True)

    without_privileges(tmp_path, check)


def test_an_unreadable_block_is_not_permitted(tmp_path):
    def check():
        store = LocalStore(Path("store"))
        store.put_many([(CID, BLOCK)])
        path_of(Path("store"), CID).chmod(0)
        with pytest.raises(NotPermittedError):
            store.get(CID)

    without_privileges(tmp_path, check)
