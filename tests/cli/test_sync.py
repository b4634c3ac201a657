"""`sync`: verified copies, whole or not at all, of nothing but what is missing."""

import json
import queue
import shutil
import threading
import time

import pytest

from modelreg.store.pins import Pins
from tests.cli.command import blocks, done, execute, flip, modelreg, refused, start, tree
from tests.cli.conftest import MODEL
from tests.cli.models import fine_tuned, weights, write_huggingface


@pytest.fixture
def node(world):
    return world.node()


@pytest.fixture
def copy(tmp_path):
    return tmp_path / "copies" / "tiny"


def stages(copy):
    """What sync leaves beside a copy while it works."""
    return list(copy.parent.glob(".*")) if copy.parent.exists() else []


def test_copies_byte_for_byte(world, node, copy):
    document = done(node, "sync", f"{MODEL}@1.0.0", "--to", copy)
    assert tree(copy) == tree(world.first)
    assert stages(copy) == []
    assert document.keys() >= {"release_id", "content_root", "path", "bytes", "chunks"}
    assert document["path"] == str(copy)
    assert document["bytes"]["full"] == sum(map(len, tree(world.first).values()))
    assert 0 < document["bytes"]["fetched"] <= document["bytes"]["full"] * 1.01
    chunks = document["chunks"]
    assert chunks["total"] == chunks["fetched"] + chunks["reused"]
    assert document["release_id"] in Pins(node / "pins").list()


def test_fetches_little_for_an_update(world, node, copy):
    first = done(node, "sync", f"{MODEL}@1.0.0", "--to", copy)["bytes"]["fetched"]
    second = done(node, "sync", f"{MODEL}@1.1.0", "--to", copy)
    assert tree(copy) == tree(world.second)
    assert second["bytes"]["fetched"] < first / 4
    assert second["chunks"]["reused"] > second["chunks"]["fetched"]


def test_fetches_nothing_twice(node, copy):
    done(node, "sync", MODEL, "--to", copy)
    for target in (copy, copy.with_name("other")):
        again = done(node, "sync", MODEL, "--to", target)
        assert again["bytes"]["fetched"] == 0
        assert again["chunks"]["fetched"] == 0


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        ((), f"{MODEL}@1.0.0"),
        ((), f"{MODEL}@1.1.0"),
        ((f"{MODEL}@1.0.0",), f"{MODEL}@1.1.0"),
        ((f"{MODEL}@1.1.0",), f"{MODEL}@1.0.0"),
        ((f"{MODEL}@1.1.0",), f"{MODEL}@1.1.0"),
    ],
)
@pytest.mark.parametrize("only", [(), ("--only", "model.safetensors"), ("--only", "config.json")])
def test_a_dry_run_tells_what_is_then_fetched(node, copy, before, wanted, only):
    for reference in before:
        done(node, "sync", reference, "--to", copy.with_name("before"))
    there = blocks(node)
    told = done(node, "sync", wanted, "--to", copy, "--dry-run", *only)
    assert not copy.exists()
    assert stages(copy) == []
    assert blocks(node) == there
    real = done(node, "sync", wanted, "--to", copy, *only)
    assert told | {"dry_run": False, "bytes": 0} == real | {"bytes": 0}
    fetched = real["bytes"].pop("fetched")
    assert abs(told["bytes"].pop("fetched") - fetched) <= 0.02 * fetched
    assert told["bytes"] == real["bytes"]


def test_a_dry_run_sees_that_a_copy_is_gone(node, copy):
    done(node, "sync", f"{MODEL}@1.0.0", "--to", copy)
    shutil.rmtree(copy)
    told = done(node, "sync", f"{MODEL}@1.0.0", "--to", copy, "--dry-run")
    real = done(node, "sync", f"{MODEL}@1.0.0", "--to", copy)
    assert told | {"dry_run": False} == real


def test_a_dry_run_follows_nothing(node):
    assert refused(node, "sync", f"{MODEL}@branch:main", "--follow", "--dry-run", code=2)


def test_goes_to_a_directory_named_for_the_version(world, node):
    document = done(node, "sync", f"{MODEL}@1.0.0")
    assert document["path"] == str(node / "models" / "acme" / "tiny" / "1.0.0")
    assert tree(node / "models" / "acme" / "tiny" / "1.0.0") == tree(world.first)


