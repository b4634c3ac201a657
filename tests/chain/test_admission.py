"""Admission rules that no well-meaning client reaches."""

import pytest

from modelreg.chain import RpcError
from modelreg.chain.admission import admit, read_transaction
from modelreg.chain.header import GAS_LIMIT, TRANSACTION_GAS_LIMIT
from modelreg.chain.state import Account
from tests.chain.backends import Node, account
from tests.chain.programs import assemble, creation
from tests.chain.test_encodings import signed


def test_contract_cannot_send():
    """EIP-3607: a collision with a contract's address must not own the contract's funds."""
    tx = read_transaction(signed({"gasPrice": 0, "gas": 22_000}), 5)
    admit(tx, Account(nonce=7, balance=11))
    with pytest.raises(RpcError, match="sender not an eoa"):
        admit(tx, Account(nonce=7, balance=11, code_hash=bytes(32)))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"nonce": 2**64 - 1, "gas": 22_000}, "nonce has max value"),
        ({"to": b"", "data": b"\0" * 49_153, "gas": 10_000_000}, "max initcode size exceeded"),
        (
            {"maxFeePerGas": 1, "maxPriorityFeePerGas": 2},
            "max priority fee per gas higher than max fee per gas",
        ),
        ({"gas": TRANSACTION_GAS_LIMIT + 1}, "exceeds block gas limit"),
        ({"gas": 25_000, "data": b"\1" * 200}, "floor data gas"),
    ],
)
def test_refused_before_the_state_is_asked(fields, text):
    fees = {} if "maxFeePerGas" in fields else {"gasPrice": 0}
    with pytest.raises(RpcError, match=text):
        read_transaction(signed({**fees, **fields}), 5)


def test_base_fee_could_not_rise():
    """EIP-1559 raises a base fee, from zero too, after a block that used more than half of its limit."""
    assert TRANSACTION_GAS_LIMIT < GAS_LIMIT // 2


def test_most_expensive_transaction_keeps_the_base_fee(local):
    burn = local.send(local.alice, data=creation(assemble("INVALID")))["contractAddress"]
    receipt = local.send(local.alice, to=burn, gas=TRANSACTION_GAS_LIMIT)
    assert receipt["gasUsed"] == hex(TRANSACTION_GAS_LIMIT)
    assert local.request("eth_getBlockByNumber", ["latest", False])["baseFeePerGas"] == "0x0"
    assert local.send(account("poor"), to=burn, gas=22_000)["status"] == "0x0"


def test_same_transaction_on_two_chains(chain, tmp_path_factory):
    """A transaction signed for one chain id is no use on a chain with another."""
    from modelreg.chain import create, open_chain

    path = tmp_path_factory.mktemp("other") / "chain"
    create(path, chain_id=99, alloc={}, timestamp=1)
    node = Node(chain.request, kind="embedded")
    tx = node.sign(account("poor"), to=node.bob.address, gas=21_000)
    with open_chain(path) as other, pytest.raises(RpcError, match="invalid chain id"):
        other.request("eth_sendRawTransaction", [tx])
    chain.request("eth_sendRawTransaction", [tx])
