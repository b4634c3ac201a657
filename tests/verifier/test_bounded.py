"""Replays in a process of their own: the same results, and bounds that hostile graphs meet."""

import gc

import numpy as np
import pytest

from modelreg.errors import InputError, UnreachableError
from modelreg_verifier.audit.judge import judge
from modelreg_verifier.audit.verdict import Reason, Ruling
from modelreg_verifier.trace.bench import bench_of
from modelreg_verifier.trace.bounded import BoundedSessions, Bounds
from modelreg_verifier.trace.runtime import Session, Settings
from tests.verifier import graphs
from tests.verifier.auditing import SETTINGS, early

SLOW = """
slow (int64 n) => (float y) <float one = {1.0}, bool yes = {1}> {
  y = Loop (n, yes, one) <body = b (int64 i, bool c, float a) => (bool d, float e) {
    d = Identity(c) e = Sin(a) }>
}
"""
WIDE = """
wide (int64[1] n) => (float[1] y) <float[1] one = {1.0}> {
  a = Expand(one, n) b = Sin(a) y = ReduceSum <keepdims = 1> (b)
}
"""


@pytest.fixture(scope="module")
def sessions():
    return BoundedSessions()


def test_results_are_those_of_a_session_here(sessions):
    model, inputs = graphs.bert(), graphs.sentences(batch=2)
    far, here = sessions.session(model, SETTINGS), Session(model, SETTINGS)
    assert far.types == here.types
    one, two = far.run(inputs), here.run(inputs)
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_texts_go_there_and_back(sessions):
    model = graphs.parsed(
        "g (string[1, 3] x, float e) => (string[1, 3] y, float f) { y = Identity(x) f = Sin(e) }"
    )
    given = np.array([["a/b", "", "\0é\0"]], object)
    made = sessions.session(model, Settings()).run({"x": given, "e": np.float32(0)})
    assert made["y"].tolist() == given.tolist()
    assert made["f"].shape == () and made["f"].dtype == np.float32


def test_bytes_that_are_no_text_are_refused(sessions):
    model = graphs.parsed("g (string[1] x) => (string[1] y) { y = Identity(x) }")
    with pytest.raises(InputError):
        sessions.session(model, Settings()).run({"x": np.array(["\udcff"], object)})


def test_what_the_runtime_refuses_once_shields_nothing(sessions):
    kept = sessions.session(graphs.early(), Settings())
    with pytest.raises(InputError):
        sessions.session(graphs.made_of([(["x"], ["y"])], ["x"], ["y"]), Settings())
    with pytest.raises(InputError):
        kept.run({"x": np.ones((1, 3), np.float32)})
    assert kept.run({"x": np.ones((1, 2), np.float32)})["first"].tolist() == [[4.0, 6.0]]


@pytest.mark.slow
def test_a_replay_that_takes_too_long_is_given_up():
    """And what comes behind it is run all the same, in another process."""
    sessions = BoundedSessions(Bounds(seconds=10.0))
    slow = sessions.session(graphs.parsed(SLOW), Settings())
    assert slow.run({"n": np.int64(2)})["y"] == pytest.approx(np.sin(np.sin(1)))
    with pytest.raises(UnreachableError):
        slow.run({"n": np.int64(1 << 40)})
    assert slow.run({"n": np.int64(1)})["y"] == pytest.approx(np.sin(1))
    assert sessions.started == 2


def test_a_replay_that_needs_too_much_memory_is_refused():
    sessions = BoundedSessions(Bounds(memory=4 << 30))
    wide = sessions.session(graphs.parsed(WIDE), Settings())
    with pytest.raises(InputError):
        wide.run({"n": np.array([1 << 31], np.int64)})
    assert wide.run({"n": np.array([2], np.int64)})["y"] == pytest.approx(2 * np.sin(1))


@pytest.mark.slow
def test_results_without_end_are_refused():
    sessions = BoundedSessions()
    model = graphs.parsed("g (int64[1] n) => (uint8[K] y) <uint8[1] one = {1}> { y = Expand(one, n) }")
    with pytest.raises(InputError):
        sessions.session(model, Settings()).run({"n": np.array([(1 << 30) + 1], np.int64)})


def test_a_replay_that_hangs_accuses_nobody():
    world, sessions = early(), BoundedSessions(Bounds(seconds=1e-3))
    opening = world.opening()

    def prepare(plan, _):
        return bench_of(world.model, plan, SETTINGS, sessions.session)

    found = judge(opening, world.subject(opening, prepare=prepare))
    assert (found.ruling, found.reason, found.segments) == (Ruling.UNDECIDABLE, Reason.REFUSED, ())


def test_a_judge_replays_there_as_here():
    world, sessions = early(), BoundedSessions()
    opening = world.opening()

    def prepare(plan, _):
        return bench_of(world.model, plan, SETTINGS, sessions.session)

    found = judge(opening, world.subject(opening, prepare=prepare))
    assert (found.ruling, found.reason) == (Ruling.PASS, Reason.EQUAL)
    assert sessions.started == 1


def test_the_process_ends_with_its_sessions():
    sessions = BoundedSessions()
    session = sessions.session(graphs.early(), SETTINGS)
    process = sessions._process._process
    assert process.poll() is None
    del session, sessions
    gc.collect()
    assert process.wait(10) != 0