def test_every_kind_of_reference(world, node, copy):
    done(world.publisher, "channel", "set", MODEL, "stable", f"{MODEL}@1.0.0")
    newest = done(world.publisher, "show", MODEL)["release_id"]
    for reference, source in (
        (f"{MODEL}@stable", world.first),
        (f"{MODEL}@branch:main", world.second),
        (f"{MODEL}@1.0.0", world.first),
        (newest, world.second),
    ):
        done(node, "sync", reference, "--to", copy)
        assert tree(copy) == tree(source)


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ("acme/none", 4),
        ("acme/tiny@9.9.9", 4),
        ("acme/tiny@nightly", 4),
        ("acme/tiny@branch:dev", 4),
        ("0x" + "12" * 32, 4),
        ("0x12", 2),
        ("acme", 2),
        ("acme/tiny@", 2),
        ("acme/tiny@Stable", 2),
        ("acme/tiny@branch:", 2),
        ("acme/tiny@1.0.0@2.0.0", 2),
        ("0x" + "00" * 32, 2),
        ("0x" + "AB" * 32, 2),
    ],
)
def test_refuses_unknown_references(node, copy, reference, code):
    refused(node, "sync", reference, "--to", copy, code=code)
    assert not copy.parent.exists()


def test_only_some_tensors(world, node, copy):
    whole = done(world.node("other"), "sync", f"{MODEL}@1.0.0")["bytes"]["fetched"]
    part = done(node, "sync", f"{MODEL}@1.0.0", "--to", copy, "--only", "layer.0.*")
    assert part["bytes"]["fetched"] < whole / 2
    assert set(tree(copy)) == {"model.safetensors.partial"}
    assert done(node, "verify", copy)["ok"]
    raw = (copy / "model.safetensors.partial").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    start_, end = header["layer.0.weight"]["data_offsets"]
    base = 8 + int.from_bytes(raw[:8], "little")
    assert raw[base + start_ : base + end] == weights()["layer.0.weight"].tobytes()


def test_only_some_files(node, world, copy):
    done(node, "sync", MODEL, "--to", copy, "--only", "*.json", "--only", "assets/*")
    whole = tree(world.second)
    assert tree(copy) == {name: whole[name] for name in ("config.json", "tokenizer.json", "assets/empty.txt")}
    assert done(node, "verify", copy)["ok"]
    flip(copy / "config.json")
    found = modelreg(node, "verify", copy).document["problems"]
    assert [problem["path"] for problem in found] == ["config.json"]


def test_some_files_and_some_tensors(node, world, copy):
    done(node, "sync", MODEL, "--to", copy, "--only", "config.json", "--only", "head.*")
    assert set(tree(copy)) == {"config.json", "model.safetensors.partial"}
    assert done(node, "verify", copy)["ok"]


def test_all_tensors_are_a_whole_file(node, world, copy):
    done(node, "sync", MODEL, "--to", copy, "--only", "*.weight", "--only", "*.bias")
    assert tree(copy) == {"model.safetensors": tree(world.second)["model.safetensors"]}


def test_a_part_does_not_replace_the_whole(world, node, copy):
    done(node, "sync", f"{MODEL}@1.0.0", "--to", copy)
    refused(node, "sync", f"{MODEL}@1.0.0", "--to", copy, "--only", "config.json", code=2)
    assert tree(copy) == tree(world.first)


def test_only_what_does_not_exist(node, copy):
    refused(node, "sync", MODEL, "--to", copy, "--only", "none.*", code=4)
    assert not copy.exists()


def test_a_part_becomes_the_whole(node, world, copy):
    done(node, "sync", MODEL, "--to", copy, "--only", "layer.*")
    done(node, "sync", MODEL, "--to", copy)
    assert tree(copy) == tree(world.second)
    assert done(node, "verify", copy)["ok"]


def test_refuses_a_directory_with_files_of_others(node, copy):
    copy.mkdir(parents=True)
    (copy / "thesis.tex").write_text("precious")
    line = refused(node, "sync", MODEL, "--to", copy, code=2)
    assert "thesis.tex" in line
    assert tree(copy.parent) == {"tiny/thesis.tex": b"precious"}


