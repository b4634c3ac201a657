"""Files of a home that were damaged, taken away or made read-only, and disks that are full."""

import os
import resource
import shutil
import subprocess
import sys

import pytest

from tests.cli.command import blocks, done, flip, kept, modelreg, refused, start, tree
from tests.cli.conftest import MODEL
from tests.cli.models import weights, write_huggingface
from tests.store.unprivileged import without_privileges


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('file = "chain.sqlite"', ""),
        ('file = "chain.sqlite"', "file = 7"),
        ('file = "chain.sqlite"', "file = [[[[1]]]]"),
        ("id = ", "id = -"),
        ("id = ", "id = 1.5 #"),
        ('contract = "0x', 'contract = "0x0'),
        ('address = "0x', 'address = "0xzz'),
        ('address = "0x', "address = 7 #"),
        ('block = "latest"', 'block = "newest"'),
        ('block = "latest"', "block = -1"),
        ("peers = []", 'peers = "x"'),
        ("peers = []", "peers = [1]"),
        ("[key]", "[keys]"),
        ("[blocks]", "[blocks]\nsurprise = 1"),
        ("[chain]", "[chain"),
        ("peers = []", "peers = " + "[" * 20_000),
        ("[chain]", "#" * 70_000 + "\n[chain"),
    ],
)
def test_a_corrupt_configuration(world, old, new):
    config = world.publisher / "config.toml"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    for arguments in (("ls",), ("sync", MODEL), ("gc",)):
        assert str(config) in refused(world.publisher, *arguments, code=2)


@pytest.mark.parametrize("content", [b"", b"x" * 5000, "truncated", "flipped"])
def test_a_corrupt_chain_file(world, content):
    chain = world.publisher / "chain.sqlite"
    whole = chain.read_bytes()
    if content == "truncated":
        content = whole[: len(whole) // 2]
    elif content == "flipped":
        content = bytes(1024) + whole[1024:]
    for extra in ("-wal", "-shm"):
        chain.with_name(chain.name + extra).unlink(missing_ok=True)
    chain.write_bytes(content)
    before = blocks(world.publisher)
    options = ("--model", MODEL, "--version", "1.2.0")
    for arguments in (("ls",), ("sync", MODEL), ("publish", world.first, *options), ("chain", "status")):
        refused(world.publisher, *arguments, code=3)
    assert blocks(world.publisher) == before


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_corrupt_trusted_head(world, content):
    """Nobody knows what was seen: the user must decide, not the command."""
    state = world.publisher / "trusted-head.json"
    state.write_bytes(content)
    for arguments in (("ls",), ("sync", MODEL)):
        assert str(state) in refused(world.publisher, *arguments, code=3)
    assert state.read_bytes() == content
    state.unlink()
    done(world.publisher, "ls")


def test_a_corrupt_block_in_the_own_store_comes_from_a_peer(world, tmp_path):
    node = world.node()
    done(node, "pin", MODEL)
    for block in blocks(node):
        flip(block)
    done(node, "sync", MODEL, "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(world.second)
    shutil.rmtree(world.publisher / "store")
    done(node, "sync", MODEL, "--to", tmp_path / "other")
    assert tree(tmp_path / "other") == tree(world.second)


def test_a_corrupt_block_that_no_peer_has(world, tmp_path):
    for block in blocks(world.publisher):
        flip(block)
    for home in (world.publisher, world.node()):
        refused(home, "sync", MODEL, "--to", tmp_path / "copy", code=3)
        assert not (tmp_path / "copy").exists()
    options = ("--model", MODEL, "--version", "1.2.0")
    refused(world.publisher, "publish", world.first, *options, code=3)


def test_publishing_again_mends_the_store(world, tmp_path):
    for block in blocks(world.publisher):
        flip(block)
    done(world.publisher, "publish", world.first, "--model", "acme/again", "--version", "1.0.0")
    done(world.publisher, "sync", f"{MODEL}@1.0.0", "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(world.first)


@pytest.mark.parametrize("damage", ["garbage", "other", "fifo"])
def test_a_damaged_record_of_a_copy(world, tmp_path, damage):
    """A record is a hint: what it names is verified, and without one all is fetched."""
    node = world.node()
    done(node, "sync", MODEL, "--to", tmp_path / "copy")
    [record] = (node / "installed").glob("*.json")
    if damage == "garbage":
        record.write_bytes(b"\xff\xfe")
    elif damage == "other":
        record.write_bytes(record.read_bytes().replace(str(tmp_path).encode(), b"/nowhere"))
    else:
        record.unlink()
        os.mkfifo(record)
    done(node, "sync", MODEL, "--to", tmp_path / "other")
    assert tree(tmp_path / "other") == tree(world.second)


def test_a_peer_that_is_gone(world, tmp_path):
    node = world.node()
    world.publisher.rename(world.publisher.with_name("moved"))
    for arguments in (
        ("ls",),
        ("sync", MODEL),
        ("publish", world.first, "--model", "a/b", "--version", "1.0.0"),
    ):
        assert str(world.publisher) in refused(node, *arguments, code=4)


def test_a_home_that_is_read_only(world, tmp_path):
    """One clear line for everything that must write; what only reads may say so, too."""
    for above in tmp_path.parents[:3]:
        above.chmod(above.stat().st_mode | 0o011)
    for path in (world.publisher, *world.publisher.rglob("*")):
        os.chown(path, 65534, 65534)
    before = tree(world.publisher)
    source = write_huggingface(tmp_path / "third", weights(seed=3))

    def check():
        for path in (world.publisher, *world.publisher.rglob("*")):
            if path.is_dir():
                path.chmod(0o500)
        publish = ("publish", source, "--model", MODEL, "--version", "1.2.0")
        sync = ("sync", MODEL, "--to", tmp_path / "copy")
        for arguments in (publish, sync, ("yank", MODEL, "--reason", "x"), ("unpin", MODEL)):
            line = refused(world.publisher, *arguments, code=8)
            assert "Permission denied" in line or "is read-only" in line
        assert modelreg(world.publisher, "ls").code in (0, 8)

    without_privileges(tmp_path, check)
    assert tree(world.publisher) == before
    assert not (tmp_path / "copy").exists()


def test_a_file_that_may_grow_no_further(world, tmp_path):
    """The limit of `ulimit -f`, which the kernel reports as it reports a full disk."""
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(3 << 20))
    done(world.publisher, "publish", large, "--model", "acme/large", "--version", "1.0.0")
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))}
    process = start(world.publisher, "--json", "sync", "acme/large", "--to", tmp_path / "copy", **limit)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 6, errors
    assert "free some space" in errors
    assert not (tmp_path / "copy").exists()
    done(world.publisher, "sync", "acme/large", "--to", tmp_path / "copy")


