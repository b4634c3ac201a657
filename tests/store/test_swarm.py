"""Many sources at once: docs/spec/store.md, section 10."""

import asyncio
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from modelreg.errors import NotFoundError, UnreachableError, VerificationError
from modelreg.format.block import check_block
from modelreg.store import dispatch, swarm
from modelreg.store.remote import BusyError, Threaded
from modelreg.store.swarm import Swarm
from tests.store.blocks import leaf, leaves
from tests.store.memory import MemoryStore

CID, BLOCK = leaf(b"weights")
MANY = leaves(200)


class Remote:
    """A source with some blocks, which takes its time; `fault` is called with each block's number."""

    def __init__(self, name, blocks, seconds=0.0, fault=lambda _: None):
        self.name, self.blocks, self.seconds, self.fault = name, dict(blocks), seconds, fault
        self.asked, self.running, self.most = [], 0, 0

    async def fetch(self, cid, _session):
        self.asked.append(cid)
        number = len(self.asked)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds)
            error = self.fault(number)
            if isinstance(error, Exception):
                raise error
            if cid not in self.blocks:
                raise NotFoundError(f"block {cid}")
            check_block(cid, self.blocks[cid])
            return self.blocks[cid]
        finally:
            self.running -= 1


class Stalling(Remote):
    async def fetch(self, cid, _session):
        self.asked.append(cid)
        await asyncio.sleep(3600)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(dispatch, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(dispatch, "_QUICK_SECONDS", 0.05)


def read(source, blocks, workers=2):
    """Use blocks in order, as a copy does."""
    with source.ahead(cid for cid, _ in blocks), ThreadPoolExecutor(workers) as pool:
        return list(pool.map(source.get, [cid for cid, _ in blocks]))


def test_a_block_that_one_source_has():
    source = Swarm([Remote("empty", []), Remote("full", [(CID, BLOCK)])])
    assert source.get(CID) == BLOCK
    assert source.name == "empty, full"
    assert not source.has(CID)


def test_all_give_what_they_can_and_the_fast_more():
    slow, fast = Remote("slow", MANY, 0.04), Remote("fast", MANY, 0.005)
    assert read(Swarm([slow, fast]), MANY) == [block for _, block in MANY]
    assert 0 < len(slow.asked) < len(fast.asked)
    assert len(slow.asked) + len(fast.asked) < len(MANY) * 1.2


def test_more_is_asked_at_once_while_answers_come_quickly():
    quick, slow = Remote("quick", MANY, 0.01), Remote("slow", MANY[:40], 0.2)
    read(Swarm([quick]), MANY)
    read(Swarm([slow]), MANY[:40])
    assert quick.most > 4
    assert slow.most == 2


def test_a_malicious_peer_is_banned_and_named():
    bad = []
    liar = Remote("liar", [(cid, b"wrong") for cid, _ in MANY])
    source = Swarm([liar, Remote("honest", MANY, 0.002)], bad.append)
    assert read(source, MANY) == [block for _, block in MANY]
    assert len(liar.asked) <= 2
    assert {answer.source for answer in bad} == {"liar"}
    assert all(isinstance(answer.error, VerificationError) for answer in bad)


def test_a_stalling_peer_holds_up_nothing():
    stalling = Stalling("stalling", [])
    began = time.monotonic()
    source = Swarm([stalling, Remote("honest", MANY, 0.002)])
    assert read(source, MANY) == [block for _, block in MANY]
    assert stalling.asked
    assert time.monotonic() - began < 5


def test_a_peer_that_lacks_some_blocks_gives_the_others():
    parts = [Remote(f"peer {n}", MANY[n::3], 0.002) for n in range(3)]
    bad = []
    assert read(Swarm(parts, bad.append), MANY) == [block for _, block in MANY]
    assert bad == []
    assert all(len(set(part.asked)) == len(part.asked) for part in parts)


def test_a_busy_peer_is_left_alone_as_long_as_it_asks():
    times = []

    def fault(number):
        times.append(time.monotonic())
        return BusyError("busy", found="HTTP 429", seconds=0.3) if number == 1 else None

    assert Swarm([Remote("busy", [(CID, BLOCK)], fault=fault)]).get(CID) == BLOCK
    assert times[1] - times[0] >= 0.3


def test_a_peer_that_fails_now_and_then_is_used_again():
    def fault(number):
        return UnreachableError("reset") if number % 5 == 0 else None

    bad = []
    flaky = Remote("flaky", MANY, fault=fault)
    assert read(Swarm([flaky], bad.append), MANY) == [block for _, block in MANY]
    assert len(flaky.asked) > len(MANY)


def test_a_peer_that_always_fails_is_given_up_and_named():
    bad = []
    dead = Remote("dead", MANY, fault=lambda _: UnreachableError("no answer"))
    honest = Remote("honest", MANY, 0.02)
    assert read(Swarm([dead, honest], bad.append), MANY) == [block for _, block in MANY]
    assert {answer.source for answer in bad} == {"dead"}
    assert len(dead.asked) < 20


def test_nobody_has_it():
    with pytest.raises(NotFoundError, match="empty, other"):
        Swarm([Remote("empty", []), Remote("other", [])]).get(CID)


def test_wrong_bytes_are_reported_before_silence_and_silence_before_absence():
    liar, empty = Remote("liar", [(CID, b"wrong")]), Remote("empty", [])
    silent = Remote("silent", [], fault=lambda _: UnreachableError("no answer"))
    with pytest.raises(VerificationError):
        Swarm([empty, silent, liar]).get(CID)
    with pytest.raises(UnreachableError, match="no answer"):
        Swarm([empty, silent]).get(CID)


def test_after_all_are_lost_every_block_fails():
    source = Swarm([Remote("liar", [(cid, b"wrong") for cid, _ in MANY])])
    for cid, _ in MANY[:5]:
        with pytest.raises((VerificationError, NotFoundError, UnreachableError)):
            source.get(cid)


def test_no_more_is_asked_ahead_than_the_window_holds(monkeypatch):
    monkeypatch.setattr(swarm, "_WINDOW_BYTES", 20 * 100)
    monkeypatch.setattr(swarm, "_ASSUMED_BYTES", 100)
    remote = Remote("remote", MANY)
    source = Swarm([remote])
    with source.ahead(cid for cid, _ in MANY):
        time.sleep(0.3)
        assert len(remote.asked) == 20
        assert source.has(MANY[0][0])
        for cid, block in MANY:
            assert source.get(cid) == block
    assert len(remote.asked) == len(MANY)


def test_what_is_never_used_does_not_block_the_rest(monkeypatch):
    monkeypatch.setattr(swarm, "_WINDOW_BYTES", 20 * 100)
    monkeypatch.setattr(swarm, "_ASSUMED_BYTES", 100)
    monkeypatch.setattr(swarm, "_PASSED_OVER", 10)
    remote = Remote("remote", MANY)
    source = Swarm([remote])
    used = [block for number, block in enumerate(MANY) if number % 2]
    with source.ahead(cid for cid, _ in MANY):
        for cid, block in used:
            assert source.get(cid) == block
    assert len(remote.asked) <= len(MANY) + 5


def test_leaving_early_ends_the_asking():
    remote = Remote("remote", MANY, 0.01)
    source = Swarm([remote])
    with source.ahead(cid for cid, _ in MANY):
        source.get(MANY[0][0])
    asked = len(remote.asked)
    time.sleep(0.3)
    assert len(remote.asked) <= asked + 32 < len(MANY)
    assert source.get(MANY[-1][0]) == MANY[-1][1]


def test_an_error_while_looking_ahead_is_met_by_who_uses_the_blocks():
    def cids():
        yield CID
        raise VerificationError("a damaged manifest")

    source = Swarm([Remote("remote", [(CID, BLOCK)])])
    with source.ahead(cids()):
        assert source.get(CID) == BLOCK


def test_several_threads_want_one_block():
    remote = Remote("remote", [(CID, BLOCK)], 0.05)
    source = Swarm([remote])
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: source.get(CID), range(8))) == [BLOCK] * 8
    assert len(remote.asked) <= 2


