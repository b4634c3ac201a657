"""kill -9 at random moments, and several processes at once."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelreg.store.gc import collect
from modelreg.store.local import LocalStore
from modelreg.store.lock import StoreLock
from modelreg.store.pins import Pins
from tests.store.blocks import files_under
from tests.store.worker import release

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def start():
    """Starts workers; those that still run at the end are killed."""
    children = []

    def start(kind, root, seed=0):
        command = [sys.executable, "-m", "tests.store.worker", kind, str(root), str(seed)]
        children.append(subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.communicate(timeout=60)


def kill(child):
    """Kill without warning. Gives the whole lines that it printed; a line cut short was not acknowledged."""
    child.kill()
    out, _ = child.communicate(timeout=60)
    assert child.returncode == -9, "it ended by itself"
    return [line.strip() for line in out.splitlines(keepends=True) if line.endswith("\n")]


def check(root, acknowledged):
    """Everything under a final name is whole, and every acknowledged release is there."""
    store, pins = LocalStore(root), Pins(root / "pins")
    for cid in store.cids():
        store.get(cid)
    assert files_under(root / "blocks" / "tmp") == set()
    assert set(acknowledged) <= set(pins.list())
    for name, cid in pins.list().items():
        blocks = release(int(name))
        assert blocks[-1][0] == cid
        for block_cid, block in blocks:
            assert store.get(block_cid) == block


def crash_publishers(start, root, rounds, chance):
    acknowledged = []
    for number in range(rounds):
        children = [start("publish", root, 2 * number), start("publish", root, 2 * number + 1)]
        assert children[0].stdout.readline() != ""
        time.sleep(chance.uniform(0, 0.2))
        acknowledged += [name for child in children for name in kill(child)]
        check(root, acknowledged)
    assert acknowledged


def crash_gc(start, root, rounds, chance):
    acknowledged = []
    for number in range(rounds):
        publisher, sweeper = start("publish", root, number), start("gc", root)
        assert sweeper.stdout.readline() == "collected\n"
        time.sleep(chance.uniform(0, 0.2))
        kill(sweeper)
        acknowledged += kill(publisher)
        check(root, acknowledged)
    report = collect(LocalStore(root), StoreLock(root), lambda: Pins(root / "pins").list().values())
    assert report.missing == 0
    check(root, acknowledged)


def test_kill_9_of_publishers(start, tmp_path):
    crash_publishers(start, tmp_path, 5, random.Random(1))


def test_kill_9_of_gc_beside_a_publisher(start, tmp_path):
    crash_gc(start, tmp_path, 5, random.Random(2))


@pytest.mark.slow
def test_kill_9_of_publishers_50_times(start, tmp_path):
    crash_publishers(start, tmp_path, 50, random.Random())


@pytest.mark.slow
def test_kill_9_of_gc_beside_a_publisher_50_times(start, tmp_path):
    crash_gc(start, tmp_path, 50, random.Random())


def test_concurrent_publishers_and_concurrent_gc(start, tmp_path):
    publishers = [start("publish", tmp_path, seed) for seed in range(3)]
    sweepers = [start("gc", tmp_path) for _ in range(2)]
    for child in (*publishers, *sweepers):
        assert child.stdout.readline() != ""
    time.sleep(1)
    for child in sweepers:
        kill(child)
    acknowledged = [name for child in publishers for name in kill(child)]
    check(tmp_path, acknowledged)
