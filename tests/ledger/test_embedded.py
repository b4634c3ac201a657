"""The conformance suite on the embedded chain."""

import subprocess
import sys
import time

import pytest

from modelreg.chain import create, open_chain
from modelreg.ledger.rpc import EmbeddedRpc
from tests.ledger.conformance import LedgerConformance
from tests.ledger.world import CHAIN_ID, KEYS, MODEL, REGISTRY, World, address_of


class TestEmbedded(LedgerConformance):
    @pytest.fixture
    def fresh(self, tmp_path):
        path = tmp_path / "chain.sqlite"
        create(
            path,
            chain_id=CHAIN_ID,
            alloc={address_of(key): 10**21 for key in KEYS},
            timestamp=int(time.time()),
        )
        with open_chain(path) as chain:
            yield World(EmbeddedRpc(chain), tmp_path)


def test_reading_the_embedded_chain_imports_nothing_heavy(world, chain):
    world.publish("1.0.0")
    script = f"""
import sys
from modelreg.chain import open_chain
from modelreg.ledger.reader import Reader
from modelreg.ledger.rpc import EmbeddedRpc
from modelreg.format.names import ModelName
with open_chain({str(chain.path)!r}, readonly=True) as chain:
    view = Reader(EmbeddedRpc(chain), bytes.fromhex({REGISTRY.hex()!r}), {CHAIN_ID}).at_head()
    head = view.head(ModelName.parse({str(MODEL)!r}), "main")
    assert len(list(view.lineage(head))) == 1
heavy = {{"web3", "eth", "eth_account", "eth_abi", "trie", "rlp", "numpy", "requests", "aiohttp"}}
print(sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
