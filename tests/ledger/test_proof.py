"""Merkle-Patricia proofs: docs/spec/ledger.md, section 4."""

import random

import pytest
import rlp
from eth_utils import keccak
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from trie import HexaryTrie

from modelreg.errors import VerificationError
from modelreg.ledger.proof import NODE_BYTES_MAX, NODES_MAX, prove, prove_account, prove_word
from tests.reference.ledger import reference_proof, reference_trie, storage_key

RNG = random.Random(40)
WORDS = {RNG.randrange(2**256): RNG.randrange(1, 2**256) for _ in range(60)}
TRIE = reference_trie(WORDS)
SLOT, WORD = next(iter(WORDS.items()))
NODES = reference_proof(TRIE, storage_key(SLOT))


def test_a_word_is_proven():
    assert prove_word(TRIE.root_hash, SLOT, NODES) == WORD


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(0, 40), st.integers(1, 2**256 - 1), max_size=30), st.integers(0, 60))
def test_every_slot_of_every_trie_is_proven_present_or_absent(words, slot):
    trie = reference_trie(words)
    nodes = reference_proof(trie, storage_key(slot)) if words else []
    assert prove_word(trie.root_hash, slot, nodes) == words.get(slot, 0)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.integers(0, 300), st.binary(min_size=1, max_size=40), max_size=60), st.integers(0, 300)
)
def test_short_values_that_lie_inside_their_parents_are_proven(values, key):
    """A trie whose leaves are so short that nodes are inlined: no storage trie, but a trie."""
    trie = HexaryTrie({})
    for number, value in values.items():
        trie[keccak(number.to_bytes(2, "big"))] = value
    raw = key.to_bytes(2, "big")
    nodes = reference_proof(trie, keccak(raw)) if values else []
    assert prove(trie.root_hash, raw, nodes) == values.get(key)


def test_a_proof_for_another_slot_is_refused():
    other = list(WORDS)[1]
    with pytest.raises(VerificationError):
        prove_word(TRIE.root_hash, other, NODES)


def test_a_truncated_proof_is_refused():
    for count in range(len(NODES)):
        with pytest.raises(VerificationError, match="truncated"):
            prove_word(TRIE.root_hash, SLOT, NODES[:count])


def test_presence_cannot_be_denied_with_an_empty_proof():
    with pytest.raises(VerificationError):
        prove_word(TRIE.root_hash, SLOT, [])


def test_nodes_that_the_path_does_not_use_are_refused():
    with pytest.raises(VerificationError, match="does not use"):
        prove_word(TRIE.root_hash, SLOT, [*NODES, NODES[-1]])
    with pytest.raises(VerificationError, match="empty root"):
        prove_word(HexaryTrie({}).root_hash, SLOT, NODES)


def test_any_flipped_bit_is_refused():
    for place, node in enumerate(NODES):
        for at in range(0, len(node), 7):
            bad = node[:at] + bytes((node[at] ^ 1,)) + node[at + 1 :]
            with pytest.raises(VerificationError):
                prove_word(TRIE.root_hash, SLOT, [*NODES[:place], bad, *NODES[place + 1 :]])


def test_oversized_proofs_are_refused_before_they_are_hashed():
    with pytest.raises(VerificationError, match="too large"):
        prove_word(TRIE.root_hash, SLOT, [NODES[0]] * (NODES_MAX + 1))
    with pytest.raises(VerificationError, match="too large"):
        prove_word(TRIE.root_hash, SLOT, [bytes(NODE_BYTES_MAX + 1)])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=4), st.booleans())
def test_garbage_is_refused(nodes, rooted):
    # That one is the empty trie, which proves that nothing is there.
    assume(not rooted or nodes != [b"\x80"])
    root = keccak(nodes[0]) if nodes and rooted else TRIE.root_hash
    with pytest.raises(VerificationError):
        prove_word(root, SLOT, nodes)


def forged(node):
    raw = rlp.encode(node)
    return keccak(raw), [raw]


