"""What reading costs to import: no EVM, no web3, no HTTP."""

import subprocess
import sys

import pytest

_READ = """
import sys, time
started = time.perf_counter()
from modelreg.chain import open_chain
with open_chain(sys.argv[1]) as chain:
    head = chain.request("eth_getBlockByNumber", ["latest", False])
    chain.request("eth_getProof", ["0x4e59b44847b379578588920ca78fbf26c0b4956c", ["0x0"], head["number"]])
    chain.request("eth_getLogs", [{}])
print(time.perf_counter() - started)
heavy = {"eth", "web3", "eth_account", "aiohttp", "trie", "rlp", "eth_utils", "pydantic", "coincurve"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""


@pytest.fixture
def cost(path):
    run = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, check=True)
    seconds, heavy = run.stdout.splitlines()
    return float(seconds), heavy


def test_reading_imports_no_evm(cost):
    assert cost[1] == "[]"


def test_reading_is_quick_to_import(cost):
    assert cost[0] < 0.5
