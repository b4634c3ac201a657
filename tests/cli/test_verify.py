"""`verify` and `bundle`: each kind of problem, partial copies, and evidence without a chain."""

import os
import shutil
import socket

import pytest

from modelreg.store.files import read_regular
from tests.cli.command import done, flip, modelreg, refused
from tests.cli.conftest import MODEL


@pytest.fixture
def copy(world, tmp_path):
    """A copy of acme/tiny 1.1.0 that the publisher's own home made."""
    path = tmp_path / "copy"
    done(world.publisher, "sync", MODEL, "--to", path)
    return path


def problems(home, *arguments):
    """The problems that verify finds, which must be told in both forms."""
    outcome = modelreg(home, "verify", *arguments)
    assert outcome.code == 3
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.splitlines()) == 1
    document = outcome.document
    assert not document["ok"]
    told = modelreg(home, "verify", *arguments, json_mode=False).out.splitlines()
    assert len(told) == len(document["problems"])
    return [(problem["path"], problem["kind"]) for problem in document["problems"]]


def test_a_good_copy(world, copy):
    document = done(world.publisher, "verify", copy)
    assert (document["ok"], document["problems"]) == (True, [])
    assert document["release_id"] == done(world.publisher, "show", MODEL)["release_id"]
    assert str(copy) in modelreg(world.publisher, "verify", copy, json_mode=False).out


def test_a_good_copy_that_somebody_else_made(world):
    assert done(world.publisher, "verify", world.second, MODEL)["ok"]
    assert "name it" in refused(world.publisher, "verify", world.second, code=2)


def test_another_release_than_the_one_named(world, copy):
    assert problems(world.publisher, copy, f"{MODEL}@1.0.0") == [("model.safetensors", "bytes")]


def test_a_changed_byte_is_found_and_placed(world, copy):
    flip(copy / "model.safetensors")
    outcome = modelreg(world.publisher, "verify", copy)
    [problem] = outcome.document["problems"]
    assert (problem["path"], problem["kind"]) == ("model.safetensors", "bytes")
    assert "tensor " in problem["expected"]
    assert problem["found"].startswith("blake3:")
    assert "modelreg sync" in outcome.err
    assert f"--to {copy}" in outcome.err


def test_a_missing_file(world, copy):
    (copy / "config.json").unlink()
    assert problems(world.publisher, copy) == [("config.json", "missing")]


def test_a_file_too_many(world, copy):
    (copy / "assets" / "planted.py").write_text("import os")
    (copy / os.fsdecode(b"\xff\x1b[31m")).write_text("")
    assert problems(world.publisher, copy) == [
        (os.fsdecode(b"\xff\x1b[31m"), "extra"),
        ("assets/planted.py", "extra"),
    ]


@pytest.mark.parametrize("change", [b"", b"x"])
def test_a_file_of_another_size(world, copy, change):
    (copy / "assets" / "empty.txt").write_bytes(b"x")
    with (copy / "config.json").open("ab") as file:
        file.write(b"\n")
    assert problems(world.publisher, copy) == [("assets/empty.txt", "size"), ("config.json", "size")]


def test_a_truncated_file(world, copy):
    os.truncate(copy / "tokenizer.json", 100)
    assert problems(world.publisher, copy) == [("tokenizer.json", "size"), ("tokenizer.json", "bytes")]


@pytest.mark.parametrize("kind", ["link", "dangling link", "directory", "fifo", "socket", "device"])
def test_something_else_than_a_file(world, copy, kind):
    path = copy / "config.json"
    shutil.copy(path, copy.with_name("same.json"))
    path.unlink()
    with socket.socket(socket.AF_UNIX) as unix:
        if "link" in kind:
            path.symlink_to("../same.json" if kind == "link" else "missing")
        elif kind == "directory":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "device":
            os.mknod(path, 0o020600, os.makedev(1, 5))
        else:
            unix.bind(str(path))
        assert problems(world.publisher, copy) == [("config.json", "type")]


def test_a_link_in_place_of_a_directory(world, copy):
    (copy / "assets").rename(copy.with_name("elsewhere"))
    (copy / "assets").symlink_to("../elsewhere")
    assert ("assets", "extra") in problems(world.publisher, copy)


def test_a_file_in_place_of_a_directory(world, copy):
    shutil.rmtree(copy / "assets")
    (copy / "assets").write_text("")
    assert ("assets/empty.txt", "unreadable") in problems(world.publisher, copy)


