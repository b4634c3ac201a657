"""`yank`, `channel`, `pin`, `unpin` and `gc`."""

import importlib
import shutil

import pytest

from modelreg.store.pins import Pins
from tests.cli.command import blocks, done, modelreg, refused, tree
from tests.cli.conftest import MODEL

UNKNOWN = "0x" + "11" * 32


def test_yank_says_why_to_everybody(world):
    document = done(world.publisher, "yank", MODEL, "--reason", "poisoned ☠")
    assert document["gas"] > 20_000
    shown = done(world.node(), "show", MODEL)
    assert shown["yanked"] == "poisoned ☠"
    assert shown["files"]


def test_yank_is_for_good(world):
    done(world.publisher, "yank", MODEL, "--reason", "once")
    assert "once" in refused(world.publisher, "yank", MODEL, "--reason", "twice", code=5)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((MODEL, "--reason", ""), 2),
        ((MODEL, "--reason", "x" * 257), 2),
        ((MODEL,), 2),
        (("acme/none", "--reason", "x"), 4),
        ((UNKNOWN, "--reason", "x"), 4),
    ],
)
def test_yank_refuses(world, arguments, code):
    refused(world.publisher, "yank", *arguments, code=code)
    assert done(world.publisher, "show", MODEL)["yanked"] is None


def test_yank_names_the_channels_that_stay_behind(world):
    home = world.publisher
    for channel, reference in (("stable", MODEL), ("old", f"{MODEL}@1.0.0"), ("beta", MODEL)):
        done(home, "channel", "set", MODEL, channel, reference)
    outcome = modelreg(home, "yank", MODEL, "--reason", "bad\x1b[2J")
    assert outcome.document["channels"] == ["stable", "beta"]
    assert outcome.err.count("warning: ") == 2
    assert f"modelreg channel set {MODEL} stable" in outcome.err
    rows = {row["channel"]: row["yanked"] for row in done(home, "channel", "list", MODEL)}
    assert rows == {"stable": "bad\x1b[2J", "old": None, "beta": "bad\x1b[2J"}
    lines = modelreg(home, "channel", "list", MODEL, json_mode=False).out.splitlines()
    assert [line.endswith("  yanked: bad\\x1b[2J") for line in lines] == [True, False, True]
    done(home, "channel", "set", MODEL, "stable", f"{MODEL}@1.0.0")
    assert done(home, "channel", "list", MODEL)[0]["yanked"] is None
    outcome = modelreg(home, "yank", f"{MODEL}@1.0.0", "--reason", "bad too")
    assert outcome.document["channels"] == ["stable", "old"]


def test_yank_of_what_no_channel_names_gives_no_remark(world):
    outcome = modelreg(world.publisher, "yank", MODEL, "--reason", "bad")
    assert outcome.document["channels"] == []
    assert outcome.err == ""


def test_only_who_may_yanks(world):
    refused(world.node(), "yank", MODEL, "--reason", "mine", code=8)


def test_channels(world):
    first = done(world.publisher, "channel", "set", MODEL, "stable", f"{MODEL}@1.0.0")
    assert first["before"] is None
    second = done(world.publisher, "channel", "set", MODEL, "stable", MODEL)
    assert second["before"] == first["release_id"]
    done(world.publisher, "channel", "set", MODEL, "beta", f"{MODEL}@stable")
    rows = done(world.publisher, "channel", "list", MODEL)
    assert [(row["channel"], row["version"]) for row in rows] == [("stable", "1.1.0"), ("beta", "1.1.0")]
    again = done(world.publisher, "channel", "set", MODEL, "stable", MODEL)
    assert again["release_id"] == second["release_id"]
    assert done(world.publisher, "channel", "list", MODEL) == rows


def test_a_channel_that_moves_later(world):
    home = world.publisher
    first = done(home, "channel", "set", MODEL, "stable", f"{MODEL}@1.0.0")["release_id"]
    block = done(home, "chain", "status")["block"] + 2
    planned = done(home, "channel", "set", MODEL, "stable", MODEL, "--at-block", block)
    assert (planned["before"], planned["block"]) == (first, block)
    [row] = done(home, "channel", "list", MODEL)
    assert (row["version"], row["planned"]["version"], row["planned"]["block"]) == ("1.0.0", "1.1.0", block)
    line = modelreg(home, "channel", "list", MODEL, json_mode=False).out
    assert f"from block {block}: 1.1.0" in line
    assert done(home, "show", f"{MODEL}@stable")["version"] == "1.0.0"
    assert done(home, "status", MODEL, "--channel", "stable")["planned"] == {
        "version": "1.1.0",
        "block": block,
    }
    assert (
        f"and 1.1.0 from block {block} on"
        in modelreg(home, "status", MODEL, "--channel", "stable", json_mode=False).out
    )
    assert done(home, "yank", MODEL, "--reason", "bad")["channels"] == ["stable"]
    assert done(home, "chain", "status")["block"] == block
    [row] = done(home, "channel", "list", MODEL)
    assert (row["version"], row["yanked"], row["planned"]) == ("1.1.0", "bad", None)
    assert "has passed" in refused(
        home, "channel", "set", MODEL, "stable", f"{MODEL}@1.0.0", "--at-block", 1, code=5
    )


