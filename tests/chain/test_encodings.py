"""RLP, headers, transactions, receipts and the state walk against independent libraries."""

import pytest
import rlp as reference_rlp
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st
from trie import HexaryTrie

from modelreg.chain import rlp, transaction
from modelreg.chain.receipt import Log, Receipt, bloom_of
from modelreg.chain.state import Account as State
from modelreg.chain.state import look_up, storage_at
from modelreg.errors import FormatError, VerificationError
from tests.chain.backends import account, raw
from tests.reference.chain import bloom, keccak

items = st.recursive(st.binary(max_size=70), lambda inner: st.lists(inner, max_size=5), max_leaves=12)


def depth(item):
    return 0 if isinstance(item, bytes) else 1 + max(map(depth, item), default=0)


@given(items)
def test_rlp_agrees_with_the_library(item):
    encoded = reference_rlp.encode(item)
    assert rlp.encode(item) == encoded
    assert rlp.decode(encoded, max_depth=20) == item


@given(st.binary(max_size=80))
@settings(max_examples=500)
def test_rlp_accepts_only_its_own_encoding(data):
    try:
        item = rlp.decode(data, max_depth=20)
    except FormatError:
        return
    assert rlp.encode(item) == data


@pytest.mark.parametrize(
    "data",
    ["", "8100", "817f", "b80100", "b90001ff", "83aabb", "b8", "b838", "c2", "c101ff", "f80100", "8080",
     "bfffffffffffffffff", "ffffffffffffffffff00"],
)  # fmt: skip
def test_rlp_refuses(data):
    with pytest.raises(FormatError):
        rlp.decode(bytes.fromhex(data))


def test_deep_nesting_is_refused_at_once():
    nested = b"\xc0"
    for _ in range(2000):
        nested = _wrap(nested)
    with pytest.raises(FormatError, match="nesting"):
        rlp.decode(nested)


def _wrap(body):
    size = len(body)
    if size <= 55:
        return bytes([0xC0 + size]) + body
    length = rlp.uint(size)
    return bytes([0xF7 + len(length)]) + length + body


@pytest.mark.parametrize("item", [b"\0", b"\0\1", b"\1" * 33, []])
def test_integers_are_strict(item):
    with pytest.raises(FormatError):
        rlp.to_int(item)


_FEES = {"maxFeePerGas": 9, "maxPriorityFeePerGas": 1}
_KINDS = [
    {"gasPrice": 3},
    {
        "gasPrice": 3,
        "type": 1,
        "accessList": [{"address": "0x" + "01" * 20, "storageKeys": ["0x" + "02" * 32]}],
    },
    _FEES,
    {**_FEES, "accessList": [{"address": "0x" + "01" * 20, "storageKeys": []}]},
]
_BASE = {"chainId": 5, "nonce": 7, "gas": 21000, "to": b"\3" * 20, "value": 11, "data": b"\0\1"}


def signed(fields):
    return bytes(Account.sign_transaction({**_BASE, **fields}, account("alice").key).raw_transaction)


@pytest.mark.parametrize("fields", _KINDS)
def test_sender_and_fields_are_recovered(fields):
    tx = transaction.decode(signed(fields))
    assert tx.sender == raw(account("alice").address)
    assert (tx.chain_id, tx.nonce, tx.gas, tx.to, tx.value, tx.data) == (5, 7, 21000, b"\3" * 20, 11, b"\0\1")
    assert tx.hash == keccak(tx.raw)


@pytest.mark.parametrize("fields", _KINDS)
def test_high_s_is_refused(fields):
    """EIP-2: the other signature of the same key must not be a second transaction with another hash."""
    data = signed(fields)
    kind = data[:1] if data[0] < 0xC0 else b""
    parts = reference_rlp.decode(data[len(kind) :])
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    parts[-1] = reference_rlp.encode(order - int.from_bytes(parts[-1], "big"))[1:]
    parity = int.from_bytes(parts[-3], "big")
    flipped = parity ^ 1 if kind else parity + (1 if parity % 2 else -1)
    parts[-3] = rlp.uint(flipped)
    tx = transaction.decode(kind + reference_rlp.encode(parts))
    with pytest.raises(FormatError, match="invalid sender"):
        _ = tx.sender


@given(st.data())
@settings(max_examples=300)
def test_changed_transactions_never_crash(data):
    original = bytearray(signed(data.draw(st.sampled_from(_KINDS))))
    position = data.draw(st.integers(0, len(original) - 1))
    original[position] ^= data.draw(st.integers(1, 255))
    try:
        tx = transaction.decode(bytes(original))
        sender = tx.sender
    except FormatError:
        return
    assert sender != raw(account("alice").address)


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x02\xc0", b"\x03\xc0", b"\x7f", b"\x80", b"\xc0", b"\xff" * 200]
)
def test_other_bytes_are_no_transaction(data):
    with pytest.raises(FormatError):
        transaction.decode(data)


def test_oversized_transaction_is_refused_unread():
    with pytest.raises(FormatError, match="oversized"):
        transaction.decode(b"\xc0" * (transaction.MAX_TRANSACTION + 1))


logs = st.lists(
    st.builds(
        Log,
        address=st.binary(min_size=20, max_size=20),
        topics=st.lists(st.binary(min_size=32, max_size=32), max_size=4).map(tuple),
        data=st.binary(max_size=100),
    ),
    max_size=3,
).map(tuple)


@given(st.sampled_from([0, 1, 2]), st.booleans(), st.integers(21000, 2**40), logs)
def test_receipts_round_trip(kind, succeeded, gas, entries):
    receipt = Receipt(kind, succeeded, gas, entries)
    assert Receipt.decode(receipt.encode()) == receipt
    assert bloom_of(entries) == bloom([(log.address, log.topics, log.data) for log in entries])


@given(st.dictionaries(st.integers(0, 300), st.integers(1, 2**256 - 1), max_size=60), st.integers(0, 300))
@settings(max_examples=60, deadline=None)
def test_state_walk_agrees_with_the_trie_library(slots, asked):
    nodes = {}
    trie = HexaryTrie(nodes)
    for slot, value in slots.items():
        trie[keccak(slot.to_bytes(32, "big"))] = reference_rlp.encode(value)
    value, proof = storage_at(State(storage_root=trie.root_hash), asked, nodes.get)
    assert value == slots.get(asked, 0)
    key = keccak(asked.to_bytes(32, "big"))
    found = HexaryTrie.get_from_proof(trie.root_hash, key, [reference_rlp.decode(node) for node in proof])
    assert found == (reference_rlp.encode(slots[asked]) if asked in slots else b"")


@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=3), st.binary(min_size=1, max_size=40), min_size=1, max_size=40
    )
)
@settings(max_examples=60, deadline=None)
def test_small_nodes_inside_their_parents_are_read(pairs):
    """Short values make nodes under 32 bytes, which have no hash of their own."""
    nodes = {}
    trie = HexaryTrie(nodes)
    for key, value in pairs.items():
        trie[keccak(key)] = value
    for key, value in pairs.items():
        assert look_up(trie.root_hash, key, nodes.get)[0] == value


def test_missing_node_is_damage():
    nodes = {}
    trie = HexaryTrie(nodes)
    trie[keccak(b"a")] = b"x" * 40
    nodes.pop(trie.root_hash)
    with pytest.raises(VerificationError, match="damaged"):
        look_up(trie.root_hash, b"a", nodes.get)
