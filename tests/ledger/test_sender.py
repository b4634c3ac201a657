"""Sending through crashes, other senders and lies: docs/spec/ledger.md, section 8."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from modelreg.errors import (
    ConflictError,
    InputError,
    NotPermittedError,
    UnreachableError,
    VerificationError,
)
from modelreg.ledger.endpoint import Endpoint
from modelreg.ledger.fees import FeePolicy, Fees
from modelreg.ledger.outbox import Outbox
from modelreg.ledger.records import Role
from modelreg.ledger.rpc import RpcRefusedError
from modelreg.ledger.sender import Patience
from tests.ledger.adversary import LyingRpc
from tests.ledger.world import CHAIN_ID, KEYS, MODEL, address_of, draft

HURRY = Patience(turn=5, mined=3, replace=0.05)


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch):
    monkeypatch.setattr("modelreg.ledger.sender._LONGEST_PAUSE", 0.05)
    monkeypatch.setattr("modelreg.ledger.writer._READ_BACK_SECONDS", 1.0)
    monkeypatch.setattr("modelreg.ledger.writer._READ_BACK_PAUSE", 0.05)


class Crash(BaseException):
    """Stands for a kill -9 at this very place."""


class CrashingRpc(LyingRpc):
    """Crashes before or after the first transaction is handed over."""

    def __init__(self, rpc, *, after):
        super().__init__(rpc)
        self.after = after

    def request(self, method, params):
        if method != "eth_sendRawTransaction":
            return super().request(method, params)
        if self.after:
            super().request(method, params)
        raise Crash


class Mempool(LyingRpc):
    """Holds transactions back until `mine`, as a chain with a queue does."""

    def __init__(self, rpc):
        super().__init__(rpc)
        self.waiting = []

    def request(self, method, params):
        if method == "eth_sendRawTransaction":
            self.waiting.append(params[0])
            return "0x"
        return super().request(method, params)

    def mine(self, index=-1):
        return self.rpc.request("eth_sendRawTransaction", [self.waiting.pop(index)])


def outbox_rows(world, key=0):
    header = world.reader().header(0)
    outbox = Outbox(
        world.directory / f"outbox-{key}.sqlite", f"{CHAIN_ID}:{header.hash.hex()}", address_of(KEYS[key])
    )
    return outbox.unsettled(0)


# Crashes


@pytest.mark.parametrize("after", [False, True], ids=["before the endpoint has it", "before the receipt"])
def test_kill_between_signing_and_receipt_publishes_once(world, after):
    with pytest.raises(Crash):
        world.writer(rpc=CrashingRpc(world.rpc, after=after)).publish(draft("1.0.0"))
    nonce = world.view().account(address_of(KEYS[0])).nonce
    published = world.writer().publish(draft("1.0.0"))
    assert published.receipt is not None
    assert world.view().account(address_of(KEYS[0])).nonce == (nonce if after else nonce + 1)
    assert world.view().head(MODEL, "main") == published.release.release_id


def test_a_retry_that_takes_its_own_release_for_the_parent_succeeds(world):
    """The command chooses the branch's head as the parent; after a crash that is the release itself."""
    release = world.publish("1.0.0")
    assert world.writer().publish(draft("1.0.0", parent=release)).release.release_id == release
    later = world.publish("1.1.0", release)
    assert world.writer().publish(draft("1.0.0", parent=later)).release.release_id == release


def test_other_content_under_a_taken_version_is_no_retry(world):
    release = world.publish("1.0.0")
    same, other = draft("1.0.0", release), draft("1.0.0", release, content="other")
    for changed in (
        replace(same, content_root=other.content_root),
        replace(same, manifest=other.manifest),
        replace(same, branch="next"),
    ):
        with pytest.raises(ConflictError, match="taken"):
            world.writer().publish(changed)


def test_what_was_sent_before_the_crash_goes_first(world):
    with pytest.raises(Crash):
        world.writer(rpc=CrashingRpc(world.rpc, after=False)).publish(draft("1.0.0"))
    with pytest.raises(ConflictError, match="head moved"):
        world.writer().publish(draft("1.1.0"))


def test_the_transaction_is_on_disk_before_it_is_sent(world):
    seen = []

    def note(_rpc, _params, answer):
        seen.append([row.open for row in outbox_rows(world)])
        return answer

    before = len(outbox_rows(world))
    rpc = LyingRpc(world.rpc, eth_sendRawTransaction=note)
    world.writer(rpc=rpc).publish(draft("1.0.0"))
    assert seen == [[False] * before + [True]]


