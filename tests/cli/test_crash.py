"""kill -9 at random moments of publish, sync, gc and of several publishers at once."""

import os
import random
import signal
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

from modelreg.format.cid import Cid
from modelreg.home import Home
from tests.cli.command import blocks, done, execute, start, tree
from tests.cli.conftest import MODEL

QUICK, MANY = 3, 50


@pytest.fixture(
    params=[QUICK, pytest.param(MANY, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
    ids=["quick", "many"],
)
def rounds(request):
    return range(request.param)


@pytest.fixture
def chance(request):
    """Random moments that are others in each run; the seed is shown when a test fails."""
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    return random.Random(seed)


def write_model(path, number):
    """Some megabytes of weights that differ a little from the ones before, and an empty file."""
    path.mkdir(exist_ok=True)
    base = np.random.default_rng(0).normal(size=(1000, 1000)).astype("<f4")
    base[:100] += np.random.default_rng(number).normal(size=(100, 1000)).astype("<f4") * np.float32(1e-4)
    save_file({"w": base, f"only.{number}": base[0] * number}, path / "model.safetensors")
    (path / "empty").write_bytes(b"")
    return path


def kill_after(process, seconds):
    """Kill a process and all its children at a moment; says whether it had ended before."""
    time.sleep(seconds)
    # Not polled before: it keeps its number until then.
    os.killpg(process.pid, signal.SIGKILL)
    out, _ = process.communicate()
    return process.returncode == 0, out


def duration(function):
    begin = time.monotonic()
    function()
    return time.monotonic() - begin


def assert_sound(home):
    """Nothing half under its final name, every pin complete, and the chain follows from its transactions."""
    store = Home(home).store
    for block in blocks(home):
        store.get(Cid.parse(block.name))
    assert blocks(home) == set((home / "store" / "blocks").glob("??/*"))
    assert done(home, "chain", "status", "--replay")["replayed"]
    assert done(home, "gc", "--dry-run")["missing"] == 0


def versions(home, model=MODEL):
    return {row["version"]: row["release_id"] for row in done(home, "log", model)}


def test_killed_publishers_lose_nothing(home, tmp_path, rounds, chance):
    """What was acknowledged stays, and doing it again finishes what was not."""
    acknowledged = {}

    def arguments(number):
        source = write_model(tmp_path / "source", number)
        return ("--json", "publish", source, "--model", MODEL, "--version", f"1.0.{number}")

    usual = duration(lambda: acknowledged.update(first=execute(home, *arguments(0))))
    acknowledged = {"1.0.0": acknowledged["first"].document["release_id"]}
    for number in (1 + round_ for round_ in rounds):
        words = arguments(number)
        ended, out = kill_after(start(home, *words), chance.uniform(0, 1.1 * usual))
        after = versions(home)
        assert after.items() >= acknowledged.items()
        if ended:
            assert out
            assert f"1.0.{number}" in after
        release = execute(home, *words)
        assert release.code == 0, release.err
        acknowledged[f"1.0.{number}"] = release.document["release_id"]
        assert versions(home) == acknowledged
    assert_sound(home)
    newest = f"{MODEL}@1.0.{rounds[-1] + 1}"
    done(home, "sync", newest, "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(tmp_path / "source")


def test_killed_syncs_leave_whole_copies(home, tmp_path, rounds, chance):
    """A copy is the release before or the release after, whenever one looks."""
    sources = [write_model(tmp_path / f"source{number}", number) for number in range(2)]
    for number, source in enumerate(sources):
        done(home, "publish", source, "--model", MODEL, "--version", f"1.0.{number}")
    node, copy = tmp_path / "node", tmp_path / "copies" / "copy"
    done(node, "init", "--join", home)
    usual = duration(lambda: execute(node, "sync", f"{MODEL}@1.0.0", "--to", tmp_path / "other"))
    expected = [tree(source) for source in sources]
    seen = [{}]
    for round_ in rounds:
        words = ("sync", f"{MODEL}@1.0.{round_ % 2}", "--to", copy)
        kill_after(start(node, *words), chance.uniform(0, 1.1 * usual))
        seen.append(tree(copy) if copy.exists() else {})
        assert seen[-1] in (expected[round_ % 2], seen[-2])
        if round_ % 3 == 2:
            again = execute(node, *words)
            assert again.code == 0, again.err
            seen.append(tree(copy))
            assert seen[-1] == expected[round_ % 2]
    assert execute(node, *words).code == 0
    assert done(node, "verify", copy)["ok"]
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]


def test_killed_collectors_remove_nothing_that_is_kept(home, tmp_path, rounds, chance):
    """While publishers work and pins go away."""
    source = write_model(tmp_path / "source", 0)
    done(home, "publish", source, "--model", MODEL, "--version", "1.0.0")
    usual = duration(lambda: execute(home, "gc"))
    for number in (1 + round_ for round_ in rounds):
        write_model(source, number)
        words = ("publish", source, "--model", f"acme/m{number}", "--version", "1.0.0")
        publisher = start(home, *words)
        collector = start(home, "gc")
        kill_after(collector, chance.uniform(0, 1.1 * usual))
        _, errors = publisher.communicate(timeout=120)
        assert publisher.returncode == 0, errors
        if number > 1:
            done(home, "unpin", f"acme/m{number - 1}")
    assert_sound(home)
    done(home, "gc")
    assert_sound(home)
    done(home, "sync", f"acme/m{number}", "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(source)
    pinned = {row["model"] for row in done(home, "ls")}
    assert len(pinned) == len(rounds) + 1


def race(home, sources, round_, killed, chance, usual):
    """Four publishers of one branch, of which some are killed; returns the outcomes of the others."""
    arguments = [
        (
            "--json",
            "publish",
            source,
            "--model",
            MODEL,
            "--version",
            f"{round_}.0.{number}",
            "--parent",
            parent,
        )
        for number, source in enumerate(sources)
        for parent in [done(home, "show", MODEL)["release_id"]]
    ]
    processes = [start(home, *words) for words in arguments]
    for number in killed:
        time.sleep(chance.uniform(0, usual / 2))
        os.killpg(processes[number].pid, signal.SIGKILL)
    outcomes = {}
    for number, process in enumerate(processes):
        out, err = process.communicate(timeout=300)
        if number not in killed:
            outcomes[f"{round_}.0.{number}"] = (process.returncode, out, err)
    return outcomes


def test_of_four_publishers_one_wins(home, tmp_path, rounds, chance):
    """Each round: one is the head's child, the others exit with 5 and name both heads."""
    sources = [write_model(tmp_path / f"source{number}", number) for number in range(4)]
    done(home, "publish", sources[0], "--model", MODEL, "--version", "0.0.0")
    for round_ in (1 + number for number in rounds):
        parent = done(home, "show", MODEL)["release_id"]
        outcomes = race(home, sources, round_, (), chance, 0)
        head = done(home, "show", MODEL)
        assert head["parent"] == parent
        winners = [version for version, (code, _, _) in outcomes.items() if code == 0]
        assert winners == [head["version"]]
        for version, (code, _, errors) in outcomes.items():
            if version != head["version"]:
                assert code == 5, errors
                assert parent in errors
                assert head["release_id"] in errors
    assert len(versions(home)) == len(rounds) + 1
    done(home, "gc")
    assert_sound(home)


def test_four_publishers_of_which_some_are_killed(home, tmp_path, rounds, chance):
    """At most one release a round; an acknowledged one is there; the survivors win or say who was first."""
    sources = [write_model(tmp_path / f"source{number}", number) for number in range(4)]
    first = ("publish", sources[0], "--model", MODEL, "--version", "0.0.0")
    usual = duration(lambda: execute(home, *first))
    for round_ in (1 + number for number in rounds):
        before = versions(home)
        killed = chance.sample(range(4), 2)
        outcomes = race(home, sources, round_, killed, chance, usual)
        after = versions(home)
        assert after.items() >= before.items()
        added = after.keys() - before.keys()
        assert len(added) == 1
        for version, (code, _, errors) in outcomes.items():
            assert (code == 0) == (version in added), errors
            assert code in (0, 5), errors
    done(home, "gc")
    assert_sound(home)