def test_a_planned_move_is_called_off(world):
    home = world.publisher
    done(home, "channel", "set", MODEL, "stable", f"{MODEL}@1.0.0")
    done(home, "channel", "set", MODEL, "stable", MODEL, "--at-block", 10**9)
    called_off = done(home, "channel", "set", MODEL, "stable", f"{MODEL}@1.0.0")
    assert called_off["tx"] is not None
    [row] = done(home, "channel", "list", MODEL)
    assert (row["version"], row["planned"]) == ("1.0.0", None)


def test_a_channel_that_begins_later(world):
    home = world.publisher
    done(home, "channel", "set", MODEL, "stable", MODEL, "--at-block", 10**9)
    [row] = done(home, "channel", "list", MODEL)
    assert (row["version"], row["planned"]["version"]) == (None, "1.1.0")
    assert "begins in block 1000000000" in refused(home, "show", f"{MODEL}@stable", code=4)
    assert modelreg(home, "channel", "list", MODEL, json_mode=False).out.startswith("stable  from block")


def test_no_channels(world):
    assert done(world.publisher, "channel", "list", MODEL) == []
    refused(world.publisher, "channel", "list", "acme/none", code=4)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((MODEL, "stable", "acme/none"), 4),
        ((MODEL, "stable", UNKNOWN), 4),
        ((MODEL, "Stable", MODEL), 2),
        ((MODEL, "1.0.0", MODEL), 2),
        (("acme/none", "stable", MODEL), 2),
        ((MODEL, "stable"), 2),
    ],
)
def test_channel_refuses(world, arguments, code):
    refused(world.publisher, "channel", "set", *arguments, code=code)
    assert done(world.publisher, "channel", "list", MODEL) == []


def test_a_channel_never_names_a_yanked_release(world):
    done(world.publisher, "yank", MODEL, "--reason", "bad")
    refused(world.publisher, "channel", "set", MODEL, "stable", MODEL, code=2)


def test_a_channel_that_moved_meanwhile(world, monkeypatch):
    from modelreg_cli.session import Session

    writer = Session.writer

    def overtaken(self, password_file):
        if not moved:
            moved.append(True)
            done(world.publisher, "channel", "set", MODEL, "stable", f"{MODEL}@1.0.0")
        return writer(self, password_file)

    moved = []
    monkeypatch.setattr(Session, "writer", overtaken)
    line = refused(world.publisher, "channel", "set", MODEL, "stable", MODEL, code=5)
    assert done(world.publisher, "show", f"{MODEL}@1.0.0")["release_id"] in line


def _chain(home):
    return {path.name: path.read_bytes() for path in home.glob("chain.sqlite*")}


@pytest.mark.parametrize(
    "words",
    [
        ("publish", "{}", "--model", MODEL, "--version", "1.2.0"),
        ("yank", MODEL, "--reason", "bad"),
        ("channel", "set", MODEL, "stable", MODEL),
        ("namespace", "grant", "acme", "0x" + "11" * 20, "publish"),
    ],
    ids=lambda words: words[0],
)
def test_rollback_of_what_was_just_written(world, words):
    """The chain's file is replaced by the one from before: the writer itself notices."""
    home = world.publisher
    older = _chain(home)
    done(home, *(world.first if word == "{}" else word for word in words))
    for path in home.glob("chain.sqlite*"):
        path.unlink()
    for name, content in older.items():
        (home / name).write_bytes(content)
    assert "rollback" in refused(home, "log", MODEL, code=3)


def test_what_was_written_stays_a_success_if_the_head_cannot_be_read(world, monkeypatch):
    from modelreg.errors import UnreachableError
    from modelreg.ledger.writer import Writer

    def deaf(*_):
        raise UnreachableError("the endpoint is gone")

    yank = Writer.yank

    def then_deaf(self, *arguments):
        receipt = yank(self, *arguments)
        monkeypatch.setattr("modelreg_verifier.trust.open_trusted", deaf)
        return receipt

    monkeypatch.setattr(Writer, "yank", then_deaf)
    outcome = modelreg(world.publisher, "yank", MODEL, "--reason", "bad")
    assert outcome.code == 0
    assert outcome.document["reason"] == "bad"
    assert "could not be read" in outcome.err