def test_full_disk_nothing_is_sent(world, monkeypatch):
    writer = world.writer()

    def full(*_):
        raise NotPermittedError("cannot use the outbox", found="database or disk is full")

    monkeypatch.setattr(Outbox, "add", full)
    with pytest.raises(NotPermittedError):
        writer.publish(draft("1.0.0"))
    assert world.view().head(MODEL, "main") is None


def test_read_only_outbox(world, tmp_path):
    directory = tmp_path / "no such directory"
    with pytest.raises(NotPermittedError, match="cannot use"):
        Outbox(directory / "outbox.sqlite", "1:aa", b"\x01" * 20)


SCRIPT = """
import sys
from pathlib import Path
from modelreg.chain import open_chain
from modelreg.ledger.rpc import EmbeddedRpc
from tests.ledger.world import World, draft
with open_chain(sys.argv[1]) as chain:
    world = World(EmbeddedRpc(chain), Path(sys.argv[2]))
    print("ready", flush=True)
    sys.stdin.readline()
    print(world.writer().publish(draft(sys.argv[3])).release.release_id, flush=True)
"""


def publisher(world, chain, version):
    command = [sys.executable, "-c", SCRIPT, str(chain.path), str(world.directory), version]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
def test_kill_9_at_any_moment_of_publishing_loses_nothing(world, chain):
    for round_ in range(25):
        version = f"1.{round_}.0"
        process = publisher(world, chain, version)
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(0.012 * round_)
        process.send_signal(signal.SIGKILL)
        acknowledged = process.communicate()[0].strip()
        if acknowledged:
            assert str(world.view().version(MODEL, draft(version).version)) == acknowledged
        parent = world.view().head(MODEL, "main")
        done = world.writer().publish(draft(version, None if parent is None else parent))
        assert world.view().version(MODEL, draft(version).version) == done.release.release_id


# Several senders


def test_concurrent_publishers_one_wins_a_round(world):
    """Four publishers with one key: each waits for its turn; one wins, the others name both heads."""
    results = []

    def run(number):
        try:
            results.append(world.writer().publish(draft(f"1.{number}.0")).release.release_id)
        except ConflictError as error:
            results.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [result for result in results if isinstance(result, ConflictError)]
    [winner] = [result for result in results if not isinstance(result, ConflictError)]
    assert len(errors) == 3
    assert {(error.expected, error.found) for error in errors} == {("no head", str(winner))}


def test_concurrent_publishers_with_two_keys_the_loser_learns_both_heads(world):
    """The other publisher gets in between our estimate and our block: the receipt says that we failed."""
    world.writer().set_roles("acme", address_of(KEYS[1]), Role.PUBLISH)
    winner = []

    class Slow(LyingRpc):
        def request(self, method, params):
            if method == "eth_sendRawTransaction" and not winner:
                winner.append(world.publish("1.0.0", key=1))
            return super().request(method, params)

    with pytest.raises(ConflictError, match="head moved") as caught:
        world.writer(rpc=Slow(world.rpc)).publish(draft("1.1.0"))
    assert (caught.value.expected, caught.value.found) == ("no head", str(winner[0]))


def test_one_process_at_a_time(world):
    writer = world.writer(patience=Patience(turn=0.1))
    with world.writer()._sender.turn(), pytest.raises(ConflictError, match="another process"):
        writer.publish(draft("1.0.0"))
    assert writer.publish(draft("1.0.0"))


def _hold(path, chain, ready):
    with Outbox(path, chain, b"\x01" * 20).exclusive(5):
        ready.send(1)
        time.sleep(60)


def test_a_killed_process_leaves_no_lock(tmp_path):
    here, there = multiprocessing.Pipe()
    path = tmp_path / "outbox.sqlite"
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(path, "1:aa", there))
    process.start()
    here.recv()
    outbox = Outbox(path, "1:aa", b"\x01" * 20)
    with pytest.raises(ConflictError), outbox.exclusive(0.05):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with outbox.exclusive(5):
        pass


# Nonces


def test_nonce_gap_an_endpoint_that_counts_too_many_is_not_followed(world):
    """The nonce is proven; a false count of waiting transactions cannot lure ours into a gap."""
    rpc = LyingRpc(world.rpc, eth_getTransactionCount=lambda *_: hex(10**6))
    before = world.view().header.number
    with pytest.raises(ConflictError, match="this home did not send"):
        world.writer(rpc=rpc, patience=Patience(mined=0.2)).publish(draft("1.0.0"))
    assert world.view().header.number == before


