"""What any chain must do, asked through JSON-RPC alone; anvil is the yardstick where it is installed."""

import sys

import pytest
import rlp
from eth_account import Account
from eth_utils import keccak
from trie import HexaryTrie

from modelreg.chain import RpcError
from tests.chain.backends import CHAIN_ID, ETHER, account, raw
from tests.chain.programs import CONTEXT, DEEP, VAULT, assemble, creation

PROXY = "0x4e59b44847b379578588920ca78fbf26c0b4956c"
SELF = ("embedded", "http")


def word(number):
    return number.to_bytes(32, "big")


def hexed(data):
    return "0x" + data.hex()


@pytest.fixture(scope="module")
def vault(node):
    return node.send(node.alice, data=creation(VAULT))["contractAddress"]


def refused(node, method, params):
    with pytest.raises(RpcError) as caught:
        node.request(method, params)
    return caught.value


def test_identity(node):
    assert node.request("eth_chainId", []) == hex(CHAIN_ID)
    assert node.request("net_version", []) == str(CHAIN_ID)
    assert isinstance(node.request("web3_clientVersion", []), str)
    assert node.request("eth_syncing", []) is False


def test_transfer_is_mined_when_the_call_returns(node):
    before = int(node.request("eth_blockNumber", []), 16)
    receipt = node.send(node.alice, to=account("payee").address, value=5)
    assert int(node.request("eth_blockNumber", []), 16) == before + 1
    assert receipt["status"] == "0x1"
    assert receipt["gasUsed"] == hex(21000)
    assert node.request("eth_getBalance", [account("payee").address, "latest"]) == "0x5"


@pytest.mark.parametrize(
    "fields",
    [
        {"gasPrice": 0},
        {"gasPrice": 0, "type": 1, "accessList": []},
        {"maxFeePerGas": 0, "maxPriorityFeePerGas": 0, "accessList": []},
        {"maxFeePerGas": 3, "maxPriorityFeePerGas": 2},
    ],
)
def test_every_supported_type_and_fee(node, fields):
    receipt = node.send(node.bob, to=account("typed").address, value=1, gas=30000, **fields)
    tx = node.request("eth_getTransactionByHash", [receipt["transactionHash"]])
    assert receipt["status"] == "0x1"
    assert (
        int(receipt["type"], 16)
        == int(tx["type"], 16)
        == fields.get("type", 0 if "gasPrice" in fields else 2)
    )
    assert int(receipt["effectiveGasPrice"], 16) == fields.get("maxPriorityFeePerGas", 0)


def test_account_without_funds_can_transact_for_nothing(node):
    poor = account("poor")
    assert node.send(poor, to=poor.address, gas=21000)["status"] == "0x1"
    assert node.request("eth_getTransactionCount", [poor.address, "latest"]) == "0x1"


def test_base_fee_stays_zero(node):
    node.send(node.alice, to=node.bob.address, gas=21000)
    assert node.request("eth_getBlockByNumber", ["latest", False])["baseFeePerGas"] == "0x0"
    if node.kind in SELF:
        assert node.request("eth_gasPrice", []) == node.request("eth_maxPriorityFeePerGas", []) == "0x0"
    assert node.request("eth_feeHistory", ["0x2", "latest", []])["baseFeePerGas"][-1] == "0x0"


def test_block_hash_is_that_of_its_fields(node, vault):
    block = node.request("eth_getBlockByNumber", ["latest", False])
    names = [
        "parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot", "logsBloom",
        "difficulty", "number", "gasLimit", "gasUsed", "timestamp", "extraData", "mixHash", "nonce",
        "baseFeePerGas", "withdrawalsRoot", "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot",
        "requestsHash",
    ]  # fmt: skip
    numbers = {
        "difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas", "blobGasUsed",
        "excessBlobGas",
    }  # fmt: skip
    items = [int(block[name], 16) if name in numbers else raw(block[name]) for name in names]
    assert hexed(keccak(rlp.encode(items))) == block["hash"]


def test_contract_storage_logs_and_calls(node, vault):
    receipt = node.send(node.alice, to=vault, data=word(7) + word(42))
    assert receipt["status"] == "0x1"
    (event,) = receipt["logs"]
    assert event["topics"] == [hexed(word(0xAA)), hexed(word(7))]
    assert event["data"] == hexed(word(42))
    assert event["address"].lower() == vault.lower()
    assert node.request("eth_getStorageAt", [vault, "0x7", "latest"]) == hexed(word(42))
    assert node.request("eth_call", [{"to": vault, "data": hexed(word(7))}, "latest"]) == hexed(word(42))
    assert node.request("eth_getCode", [vault, "latest"]) == hexed(VAULT)