DISK_FULL = """
import subprocess, sys
from pathlib import Path

from tests.cli.command import done, kept, refused, tree
from tests.cli.models import weights, write_huggingface

place, disk = Path(sys.argv[1]), Path(sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(disk)], check=True)
home = disk / "home"
done(home, "init")
first = write_huggingface(place / "small", {"w": weights()["layer.0.weight"]})
done(home, "publish", first, "--model", "acme/small", "--version", "1.0.0")
before = kept(home)
large = place / "large.bin"
large.write_bytes(Path("/dev/urandom").open("rb").read(4 << 20))
for _ in range(2):
    line = refused(home, "publish", large, "--model", "acme/large", "--version", "1.0.0", code=6)
    assert "free some space" in line, line
assert not list((home / "store" / "blocks" / "tmp").iterdir())
assert [row["model"] for row in done(home, "ls")] == ["acme/small"]
done(home, "gc")
assert kept(home)[0] == before[0]
done(home, "publish", first, "--model", "acme/other", "--version", "1.0.0")
(disk / "ballast").write_bytes(b"")
try:
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(512))
except OSError:
    pass
line = refused(home, "sync", "acme/small", "--to", disk / "copy", code=6)
assert not (disk / "copy").exists()
refused(home, "publish", first, "--model", "acme/a", "--version", "1.0.0", code=6)
(disk / "ballast").unlink()
done(home, "sync", "acme/small", "--to", disk / "copy")
assert tree(disk / "copy") == tree(first)
assert done(home, "chain", "status", "--replay")["replayed"]
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs to mount")
def test_a_full_disk(tmp_path):
    (tmp_path / "disk").mkdir()
    command = ["unshare", "--mount", sys.executable, "-c", DISK_FULL, str(tmp_path), str(tmp_path / "disk")]
    done_ = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done_.returncode == 0, done_.stderr


def test_a_block_store_that_is_gone(world, tmp_path):
    """It is made anew; what it held comes from peers, or is missing by name."""
    before = kept(world.publisher)[1]
    shutil.rmtree(world.publisher / "store")
    refused(world.publisher, "sync", MODEL, "--to", tmp_path / "copy", code=4)
    assert kept(world.publisher)[1] == before


def test_a_directory_in_the_place_of_a_file(world):
    for name, code in (("trusted-head.json", 3), ("chain.sqlite", 4), ("config.toml", 3)):
        path = world.publisher / name
        path.rename(path.with_name("away"))
        path.mkdir()
        refused(world.publisher, "ls", code=code)
        path.rmdir()
        path.with_name("away").rename(path)
    done(world.publisher, "ls")
