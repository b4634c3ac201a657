"""Replacing a directory where the file system cannot exchange names: killed at every step, raced, stopped."""

import errno
import multiprocessing
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from modelreg.errors import ConflictError, ModelregError, NotPermittedError, UnreachableError
from modelreg.store import lock
from modelreg_verifier import atomic
from modelreg_verifier.staging import staged
from tests.store.unprivileged import without_privileges
from tests.verifier.copies import Node, Publisher, files, tree

OLD, NEW, OTHER = files(), files(seed=5), files(seed=9)
HOLD = """
import sys, time
from pathlib import Path
from modelreg_verifier.staging import staged
with staged(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(60)
"""


class NoExchange:
    """The C library on a file system such as NFS."""

    def renameat2(self, *_):
        atomic.ctypes.set_errno(errno.EINVAL)
        return -1


@pytest.fixture(autouse=True)
def _without_exchange(monkeypatch):
    monkeypatch.setattr(atomic.ctypes, "CDLL", lambda *_, **__: NoExchange())


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    publisher = Publisher.at(tmp_path_factory.mktemp("published"))
    return publisher.peer, *(publisher.publish(contents).manifest for contents in (OLD, NEW, OTHER))


@pytest.fixture
def target(published, tmp_path):
    Node(published[0]).copy(published[1], tmp_path / "copy")
    return tmp_path / "copy"


def beside(target):
    return sorted(path.name for path in target.parent.iterdir() if path != target)


BEFORE_THE_FIRST_RENAME, BETWEEN_THE_RENAMES, BEFORE_THE_REMOVAL, IN_THE_REMOVAL = range(4)


def die_at(step):
    """Let this process die in the replacement: at a rename, at the removal of the old tree, or in it."""
    left = [step]

    def dying(act):
        def count(*arguments):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return act(*arguments)

        return count

    def remove(path):
        (Path(path) / "config.json").unlink()
        dying(lambda: None)()

    Path.rename = dying(Path.rename)
    atomic.shutil.rmtree = dying(remove)


def copy_and_die(peer, manifest, target, step):
    die_at(step)
    Node(peer).copy(manifest, target)


@pytest.fixture
def killed(published, target):
    """Kills a process that replaces the old release by the new one at a step."""

    def kill(step):
        arguments = (published[0], published[2], target, step)
        child = multiprocessing.get_context("fork").Process(target=copy_and_die, args=arguments)
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL

    return kill


STEPS = {
    BEFORE_THE_FIRST_RENAME: (OLD, OLD),
    BETWEEN_THE_RENAMES: ({}, OLD),
    BEFORE_THE_REMOVAL: (NEW, NEW),
    IN_THE_REMOVAL: (NEW, NEW),
}


@pytest.mark.parametrize("step", STEPS)
def test_the_next_run_finishes_what_a_kill_left(killed, published, target, step):
    killed(step)
    assert tree(target) == STEPS[step][0]
    Node(published[0]).copy(published[2], target)
    assert tree(target) == NEW
    assert beside(target) == []


@pytest.mark.parametrize("step", STEPS)
def test_if_the_next_run_fails_a_whole_copy_stands_there_all_the_same(killed, published, target, step):
    killed(step)
    node = Node(published[0])
    node.peer.fails_after = len(node.peer.asked)
    try:
        with pytest.raises(UnreachableError, match="gone"):
            node.copy(published[3], target)
    finally:
        node.peer.fails_after = None
    assert tree(target) == STEPS[step][1]
    assert not any(name.endswith(".old") for name in beside(target))
    node.copy(published[3], target)
    assert tree(target) == OTHER
    assert beside(target) == []


def test_a_half_removed_tree_never_comes_back(killed, published, target):
    """Somebody removes the new copy after the kill: the old one is not whole any more."""
    killed(IN_THE_REMOVAL)
    shutil.rmtree(target)
    with pytest.raises(RuntimeError), staged(target, print) as staging:
        assert beside(target) == [staging.name]
        raise RuntimeError
    assert not target.exists()


def test_a_second_rename_that_fails_is_undone(published, target, monkeypatch):
    rename = Path.rename

    def refuse(self, to):
        if to == target and self.name.endswith("staging"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ModelregError, match="Input/output error"):
        Node(published[0]).copy(published[2], target)
    assert tree(target) == OLD


def test_who_comes_while_the_old_tree_is_removed_waits(target, monkeypatch):
    removing, entered = threading.Event(), queue.Queue()
    rmtree = shutil.rmtree

    def slow_removal(path):
        removing.set()
        with pytest.raises(queue.Empty):
            entered.get(timeout=0.3)
        rmtree(path)

    def other():
        removing.wait()
        with staged(target, print) as staging:
            entered.put(sorted(path.name for path in staging.iterdir()))

    monkeypatch.setattr(atomic.shutil, "rmtree", slow_removal)
    thread = threading.Thread(target=other)
    thread.start()
    with staged(target, print) as staging:
        (staging / "new").write_text("new")
        atomic.replace_directory(staging, target, print)
    thread.join()
    assert entered.get() == []
    assert tree(target) == {"new": b"new"}
    assert not any(name.endswith(".old") for name in beside(target))


@pytest.mark.parametrize("plant", [lambda path: path.symlink_to("copy"), lambda path: path.write_bytes(b"")])
def test_what_was_planted_in_the_place_of_the_old_tree_is_refused(target, plant):
    plant(target.with_name(".copy.modelreg-staging.old"))
    with pytest.raises((OSError, ModelregError)), staged(target, print):
        pytest.fail("entered")
    assert tree(target) == OLD


def test_an_old_tree_of_somebody_else_is_refused(tmp_path):
    planted = tmp_path / "place" / ".copy.modelreg-staging.old"
    planted.mkdir(parents=True)

    def enter():
        with pytest.raises(NotPermittedError, match="somebody else"), staged(Path("copy"), print):
            pytest.fail("entered")

    tmp_path.chmod(0o755)
    without_privileges(tmp_path / "place", enter)
    assert planted.exists()


class TestPatience:
    """A sync that was stopped (SIGSTOP) holds its place, but nobody waits for ever."""

    @pytest.fixture
    def stopped(self, tmp_path):
        words = [sys.executable, "-c", HOLD, str(tmp_path / "copy")]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
            assert child.stdout.readline() == b"held\n"
            child.send_signal(signal.SIGSTOP)
            yield child
            child.kill()

    def test_a_stopped_sync_is_not_waited_for_for_ever(self, stopped, tmp_path, monkeypatch):
        monkeypatch.setattr(atomic, "_PATIENCE_SECONDS", 0.5)
        monkeypatch.setattr(lock, "_REMARK_AFTER", 0.1)
        remarks = []
        with pytest.raises(ConflictError) as refused, staged(tmp_path / "copy", remarks.append):
            pytest.fail("two had it")
        assert str(stopped.pid) in str(refused.value)
        (remark,) = remarks
        assert str(stopped.pid) in remark

    def test_one_that_ends_is_waited_for(self, stopped, tmp_path, monkeypatch):
        monkeypatch.setattr(lock, "_REMARK_AFTER", 0.1)
        with staged(tmp_path / "copy", lambda _: stopped.kill()) as staging:
            assert staging.is_dir()
