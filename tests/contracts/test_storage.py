"""The storage layout of docs/spec/contract.md, section 4: as compiled, and as found in the chain's state."""

import pytest

from tests.contracts.abi import ADDRESS, ARTIFACT, INIT_CODE, keccak256, label
from tests.contracts.evm import ALICE, BOB
from tests.contracts.model import PUBLISH, YANK
from tests.reference.contract import NONE, model_id

LAYOUT = ARTIFACT["storageLayout"]

VARIABLES = [
    (0, "_namespaces", "mapping(Label => struct IModelRegistry.Namespace)"),
    (1, "_grants", "mapping(Label => mapping(address => struct IModelRegistry.Grant))"),
    (2, "_models", "mapping(ModelId => struct IModelRegistry.Model)"),
    (3, "_heads", "mapping(ModelId => mapping(Label => ReleaseId))"),
    (4, "_versions", "mapping(ModelId => mapping(Label => ReleaseId))"),
    (5, "_channels", "mapping(ModelId => mapping(Label => struct IModelRegistry.Channel))"),
    (6, "_releases", "mapping(ReleaseId => struct IModelRegistry.Release)"),
    (7, "_yankReasons", "mapping(ReleaseId => string)"),
    (8, "_modelIds", "ModelId[]"),
]
# (word, byte from the low end, name, type)
STRUCTS = {
    "Namespace": [(0, 0, "owner", "address"), (1, 0, "pendingOwner", "address")],
    "Grant": [(0, 0, "roles", "uint96"), (0, 12, "underOwner", "address")],
    "Model": [(0, 0, "name", "string"), (1, 0, "branches", "Label[]"), (2, 0, "channels", "Label[]")],
    "Channel": [
        (0, 0, "current", "ReleaseId"),
        (1, 0, "next", "ReleaseId"),
        (2, 0, "activation", "uint64"),
    ],
    "Release": [
        (0, 0, "model", "ModelId"),
        (1, 0, "parent", "ReleaseId"),
        (2, 0, "contentRoot", "bytes32"),
        (3, 0, "manifestDigest", "bytes32"),
        (4, 0, "version", "Label"),
        (5, 0, "branch", "Label"),
        (6, 0, "publisher", "address"),
        (6, 20, "publishedAt", "uint40"),
        (6, 25, "seq", "uint32"),
        (6, 29, "manifestHash", "uint8"),
        (6, 30, "yanked", "bool"),
    ],
}


def test_the_compiled_variables_are_those_of_the_specification():
    types = LAYOUT["types"]
    found = [(int(v["slot"]), v["label"], types[v["type"]]["label"]) for v in LAYOUT["storage"]]
    assert found == VARIABLES
    assert all(v["offset"] == 0 for v in LAYOUT["storage"])


@pytest.mark.parametrize("name", STRUCTS)
def test_the_compiled_structs_are_those_of_the_specification(name):
    types = LAYOUT["types"]
    (struct,) = (t for t in types.values() if t["label"] == f"struct IModelRegistry.{name}")
    found = [(int(m["slot"]), m["offset"], m["label"], types[m["type"]]["label"]) for m in struct["members"]]
    assert found == STRUCTS[name]


def _number(word: bytes) -> int:
    return int.from_bytes(word, "big")


def _slot(variable: int, *keys: bytes) -> int:
    place = variable.to_bytes(32, "big")
    for key in keys:
        place = keccak256(key.rjust(32, b"\0") + place)
    return _number(place)


def _array(slot: int, index: int) -> int:
    return _number(keccak256(slot.to_bytes(32, "big"))) + index


@pytest.fixture
def story(pair):
    """(pair, first release, second release): a namespace on offer, a grant, two releases, one yanked."""
    acme = label("acme")
    pair.ok(ALICE, "setRoles", acme, BOB.address, PUBLISH | YANK)
    pair.ok(ALICE, "transferNamespace", acme, BOB.address)
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    second = pair.publish(BOB, "acme", "minilm", "2.0.0-rc.1", first, "next", code=0x12)
    pair.ok(ALICE, "setChannel", model_id(acme, "minilm"), label("stable"), second, NONE, 0)
    pair.ok(ALICE, "setChannel", model_id(acme, "minilm"), label("later"), second, NONE, 2**40)
    pair.ok(ALICE, "yank", first, "x" * 40)
    pair.publish(ALICE, "acme", "n" * 40, "1.0.0")
    return pair, first, second