def test_gas_of_storage_changes(node, vault):
    gas = [
        int(node.send(node.alice, to=vault, data=word(9) + word(value))["gasUsed"], 16)
        for value in (1, 2, 2, 0, 0)
    ]
    assert gas == [44818, 27718, 24918, 22906, 24906]


def test_creation_gas_and_address(node):
    nonce = int(node.request("eth_getTransactionCount", [node.bob.address, "latest"]), 16)
    receipt = node.send(node.bob, data=creation(VAULT))
    expected = keccak(rlp.encode([raw(node.bob.address), nonce]))[12:]
    assert raw(receipt["contractAddress"]) == expected
    assert receipt["to"] is None
    assert int(receipt["gasUsed"], 16) == 71296


def test_revert_gives_code_3_and_its_data(node, vault):
    error = refused(node, "eth_call", [{"to": vault, "data": "0x01"}, "latest"])
    assert error.code == 3
    assert error.message.startswith("execution reverted")
    assert "bad call" in error.message
    assert raw(error.data)[:4].hex() == "08c379a0"
    assert refused(node, "eth_estimateGas", [{"to": vault, "data": "0x01"}]).code == 3
    receipt = node.send(node.alice, to=vault, data=b"\1")
    assert receipt["status"] == "0x0"
    assert receipt["logs"] == []


def test_history_is_kept(node, vault):
    first = node.send(node.alice, to=vault, data=word(1) + word(111))["blockNumber"]
    second = node.send(node.alice, to=vault, data=word(1) + word(222))["blockNumber"]
    old = node.request("eth_call", [{"to": vault, "data": hexed(word(1))}, first])
    new = node.request("eth_call", [{"to": vault, "data": hexed(word(1))}, second])
    assert (int(old, 16), int(new, 16)) == (111, 222)
    assert int(node.request("eth_getStorageAt", [vault, "0x1", first]), 16) == 111


def test_estimate_suffices_and_is_close(node, vault):
    call = {"from": node.alice.address, "to": vault, "data": hexed(word(77) + word(1))}
    estimate = int(node.request("eth_estimateGas", [call]), 16)
    used = int(node.send(node.alice, to=vault, data=word(77) + word(1), gas=estimate)["gasUsed"], 16)
    assert used <= estimate <= used * 1.03
    plain = {"from": node.alice.address, "to": node.bob.address, "value": "0x1"}
    assert node.request("eth_estimateGas", [plain]) == hex(21000)


def test_estimate_of_deep_calls_suffices(node):
    """Each level keeps a 64th of the gas, so that what is used is less than what is needed."""
    program = assemble("0x00 0x00 0x00 0x00 0x00 0x04 0xc350 CALL ISZERO @bad JUMPI STOP bad: INVALID")
    address = node.send(node.alice, data=creation(program))["contractAddress"]
    estimate = int(node.request("eth_estimateGas", [{"from": node.alice.address, "to": address}]), 16)
    assert node.send(node.alice, to=address, gas=estimate)["status"] == "0x1"


def test_out_of_gas_is_a_failed_transaction(node, vault):
    receipt = node.send(node.alice, to=vault, data=word(8) + word(8), gas=30000)
    assert receipt["status"] == "0x0"
    assert receipt["gasUsed"] == hex(30000)


def test_calldata_floor_of_eip_7623(node):
    receipt = node.send(node.alice, to=account("floor").address, data=b"\1" * 1000, gas=100_000)
    assert int(receipt["gasUsed"], 16) == 21000 + 40 * 1000