def test_a_part(world, tmp_path):
    part = tmp_path / "part"
    done(world.publisher, "sync", MODEL, "--to", part, "--only", "layer.*")
    assert done(world.publisher, "verify", part)["ok"]
    with (part / "model.safetensors.partial").open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b"x")
    assert problems(world.publisher, part) == [("model.safetensors.partial", "size")]
    flip(part / "model.safetensors.partial", 20)
    (part / "config.json.partial").write_text("")
    assert problems(world.publisher, part) == [
        ("model.safetensors.partial", "size"),
        ("model.safetensors.partial", "bytes"),
        ("config.json.partial", "extra"),
    ]


def test_a_part_is_not_the_whole(world, tmp_path):
    part = tmp_path / "part"
    done(world.publisher, "sync", MODEL, "--to", part, "--only", "layer.*")
    assert ("model.safetensors", "missing") in problems(world.publisher, part, MODEL)


def test_one_file_of_one(world, tmp_path):
    file = world.first / "config.json"
    done(world.publisher, "publish", file, "--model", "acme/one", "--version", "1.0.0")
    assert done(world.publisher, "verify", file, "acme/one")["ok"]
    (tmp_path / "config.json").write_text("{}")
    assert ("config.json", "size") in problems(world.publisher, tmp_path / "config.json", "acme/one")


class TestOneFile:
    """A file of a release of several: it alone is looked at, and the others are named."""

    def verified(self, home, *arguments):
        outcome = modelreg(home, "verify", *arguments)
        assert outcome.document.keys() == {"ok", "release_id", "reference", "only", "problems"}
        [warning] = [line for line in outcome.err.splitlines() if line.startswith("warning: ")]
        return outcome, warning

    def test_that_matches(self, world, copy, tmp_path):
        shutil.copy(copy / "config.json", tmp_path)
        for arguments in (
            (copy / "config.json",),
            (copy / "config.json", MODEL),
            (tmp_path / "config.json", MODEL),
        ):
            outcome, warning = self.verified(world.publisher, *arguments)
            assert outcome.code == 0
            assert (outcome.document["ok"], outcome.document["problems"]) == (True, [])
            assert warning == "warning: not looked at: assets/empty.txt, model.safetensors, tokenizer.json"
        told = modelreg(world.publisher, "verify", copy / "config.json", json_mode=False).out
        assert "config.json is every byte of config.json of acme/tiny@1.1.0" in told

    def test_that_does_not(self, world, copy):
        flip(copy / "config.json")
        (copy / "tokenizer.json").unlink()
        outcome, warning = self.verified(world.publisher, copy / "config.json")
        assert outcome.code == 3
        assert [(p["path"], p["kind"]) for p in outcome.document["problems"]] == [("config.json", "bytes")]
        assert "tokenizer.json" in warning
        error = outcome.err.splitlines()[-1]
        assert f"{copy / 'config.json'} is not config.json of acme/tiny@1.1.0" in error
        assert "--to" not in error, "a directory of that name is not what the user wants"

    def test_that_the_release_does_not_name(self, world):
        outcome, _ = self.verified(world.publisher, world.publisher / "config.toml", MODEL)
        assert outcome.code == 3
        assert [(p["path"], p["kind"]) for p in outcome.document["problems"]] == [("config.toml", "extra")]

    def test_of_a_part(self, world, tmp_path):
        copy = tmp_path / "part"
        done(world.publisher, "sync", MODEL, "--to", copy, "--only", "head.*", "--only", "config.json")
        outcome, warning = self.verified(world.publisher, copy / "model.safetensors.partial")
        assert outcome.code == 0
        assert warning == "warning: not looked at: config.json"

    def test_that_is_a_link_or_missing(self, world, copy):
        (copy / "config.json").rename(copy / "elsewhere")
        (copy / "config.json").symlink_to("elsewhere")
        outcome, _ = self.verified(world.publisher, copy / "config.json")
        assert [(p["path"], p["kind"]) for p in outcome.document["problems"]] == [("config.json", "type")]
        assert modelreg(world.publisher, "verify", copy / "nothing").code == 4


def test_nothing_there(world, tmp_path):
    for arguments in ((tmp_path / "missing",), (tmp_path / "missing", MODEL)):
        refused(world.publisher, "verify", *arguments, code=4)


def test_a_release_whose_manifest_is_gone(world, copy):
    shutil.rmtree(world.publisher / "store" / "blocks")
    (world.publisher / "store" / "blocks" / "tmp").mkdir(parents=True)
    refused(world.publisher, "verify", copy, code=4)


def test_says_that_a_release_was_yanked(world, copy):
    done(world.publisher, "yank", MODEL, "--reason", "poisoned")
    outcome = modelreg(world.publisher, "verify", copy)
    assert outcome.code == 0
    assert "was yanked" in outcome.err


