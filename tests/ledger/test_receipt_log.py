"""The receipt log on the embedded chain: conformance, and records read from words."""

import time

import pytest

from modelreg.chain import create, open_chain
from modelreg.ledger.rpc import EmbeddedRpc
from tests.ledger.receipt_log_conformance import ReceiptLogConformance
from tests.ledger.world import CHAIN_ID, KEYS, World, address_of


class TestEmbedded(ReceiptLogConformance):
    @pytest.fixture
    def fresh(self, tmp_path):
        path = tmp_path / "chain.sqlite"
        alloc = {address_of(key): 10**21 for key in KEYS}
        create(path, chain_id=CHAIN_ID, alloc=alloc, timestamp=int(time.time()))
        with open_chain(path) as chain:
            yield World(EmbeddedRpc(chain), tmp_path)

    @pytest.fixture
    def wait(self, monkeypatch):
        real, ahead = time.time, 0

        def later(seconds):
            nonlocal ahead
            ahead += seconds

        monkeypatch.setattr(time, "time", lambda: real() + ahead)
        return later