def test_deterministic_deployment_proxy(node):
    code = raw(node.request("eth_getCode", [PROXY, "latest"]))
    assert keccak(code).hex() == "2fa86add0aed31f33a762c9d88e807c475bd51d0f52bd0955754b2608f7e4989"
    salt, init = bytes(32), creation(VAULT)
    address = hexed(keccak(b"\xff" + raw(PROXY) + salt + keccak(init))[12:])
    receipt = node.send(node.alice, to=PROXY, data=salt + init)
    assert receipt["status"] == "0x1"
    assert raw(node.request("eth_getCode", [address, "latest"])) == VAULT
    assert int(receipt["gasUsed"], 16) == 71541


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"chainId": 1}, "invalid chain id"),
        ({"nonce": 10_000}, "nonce too high"),
        ({"value": 10**30}, "insufficient funds"),
        ({"gas": 20_000}, "intrinsic gas too low"),
        ({"gas": 120_000_001}, "exceeds block gas limit"),
        ({"gas": 22_000, "data": b"\1" * 100}, "intrinsic gas too low"),
    ],
)
def test_refused_transactions(node, fields, text):
    if node.kind == "anvil":
        pytest.skip("anvil's texts differ, and it queues nonces")
    signed = node.sign(node.alice, to=node.bob.address, **{"gas": 21_000, **fields})
    error = refused(node, "eth_sendRawTransaction", [signed])
    assert error.code == -32000
    assert text in error.message


def test_wrong_chain_id_is_refused(node):
    signed = node.sign(node.alice, to=node.bob.address, gas=21_000, chainId=1)
    assert "chain id" in refused(node, "eth_sendRawTransaction", [signed]).message.lower()


def test_nonce_too_low_and_already_known(node):
    signed = node.sign(node.alice, to=node.bob.address, gas=21_000)
    nonce = int(node.request("eth_getTransactionCount", [node.alice.address, "latest"]), 16)
    other = node.sign(node.alice, to=node.bob.address, gas=22_000, nonce=nonce)
    node.request("eth_sendRawTransaction", [signed])
    assert "nonce too low" in refused(node, "eth_sendRawTransaction", [other]).message
    if node.kind in SELF:
        assert refused(node, "eth_sendRawTransaction", [signed]).message == "already known"


def test_unprotected_and_unsupported_types_are_refused(node):
    if node.kind == "anvil":
        pytest.skip("anvil accepts them")
    legacy = Account.sign_transaction(
        {"nonce": 0, "gasPrice": 0, "gas": 21000, "to": node.bob.address, "value": 0, "data": b""},
        account("old").key,
    )
    text = refused(node, "eth_sendRawTransaction", [hexed(bytes(legacy.raw_transaction))]).message
    assert text == "only replay-protected (EIP-155) transactions allowed over RPC"
    for kind in (b"\x03\xc0", b"\x04\xc0", b"\x05\xc0", b"\x00\xc0"):
        assert "type not supported" in refused(node, "eth_sendRawTransaction", [hexed(kind)]).message


@pytest.mark.parametrize("tag", ["latest", "safe", "finalized", "pending"])
def test_tags_mean_the_head(node, tag):
    if node.kind == "anvil":
        pytest.skip("anvil trails its safe and finalized blocks")
    assert node.request("eth_getBlockByNumber", [tag, False]) == node.request(
        "eth_getBlockByNumber", ["latest", False]
    )


def test_earliest_and_missing_blocks(node):
    assert node.request("eth_getBlockByNumber", ["earliest", False])["number"] == "0x0"
    assert node.request("eth_getBlockByNumber", ["0xffffff", False]) is None
    assert node.request("eth_getBlockByHash", [hexed(word(1)), False]) is None
    assert node.request("eth_getTransactionByHash", [hexed(word(1))]) is None
    assert node.request("eth_getTransactionReceipt", [hexed(word(1))]) is None
    refused(node, "eth_getBalance", [node.bob.address, "0xffffff"])


def test_block_shows_transactions(node):
    receipt = node.send(node.alice, to=node.bob.address, value=3, gas=21000)
    number, tx_hash = receipt["blockNumber"], receipt["transactionHash"]
    assert node.request("eth_getBlockByNumber", [number, False])["transactions"] == [tx_hash]
    (full,) = node.request("eth_getBlockByHash", [receipt["blockHash"], True])["transactions"]
    assert full == node.request("eth_getTransactionByBlockNumberAndIndex", [number, "0x0"])
    assert full == node.request("eth_getTransactionByHash", [tx_hash])
    assert node.request("eth_getTransactionByBlockNumberAndIndex", [number, "0x1"]) is None
    assert [r["transactionHash"] for r in node.request("eth_getBlockReceipts", [number])] == [tx_hash]
    assert (full["from"].lower(), full["value"]) == (node.alice.address.lower(), "0x3")