def test_nonce_gap_what_cannot_be_mined_is_dropped(world):
    pool = Mempool(world.rpc)
    with pytest.raises(UnreachableError, match="is not mined"):
        world.writer(rpc=pool, patience=Patience(mined=0.3)).publish(draft("1.0.0"))
    header = world.reader().header(0)
    outbox = Outbox(
        world.directory / "outbox-0.sqlite", f"{CHAIN_ID}:{header.hash.hex()}", address_of(KEYS[0])
    )
    stuck = outbox.unsettled(10**6)[-1]
    outbox.drop(stuck.nonce)
    outbox.add(type(stuck)(b"\x01" * 32, stuck.nonce + 7, stuck.raw, "gap", stuck.fees))
    assert world.writer().publish(draft("1.0.0"))
    assert all(row.nonce != stuck.nonce + 7 for row in outbox_rows(world))


def test_replaced_transaction_is_detected(world):
    """Another program with the same key takes the nonce while ours waits."""
    pool = Mempool(world.rpc)

    class Foreign(LyingRpc):
        def request(self, method, params):
            if method == "eth_sendRawTransaction":
                other = {
                    "type": 2,
                    "chainId": CHAIN_ID,
                    "nonce": world.view().account(address_of(KEYS[0])).nonce,
                    "to": KEYS[1].address,
                    "value": 1,
                    "gas": 21000,
                    "maxFeePerGas": 10**9,
                    "maxPriorityFeePerGas": 0,
                }
                signed = KEYS[0].sign_transaction(other).raw_transaction
                world.rpc.request("eth_sendRawTransaction", ["0x" + signed.hex()])
                return "0x"
            return super().request(method, params)

    with pytest.raises(ConflictError, match="took nonce"):
        world.writer(rpc=Foreign(pool), patience=HURRY).publish(draft("1.0.0"))
    assert world.writer().publish(draft("1.0.0")).receipt


def test_a_stuck_transaction_is_outbid_by_an_eighth(world):
    pool = Mempool(world.rpc)
    asking = LyingRpc(pool, eth_maxPriorityFeePerGas=lambda *_: hex(10**9))
    with pytest.raises(UnreachableError):
        world.writer(rpc=asking, patience=Patience(mined=0.5, replace=0.1)).publish(draft("1.0.0"))
    rows = [row for row in outbox_rows(world) if row.open]
    assert len(rows) >= 3 and len({row.nonce for row in rows}) == 1
    for old, new in pairwise(rows):
        assert new.fees.most * 8 >= old.fees.most * 9 and new.fees.tip * 8 >= old.fees.tip * 9
    # Any attempt may win: here the first, while the newest is what we wait for.
    pool.mine(0)
    assert world.writer().publish(draft("1.0.0")).receipt.transaction == rows[0].hash


def test_the_cap_ends_the_outbidding(world):
    pool = Mempool(world.rpc)
    policy = FeePolicy(cap=100, default_tip=90)
    lying = LyingRpc(pool, eth_maxPriorityFeePerGas=lambda *_: hex(90))
    with pytest.raises(UnreachableError):
        world.writer(rpc=lying, fees=policy, patience=Patience(mined=0.5, replace=0.05)).publish(
            draft("1.0.0")
        )
    assert max(row.fees.most for row in outbox_rows(world) if row.open) <= 100


# Lies and refusals


def test_success_is_never_printed_over_a_lie(world):
    """The endpoint swallows the transaction and invents a receipt."""
    head = world.view().header.number
    receipt = {"transactionHash": "0x" + "00" * 32, "gasUsed": "0x5208", "effectiveGasPrice": "0x1"}
    receipt |= {"blockNumber": hex(head), "blockHash": "0x" + "00" * 32, "status": "0x1"}

    class Liar(LyingRpc):
        def request(self, method, params):
            if method == "eth_sendRawTransaction":
                return "0x"
            if method == "eth_getTransactionReceipt":
                return receipt
            return super().request(method, params)

    with pytest.raises(VerificationError, match="does not show it"):
        world.writer(rpc=Liar(world.rpc)).publish(draft("1.0.0"))
    with pytest.raises(VerificationError, match="does not show it"):
        world.writer(rpc=Liar(world.rpc)).claim_namespace("other")


def test_a_suggested_tip_cannot_drain_the_account(world):
    policy = FeePolicy()
    assert policy.offer(10, 10**30).tip == policy.tip_max
    assert policy.offer(10, None) == Fees(20 + policy.default_tip, policy.default_tip)


def test_a_cap_below_the_base_fee(world):
    with pytest.raises(UnreachableError, match="too expensive"):
        FeePolicy(cap=9).offer(10, 1)
    assert FeePolicy(cap=15).offer(10, 100) == Fees(15, 15)


def test_no_funds(world):
    def refuse(*_):
        raise RpcRefusedError(
            "it", "eth_sendRawTransaction", -32000, "insufficient funds for gas * price + value"
        )

    with pytest.raises(NotPermittedError, match="cannot pay"):
        world.writer(rpc=Refusing(world.rpc, refuse)).publish(draft("1.0.0"))
    assert not [row for row in outbox_rows(world) if row.open]
    assert world.writer().publish(draft("1.0.0"))


