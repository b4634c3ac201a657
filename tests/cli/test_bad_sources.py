"""What `publish` is given may be anything: one clear line, the right code, and nothing left behind."""

import os
import pickle
import socket
import threading
import time
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from modelreg.source import SourceFile
from tests.cli.command import done, kept, refused, start, tree
from tests.cli.conftest import MODEL
from tests.cli.models import weights, write_onnx
from tests.store.unprivileged import without_privileges

OPTIONS = ("--model", MODEL, "--version", "1.0.0")


@pytest.fixture
def source(tmp_path):
    """A directory with one good file."""
    root = tmp_path / "source"
    root.mkdir()
    (root / "good.txt").write_text("good")
    return root


@pytest.fixture
def refuses(home, source):
    """Publishes the directory, which must be refused with nothing left behind; returns the line."""

    def check(code=2, *options, path=source):
        before, files = kept(home), sorted(os.walk(path))
        line = refused(home, "publish", path, *OPTIONS, *options, code=code)
        assert kept(home) == before
        assert sorted(os.walk(path)) == files
        assert done(home, "ls") == []
        return line

    return check


def test_nothing(refuses, tmp_path):
    assert "No such file" in refuses(4, path=tmp_path / "missing")


def test_an_empty_directory(refuses, tmp_path):
    (tmp_path / "empty" / "below").mkdir(parents=True)
    assert "at least one file" in refuses(path=tmp_path / "empty")


@pytest.mark.parametrize("target", ["good.txt", ".", "missing", "/etc/hostname"])
def test_a_symlink(refuses, source, target):
    (source / "link").symlink_to(target)
    line = refuses()
    assert "a symbolic link" in line
    assert "cp -rL" in line


def test_a_symlink_as_the_path(refuses, source, tmp_path):
    (tmp_path / "link").symlink_to(source)
    refuses(path=tmp_path / "link")


def test_a_fifo_and_a_socket(refuses, source):
    os.mkfifo(source / "fifo")
    assert "a special file" in refuses()
    (source / "fifo").unlink()
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(source / "socket"))
        assert "a special file" in refuses()


def test_a_device(refuses):
    assert "a special file" in refuses(path="/dev/zero")


@pytest.mark.parametrize("name", ["model.bin", "model.pkl", "weights.txt"])
def test_a_pickle_under_any_name(refuses, source, name):
    (source / name).write_bytes(pickle.dumps({"weights": [1.0, 2.0]}))
    assert "pickle" in refuses()


@pytest.mark.parametrize("name", ["model.pt", "model.bin"])
def test_a_pytorch_zip(refuses, source, name):
    with zipfile.ZipFile(source / name, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1]))
        archive.writestr("archive/data/0", bytes(100))
    line = refuses()
    assert "--allow-unsafe" in line