def test_logs_are_found_by_address_and_topic(node):
    first = node.send(node.bob, data=creation(VAULT))["contractAddress"]
    second = node.send(node.bob, data=creation(VAULT))["contractAddress"]
    blocks = [
        node.send(node.bob, to=where, data=word(key) + word(1))["blockNumber"]
        for where, key in ((first, 1), (second, 2), (first, 3))
    ]

    def keys(**criteria):
        found = node.request("eth_getLogs", [{"fromBlock": blocks[0], "toBlock": blocks[-1], **criteria}])
        return [int(event["topics"][1], 16) for event in found]

    assert keys() == [1, 2, 3]
    assert keys(address=first) == [1, 3]
    assert keys(address=[first, second]) == [1, 2, 3]
    assert keys(topics=[hexed(word(0xAA))]) == [1, 2, 3]
    assert keys(topics=[None, hexed(word(2))]) == [2]
    assert keys(topics=[None, [hexed(word(1)), hexed(word(3))]], address=first) == [1, 3]
    if node.kind in SELF:
        assert keys(topics=[None, None, None]) == []  # as go-ethereum: fewer topics never match
    assert keys(topics=[hexed(word(0xBB))]) == []
    block_hash = node.request("eth_getBlockByNumber", [blocks[1], False])["hash"]
    assert len(node.request("eth_getLogs", [{"blockHash": block_hash}])) == 1


def verified(root, key, nodes):
    return HexaryTrie.get_from_proof(root, keccak(key), [rlp.decode(raw(item)) for item in nodes])


def test_proofs_verify_against_the_header(node, vault):
    for key in range(1, 40):
        node.send(node.alice, to=vault, data=word(1000 + key) + word(key))
    block = node.request("eth_getBlockByNumber", ["latest", False])
    proof = node.request("eth_getProof", [vault, [hexed(word(1005)), hexed(word(5005))], block["number"]])
    account_rlp = verified(raw(block["stateRoot"]), raw(vault), proof["accountProof"])
    fields = [
        int(proof["nonce"], 16),
        int(proof["balance"], 16),
        raw(proof["storageHash"]),
        raw(proof["codeHash"]),
    ]
    assert account_rlp == rlp.encode(fields)
    present, absent = proof["storageProof"]
    assert int(present["key"], 16) == 1005
    assert present["value"] == "0x5"
    assert rlp.decode(verified(raw(proof["storageHash"]), word(1005), present["proof"])) == b"\x05"
    assert absent["value"] == "0x0"
    assert verified(raw(proof["storageHash"]), word(5005), absent["proof"]) == b""


def test_proof_of_an_account_that_is_not_there(node):
    block = node.request("eth_getBlockByNumber", ["latest", False])
    nobody = account("nobody").address
    proof = node.request("eth_getProof", [nobody, [hexed(word(0))], block["number"]])
    assert verified(raw(block["stateRoot"]), raw(nobody), proof["accountProof"]) == b""
    assert (proof["nonce"], proof["balance"]) == ("0x0", "0x0")
    assert [entry["value"] for entry in proof["storageProof"]] == ["0x0"]


def test_block_context_inside_a_transaction(node):
    address = node.send(node.alice, data=creation(CONTEXT))["contractAddress"]
    output = raw(node.request("eth_call", [{"to": address}, "latest"]))
    words = [int.from_bytes(output[at : at + 32], "big") for at in range(0, len(output), 32)]
    block = node.request("eth_getBlockByNumber", ["latest", False])
    number, timestamp, _, limit, chain_id, base_fee, coinbase, price, blob_fee = words
    assert (limit, chain_id, base_fee, coinbase, price, blob_fee) == (120_000_000, CHAIN_ID, 0, 0, 0, 1)
    if node.kind in SELF:
        assert (number, timestamp) == (int(block["number"], 16), int(block["timestamp"], 16))
        assert hexed(word(words[2])) == block["mixHash"]


def test_blockhash_sees_the_ancestors(node):
    program = assemble("0x01 NUMBER SUB BLOCKHASH 0x00 SSTORE STOP")
    address = node.send(node.alice, data=creation(program))["contractAddress"]
    receipt = node.send(node.alice, to=address)
    parent = node.request("eth_getBlockByNumber", [receipt["blockNumber"], False])["parentHash"]
    assert node.request("eth_getStorageAt", [address, "0x0", "latest"]) == parent


