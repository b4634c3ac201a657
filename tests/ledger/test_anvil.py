"""The conformance suite on anvil, over HTTP."""

import pytest
from eth_account import Account

from modelreg.errors import ConflictError, UnreachableError
from modelreg.ledger.http_rpc import HttpRpc
from modelreg.ledger.sender import Patience
from tests import anvil as running_anvil
from tests.ledger.conformance import LedgerConformance
from tests.ledger.receipt_log_conformance import ReceiptLogConformance
from tests.ledger.world import CHAIN_ID, KEYS, MODEL, World, draft

pytestmark = [pytest.mark.node, pytest.mark.skipif(not running_anvil.is_here(), reason="run `make node`")]


@pytest.fixture(scope="module")
def anvil():
    with running_anvil.running("--chain-id", CHAIN_ID) as url:
        rpc = HttpRpc(url)
        # anvil's block 0 does not commit to its state.
        rpc.request("evm_mine", [])
        yield rpc


@pytest.fixture
def fresh(anvil, tmp_path):
    state = anvil.request("evm_snapshot", [])
    yield World(anvil, tmp_path)
    anvil.request("evm_revert", [state])
    anvil.request("anvil_setNextBlockBaseFeePerGas", [hex(7)])  # which a snapshot does not hold
    anvil.request("evm_setAutomine", [True])


class TestAnvil(LedgerConformance):
    pass


class TestReceiptLogOnAnvil(ReceiptLogConformance):
    @pytest.fixture
    def wait(self, fresh):
        def later(seconds):
            fresh.rpc.request("evm_increaseTime", [seconds])
            fresh.rpc.request("evm_mine", [])

        return later


def ready(fresh):
    fresh.writer().deploy()
    fresh.writer().claim_namespace("acme")
    return fresh


HURRY = Patience(replace=0.2, mined=20)


class Weather:
    """Does something to the chain when a transaction has been handed over: `after[n]` for the n-th."""

    name = "anvil in bad weather"

    def __init__(self, rpc, *after):
        self.rpc, self.after, self.sent = rpc, after, []

    def request(self, method, params):
        answer = self.rpc.request(method, params)
        if method == "eth_sendRawTransaction":
            self.sent.append(params[0])
            if len(self.sent) <= len(self.after):
                self.after[len(self.sent) - 1](answer)
        return answer


def under(world, *after):
    """A writer whose transactions wait to be mined, and the weather that it has."""
    world.rpc.request("evm_setAutomine", [False])
    weather = Weather(world.rpc, *after)
    return world.writer(rpc=weather, patience=HURRY), weather


def test_a_stuck_transaction_is_outbid_and_mined(fresh):
    world = ready(fresh)
    mine = lambda _: world.rpc.request("evm_mine", [])  # noqa: E731
    writer, weather = under(world, lambda _: None, mine)
    published = writer.publish(draft("1.0.0"))
    assert len(set(weather.sent)) == 2
    assert published.receipt.transaction and world.view().head(MODEL, "main") == published.release.release_id


def test_a_base_fee_that_rises_above_the_offer(fresh):
    """The block leaves the transaction out; the next offer knows the new fee."""
    world = ready(fresh)

    fees = []

    def rise(sent):
        fees.append(10 * int(world.rpc.request("eth_getTransactionByHash", [sent])["maxFeePerGas"], 16))
        world.rpc.request("anvil_setNextBlockBaseFeePerGas", [hex(fees[0])])
        world.rpc.request("evm_mine", [])

    before = world.view().header
    writer, weather = under(world, rise, lambda _: world.rpc.request("evm_mine", []))
    published = writer.publish(draft("1.0.0"))
    assert len(set(weather.sent)) == 2
    assert published.receipt.block == before.number + 2
    assert published.receipt.cost > fees[0] // 2 * published.receipt.gas_used


def test_a_transaction_that_the_chain_drops_is_sent_again(fresh):
    world = ready(fresh)
    drop = lambda sent: world.rpc.request("anvil_dropTransaction", [sent])  # noqa: E731
    writer, weather = under(world, drop, lambda _: world.rpc.request("evm_mine", []))
    published = writer.publish(draft("1.0.0"))
    assert len(weather.sent) == 2
    assert world.view().head(MODEL, "main") == published.release.release_id


def test_a_transaction_that_somebody_replaces(fresh):
    """Another program sends with the same key and pays more: that is said, and the next run publishes."""
    world = ready(fresh)

    def replace(sent):
        mine = world.rpc.request("eth_getTransactionByHash", [sent])
        other = {
            "type": 2,
            "chainId": CHAIN_ID,
            "nonce": int(mine["nonce"], 16),
            "to": KEYS[1].address,
            "value": 1,
            "gas": 21_000,
            "maxFeePerGas": 2 * int(mine["maxFeePerGas"], 16),
            "maxPriorityFeePerGas": 2 * int(mine["maxPriorityFeePerGas"], 16),
        }
        signed = Account.sign_transaction(other, KEYS[0].key)
        world.rpc.request("eth_sendRawTransaction", [f"0x{bytes(signed.raw_transaction).hex()}"])
        world.rpc.request("evm_mine", [])

    writer, _ = under(world, replace)
    with pytest.raises(ConflictError, match="another transaction of"):
        writer.publish(draft("1.0.0"))
    assert world.view().head(MODEL, "main") is None
    world.rpc.request("evm_setAutomine", [True])
    release = world.publish("1.0.0")
    assert world.view().head(MODEL, "main") == release


def test_a_reorg_while_a_transaction_waits_for_confirmations(fresh):
    """Mined, then in no block any more, then mined again: it counts once, in the block that stays."""
    world = ready(fresh)
    world.rpc.request("anvil_mine", ["0x2"])
    blocks = []

    def mine_and_lose(_):
        world.rpc.request("evm_mine", [])
        blocks.append(world.view().header.hash)
        world.rpc.request("anvil_reorg", [1, []])
        world.rpc.request("evm_setAutomine", [True])

    weather = Weather(world.rpc, mine_and_lose, lambda _: world.rpc.request("anvil_mine", ["0x3"]))
    world.rpc.request("evm_setAutomine", [False])
    patience = Patience(replace=0.2, mined=20, confirmations=2)
    published = world.writer(rpc=weather, patience=patience).publish(draft("1.0.0"))
    assert len(weather.sent) == 2
    assert world.view().head(MODEL, "main") == published.release.release_id
    assert world.reader().header(published.receipt.block).hash not in blocks


def test_a_reorg_brings_the_transaction_back(fresh):
    world = ready(fresh)
    state = world.rpc.request("evm_snapshot", [])
    release = world.publish("1.0.0")
    world.rpc.request("evm_revert", [state])
    assert world.view().release(release) is None
    assert world.writer().publish(draft("1.0.0")).release.release_id == release
    assert world.view().head(MODEL, "main") == release


def test_confirmations_are_waited_for(fresh):
    world = ready(fresh)
    writer = world.writer(patience=Patience(confirmations=3, mined=1.0))
    with pytest.raises(UnreachableError, match="is not mined"):
        writer.publish(draft("1.0.0"))
    world.rpc.request("anvil_mine", ["0x3"])
    assert writer.publish(draft("1.0.0")).receipt is not None


def test_reading_below_the_newest_blocks(fresh):
    world = ready(fresh)
    release = world.publish("1.0.0")
    assert world.reader(policy=1).at_head().release(release) is None
    world.rpc.request("anvil_mine", ["0x1"])
    assert world.reader(policy=1).at_head().release(release) is not None