def test_a_pickle_that_is_allowed_by_name(home, source, tmp_path):
    (source / "model.pkl").write_bytes(pickle.dumps([1]))
    refused(home, "publish", source, *OPTIONS, "--allow-unsafe", "other.*", code=2)
    done(home, "publish", source, *OPTIONS, "--allow-unsafe", "*.pkl")
    done(home, "sync", MODEL, "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(source)


def test_a_file_that_nobody_may_read(source, tmp_path):
    (source / "secret.txt").write_text("secret")
    (source / "secret.txt").chmod(0)
    for above in tmp_path.parents[:3]:
        above.chmod(above.stat().st_mode | 0o011)

    def check():
        from modelreg.errors import NotPermittedError
        from modelreg.source import find_sources

        with pytest.raises(NotPermittedError, match=r"secret\.txt"):
            find_sources(source)

    without_privileges(tmp_path, check)


@pytest.mark.parametrize("pair", [("Model.txt", "model.txt"), ("A/x", "a/y"), ("ß.txt", "ss.txt")])
def test_names_that_collide_by_case(refuses, source, pair):
    for name in pair:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(name)
    assert "differ only by case" in refuses()


@pytest.mark.parametrize(
    "name", [b"a\nb", b"a:b", b"a\\b", b"con", b"aux.txt", b" a", b"a.", b"\xff\xfe", "e\u0301".encode()]
)
def test_names_that_do_not_travel(refuses, source, name):
    (source / os.fsdecode(name)).write_bytes(b"x")
    assert "path in a release" in refuses()


def test_directories_too_deep(refuses, source):
    deepest = source / "/".join(["d"] * 200)
    deepest.mkdir(parents=True)
    (deepest / "x").write_text("x")
    assert "64 components" in refuses()


def test_many_small_files(home, source, tmp_path):
    """More files than a process may have open."""
    import resource

    for number in range(3000):
        (source / f"{number:04}.txt").write_text(f"file {number}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        done(home, "publish", source, *OPTIONS)
        done(home, "sync", MODEL, "--to", tmp_path / "copy")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert tree(tmp_path / "copy") == tree(source)


@pytest.mark.slow
def test_ten_thousand_small_files(home, source, tmp_path):
    for number in range(10_000):
        (source / f"{number:05}.txt").write_text(f"file {number}")
    done(home, "publish", source, *OPTIONS)
    done(home, "sync", MODEL, "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(source)


def test_empty_files_are_legal(home, tmp_path):
    root = tmp_path / "empties"
    (root / "below").mkdir(parents=True)
    for name in ("a", "b.txt", "below/c.safetensors.txt"):
        (root / name).write_bytes(b"")
    done(home, "publish", root, *OPTIONS)
    done(home, "publish", root / "a", "--model", "acme/one", "--version", "1.0.0")
    for model, expected in ((MODEL, tree(root)), ("acme/one", {"a": b""})):
        copy = tmp_path / model
        done(home, "sync", model, "--to", copy)
        assert tree(copy) == expected
        assert done(home, "verify", copy)["ok"]


def test_an_empty_safetensors_file_is_not_one(refuses, source):
    (source / "model.safetensors").write_bytes(b"")
    assert "not a valid safetensors file" in refuses()


def test_empty_tensors_and_nan_weights_are_legal(home, source, tmp_path):
    odd = {
        "empty": np.zeros((0, 3), "<f4"),
        "nan": np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324], "<f8"),
        "scalar": np.array(1.5, "<f2"),
        "many": np.full((200, 1000), np.nan, "<f4"),
    }
    save_file(odd, source / "model.safetensors")
    done(home, "publish", source, *OPTIONS)
    odd["many"][7, 7] = 1.0
    save_file(odd, source / "model.safetensors")
    done(home, "publish", source, "--model", MODEL, "--version", "1.0.1")
    copy = tmp_path / "copy"
    for version in ("1.0.0", "1.0.1"):
        done(home, "sync", f"{MODEL}@{version}", "--to", copy)
    assert tree(copy) == tree(source)
    [difference] = done(home, "diff", f"{MODEL}@1.0.0", f"{MODEL}@1.0.1")["differences"]
    assert (difference["tensor"], difference["changed"]) == ("many", 1)


@pytest.mark.parametrize("kept_bytes", [0.5, 0.999])
def test_a_truncated_safetensors_file(refuses, source, kept_bytes):
    whole = save(weights())
    (source / "model.safetensors").write_bytes(whole[: int(len(whole) * kept_bytes)])
    assert "model.safetensors is not a valid safetensors file" in refuses()


def test_a_truncated_onnx_file(refuses, source, tmp_path):
    whole = (write_onnx(tmp_path / "onnx", weights()) / "model.onnx").read_bytes()
    (source / "model.onnx").write_bytes(whole[: len(whole) // 2])
    assert "model.onnx is not a valid onnx file" in refuses()


@pytest.mark.parametrize(
    "location", ["../outside.data", "/etc/passwd", "a/../../outside.data", "missing.data"]
)
def test_onnx_data_that_lies_outside(refuses, source, location):
    (source.parent / "outside.data").write_bytes(bytes(1 << 20))
    write_onnx(source, weights(), location if "/" in location else "gone/" + location)
    assert "model.onnx is not a valid onnx file" in refuses()


def test_onnx_data_behind_a_symlink(refuses, source):
    write_onnx(source, weights())
    (source / "model.onnx.data").rename(source.parent / "outside.data")
    (source / "model.onnx.data").symlink_to("../outside.data")
    assert "a symbolic link" in refuses()


def test_onnx_data_shorter_than_its_tensors(refuses, source):
    write_onnx(source, weights())
    with (source / "model.onnx.data").open("r+b") as file:
        file.truncate(1000)
    assert "onnx" in refuses()


@pytest.mark.parametrize(
    ("change", "code"),
    [("write", 2), ("truncate", 2), ("replace", 2), ("remove", 4), ("swap for a link", 3)],
)
def test_a_file_that_changes_meanwhile(home, source, change, code, monkeypatch):
    """It changes between the look at all files and the reading of this one."""
    target = source / "good.txt"
    read_at = SourceFile.read_at
    before = kept(home)

    def changed_before(self, offset, length):
        if not done_once:
            done_once.append(True)
            _change(target, change)
        return read_at(self, offset, length)

    done_once = []
    monkeypatch.setattr(SourceFile, "read_at", changed_before)
    assert "good.txt" in refused(home, "publish", source, *OPTIONS, code=code)
    assert kept(home) == before


def _change(target, change):
    if change == "write":
        target.write_text("evil")
    elif change == "truncate":
        target.write_text("")
    elif change == "replace":
        other = target.with_name("other")
        other.write_text("good")
        other.rename(target)
    elif change == "remove":
        target.unlink()
    else:
        target.unlink()
        target.symlink_to("/etc/hostname")


def test_a_directory_that_is_swapped_for_a_moment(home, source, monkeypatch):
    """Each file is as it was at the end, but what was read came from elsewhere."""
    below, evil = source / "below", source.parent / "evil"
    for place, text in ((below, "good"), (evil, "evil")):
        place.mkdir()
        (place / "file.txt").write_text(text)
    read_at = SourceFile.read_at

    def swapped(self, offset, length):
        below.rename(source.parent / "away")
        evil.rename(below)
        try:
            return read_at(self, offset, length)
        finally:
            below.rename(evil)
            (source.parent / "away").rename(below)

    monkeypatch.setattr(SourceFile, "read_at", swapped)
    assert "below/file.txt changed" in refused(home, "publish", source, *OPTIONS, code=2)


def test_a_file_that_grows_while_it_is_read(home, source):
    """A trainer still writes to the file, in another process."""
    (source / "log.txt").write_bytes(os.urandom(6 << 20))
    ended = threading.Event()

    def write():
        with (source / "log.txt").open("ab", buffering=0) as file:
            while not ended.wait(0.001):
                file.write(b"more")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        line = refused(home, "publish", source, *OPTIONS, code=2)
    finally:
        ended.set()
        writer.join()
    assert "log.txt changed while it was being published" in line


def test_an_interrupt_ends_a_publish_cleanly(home, tmp_path):
    import signal

    (tmp_path / "large.bin").write_bytes(np.random.default_rng(0).bytes(64 << 20))
    process = start(home, "--json", "publish", tmp_path / "large.bin", *OPTIONS)
    while process.poll() is None and not any((home / "store" / "blocks").glob("*/*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert list((home / "store" / "blocks" / "tmp").iterdir()) == []
    done(home, "gc")
    done(home, "publish", tmp_path / "large.bin", *OPTIONS)