class Refusing(LyingRpc):
    def __init__(self, rpc, refuse):
        super().__init__(rpc)
        self.refuse = refuse

    def request(self, method, params):
        if method == "eth_sendRawTransaction":
            self.refuse()
        return super().request(method, params)


@pytest.mark.parametrize(
    ("message", "accepted"),
    [
        ("already known", True),
        ("nonce too low: next nonce 5", False),
        ("replacement transaction underpriced", False),
        ("found max fee per gas less than block base fee", False),
    ],
)
def test_answers_to_a_broadcast(world, message, accepted):
    def refuse(*_):
        raise RpcRefusedError("it", "eth_sendRawTransaction", -32000, message)

    assert Endpoint(Refusing(world.rpc, refuse), address_of(KEYS[0])).broadcast(b"\x02") is accepted


def test_an_endpoint_that_falls_silent_after_sending(world):
    """The answer to the broadcast is lost: the transaction is waited for, not sent twice."""

    class Silent(LyingRpc):
        def request(self, method, params):
            answer = super().request(method, params)
            if method == "eth_sendRawTransaction":
                raise UnreachableError("connection reset")
            return answer

    nonce = world.view().account(address_of(KEYS[0])).nonce
    assert world.writer(rpc=Silent(world.rpc)).publish(draft("1.0.0")).receipt
    assert world.view().account(address_of(KEYS[0])).nonce == nonce + 1


def test_another_chain_with_the_same_id_has_its_own_journal(world, tmp_path):
    assert outbox_rows(world)
    outbox = Outbox(world.directory / "outbox-0.sqlite", f"{CHAIN_ID}:{'00' * 32}", address_of(KEYS[0]))
    assert outbox.unsettled(0) == []


def test_namespace_reuse_grants_of_the_former_owner_end(world):
    helper, heir = address_of(KEYS[2]), address_of(KEYS[1])
    world.writer().set_roles("acme", helper, Role.PUBLISH | Role.YANK)
    world.writer().transfer_namespace("acme", heir)
    world.writer(1).accept_namespace("acme")
    assert world.view().roles("acme", helper) == Role(0)
    assert world.view().roles("acme", address_of(KEYS[0])) == Role(0)
    with pytest.raises(NotPermittedError):
        world.publish("1.0.0", key=2)


def test_key_compromise_a_role_is_taken_and_a_release_yanked(world):
    thief = address_of(KEYS[1])
    world.writer().set_roles("acme", thief, Role.PUBLISH)
    bad = world.publish("6.6.6", key=1)
    world.writer().set_roles("acme", thief, Role(0))
    world.writer().yank(bad, "published with a stolen key")
    assert world.view().release(bad).yanked
    with pytest.raises(NotPermittedError):
        world.publish("6.6.7", bad, key=1)


@pytest.mark.parametrize("reason", ["", "x" * 257, "é" * 129, "\ud800"])
def test_a_reason_that_the_contract_would_refuse(world, reason):
    release = world.publish("1.0.0")
    with pytest.raises(InputError, match="reason"):
        world.writer().yank(release, reason)


def test_the_owner_has_every_role_already(world):
    with pytest.raises(InputError, match="owns"):
        world.writer().set_roles("acme", address_of(KEYS[0]), Role.PUBLISH)


STRANGER = b"\x33" * 20


def balance(world):
    return world.view().account(STRANGER).balance


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupted_payment_is_finished_and_not_repeated(world, after):
    with pytest.raises(Crash):
        world.writer(rpc=CrashingRpc(world.rpc, after=after), patience=HURRY).send_ether(STRANGER, 5)
    receipt = world.writer(patience=HURRY).send_ether(STRANGER, 5)
    assert receipt.succeeded
    assert balance(world) == 5
    again = world.writer(patience=HURRY).send_ether(STRANGER, 5)
    assert (again.transaction != receipt.transaction, balance(world)) == (True, 10)


def test_an_interrupted_payment_of_something_else_is_finished_too(world):
    with pytest.raises(Crash):
        world.writer(rpc=CrashingRpc(world.rpc, after=False), patience=HURRY).send_ether(STRANGER, 5)
    world.writer(patience=HURRY).send_ether(STRANGER, 6)
    assert balance(world) == 11


def test_payments_that_are_refused(world):
    for to, wei in ((STRANGER, 0), (STRANGER, -1), (STRANGER, 1 << 128), (bytes(20), 1)):
        with pytest.raises(InputError):
            world.writer().send_ether(to, wei)
    with pytest.raises(NotPermittedError, match="cannot pay"):
        world.writer().send_ether(STRANGER, 10**30)
    assert balance(world) == 0
