"""Locks between the commands that add blocks and gc."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from modelreg.errors import UnreachableError
from modelreg.store import lock
from modelreg.store.lock import StoreLock, file_lock

HOLD = """
import sys, time
from pathlib import Path
from modelreg.store.lock import StoreLock
with getattr(StoreLock(Path(sys.argv[1])), sys.argv[2])():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold(tmp_path):
    """Starts another process that holds the lock."""
    children = []

    def start(kind):
        child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path), kind], stdout=subprocess.PIPE)
        children.append(child)
        assert child.stdout.readline() == b"held\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.stdout.close()


def test_many_share_it(tmp_path, hold):
    hold("shared")
    hold("shared")
    with StoreLock(tmp_path, timeout=0).shared():
        pass


def test_publishers_that_overlap_do_not_keep_gc_out(tmp_path):
    over = threading.Event()

    def overlap(number):
        while not over.is_set():
            with StoreLock(tmp_path).shared():
                time.sleep(0.02 + number * 0.01)

    threads = [threading.Thread(target=overlap, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            with StoreLock(tmp_path, timeout=5).exclusive():
                pass
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(("theirs", "ours"), [("shared", "exclusive"), ("exclusive", "shared")])
def test_gc_waits_for_the_others_and_they_for_it(tmp_path, hold, theirs, ours):
    hold(theirs)
    started = time.monotonic()
    with pytest.raises(UnreachableError, match="in use"), getattr(StoreLock(tmp_path, timeout=0.3), ours)():
        pytest.fail("two had the lock")
    assert 0.3 <= time.monotonic() - started < 5


def test_one_gc_at_a_time(tmp_path, hold):
    hold("exclusive")
    with pytest.raises(UnreachableError), StoreLock(tmp_path, timeout=0).exclusive():
        pytest.fail("two had the lock")


def test_kill_of_the_holder_frees_it(tmp_path, hold):
    child = hold("exclusive")
    os.kill(child.pid, signal.SIGKILL)
    with StoreLock(tmp_path, timeout=5).exclusive():
        pass


def test_it_is_taken_as_soon_as_it_is_free(tmp_path):
    lock = StoreLock(tmp_path, timeout=10)
    taken = threading.Event()

    def wait():
        with lock.exclusive():
            taken.set()

    with lock.shared():
        thread = threading.Thread(target=wait)
        thread.start()
        assert not taken.wait(0.1)
    assert taken.wait(5)
    thread.join()


def test_an_error_inside_frees_it(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), file_lock(tmp_path / "lock", exclusive=True, timeout=0):
            raise KeyError


class TestPatience:
    """A process that was stopped holds its locks, but nobody waits for ever."""

    def test_gc_that_waits_gives_up_before_those_that_it_keeps_out(self):
        assert lock._GC_SECONDS < lock._STORE_SECONDS / 5

    @pytest.mark.parametrize("ours", ["shared", "exclusive"])
    def test_who_waits_long_says_for_whom(self, tmp_path, hold, monkeypatch, ours):
        child = hold("exclusive")
        child.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(lock, "_REMARK_AFTER", 0.1)
        remarks = []
        waiting = getattr(StoreLock(tmp_path, timeout=0.5), ours)(remarks.append)
        with pytest.raises(UnreachableError) as refused, waiting:
            pytest.fail("two had the lock")
        assert f"process {child.pid} at work" in str(refused.value)
        assert [f"process {child.pid}," in remark for remark in remarks] == [True]

    def test_the_patience_of_gc_is_not_that_of_the_others(self, tmp_path, hold, monkeypatch):
        hold("shared")
        monkeypatch.setattr(lock, "_GC_SECONDS", 0.2)
        started = time.monotonic()
        with pytest.raises(UnreachableError), StoreLock(tmp_path).exclusive():
            pytest.fail("two had the lock")
        assert time.monotonic() - started < 5

    def test_no_remark_where_nobody_waits(self, tmp_path, monkeypatch):
        monkeypatch.setattr(lock, "_REMARK_AFTER", 0.0)
        with StoreLock(tmp_path).shared(pytest.fail):
            pass

    def test_a_system_that_does_not_tell_its_locks(self, tmp_path, hold, monkeypatch):
        hold("exclusive")
        monkeypatch.setattr(lock, "_FILE_LOCKS", tmp_path / "missing")
        with (
            pytest.raises(UnreachableError, match="another process"),
            StoreLock(tmp_path, timeout=0).shared(),
        ):
            pytest.fail("two had the lock")