def test_refuses_a_file_or_a_link_as_target(node, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for name in ("file", "link"):
        refused(node, "sync", MODEL, "--to", tmp_path / name, code=2)
    assert list((tmp_path / "real").iterdir()) == []


def test_an_empty_directory_is_a_target(node, world, copy):
    copy.mkdir(parents=True)
    done(node, "sync", MODEL, "--to", copy)
    assert tree(copy) == tree(world.second)


def test_one_copy_under_all_its_paths(node, world, copy, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(copy.parent, target_is_directory=True)
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    done(node, "sync", f"{MODEL}@1.0.0", "--to", ".")
    monkeypatch.chdir(tmp_path)
    for path in ("copies/tiny/../tiny", "link/tiny", "link/../copies/tiny/assets/.."):
        assert done(node, "sync", MODEL, "--to", path)["path"] == str(copy)
        assert done(node, "verify", path)["ok"]
    assert tree(copy) == tree(world.second)
    assert stages(copy) == []


def test_mends_a_damaged_copy(node, world, copy):
    done(node, "sync", MODEL, "--to", copy)
    flip(copy / "model.safetensors")
    (copy / "config.json").unlink()
    (copy / "tokenizer.json").write_text("x")
    again = done(node, "sync", MODEL, "--to", copy)
    assert tree(copy) == tree(world.second)
    assert again["chunks"]["reused"] >= again["chunks"]["total"] - 3


def test_refuses_a_copy_that_somebody_added_files_to(node, world, copy):
    done(node, "sync", f"{MODEL}@1.0.0", "--to", copy)
    (copy / "assets" / "notes.txt").write_text("mine")
    assert "notes.txt" in refused(node, "sync", MODEL, "--to", copy, code=2)
    assert (copy / "assets" / "notes.txt").read_text() == "mine"
    (copy / "assets" / "notes.txt").unlink()
    done(node, "sync", MODEL, "--to", copy)
    assert tree(copy) == tree(world.second)


def test_an_update_is_all_or_nothing(world, node, copy):
    done(node, "sync", f"{MODEL}@1.0.0", "--to", copy)
    damaged = max(blocks(world.publisher) - blocks(node), key=lambda path: path.stat().st_mtime_ns)
    for block in blocks(world.publisher):
        flip(block)
    assert damaged
    refused(node, "sync", f"{MODEL}@1.1.0", "--to", copy, code=3)
    assert tree(copy) == tree(world.first)
    assert done(node, "verify", copy)["ok"]


def test_goes_on_where_it_was_interrupted(world, node, copy, monkeypatch):
    """Nothing that reached the disk is fetched again."""
    import modelreg_verifier.sync as module

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "sync_tree", interrupt)
        assert modelreg(node, "sync", MODEL, "--to", copy).code == 130
    assert not copy.exists()
    assert len(stages(copy)) == 1
    again = done(node, "sync", MODEL, "--to", copy)
    assert again["bytes"]["fetched"] == 0
    assert again["chunks"]["fetched"] == 0
    assert tree(copy) == tree(world.second)
    assert stages(copy) == []


@pytest.mark.parametrize("step", ["replace_directory", "sync_tree"])
@pytest.mark.parametrize("before", ["nothing", "1.0.0"])
def test_goes_on_after_a_crash_at_the_last_step(world, node, copy, monkeypatch, step, before):
    """The copy may have appeared while nobody was told."""
    import modelreg_verifier.sync as module

    if before != "nothing":
        done(node, "sync", f"{MODEL}@{before}", "--to", copy)
    act = getattr(module, step)

    def act_and_crash(*arguments):
        act(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, step, act_and_crash)
        assert modelreg(node, "sync", MODEL, "--to", copy).code == 130
    again = done(node, "sync", MODEL, "--to", copy)
    assert again["bytes"]["fetched"] == 0
    assert tree(copy) == tree(world.second)
    assert done(node, "verify", copy)["ok"]


def test_what_lies_in_the_staging_directory_is_checked(world, node, copy):
    staging = copy.parent / ".tiny.modelreg-staging"
    (staging / "assets").mkdir(parents=True)
    (staging / "config.json").write_text('{"hidden_size": 666}')
    (staging / "model.safetensors").write_bytes(bytes(10_000_000))
    (staging / "planted.py").write_text("import os")
    (staging / "tokenizer.json").symlink_to("/etc/hostname")
    (staging / "assets" / "below").mkdir()
    done(node, "sync", MODEL, "--to", copy)
    assert tree(copy) == tree(world.second)
    assert not any(path.is_symlink() for path in copy.rglob("*"))


def test_two_syncs_to_one_place(world, node, copy):
    outcomes = []
    threads = [
        threading.Thread(
            target=lambda version=version: outcomes.append(
                execute(node, "--json", "sync", f"{MODEL}@{version}", "--to", copy)
            )
        )
        for version in ("1.0.0", "1.1.0", "1.0.0")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcome.code for outcome in outcomes] == [0, 0, 0], [outcome.err for outcome in outcomes]
    assert tree(copy) in (tree(world.first), tree(world.second))
    assert stages(copy) == []


def test_who_finds_the_old_tree_waits_until_it_is_gone(tmp_path, monkeypatch):
    """A sync that starts between another one's exchange and its clean-up must not work in the old tree."""
    import modelreg_verifier.atomic as atomic
    from modelreg_verifier.staging import staged

    target = tmp_path / "copy"
    target.mkdir()
    (target / "old").write_text("old")
    removing, entered = threading.Event(), queue.Queue()

    def other():
        removing.wait()
        with staged(target, print) as staging:
            entered.put(sorted(path.name for path in staging.iterdir()))
            (staging / "other").write_text("other")

    def slow_removal(path):
        removing.set()
        with pytest.raises(queue.Empty):
            entered.get(timeout=0.3)
        rmtree(path)

    rmtree = shutil.rmtree
    monkeypatch.setattr(atomic.shutil, "rmtree", slow_removal)
    thread = threading.Thread(target=other)
    thread.start()
    with staged(target, print) as staging:
        (staging / "new").write_text("new")
        atomic.replace_directory(staging, target, print)
    thread.join()
    assert entered.get() == []
    assert tree(target) == {"new": b"new"}


def test_warns_of_a_yanked_release(world, node, copy):
    done(world.publisher, "yank", f"{MODEL}@1.0.0", "--reason", "leaks \x1b[31mdata")
    outcome = modelreg(node, "sync", f"{MODEL}@1.0.0", "--to", copy)
    assert outcome.code == 0
    assert "was yanked: leaks" in outcome.err
    assert "\x1b" not in outcome.err


def test_needs_no_blocks_of_peers_for_what_is_here(world, node, copy):
    done(node, "sync", MODEL, "--to", copy)
    third = write_huggingface(world.publisher.parent / "third", weights(seed=3))
    done(world.publisher, "publish", third, "--model", MODEL, "--version", "1.2.0")
    shutil.rmtree(world.publisher / "store")
    assert done(node, "sync", f"{MODEL}@1.1.0", "--to", copy.with_name("again"))["bytes"]["fetched"] == 0
    line = refused(node, "sync", f"{MODEL}@1.2.0", "--to", copy, code=6)
    assert str(world.publisher) in line
    assert tree(copy) == tree(world.second)


def test_a_block_that_nobody_has(world, node, copy):
    for block in blocks(world.publisher):
        block.unlink()
    refused(node, "sync", MODEL, "--to", copy, code=4)
    assert not copy.exists()


def test_serves_others_out_of_its_copies(world, node, copy):
    """A node's chunks lie in files, not in its store; a third home can fetch them there."""
    options = ("--model", "acme/raw", "--version", "1.0.0", "--effort", 0)
    done(world.publisher, "publish", world.first, *options)
    done(node, "sync", "acme/raw", "--to", copy)
    assert sum(block.stat().st_size for block in blocks(node)) < 200_000
    third = world.publisher.parent / "third"
    done(third, "init", "--join", node)
    config = (third / "config.toml").read_text()
    assert str(world.publisher) not in config.split("[blocks]")[1]
    done(third, "sync", "acme/raw", "--to", copy.with_name("third"))
    assert tree(copy.with_name("third")) == tree(world.first)


class Follower:
    """A running `sync --follow`; gives its documents one by one."""

    def __init__(self, node, *arguments):
        self.process = start(node, "--json", "sync", *arguments, "--follow", "--every", "0.1")

    def next(self):
        return json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def test_follows_a_channel_that_moves(world, node, copy, tmp_path):
    import signal

    publisher = world.publisher
    done(publisher, "channel", "set", MODEL, "stable", f"{MODEL}@1.0.0")
    with Follower(node, f"{MODEL}@stable", "--to", copy) as follower:
        follower.next()
        assert tree(copy) == tree(world.first)
        done(publisher, "channel", "set", MODEL, "stable", f"{MODEL}@1.1.0")
        update = follower.next()
        assert tree(copy) == tree(world.second)
        assert update["bytes"]["fetched"] < 250_000
        third = write_huggingface(tmp_path / "third", fine_tuned(fine_tuned(weights()), seed=2))
        done(publisher, "publish", third, "--model", MODEL, "--version", "1.2.0", "--channel", "stable")
        assert follower.next()["bytes"]["fetched"] < 250_000
        assert tree(copy) == tree(third)
        follower.process.send_signal(signal.SIGINT)
        assert follower.process.wait(timeout=30) == 130
        assert "Traceback" not in follower.process.stderr.read()


def test_fetches_ahead_what_a_channel_moves_to_later(world, node, copy):
    publisher = world.publisher
    done(publisher, "channel", "set", MODEL, "stable", f"{MODEL}@1.0.0")
    with Follower(node, f"{MODEL}@stable", "--to", copy) as follower:
        follower.next()
        block = done(publisher, "chain", "status")["block"] + 2
        done(publisher, "channel", "set", MODEL, "stable", f"{MODEL}@1.1.0", "--at-block", block)
        assert f"fetched {MODEL}@1.1.0 ahead" in follower.process.stderr.readline()
        assert tree(copy) == tree(world.first)
        done(publisher, "key", "send", "0x" + "11" * 20, "1")
        assert done(publisher, "chain", "status")["block"] == block
        update = follower.next()
        assert tree(copy) == tree(world.second)
        assert update["bytes"]["fetched"] == 0


@pytest.fixture
def slow_ahead(monkeypatch):
    """Fetching ahead takes a minute, unless something else comes up; gives what has begun."""
    begun = []

    def prefetch(_home, release, *_, progress, **__):
        begun.append(str(release.version))
        for _ in range(600):
            time.sleep(0.1)
            progress(1)

    monkeypatch.setattr("modelreg_verifier.install.prefetch_release", prefetch)
    return begun


@pytest.mark.parametrize("plan", ["1.0.0", "1.1.0"])
def test_what_is_fetched_ahead_does_not_hold_up_what_is_asked_for_now(world, node, copy, slow_ahead, plan):
    from modelreg.format.names import parse_reference
    from modelreg_cli.output import Output
    from modelreg_cli.session import Session
    from modelreg_cli.sync_follow import Follower as Following
    from modelreg_verifier.pace import Pace

    def moved(version, *options):
        done(world.publisher, "channel", "set", MODEL, "stable", f"{MODEL}@{version}", *options)

    moved("1.0.0")
    session = Session(node, Output(json_mode=True, quiet=True))
    following, pace = Following(session, parse_reference(f"{MODEL}@stable"), copy, ()), Pace(0.2)
    assert following._look(pace)
    moved("1.1.0", "--at-block", 10**9)
    asked = threading.Timer(1, moved, ["1.1.0"] if plan == "1.1.0" else ["1.0.0", "--at-block", 10**8])
    asked.start()
    assert not following._look(pace)
    asked.join()
    assert slow_ahead == ["1.1.0"]
    assert tree(copy) == tree(world.first)
    if plan == "1.1.0":
        assert following._look(pace)
        assert tree(copy) == tree(world.second)


def test_a_chunk_fetched_ahead_costs_no_look_at_the_chain(world, node, copy, monkeypatch):
    from modelreg.format.names import parse_reference
    from modelreg_cli.output import Output
    from modelreg_cli.session import Session
    from modelreg_cli.sync_follow import Follower as Following
    from modelreg_verifier.pace import Pace

    def prefetch(*_, progress, **__):
        for _ in range(10_000):
            progress(1)

    asked = []
    monkeypatch.setattr("modelreg_verifier.install.prefetch_release", prefetch)
    monkeypatch.setattr(Session, "height", lambda _: asked.append(1) or 1)
    done(world.publisher, "channel", "set", MODEL, "stable", f"{MODEL}@1.1.0", "--at-block", 10**9)
    session = Session(node, Output(json_mode=True, quiet=True))
    assert Following(session, parse_reference(f"{MODEL}@stable"), copy, ())._look(Pace(5))
    assert len(asked) < 10


def test_follows_a_channel_that_begins_later(world, node, copy):
    publisher = world.publisher
    block = done(publisher, "chain", "status")["block"] + 2
    done(publisher, "channel", "set", MODEL, "stable", f"{MODEL}@1.1.0", "--at-block", block)
    with Follower(node, f"{MODEL}@stable", "--to", copy) as follower:
        assert f"begins in block {block}" in follower.process.stderr.readline()
        assert f"fetched {MODEL}@1.1.0 ahead" in follower.process.stderr.readline()
        assert not copy.exists()
        done(publisher, "gc")
        done(node, "gc")
        done(publisher, "key", "send", "0x" + "11" * 20, "1")
        assert follower.next()["bytes"]["fetched"] == 0
        assert tree(copy) == tree(world.second)


def test_a_planned_release_that_cannot_be_had_does_not_end_following(world, node, copy, tmp_path):
    publisher = world.publisher
    done(publisher, "channel", "set", MODEL, "stable", f"{MODEL}@1.0.0")
    with Follower(node, f"{MODEL}@stable", "--to", copy) as follower:
        follower.next()
        hidden = publisher / "store" / "blocks"
        hidden.rename(tmp_path / "hidden")
        done(publisher, "channel", "set", MODEL, "stable", f"{MODEL}@1.1.0", "--at-block", 10**9)
        assert "cannot be fetched ahead" in follower.process.stderr.readline()
        (tmp_path / "hidden").rename(hidden)
        assert f"fetched {MODEL}@1.1.0 ahead" in follower.process.stderr.readline()
        assert follower.process.poll() is None


def test_follows_through_an_outage(world, copy, serving):
    node = world.publisher.parent / "far"
    url, stop = serving(world.publisher)
    done(node, "init", "--rpc-url", url)
    config = node / "config.toml"
    config.write_text(config.read_text().replace("peers = []", f'peers = ["{world.publisher}"]'))
    with Follower(node, MODEL, "--to", copy) as follower:
        follower.next()
        stop()
        assert "trying again" in follower.process.stderr.readline()
        done(world.publisher, "publish", world.first, "--model", MODEL, "--version", "1.2.0")
        serving(world.publisher, port=url.rpartition(":")[2])
        follower.next()
        assert tree(copy) == tree(world.first)


@pytest.mark.parametrize("reference", ["acme/tiny@1.0.0", "0x" + "11" * 32])
def test_refuses_to_follow_what_cannot_move(node, copy, reference):
    assert "nothing to follow" in refused(node, "sync", reference, "--follow", "--to", copy, code=2)


def test_refuses_to_follow_too_fast(node):
    refused(node, "sync", MODEL, "--follow", "--every", "0", code=2)


@pytest.mark.parametrize("step", ["replace_directory", "_exchange"])
def test_goes_on_after_a_crash_where_the_releases_have_other_files(world, node, copy, monkeypatch, step):
    """Whichever of the two trees stands there, all its files are known."""
    import modelreg_verifier.atomic as atomic
    import modelreg_verifier.sync as module

    third = write_huggingface(world.publisher.parent / "third", weights())
    (third / "config.json").rename(third / "new.json")
    done(world.publisher, "publish", third, "--model", MODEL, "--version", "1.2.0")
    done(node, "sync", f"{MODEL}@1.1.0", "--to", copy)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if step == "replace_directory":
            patch.setattr(module, step, crash)
        else:
            patch.setattr(atomic.shutil, "rmtree", crash)
        assert modelreg(node, "sync", f"{MODEL}@1.2.0", "--to", copy).code == 130
    done(node, "sync", f"{MODEL}@1.2.0", "--to", copy)
    assert tree(copy) == tree(third)