def test_a_damaged_record_is_no_record(world, copy):
    [record] = (world.publisher / "installed").glob("*.json")
    for damage in (b"", b"{}", b"\xff", b"[" * 10_000, record.read_bytes().replace(b"bafy", b"bafz")):
        record.write_bytes(damage)
        assert modelreg(world.publisher, "verify", copy, MODEL).code == 0
        assert modelreg(world.publisher, "verify", copy).code in (0, 2)


# Offline.


@pytest.fixture
def bundle(world, tmp_path):
    """A bundle for acme/tiny 1.1.0, and the document that tells its block."""
    return done(world.publisher, "bundle", MODEL, tmp_path / "tiny.bundle")


def offline(home, directory, bundle, *options):
    return modelreg(home, "verify", directory, "--offline", bundle["file"], *options)


def test_offline_in_a_home_that_saw_the_block(world, bundle):
    (world.publisher / "chain.sqlite").unlink()
    outcome = offline(world.publisher, world.second, bundle)
    assert outcome.code == 0
    assert outcome.document["ok"]


def test_offline_without_a_home(world, bundle, tmp_path):
    nowhere = tmp_path / "nowhere"
    assert offline(nowhere, world.second, bundle, "--block", bundle["hash"]).code == 0
    assert (
        offline(nowhere, world.second, bundle, "--block", bundle["hash"].upper().replace("X", "x")).code == 0
    )
    assert not nowhere.exists()


def test_offline_with_a_wrong_or_no_block_hash(world, bundle, tmp_path):
    nowhere = tmp_path / "nowhere"
    wrong = "0x" + "12" * 32
    outcome = offline(nowhere, world.second, bundle, "--block", wrong)
    assert outcome.code == 3
    assert wrong in outcome.err
    assert bundle["hash"] in outcome.err
    outcome = offline(nowhere, world.second, bundle)
    assert outcome.code == 2
    assert f"--block {bundle['hash']}" in outcome.err


def test_offline_by_name_and_by_id(world, bundle, tmp_path):
    nowhere, block = tmp_path / "nowhere", ("--block", bundle["hash"])
    for reference in (MODEL, bundle["release_id"]):
        assert offline(nowhere, world.second, bundle, reference, *block).code == 0
    outcome = offline(nowhere, world.first, bundle, f"{MODEL}@1.0.0", *block)
    assert outcome.code == 3
    assert "modelreg bundle acme/tiny@1.0.0" in outcome.err


def test_offline_finds_what_differs(world, bundle, tmp_path):
    outcome = offline(tmp_path / "nowhere", world.first, bundle, "--block", bundle["hash"])
    assert outcome.code == 3
    assert [problem["path"] for problem in outcome.document["problems"]] == ["model.safetensors"]


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_offline_with_a_damaged_bundle(world, bundle, tmp_path, share):
    file = tmp_path / "tiny.bundle"
    flip(file, int(file.stat().st_size * share))
    outcome = offline(tmp_path / "nowhere", world.second, bundle, "--block", bundle["hash"])
    assert outcome.code == 3
    assert outcome.document["error"]["kind"] in ("FormatError", "VerificationError")


@pytest.mark.parametrize("content", [b"", b"not a bundle", bytes(1000), b"\xff" * 1000])
def test_offline_with_something_else(world, tmp_path, content):
    (tmp_path / "other").write_bytes(content)
    refused(tmp_path / "nowhere", "verify", world.second, "--offline", tmp_path / "other", code=3)


def test_offline_with_a_truncated_or_missing_bundle(world, bundle, tmp_path):
    file = tmp_path / "tiny.bundle"
    file.write_bytes(file.read_bytes()[:-100])
    options = ("--block", bundle["hash"])
    assert offline(tmp_path / "nowhere", world.second, bundle, *options).code == 3
    file.unlink()
    assert offline(tmp_path / "nowhere", world.second, bundle, *options).code == 4


def test_a_bundle_replaces_no_file(world, bundle, tmp_path):
    before = read_regular(tmp_path / "tiny.bundle", 1 << 20)
    refused(world.publisher, "bundle", MODEL, tmp_path / "tiny.bundle", code=5)
    assert read_regular(tmp_path / "tiny.bundle", 1 << 20) == before


def test_a_bundle_for_nothing_or_to_nowhere(world, tmp_path):
    refused(world.publisher, "bundle", "acme/none", tmp_path / "b", code=4)
    refused(world.publisher, "bundle", MODEL, tmp_path / "missing" / "b", code=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["publisher"]


def test_a_bundle_that_cannot_be_finished_leaves_nothing(world, tmp_path, monkeypatch):
    import modelreg_verifier.bundle as module

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_bundle", full)
    assert "free some space" in refused(world.publisher, "bundle", MODEL, tmp_path / "b", code=6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["publisher"]
