"""The contract against vectors of the independent reference (docs/spec/contract.md, sections 2 and 5)."""

import json

import pytest

from tests.contracts.abi import keccak256, label
from tests.contracts.evm import ALICE
from tests.contracts.pair import Pair
from tests.reference import contract as reference
from tests.reference.contract import NONE

RELEASES = json.loads((reference.VECTORS / "releases.json").read_bytes())
PROOFS = json.loads((reference.VECTORS / "proofs.json").read_bytes())


@pytest.mark.parametrize("name", ["releases.json", "proofs.json"])
def test_the_vectors_are_what_the_reference_says(name):
    assert (reference.VECTORS / name).read_text(encoding="utf-8") == reference.documents()[name]


def test_ids_of_models_and_releases():
    pair = Pair()
    for namespace in dict.fromkeys(vector["namespace"] for vector in RELEASES):
        pair.ok(ALICE, "claimNamespace", label(namespace))
    for vector in RELEASES:
        release = pair.publish(
            ALICE,
            vector["namespace"],
            vector["name"],
            vector["version"],
            bytes.fromhex(vector["parent"]),
            vector["branch"],
            root=bytes.fromhex(vector["content_root"]),
            manifest=bytes.fromhex(vector["manifest_digest"]),
            code=vector["manifest_hash"],
        )
        assert release.hex() == vector["release_id"]
        body = pair.machine.call("getRelease", release)
        assert (body["seq"], body["model"].hex()) == (vector["seq"], vector["model_id"])
    pair.check_state()


@pytest.fixture(scope="module")
def proves():
    """proves(vector, **changes): what `provesChunk` says of a release with the vector's content root."""
    pair = Pair()
    pair.ok(ALICE, "claimNamespace", label("acme"))
    releases = {}

    def proves(vector, **changes):
        claim = vector | changes
        root = bytes.fromhex(vector["content_root"])
        if root not in releases:
            version = f"1.0.{len(releases)}"
            previous = list(releases.values())[-1] if releases else NONE
            releases[root] = pair.publish(ALICE, "acme", "m", version, previous, root=root)
        leaf = (
            keccak256(claim["path"].encode()),
            claim["offset"],
            claim["length"],
            claim["hash_code"],
            bytes.fromhex(claim["digest"]),
        )
        proof = [bytes.fromhex(node) for node in claim["proof"]]
        return pair.machine.call("provesChunk", releases[root], leaf, claim["index"], claim["count"], proof)

    return proves


def test_content_proofs(proves):
    for vector in PROOFS:
        assert proves(vector), vector


def test_mix_and_match_wrong_index_is_refused(proves):
    for vector in PROOFS:
        right = vector["index"]
        for index in {abs(right - 1), right + 1, right ^ 2, vector["count"], 2**64 - 1} - {right}:
            assert not proves(vector, index=index), (vector, index)


def test_mix_and_match_wrong_count_is_refused(proves):
    for vector in PROOFS:
        for count in {0, vector["count"] - 1, vector["count"] + 1, vector["count"] * 2, 2**64 - 1}:
            assert not proves(vector, count=count), (vector, count)


def test_mix_and_match_wrong_leaf_is_refused(proves):
    for vector in PROOFS[::5]:
        digest = (int(vector["digest"], 16) ^ 1).to_bytes(32, "big").hex()
        changes = [{"path": "x"}, {"offset": vector["offset"] + 1}, {"length": 1}, {"digest": digest}]
        changes += [{"hash_code": vector["hash_code"] ^ 0x0C}]
        for change in changes:
            assert not proves(vector, **change), (vector, change)


def test_mix_and_match_wrong_siblings_are_refused(proves):
    for vector in PROOFS:
        proof = vector["proof"]
        wrong = [[*proof, "00" * 32], [*proof, vector["leaf"]], proof[:-1] if proof else ["11" * 32]]
        if proof:
            wrong += [["22" * 32, *proof[1:]], [*proof[:-1], "22" * 32], [vector["leaf"], *proof]]
        if len(proof) > 1:
            wrong.append(proof[::-1])
        for claim in wrong:
            assert not proves(vector, proof=claim), (vector, claim)


def test_a_leaf_of_one_release_is_no_leaf_of_another(proves):
    one, other = (next(v for v in PROOFS if (v["count"], v["index"]) == (count, 0)) for count in (4, 64))
    stolen = {name: other[name] for name in one if name not in ("content_root", "leaf")}
    assert proves(other)
    assert not proves(one, **stolen)


def _sealed(top: bytes, count: int, code: int = 0x1E) -> str:
    return keccak256(b"\x02" + bytes([code]) + count.to_bytes(8, "big") + top).hex()


def _leaf_vector(root: str, index: int, count: int, proof: list[str]) -> dict:
    digest = keccak256(b"weights").hex()
    return {
        "path": "model.onnx",
        "offset": 0,
        "length": 7,
        "hash_code": 0x1E,
        "digest": digest,
        "index": index,
        "count": count,
        "proof": proof,
        "content_root": root,
    }


PREIMAGE = keccak256(b"model.onnx") + bytes(8) + (7).to_bytes(8, "big") + keccak256(b"weights")
LEAF = keccak256(b"\x00" + PREIMAGE)
SIBLING = b"\x55" * 32


def test_roots_made_by_hand_are_proved(proves):
    assert proves(_leaf_vector(_sealed(LEAF, 1), 0, 1, []))
    pair_node = keccak256(b"\x01" + LEAF + SIBLING)
    assert proves(_leaf_vector(_sealed(pair_node, 2), 0, 2, [SIBLING.hex()]))


@pytest.mark.parametrize("tag", [b"", b"\x01", b"\x02"])
def test_a_leaf_hashed_as_a_node_is_refused(proves, tag):
    assert not proves(_leaf_vector(_sealed(keccak256(tag + PREIMAGE), 1), 0, 1, []))


@pytest.mark.parametrize("tag", [b"", b"\x00", b"\x02"])
def test_a_node_hashed_as_a_leaf_is_refused(proves, tag):
    node = keccak256(tag + LEAF + SIBLING)
    assert not proves(_leaf_vector(_sealed(node, 2), 0, 2, [SIBLING.hex()]))


def test_an_unsealed_top_is_no_content_root(proves):
    assert not proves(_leaf_vector(LEAF.hex(), 0, 1, []))


def test_sorted_pairs_do_not_prove_a_position(proves):
    low, high = sorted([LEAF, SIBLING])
    node = keccak256(b"\x01" + high + low)
    right = int(low == LEAF)
    vector = _leaf_vector(_sealed(node, 2), right, 2, [SIBLING.hex()])
    assert proves(vector)
    assert not proves(vector, index=1 - right)
