"""The conformance suite on anvil, over HTTP."""

import socket
import subprocess
import time
from pathlib import Path

import pytest

from modelreg.errors import UnreachableError
from modelreg.ledger.http_rpc import HttpRpc
from modelreg.ledger.sender import Patience
from tests.ledger.conformance import LedgerConformance
from tests.ledger.receipt_log_conformance import ReceiptLogConformance
from tests.ledger.world import CHAIN_ID, MODEL, World, draft

ANVIL = (
    Path(__file__).parents[1]
    / "interop"
    / "node_modules"
    / "@foundry-rs"
    / "anvil-linux-amd64"
    / "bin"
    / "anvil"
)

pytestmark = [pytest.mark.node, pytest.mark.skipif(not ANVIL.exists(), reason="run `make node`")]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def anvil():
    port = free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--chain-id", str(CHAIN_ID), "--silent"]
    process = subprocess.Popen([ANVIL, *options, "--hardfork", "prague"])
    rpc = HttpRpc(f"http://127.0.0.1:{port}")
    try:
        for _ in range(200):
            try:
                # anvil's block 0 does not commit to its state.
                rpc.request("evm_mine", [])
                break
            except UnreachableError:
                time.sleep(0.05)
        yield rpc
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def fresh(anvil, tmp_path):
    state = anvil.request("evm_snapshot", [])
    yield World(anvil, tmp_path)
    anvil.request("evm_revert", [state])
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


def test_a_stuck_transaction_is_outbid_and_mined(fresh):
    world = ready(fresh)
    world.rpc.request("evm_setAutomine", [False])
    sent = []

    class Spy:
        name = "spy"

        def request(self, method, params):
            answer = world.rpc.request(method, params)
            if method == "eth_sendRawTransaction":
                sent.append(params[0])
                if len(sent) == 2:
                    world.rpc.request("evm_mine", [])
            return answer

    published = world.writer(rpc=Spy(), patience=Patience(replace=0.2, mined=20)).publish(draft("1.0.0"))
    assert len(set(sent)) == 2
    assert published.receipt.transaction and world.view().head(MODEL, "main") == published.release.release_id


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