@pytest.mark.skipif(
    sys.version_info[:2] == (3, 12),
    reason="CPython 3.12 bounds recursion through C at a depth that 1,024 calls of py-evm exceed",
)
def test_deepest_recursion_ends(node):
    address = node.send(node.alice, data=creation(DEEP))["contractAddress"]
    receipt = node.send(node.alice, to=address, gas=59_000_000)
    assert receipt["status"] == "0x1"
    assert int(receipt["gasUsed"], 16) == 87421


@pytest.mark.parametrize(
    ("program", "gas"),
    [
        ("0x01 0x00 TSTORE 0x00 TLOAD 0x00 SSTORE STOP", 43309),
        ("0x20 0x00 0x40 MCOPY STOP", 21023),
        ("0x00 BLOBHASH 0x00 SSTORE STOP", 23207),
        ("0x01 0x00 SSTORE 0x00 0x00 SSTORE STOP", 34568),
        ("CALLER SELFDESTRUCT", 26002),
        ("INVALID", 100_000),
        ("0x00 0x00 0x00 0x00 0x00 CREATE2 EXTCODEHASH 0x00 SSTORE STOP", 75_212),
    ],
)
def test_gas_of_instructions(node, program, gas):
    address = node.send(node.alice, data=creation(assemble(program)))["contractAddress"]
    receipt = node.send(node.alice, to=address, gas=100_000)
    assert int(receipt["gasUsed"], 16) == gas


def test_parameters_are_checked(node):
    if node.kind == "anvil":
        pytest.skip("anvil is laxer")
    cases = [
        ("eth_getBalance", ["0x12"]), ("eth_getBalance", []), ("eth_getBlockByNumber", ["0x01", False]),
        ("eth_getBlockByNumber", ["latest", "yes"]), ("eth_getTransactionByHash", ["0x12"]),
        ("eth_call", [5]), ("eth_call", [{"data": "0x1"}]), ("eth_call", [{"data": "0x01", "input": "0x02"}]),
        ("eth_getStorageAt", [PROXY, "0x" + "1" * 65]), ("eth_getLogs", [{"topics": [None] * 5}]),
        ("eth_getLogs", [{"fromBlock": "0x2", "toBlock": "0x1"}]),
        ("eth_getProof", [PROXY, ["0x0"] * 1025, "latest"]),
        ("eth_getLogs", [{"address": [PROXY] * 1001}]), ("eth_feeHistory", ["0x1", "latest", [50, 10]]),
        ("eth_chainId", [1]), ("eth_call", [{}, "latest", {PROXY: {"balance": "0x1"}}]),
        ("eth_getBlockByNumber", [{"blockHash": hexed(word(1)), "blockNumber": "0x1"}, False]),
    ]  # fmt: skip
    for method, params in cases:
        assert refused(node, method, params).code == -32602, (method, params)
    assert refused(node, "eth_nothing", []).code == -32601


def test_funds_move_and_fees_are_paid(node):
    rich = account("rich")
    node.send(node.alice, to=rich.address, value=ETHER)
    node.send(rich, to=account("shop").address, value=1000, gas=21000, maxFeePerGas=7, maxPriorityFeePerGas=7)
    left = int(node.request("eth_getBalance", [rich.address, "latest"]), 16)
    assert left == ETHER - 1000 - 21000 * 7


def test_refund_is_capped_before_the_calldata_floor(node):
    """EIP-7623 with EIP-3529: ten slots are cleared, under calldata that makes the floor bind, or not."""
    fill = " ".join(f"0x01 {hex(slot)} SSTORE" for slot in range(10))
    clear = " ".join(f"0x00 {hex(slot)} SSTORE" for slot in range(10))
    program = assemble(f"CALLDATASIZE @clear JUMPI {fill} STOP clear: {clear} STOP")
    address = node.send(node.alice, data=creation(program))["contractAddress"]
    used = []
    for size in (1, 400, 900, 1100, 1300, 2000):
        node.send(node.alice, to=address)
        before = int(node.request("eth_getBalance", [node.alice.address, "latest"]), 16)
        receipt = node.send(node.alice, to=address, data=b"\1" * size, maxFeePerGas=1, maxPriorityFeePerGas=1)
        used.append(int(receipt["gasUsed"], 16))
        after = int(node.request("eth_getBalance", [node.alice.address, "latest"]), 16)
        assert before - after == used[-1]
    assert used == [56866, 61973, 68373, 70933, 73493, 101000]
