"""The content tree against an independent recursive reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError, VerificationError
from modelreg.format.digest import HashAlgorithm, keccak256
from modelreg.format.merkle import Leaf, content_root, prove, verify
from tests.reference.merkle import reference_proof, reference_root

BLAKE3 = HashAlgorithm.BLAKE3_256


def leaves(count):
    return [keccak256(bytes([7, i >> 8, i & 255])) for i in range(count)]


@pytest.mark.parametrize("count", [*range(1, 34), 100, 257])
def test_root_and_every_proof_equal_the_reference(count):
    nodes = leaves(count)
    root = content_root(nodes, BLAKE3)
    assert root == reference_root(nodes, BLAKE3.value)
    for index, leaf in enumerate(nodes):
        proof = prove(nodes, index)
        assert list(proof) == reference_proof(nodes, index)
        verify(root, leaf, index, count, proof, BLAKE3)


def test_leaf_binds_path_offset_length_and_digest():
    base = Leaf("a/b", 1, 2, b"\x05" * 32)
    others = [
        Leaf("a/c", 1, 2, b"\x05" * 32),
        Leaf("a/b", 0, 2, b"\x05" * 32),
        Leaf("a/b", 1, 3, b"\x05" * 32),
        Leaf("a/b", 1, 2, b"\x06" * 32),
    ]
    assert len({leaf.hash() for leaf in [base, *others]}) == 5


@given(st.integers(2, 70), st.data())
def test_mix_and_match_of_positions_is_refused(count, data):
    nodes = leaves(count)
    root = content_root(nodes, BLAKE3)
    index = data.draw(st.integers(0, count - 1))
    other = data.draw(st.integers(0, count - 1).filter(lambda i: i != index))
    proof = prove(nodes, index)
    with pytest.raises(VerificationError):
        verify(root, nodes[index], other, count, proof, BLAKE3)
    with pytest.raises(VerificationError):
        verify(root, nodes[index], index, count + 1, proof, BLAKE3)
    with pytest.raises(VerificationError):
        verify(root, nodes[index], index, count, (*proof, b"\x00" * 32), BLAKE3)
    with pytest.raises(VerificationError):
        verify(root, nodes[index], index, count, proof[:-1], BLAKE3)
    with pytest.raises(VerificationError):
        verify(root, nodes[index], index, count, proof, HashAlgorithm.SHA2_256)


def test_inner_node_is_no_leaf():
    nodes = leaves(4)
    root = content_root(nodes, BLAKE3)
    inner = keccak256(b"\x01" + nodes[0] + nodes[1])
    with pytest.raises(VerificationError):
        verify(root, inner, 0, 2, [keccak256(b"\x01" + nodes[2] + nodes[3])], BLAKE3)


@pytest.mark.parametrize("bits", [32, 64, 200])
def test_more_leaves_than_a_tree_has_are_refused(bits):
    with pytest.raises(VerificationError, match="at most 4294967296 leaves"):
        verify(bytes(32), bytes(32), 0, 2**bits + 1, [bytes(32)] * (bits + 1), BLAKE3)


def test_empty_tree_has_no_root():
    with pytest.raises(FormatError):
        content_root([], BLAKE3)
