"""Records of copies, and the blocks that lie in them."""

import json
import multiprocessing
import os

import pytest

from modelreg.errors import NotFoundError, NotPermittedError
from modelreg.format.cid import Cid, Codec
from modelreg.store.installed import Copy, Installed, InstalledBlocks
from modelreg.store.plaintext import LocalPlaintext
from tests.store.blocks import SHA2, node
from tests.store.handmade import made, raw
from tests.store.memory import MemoryStore
from tests.store.unprivileged import without_privileges

CID, _ = node({"a": 1})
COPY = Copy("/models/one", "acme/one@1.0.0", "0x" + "12" * 32, str(CID))


@pytest.fixture
def installed(tmp_path):
    return Installed(tmp_path / "installed")


def test_a_record_is_found_by_its_path(installed, tmp_path):
    assert installed.at(tmp_path) is None
    assert list(installed.copies()) == []
    other = Copy("/models/two", "0x" + "12" * 32, "0x" + "12" * 32, str(CID), ("h.*", "b"))
    for copy in (COPY, other):
        installed.add(copy)
    assert {installed.at(type(tmp_path)(copy.path)) for copy in (COPY, other)} == {COPY, other}
    assert set(installed.copies()) == {COPY, other}
    assert COPY.manifest_cid == CID
    assert str(COPY.release_id) == COPY.release


def test_a_record_replaces_that_of_the_same_path(installed, tmp_path):
    installed.add(COPY)
    newer = Copy(COPY.path, "acme/one@2.0.0", COPY.release, COPY.manifest)
    installed.add(newer)
    assert list(installed.copies()) == [newer]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b"[" * 50_000,
        b" " * 70_000,
        json.dumps({"path": 1, "reference": "r", "release": "r", "manifest": "m", "only": []}).encode(),
        json.dumps({"path": "p", "reference": "r", "release": "r", "manifest": None, "only": []}).encode(),
        json.dumps({"path": "p", "reference": "r", "release": "r", "manifest": "m", "only": [1]}).encode(),
        json.dumps({"path": "p", "reference": "r", "release": "r", "manifest": "m", "only": 1}).encode(),
        json.dumps({"path": "p", "reference": "r", "release": "r", "manifest": "m"}).encode(),
        json.dumps(
            {"path": "p", "reference": "r", "release": "r", "manifest": "m", "only": [], "x": 1}
        ).encode(),
    ],
)
def test_a_damaged_record_is_passed_over(installed, tmp_path, damage):
    installed.add(COPY)
    other = Copy("/models/two", COPY.reference, COPY.release, COPY.manifest)
    installed.add(other)
    for file in (tmp_path / "installed").glob("*.json"):
        if COPY.path in file.read_text():
            file.write_bytes(damage)
    assert list(installed.copies()) == [other]
    assert installed.at(type(tmp_path)(COPY.path)) is None


@pytest.mark.parametrize("make", [os.mkfifo, lambda p: p.mkdir(), lambda p: p.symlink_to("/dev/zero")])
def test_what_is_no_record_is_passed_over(installed, tmp_path, make):
    installed.add(COPY)
    make(tmp_path / "installed" / "0.json")
    assert list(installed.copies()) == [COPY]


def test_a_home_that_cannot_be_written(tmp_path):
    def attempt():
        os.chmod(".", 0o500)  # noqa: PTH101
        with pytest.raises(NotPermittedError):
            Installed(type(tmp_path)("installed")).add(COPY)

    (tmp_path / "home").mkdir()
    without_privileges(tmp_path / "home", attempt)


def _add(root, number):
    for part in range(10):
        Installed(root).add(Copy(f"/{number}/{part}", COPY.reference, COPY.release, COPY.manifest))


def test_several_processes_add_at_once(tmp_path):
    fork = multiprocessing.get_context("fork")
    jobs = [fork.Process(target=_add, args=(tmp_path / "installed", number)) for number in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(30)
    assert [job.exitcode for job in jobs] == [0] * 4
    assert len(list(Installed(tmp_path / "installed").copies())) == 40


class TestInstalledBlocks:
    @pytest.fixture
    def blocks(self, tmp_path):
        store = MemoryStore()
        self.release = made(store, b"weights", [raw(store, b"weights")])
        (tmp_path / "f").write_bytes(b"weights")
        local = LocalPlaintext()
        local.add(self.release.manifest, tmp_path)
        return InstalledBlocks("copies", local)

    def test_a_chunk_is_a_block(self, blocks, tmp_path):
        cid = self.release.manifest.chunks[0].payload.block
        assert blocks.has(cid)
        assert blocks.get(cid) == b"weights"
        (tmp_path / "f").write_bytes(b"Weights")
        with pytest.raises(NotFoundError, match="copies"):
            blocks.get(cid)

    def test_others_are_not(self, blocks):
        cid = self.release.manifest.chunks[0].payload.block
        for other in (
            Cid(Codec.DAG_CBOR, cid.digest),
            Cid.of(Codec.RAW, b"weights", SHA2),
            Cid.of(Codec.RAW, b"other", cid.digest.algorithm),
        ):
            assert not blocks.has(other)
            with pytest.raises(NotFoundError):
                blocks.get(other)
