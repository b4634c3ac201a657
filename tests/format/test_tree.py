"""The shape that all trees share, against the recursion of RFC 9162 and its limits."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError, VerificationError
from modelreg.format import tree
from modelreg.format.digest import keccak256
from tests.reference.merkle import reference_proof
from tests.reference.receipt import reference_top


def leaves(count):
    return [keccak256(count.to_bytes(4, "big") + i.to_bytes(4, "big")) for i in range(count)]


@pytest.mark.parametrize("count", [*range(1, 20), 33, 100])
def test_top_levels_and_proofs_equal_the_reference(count):
    nodes = leaves(count)
    expected = reference_top(nodes)
    assert tree.top(iter(nodes)) == (count, expected)
    all_levels = tree.levels(nodes)
    assert all_levels[-1] == [expected]
    for index, leaf in enumerate(nodes):
        proof = tree.siblings(all_levels, index)
        assert list(proof) == reference_proof(nodes, index)
        assert tree.climb(leaf, index, count, proof) == expected


@pytest.mark.parametrize("count", [4095, 4096, 4097, 8192, 12289])
def test_streaming_equals_building(count):
    nodes = leaves(count)
    assert tree.top(iter(nodes)) == (count, tree.levels(nodes)[-1][0])


def test_no_leaves_have_no_top_and_no_proof():
    assert tree.top([]) == (0, b"")
    with pytest.raises(FormatError):
        tree.siblings(tree.levels([]), 0)


@pytest.mark.parametrize("index", [-1, 5, 2**64])
def test_there_is_no_proof_of_what_is_not_there(index):
    with pytest.raises(FormatError):
        tree.siblings(tree.levels(leaves(5)), index)


@pytest.mark.parametrize("index", [-1, 5, 2**64])
def test_an_index_beyond_the_count_is_refused(index):
    nodes = leaves(5)
    proof = tree.siblings(tree.levels(nodes), index % 4)
    with pytest.raises(VerificationError, match="index below 5"):
        tree.climb(nodes[index % 4], index, 5, proof)


@given(st.integers(1, 70), st.data())
def test_a_proof_has_the_siblings_that_its_place_needs(count, data):
    nodes = leaves(count)
    index = data.draw(st.integers(0, count - 1))
    proof = tree.siblings(tree.levels(nodes), index)
    with pytest.raises(VerificationError, match="fewer siblings"):
        tree.climb(nodes[index], index, count, (*proof, bytes(32)))
    if proof:
        with pytest.raises(VerificationError, match="more siblings"):
            tree.climb(nodes[index], index, count, proof[:-1])
        with pytest.raises(VerificationError, match="32 bytes"):
            tree.climb(nodes[index], index, count, (proof[0] + b"\0", *proof[1:]))


def test_streaming_keeps_little():
    top = keccak256(b"")
    tracemalloc.start()
    try:
        tree.top(keccak256(top) for _ in range(1 << 16))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