NIBBLES = storage_key(SLOT).hex()


def leaf(flag="20", nibbles=NIBBLES, value=b"\x01"):
    return [bytes.fromhex(flag + nibbles), value]


def test_a_forged_trie_of_one_leaf_is_read():
    assert prove_word(*_rooted(leaf())) == 1


def test_an_extension_that_leads_elsewhere_proves_absence():
    """What lies below it belongs to other keys, even if its path goes on like ours."""
    child = rlp.encode(leaf(nibbles=NIBBLES[2:]))
    elsewhere = "00" if not NIBBLES.startswith("00") else "11"
    for prefix, word in ((NIBBLES[:2], 1), (elsewhere, 0)):
        root, nodes = forged([bytes.fromhex("00" + prefix), keccak(child)])
        if word:
            assert prove_word(root, SLOT, [*nodes, child]) == word
        else:
            assert prove_word(root, SLOT, nodes) == 0
            with pytest.raises(VerificationError, match="does not use"):
                prove_word(root, SLOT, [*nodes, child])


def test_a_stored_zero_is_zero():
    assert prove_word(*_rooted(leaf(value=b"\x80"))) == 0


def _rooted(node):
    root, nodes = forged(node)
    return root, SLOT, nodes


@pytest.mark.parametrize(
    "node",
    [
        pytest.param(leaf(flag="40"), id="unknown flag"),
        pytest.param(leaf(flag="21"), id="padding that is not zero"),
        pytest.param([b"", b"\x01"], id="no path"),
        pytest.param([b"\x00", b"\xaa" * 32], id="extension without a path"),
        pytest.param([bytes.fromhex("1" + NIBBLES[0]), b"\xaa" * 31], id="reference of 31 bytes"),
        pytest.param([b"\x20"] * 3, id="node of three items"),
        pytest.param(b"leaf", id="node that is no list"),
        pytest.param(leaf(value=b"\x00"), id="zero with a digit"),
        pytest.param(leaf(value=rlp.encode(b"\x00\x01")), id="leading zero"),
        pytest.param(leaf(value=rlp.encode(b"\x01" * 33)), id="word of 33 bytes"),
        pytest.param(leaf(value=rlp.encode([b"\x01"])), id="list for a word"),
        pytest.param(leaf(value=b"\x81\x01"), id="RLP that is not canonical"),
        pytest.param(leaf(value=[b"\x01"]), id="list for a value"),
    ],
)
def test_nodes_that_break_the_form_are_refused(node):
    with pytest.raises(VerificationError):
        prove_word(*_rooted(node))


ADDRESS = b"\xab" * 20


def account_of(fields):
    trie = HexaryTrie({})
    trie[keccak(ADDRESS)] = rlp.encode(fields)
    return prove_account(trie.root_hash, ADDRESS, reference_proof(trie, keccak(ADDRESS)))


def test_an_account_is_proven():
    account = account_of([b"\x05", b"\x01\x00", b"\x07" * 32, b"\x08" * 32])
    assert (account.nonce, account.balance) == (5, 256)
    assert (account.storage_root, account.code_hash) == (b"\x07" * 32, b"\x08" * 32)


def test_an_absent_account_is_empty():
    account = prove_account(TRIE.root_hash, ADDRESS, reference_proof(TRIE, keccak(ADDRESS)))
    assert (account.nonce, account.balance) == (0, 0) and account.code_hash == keccak(b"")


@pytest.mark.parametrize(
    "fields",
    [
        [b"\x05", b"", b"\x07" * 32],
        [b"\x05", b"", b"\x07" * 31, b"\x08" * 32],
        [b"\x01" * 9, b"", b"\x07" * 32, b"\x08" * 32],
        [b"\x00", b"", b"\x07" * 32, b"\x08" * 32],
        [[b"\x05"], b"", b"\x07" * 32, b"\x08" * 32],
        b"account",
    ],
)
def test_an_account_of_another_form_is_refused(fields):
    with pytest.raises(VerificationError):
        account_of(fields)