def test_a_store_in_threads():
    memory = MemoryStore("memory")
    memory.put_many(MANY)
    source = Swarm([Threaded(memory)])
    assert read(source, MANY) == [block for _, block in MANY]


def test_a_source_may_be_used_again_after_a_pause(monkeypatch):
    monkeypatch.setattr(dispatch, "_IDLE_SECONDS", 0.1)
    source = Swarm([Remote("remote", MANY)])
    assert source.get(MANY[0][0]) == MANY[0][1]
    time.sleep(0.4)
    assert source.get(MANY[1][0]) == MANY[1][1]
    assert [thread.name for thread in threading.enumerate()].count("modelreg-blocks") == 1


def test_a_defect_of_a_source_leaves_nobody_waiting():
    broken = Remote("broken", MANY, fault=lambda _: RuntimeError("a defect"))
    with pytest.raises(UnreachableError, match="RuntimeError: a defect"):
        Swarm([broken]).get(CID)


def test_what_hangs_in_a_thread_does_not_hold_up_the_end_of_the_process():
    script = (
        "import time; from modelreg.store.remote import Threaded; from modelreg.store.swarm import Swarm;"
        "from tests.store.blocks import leaf; from tests.store.memory import MemoryStore;"
        "class_ = type('Hanging', (), {'name': 'hanging', 'get': lambda self, cid: time.sleep(60)});"
        "cid, block = leaf(b'x'); memory = MemoryStore(); memory.put_many([(cid, block)]);"
        "assert Swarm([Threaded(class_()), Threaded(memory)]).get(cid) == block"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", script], check=True, timeout=50)
    assert time.monotonic() - began < 30


def test_a_wish_to_be_left_alone_for_hours_is_cut_short(monkeypatch):
    """Else one answer of a stranger holds up a block that nobody else has."""
    monkeypatch.setattr(dispatch, "_LONGEST_WISH", 0.2)
    busy = BusyError("busy", found="HTTP 503", seconds=9999)
    source = Swarm([Remote("busy", [(CID, BLOCK)], fault=lambda number: busy if number == 1 else None)])
    began = time.monotonic()
    assert source.get(CID) == BLOCK
    assert time.monotonic() - began < 5


def test_an_interrupt_ends_the_waiting():
    source = Swarm([Stalling("stalling", [])])
    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(KeyboardInterrupt), source.ahead(cid for cid, _ in MANY):
            waiting = pool.submit(source.get, CID)
            time.sleep(0.2)
            raise KeyboardInterrupt
        with pytest.raises(UnreachableError, match="interrupted"):
            waiting.result(5)


def test_a_request_that_is_cancelled_before_it_begins_frees_its_slot():
    """As when two sources take a block over from each other at the same moment."""
    dispatcher = dispatch.Dispatcher([Stalling("stalling", [])], print)
    [peer] = dispatcher._peers
    want = dispatch.Want(CID, 1, Future())

    async def start_and_cancel():
        dispatcher._start(peer, want, 0.0)
        assert peer.running == 1
        want.future.cancel()
        want.running[peer].cancel()
        await asyncio.sleep(0.05)
        return peer.running, want.running, dispatcher._flying

    done = asyncio.run_coroutine_threadsafe(start_and_cancel(), dispatch._loop()).result(5)
    assert done == (0, {}, {})


def test_who_waits_no_longer_leaves_nothing_running():
    slow = Remote("slow", [(CID, BLOCK)], 3600)
    source = Swarm([slow])
    with pytest.raises(UnreachableError, match="fast enough"):
        source.get(CID, 0.1)
    deadline = time.monotonic() + 10
    while slow.running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert slow.running == 0


def test_who_waits_no_longer_takes_nothing_from_others():
    source = Swarm([Remote("slow", [(CID, BLOCK)], 0.5)])
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(source.get, CID)
        time.sleep(0.1)
        with pytest.raises(UnreachableError, match="fast enough"):
            source.get(CID, 0.1)
        assert patient.result() == BLOCK
