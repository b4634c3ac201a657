"""Directories against releases: every kind of difference is found and named."""

import errno
import os
from pathlib import Path

import pytest

from modelreg.errors import NotFoundError
from modelreg.format.selection import select_rows
from modelreg_verifier.verify import verify_directory, verify_file
from tests.store.unprivileged import without_privileges
from tests.verifier.copies import Node, Publisher, files


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    publisher = Publisher.at(tmp_path_factory.mktemp("published"))
    return publisher, publisher.publish(files()).manifest


@pytest.fixture
def manifest(published):
    return published[1]


@pytest.fixture
def copy(published, tmp_path):
    Node(published[0].peer).copy(published[1], tmp_path / "copy")
    return tmp_path / "copy"


def problems(root, manifest, rows=None):
    return [(problem.path, problem.kind) for problem in verify_directory(root, manifest, rows)]


def test_every_byte_as_released(copy, manifest):
    told = []
    assert verify_directory(copy, manifest, progress=told.append) == []
    assert sum(told) == manifest.size


def overwrite(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


CHANGES = {
    "missing": (lambda root: (root / "config.json").unlink(), [("config.json", "missing")]),
    "missing_empty_file": (lambda root: (root / "empty").unlink(), [("empty", "missing")]),
    "missing_directory": (
        lambda root: (root / "sub/deep/notes.txt").unlink() or (root / "sub/deep").rmdir(),
        [("sub/deep/notes.txt", "missing")],
    ),
    "extra": (lambda root: (root / "sub/more").write_bytes(b""), [("sub/more", "extra")]),
    "extra_link": (lambda root: (root / "more").symlink_to("config.json"), [("more", "extra")]),
    "extra_link_to_a_directory": (lambda root: (root / "more").symlink_to("sub"), [("more", "extra")]),
    "extra_pipe": (lambda root: os.mkfifo(root / "more"), [("more", "extra")]),
    "extra_hidden": (lambda root: (root / "sub/.more").write_bytes(b"x"), [("sub/.more", "extra")]),
    "type_link": (
        lambda root: (root / "config.json").rename(root / "c") and (root / "config.json").symlink_to("c"),
        [("config.json", "type"), ("c", "extra")],
    ),
    "type_dangling_link": (
        lambda root: (root / "empty").unlink() or (root / "empty").symlink_to("nowhere"),
        [("empty", "type")],
    ),
    "type_pipe": (lambda root: (root / "empty").unlink() or os.mkfifo(root / "empty"), [("empty", "type")]),
    "type_directory": (
        lambda root: (root / "empty").unlink() or (root / "empty").mkdir(),
        [("empty", "type")],
    ),
    "size_longer": (lambda root: overwrite(root / "config.json", 13, b"more"), [("config.json", "size")]),
    "size_of_an_empty_file": (lambda root: (root / "empty").write_bytes(b"x"), [("empty", "size")]),
    "size_shorter": (
        lambda root: os.truncate(root / "config.json", 3),
        [("config.json", "size"), ("config.json", "bytes")],
    ),
    "bytes_first": (lambda root: overwrite(root / "config.json", 0, b"X"), [("config.json", "bytes")]),
    "bytes_last": (
        lambda root: overwrite(root / "sub/deep/notes.txt", 2999, b"\xff\x00"[:1]),
        [("sub/deep/notes.txt", "bytes")],
    ),
    "bytes_two_chunks": (
        lambda root: overwrite(root / "zeros.bin", 512 * 1024 - 1, b"XX"),
        [("zeros.bin", "bytes")] * 2,
    ),
    "swapped": (
        lambda root: (
            (root / "config.json").rename(root / "x")
            and (root / "empty").rename(root / "config.json")
            and (root / "x").rename(root / "empty")
        ),
        [("config.json", "size"), ("config.json", "bytes"), ("empty", "size")],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_difference(copy, manifest, name):
    change, expected = CHANGES[name]
    change(copy)
    found = problems(copy, manifest)
    assert found == expected
    assert {kind for _, kind in found} <= {"missing", "extra", "type", "size", "bytes", "unreadable"}


def test_a_difference_in_a_tensor_names_it(copy, manifest):
    size = (copy / "sub/model.safetensors").stat().st_size
    overwrite(copy / "sub/model.safetensors", size - 1, b"\x01")
    (problem,) = verify_directory(copy, manifest)
    assert problem.expected.startswith("blake3:")
    assert problem.expected.endswith("tensor b")
    assert problem.found.startswith("blake3:")
    assert problem.found != problem.expected.split()[0]


@pytest.mark.parametrize("name", ["config.json", "sub/deep/notes.txt", "sub/model.safetensors", "zeros.bin"])
def test_each_changed_bit_is_found(copy, manifest, name):
    path = copy / name
    size = path.stat().st_size
    for place in sorted({0, 1, size // 3, size // 2, size - 1}):
        with path.open("r+b") as file:
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 0x10]))
        assert problems(copy, manifest) == [(name, "bytes")]
        overwrite(path, place, byte)
    assert problems(copy, manifest) == []


def test_nothing_there(tmp_path, manifest):
    with pytest.raises(NotFoundError):
        verify_directory(tmp_path / "nowhere", manifest)


def test_a_file_in_place_of_the_directory(tmp_path, manifest):
    (tmp_path / "file").write_bytes(b"x")
    found = problems(tmp_path / "file", manifest)
    assert {path for path, _ in found} == set(files())
    assert {kind for _, kind in found} <= {"missing", "unreadable"}


def test_a_release_of_one_file_can_be_a_file(published, tmp_path):
    manifest = published[0].publish({"only.bin": b"x" * 1000}).manifest
    (tmp_path / "renamed").write_bytes(b"x" * 1000)
    assert verify_file(tmp_path / "renamed", manifest) == ("only.bin", [])
    (tmp_path / "renamed").write_bytes(b"x" * 999 + b"y")
    assert kinds(verify_file(tmp_path / "renamed", manifest)) == ("only.bin", ["bytes"])
    (tmp_path / "link").symlink_to("renamed")
    assert kinds(verify_file(tmp_path / "link", manifest)) == ("only.bin", ["type"])


def kinds(verified):
    name, found = verified
    assert {problem.path for problem in found} <= {name}
    return name, [problem.kind for problem in found]


class TestOneFile:
    @pytest.mark.parametrize("name", files())
    def test_a_file_of_a_copy(self, copy, manifest, name):
        assert verify_file(copy / name, manifest) == (name, [])
        (copy / name).write_bytes(b"other")
        assert "size" in kinds(verify_file(copy / name, manifest))[1]

    def test_a_file_away_from_its_directory(self, copy, manifest, tmp_path):
        (copy / "sub/deep/notes.txt").rename(tmp_path / "notes.txt")
        assert verify_file(tmp_path / "notes.txt", manifest) == ("sub/deep/notes.txt", [])

    def test_a_file_that_the_release_does_not_name(self, tmp_path, manifest):
        (tmp_path / "other.txt").write_bytes(files()["config.json"])
        assert kinds(verify_file(tmp_path / "other.txt", manifest)) == ("other.txt", ["extra"])

    def test_files_of_the_same_name(self, published, tmp_path):
        contents = {"a.txt": b"1", "sub/a.txt": b"2", "sub/deep/a.txt": b"3"}
        manifest = published[0].publish(contents).manifest
        (tmp_path / "sub").mkdir()
        path = tmp_path / "sub/a.txt"
        for data, expected in ((b"2", "sub/a.txt"), (b"1", "a.txt")):
            path.write_bytes(data)
            assert verify_file(path, manifest) == (expected, [])
        path.write_bytes(b"3")
        assert kinds(verify_file(path, manifest)) == ("sub/a.txt", ["bytes"])


def test_files_and_directories_that_cannot_be_read(published, tmp_path, copy):
    def look():
        (Path("copy") / "config.json").chmod(0)
        (Path("copy") / "sub").chmod(0)
        found = problems(Path("copy"), published[1])
        Path("copy/sub").chmod(0o755)
        unreadable = ["config.json", "sub/deep/notes.txt", "sub/model.safetensors"]
        assert [(path, kind) for path, kind in found if path in unreadable] == [
            (n, "unreadable") for n in unreadable
        ]

    for path in [tmp_path, *tmp_path.rglob("*")]:
        os.chown(path, 65534, 65534)
    without_privileges(tmp_path, look)


def test_a_disk_that_fails_is_a_problem_and_no_crash(copy, manifest, monkeypatch):
    original = os.pread

    def fail(descriptor, length, offset):
        if offset:
            raise OSError(errno.EIO, "Input/output error")
        return original(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", fail)
    found = problems(copy, manifest)
    assert ("zeros.bin", "unreadable") in found


def test_tensors_are_looked_through_only_for_what_differs(copy, manifest, monkeypatch):
    monkeypatch.setattr("modelreg_verifier.verify._place", lambda *_: pytest.fail("nothing differs"))
    assert problems(copy, manifest) == []


class TestPartialCopies:
    @pytest.fixture
    def rows(self, manifest):
        return select_rows(manifest, ["b", "config.json"])

    @pytest.fixture
    def copy(self, published, rows, tmp_path):
        Node(published[0].peer).copy(published[1], tmp_path / "copy", rows)
        return tmp_path / "copy"

    def test_all_that_was_chosen_is_there(self, copy, manifest, rows):
        told = []
        assert verify_directory(copy, manifest, rows, told.append) == []
        assert sum(told) == sum(manifest.chunks[row].length for row in rows)

    def test_as_a_whole_copy_it_is_not_whole(self, copy, manifest):
        found = problems(copy, manifest)
        assert {path for path, kind in found if kind == "missing"} == set(files()) - {"config.json"}
        assert {path for path, kind in found if kind == "extra"} == {
            "sub/model.safetensors.partial",
        }

    def test_a_change_outside_what_was_chosen_does_not_matter(self, copy, manifest, rows):
        start = min(
            manifest.offsets[row]
            for row in range(len(manifest.chunks))
            if self.of_model(manifest, row) and row not in rows
        )
        overwrite(copy / "sub/model.safetensors.partial", start, b"x")
        assert problems(copy, manifest, rows) == []

    def test_a_change_in_what_was_chosen_is_found(self, copy, manifest, rows):
        overwrite(copy / "sub/model.safetensors.partial", 0, b"x")
        assert problems(copy, manifest, rows) == [("sub/model.safetensors.partial", "bytes")]
        (copy / "config.json").rename(copy / "config.json.partial")
        assert problems(copy, manifest, rows) == [
            ("config.json", "missing"),
            ("sub/model.safetensors.partial", "bytes"),
            ("config.json.partial", "extra"),
        ]

    def of_model(self, manifest, row):
        return manifest.files[manifest.file_of(row)].path == "sub/model.safetensors"