def test_pin_fetches_and_keeps(world, tmp_path):
    node = world.node()
    first = done(node, "pin", f"{MODEL}@1.1.0")
    assert first["bytes"]["fetched"] == sum(block.stat().st_size for block in blocks(world.publisher))
    assert done(node, "pin", f"{MODEL}@1.1.0")["bytes"]["fetched"] == 0
    assert set(done(node, "pin")) == {first["release_id"]}
    assert done(node, "gc")["removed"] == 0
    shutil.rmtree(world.publisher / "store")
    done(node, "sync", MODEL, "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(world.second)


def test_pin_without_the_blocks_pins_nothing(world):
    node = world.node()
    max(blocks(world.publisher), key=lambda path: path.stat().st_size).unlink()
    refused(node, "pin", MODEL, code=4)
    assert done(node, "pin") == {}


def test_unpin_and_gc(world):
    home = world.publisher
    before = blocks(home)
    done(home, "unpin", f"{MODEL}@1.1.0")
    dry = done(home, "gc", "--dry-run")
    assert dry["removed"] > 0
    assert blocks(home) == before
    real = done(home, "gc")
    assert real == dry | {"dry_run": False}
    assert len(blocks(home)) == real["kept"]
    assert done(home, "gc")["removed"] == 0
    refused(home, "sync", f"{MODEL}@1.1.0", code=4)
    done(home, "sync", f"{MODEL}@1.0.0")


def test_gc_keeps_the_bases_of_what_is_pinned(world, tmp_path):
    done(world.publisher, "unpin", f"{MODEL}@1.0.0")
    done(world.publisher, "gc")
    done(world.publisher, "sync", MODEL, "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(world.second)


def test_gc_of_everything(world):
    for version in ("1.0.0", "1.1.0"):
        done(world.publisher, "unpin", f"{MODEL}@{version}")
    assert done(world.publisher, "gc")["kept"] == 0
    assert blocks(world.publisher) == set()
    done(world.publisher, "publish", world.first, "--model", "acme/new", "--version", "1.0.0")


def test_gc_keeps_what_a_synced_copy_needs(world, tmp_path):
    node = world.node()
    options = ("--model", "acme/raw", "--version", "1.0.0", "--effort", 0)
    done(world.publisher, "publish", world.first, *options)
    done(node, "sync", "acme/raw", "--to", tmp_path / "copy")
    report = done(node, "gc")
    assert report["removed"] == 0
    assert report["missing"] > 0
    assert done(node, "sync", "acme/raw", "--to", tmp_path / "other")["bytes"]["fetched"] == 0


@pytest.mark.parametrize(("reference", "code"), [("acme/none", 4), (UNKNOWN, 4), ("acme", 2)])
def test_pin_and_unpin_refuse(world, reference, code):
    refused(world.publisher, "pin", reference, code=code)
    refused(world.publisher, "unpin", reference, code=code)


def test_unpin_of_what_is_not_pinned(world):
    assert "is not pinned here" in refused(world.node(), "unpin", MODEL, code=4)


def test_gc_waits_for_who_adds_blocks(world, monkeypatch):
    from modelreg.home import Home
    from modelreg.store.lock import StoreLock

    home = Home(world.publisher)
    impatient = StoreLock(world.publisher / "store", timeout=0.1)
    monkeypatch.setattr(Home, "store_lock", impatient)
    with home.store_lock.shared():
        assert "in use" in refused(world.publisher, "gc", code=6)
    assert modelreg(world.publisher, "gc").code == 0


@pytest.mark.parametrize(
    ("place", "arguments"),
    [
        ("modelreg_cli.publish._encode", ("publish", "{}", "--model", MODEL, "--version", "1.2.0")),
        ("modelreg.publish.expected_id", ("publish", "{}", "--model", MODEL, "--version", "1.2.0")),
        ("modelreg_verifier.sync.replace_directory", ("sync", MODEL)),
        ("modelreg.home.fetch_dag", ("pin", MODEL)),
    ],
)
def test_gc_waits_from_the_first_block_to_the_pin(world, monkeypatch, place, arguments):
    """Else it would remove the blocks that a publish, a sync or a pin just added."""
    from modelreg.home import Home
    from modelreg.store.lock import StoreLock

    module, _, name = place.rpartition(".")
    act, met = getattr(importlib.import_module(module), name), []

    def with_gc(*given, **options):
        met.append(modelreg(world.publisher, "gc").code)
        return act(*given, **options)

    impatient = property(lambda self: StoreLock(self.root / "store", timeout=0.1))
    monkeypatch.setattr(Home, "store_lock", impatient)
    monkeypatch.setattr(place, with_gc)
    done(world.publisher, *(str(world.first) if word == "{}" else word for word in arguments))
    assert met == [6]


def test_gc_removes_nothing_if_a_pin_is_damaged(world):
    pin = next(path for path in (world.publisher / "pins").iterdir() if path.name != ".lock")
    pin.write_bytes(b"damaged")
    before = blocks(world.publisher)
    assert str(pin) in refused(world.publisher, "gc", code=3)
    assert blocks(world.publisher) == before
    pin.unlink()
    assert len(Pins(world.publisher / "pins").list()) == 1
