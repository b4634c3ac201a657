"""Foreign clients over HTTP: web3.py, and ethers where npm installed it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from modelreg.chain.replay import replay
from tests.chain.backends import CHAIN_ID, account
from tests.chain.programs import VAULT, creation

INTEROP = Path(__file__).parents[1] / "interop"
ABI = [{"type": "event", "name": "Stored", "anonymous": True, "inputs": []}]


@pytest.fixture
def w3(url):
    from web3 import Web3

    return Web3(Web3.HTTPProvider(url))


def signed_send(w3, sender, tx):
    signed = sender.sign_transaction(tx)
    return w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(signed.raw_transaction))


def test_web3_reads(w3):
    assert w3.is_connected()
    assert w3.eth.chain_id == CHAIN_ID
    assert w3.eth.get_block("finalized").number == 0
    assert w3.eth.fee_history(1, "latest", [50]).baseFeePerGas == [0, 0]
    assert w3.eth.get_balance(account("alice").address) == 1000 * 10**18


def test_web3_defaults_work_without_funds(w3, path):
    """web3.py fills in gas, fees, nonce and chain id by itself; the account owns nothing."""
    from web3.middleware import SignAndSendRawMiddlewareBuilder

    poor = account("penniless")
    w3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(poor), layer=0)
    tx_hash = w3.eth.send_transaction({"from": poor.address, "data": creation(VAULT)})
    receipt = w3.eth.wait_for_transaction_receipt(tx_hash)
    assert receipt.status == 1
    vault = receipt.contractAddress
    data = (5).to_bytes(32, "big") + (6).to_bytes(32, "big")
    receipt = w3.eth.wait_for_transaction_receipt(
        w3.eth.send_transaction({"from": poor.address, "to": vault, "data": data})
    )
    assert w3.eth.get_logs({"address": vault, "fromBlock": 0})[0].transactionHash == receipt.transactionHash
    assert w3.eth.call({"to": vault, "data": data[:32]}) == data[32:]
    tx = w3.eth.get_transaction(receipt.transactionHash)
    assert (tx["type"], tx["maxFeePerGas"], tx["gasPrice"]) == (2, 0, 0)
    assert w3.eth.get_block(receipt.blockNumber, full_transactions=True).transactions[0] == tx
    assert len(w3.eth.get_proof(vault, [5]).storageProof[0].proof) == 1
    assert replay(path).blocks == 2


def test_web3_sees_reverts_and_errors(w3):
    from web3.exceptions import ContractLogicError, TransactionNotFound, Web3RPCError

    alice = account("alice")
    vault = signed_send(
        w3, alice, {"nonce": 0, "gas": 200_000, "maxFeePerGas": 0, "maxPriorityFeePerGas": 0, "value": 0,
                    "chainId": CHAIN_ID, "data": creation(VAULT)},
    ).contractAddress  # fmt: skip
    with pytest.raises(ContractLogicError, match="bad call"):
        w3.eth.call({"to": vault, "data": b"\1"})
    with pytest.raises(ContractLogicError):
        w3.eth.estimate_gas({"to": vault, "data": b"\1"})
    with pytest.raises(TransactionNotFound):
        w3.eth.get_transaction(b"\1" * 32)
    with pytest.raises(Web3RPCError, match="nonce too low"):
        signed_send(
            w3,
            alice,
            {"nonce": 0, "gas": 21_000, "gasPrice": 0, "value": 0, "chainId": CHAIN_ID, "to": alice.address},
        )


@pytest.mark.node
def test_ethers_defaults(url, tmp_path):
    if not (INTEROP / "node_modules" / "ethers").exists() or not shutil.which("node"):
        pytest.skip("no ethers under tests/interop/node_modules")
    script = Path(__file__).with_name("ethers_client.mjs")
    key = account("penniless").key.hex()
    arguments = ["node", str(script), url, key, "0x" + creation(VAULT).hex()]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=60, cwd=INTEROP)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert told == {
        "chainId": str(CHAIN_ID), "status": [1, 1], "value": "6", "logs": 1, "reason": "bad call", "block": 2,
        "fee": "0", "nonceTooLow": True,
    }  # fmt: skip
