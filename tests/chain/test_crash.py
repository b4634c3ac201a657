"""kill -9 and concurrency: an acknowledged transaction is on the disk, and there is no half of a block."""

import random
import subprocess
import sys
import threading
import time

import pytest

from modelreg.chain import create, open_chain
from modelreg.chain.replay import replay
from tests.chain.backends import CHAIN_ID, Node, account, make_chain


def start(path, name):
    command = [sys.executable, "-m", "tests.chain.crash_worker", str(path), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    """Kill -9, then the hashes that were acknowledged; a half-written last line does not count."""
    process.kill()
    out, err = process.communicate()
    assert "Traceback" not in err, err
    return [line for line in out.split("\n")[:-1] if line.startswith("0x")]


def campaign(path, rounds, seed):
    """Returns how many transactions were acknowledged, all of which were found again."""
    chance, acknowledged = random.Random(seed), []
    for number in range(rounds):
        process = start(path, "alice")
        assert process.stdout.readline() == "ready\n"
        if number % 3 == 0:
            acknowledged.append(process.stdout.readline().strip())
        time.sleep(chance.uniform(0, 0.4))
        acknowledged += finish(process)
        with open_chain(path) as chain:
            for tx_hash in acknowledged[-50:]:
                receipt = chain.request("eth_getTransactionReceipt", [tx_hash])
                assert receipt is not None, "an acknowledged transaction is gone"
                assert receipt["status"] == "0x1"
    report = replay(path)
    assert report.blocks >= len(acknowledged)
    with open_chain(path) as chain:
        assert all(chain.request("eth_getTransactionByHash", [tx_hash]) for tx_hash in acknowledged)
    return len(acknowledged)


def test_kill_9_loses_no_acknowledged_transaction(path):
    assert campaign(path, rounds=3, seed=1) > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_9_campaign(path):
    assert campaign(path, rounds=50, seed=2) > 50


def test_killed_creation_can_be_repeated(tmp_path):
    """A file in which WAL mode was set, and nothing more, is what such a kill leaves."""
    import sqlite3

    path = tmp_path / "chain.sqlite"
    sqlite3.connect(path).execute("PRAGMA journal_mode=WAL")
    create(path, chain_id=CHAIN_ID, alloc={}, timestamp=1)
    with open_chain(path) as chain:
        assert chain.request("eth_blockNumber", []) == "0x0"


def test_four_processes_write_one_chain(tmp_path):
    names = ["p1", "p2", "p3", "p4"]
    path = make_chain(tmp_path, balances=names)
    processes = [start(path, name) for name in names]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    first = [[process.stdout.readline().strip() for _ in range(5)] for process in processes]
    acknowledged = [known + finish(process) for known, process in zip(first, processes, strict=True)]
    with open_chain(path) as chain:
        for found in acknowledged:
            assert chain.request("eth_getTransactionReceipt", [found[-1]])["status"] == "0x1"
    assert replay(path).blocks >= sum(map(len, acknowledged))


def test_threads_share_a_chain(chain):
    node = Node(chain.request, kind="embedded")
    done = []

    def write(name):
        for _ in range(15):
            assert node.send(account(name), to=account("sink").address, gas=21000)["status"] == "0x1"
        done.append(name)

    threads = [threading.Thread(target=write, args=(f"thread {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4
    assert chain.request("eth_blockNumber", []) == hex(60)


def test_reader_does_not_wait_for_a_writer(path, chain):
    import sqlite3

    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    assert chain.request("eth_blockNumber", []) == "0x0"
    assert time.monotonic() - started < 1
    writer.execute("ROLLBACK")
    writer.close()


def test_clock_jump_backwards_keeps_time_rising(chain, path, monkeypatch):
    node = Node(chain.request, kind="embedded")
    times = []
    for now in (2_000_000_000, 1_900_000_000, 5, 2_000_000_100):
        monkeypatch.setattr("modelreg.chain.chain.time.time", lambda now=now: now)
        receipt = node.send(node.alice, to=node.bob.address, gas=21000)
        block = chain.request("eth_getBlockByHash", [receipt["blockHash"], False])
        times.append(int(block["timestamp"], 16))
    assert times == [2_000_000_000, 2_000_000_001, 2_000_000_002, 2_000_000_100]
    assert replay(path).blocks == 4