ACME, MINILM = label("acme"), model_id(label("acme"), "minilm")


def test_namespaces_and_grants_in_storage(story):
    storage = story[0].machine.storage
    namespace = _slot(0, ACME)
    assert storage(namespace) == bytes(ALICE).rjust(32, b"\0")
    assert storage(namespace + 1) == bytes(BOB).rjust(32, b"\0")
    assert storage(_slot(1, ACME, bytes(BOB))) == bytes(ALICE) + (PUBLISH | YANK).to_bytes(12, "big")


def test_models_in_storage(story):
    storage = story[0].machine.storage
    model = _slot(2, MINILM)
    assert storage(model) == b"acme/minilm".ljust(31, b"\0") + bytes([2 * len("acme/minilm")])
    assert _number(storage(model + 1)) == 2
    assert [storage(_array(model + 1, i)) for i in (0, 1)] == [label("main"), label("next")]
    assert _number(storage(model + 2)) == 2
    assert [storage(_array(model + 2, i)) for i in (0, 1)] == [label("stable"), label("later")]


def test_long_strings_in_storage(story):
    storage = story[0].machine.storage
    name = b"acme/" + b"n" * 40
    slot = _slot(2, model_id(ACME, "n" * 40))
    assert _number(storage(slot)) == 2 * len(name) + 1
    assert storage(_array(slot, 0)) + storage(_array(slot, 1)) == name.ljust(64, b"\0")


def test_model_ids_in_storage(story):
    storage = story[0].machine.storage
    assert _number(storage(8)) == 2
    assert storage(_array(8, 0)) == MINILM


def test_heads_versions_and_channels_in_storage(story):
    pair, first, second = story
    storage = pair.machine.storage
    assert storage(_slot(3, MINILM, label("main"))) == first
    assert storage(_slot(3, MINILM, label("next"))) == second
    assert storage(_slot(4, MINILM, label("1.0.0"))) == first
    assert storage(_slot(4, MINILM, label("2.0.0-rc.1"))) == second
    stable, later = (_slot(5, MINILM, label(name)) for name in ("stable", "later"))
    assert [storage(stable + i) for i in range(3)] == [second, NONE, NONE]
    assert [storage(later + i) for i in range(3)] == [NONE, second, (2**40).to_bytes(32, "big")]


def test_releases_in_storage(story):
    pair, first, second = story
    words = [pair.machine.storage(_slot(6, second) + i) for i in range(8)]
    body = pair.model.releases[second]
    assert words[:6] == [
        MINILM,
        first,
        body["contentRoot"],
        body["manifestDigest"],
        label("2.0.0-rc.1"),
        label("next"),
    ]
    packed = b"\0" + b"\0" + b"\x12" + (2).to_bytes(4, "big") + body["publishedAt"].to_bytes(5, "big")
    assert words[6:] == [packed + bytes(BOB), NONE]


def test_yanks_in_storage(story):
    pair, first, _ = story
    storage = pair.machine.storage
    assert storage(_slot(6, first) + 6)[1] == 1
    slot = _slot(7, first)
    assert _number(storage(slot)) == 81
    assert storage(_array(slot, 0)) + storage(_array(slot, 1)) == (b"x" * 40).ljust(64, b"\0")


def test_the_address_follows_from_the_code_alone(story):
    """EIP-1014 with the deterministic deployment proxy and salt zero."""
    proxy = bytes.fromhex("4e59b44847b379578588920ca78fbf26c0b4956c")
    assert keccak256(b"\xff" + proxy + bytes(32) + keccak256(INIT_CODE))[12:] == ADDRESS
    assert story[0].machine.code(ADDRESS) == bytes.fromhex(ARTIFACT["deployedBytecode"][2:])
    constructors = [item for item in ARTIFACT["abi"] if item["type"] == "constructor"]
    assert not any(item["inputs"] for item in constructors)
