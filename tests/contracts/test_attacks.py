"""Attacks on names, history and heads. Attacks on content proofs are in test_vectors.py."""

import pytest

from tests.contracts.abi import ADDRESS, DEPLOYER, encode_call, keccak256, label
from tests.contracts.evm import ALICE, BOB, CAROL, DAVE
from tests.contracts.model import ADMIN, CHANNEL, GRANTABLE, PUBLISH
from tests.contracts.pair import publication
from tests.reference.contract import NONE, model_id

ACME = label("acme")
MAIN = label("main")
STABLE = label("stable")
MINILM = model_id(ACME, "minilm")


def test_rollback_of_a_head_is_refused(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    second = pair.publish(ALICE, "acme", "minilm", "1.0.1", first)
    for parent in (first, NONE):
        refusal = pair.refused(ALICE, "publish", *publication("acme", "minilm", "1.0.2", parent))
        assert refusal == ("HeadMoved", parent, second)
    assert pair.machine.call("head", MINILM, MAIN) == second


def test_of_two_concurrent_publishers_one_wins(pair):
    pair.ok(ALICE, "setRoles", ACME, BOB.address, PUBLISH)
    base = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    won = pair.publish(BOB, "acme", "minilm", "1.0.1", base)
    for version in ("1.0.1", "1.1.0"):
        lost = pair.refused(ALICE, "publish", *publication("acme", "minilm", version, base))
        assert lost == ("HeadMoved", base, won)
    pair.publish(ALICE, "acme", "minilm", "1.1.0", won)


def test_of_two_concurrent_first_publishers_one_wins(pair):
    won = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    lost = pair.refused(ALICE, "publish", *publication("acme", "minilm", "1.0.0"))
    assert lost == ("HeadMoved", NONE, won)


def test_of_two_concurrent_channel_moves_one_wins(pair):
    pair.ok(ALICE, "setRoles", ACME, BOB.address, CHANNEL)
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    second = pair.publish(ALICE, "acme", "minilm", "1.0.1", first)
    pair.ok(BOB, "setChannel", MINILM, STABLE, second, NONE, 0)
    lost = pair.refused(ALICE, "setChannel", MINILM, STABLE, first, NONE, 0)
    assert lost == ("ChannelMoved", NONE, second)


def test_namespace_reuse_is_refused_even_after_all_was_yanked(pair):
    release = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    pair.ok(ALICE, "yank", release, "retired")
    assert pair.refused(BOB, "claimNamespace", ACME) == ("NamespaceTaken", ALICE.address)


def test_version_reuse_is_refused_on_every_branch(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    for parent, branch in ((first, "main"), (first, "fixes"), (NONE, "rewrite")):
        args = publication("acme", "minilm", "1.0.0", parent, branch, root=b"\x09" * 32)
        assert pair.refused(ALICE, "publish", *args) == ("VersionTaken", first)


def test_a_yanked_version_cannot_be_published_again(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    pair.ok(ALICE, "yank", first, "backdoor")
    args = publication("acme", "minilm", "1.0.0", first, root=b"\x09" * 32)
    assert pair.refused(ALICE, "publish", *args) == ("VersionTaken", first)
    assert pair.machine.call("versionOf", MINILM, label("1.0.0")) == first


def test_wrong_model_a_channel_cannot_point_to_a_foreign_release(pair):
    pair.publish(ALICE, "acme", "minilm", "1.0.0")
    pair.ok(BOB, "claimNamespace", label("evil"))
    foreign = pair.publish(BOB, "evil", "minilm", "1.0.0")
    refusal = pair.refused(ALICE, "setChannel", MINILM, STABLE, foreign, NONE, 0)
    assert refusal == ("ForeignRelease", foreign, model_id(label("evil"), "minilm"))


def test_wrong_model_a_foreign_role_opens_nothing(pair):
    release = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    pair.ok(BOB, "claimNamespace", label("evil"))
    pair.ok(BOB, "setRoles", label("evil"), BOB.address, GRANTABLE)
    assert pair.refused(BOB, "yank", release, "spite")[0] == "NotPermitted"
    assert pair.refused(BOB, "setChannel", MINILM, STABLE, release, NONE, 0)[0] == "NotPermitted"
    assert pair.refused(BOB, "publish", *publication("acme", "minilm", "9.9.9", release))[0] == "NotPermitted"


@pytest.mark.parametrize("name", ["b/minilm", "/minilm", "minilm/", "../acme/minilm", ""])
def test_wrong_model_no_split_of_a_name_reaches_another_namespace(empty, name):
    for namespace in ("acme", "acme-b"):
        empty.ok(ALICE, "claimNamespace", label(namespace))
        assert empty.refused(ALICE, "publish", *publication(namespace, name, "1.0.0")) == ("BadModelName",)


@pytest.mark.parametrize("namespace", ["a", "a" * 31, "a" * 32, "0-9"])
def test_the_namespace_is_read_back_from_the_name_whole(empty, namespace):
    shorter = label(namespace[:-1] or "b")
    if not shorter.rstrip(b"\0").endswith(b"-"):
        empty.ok(BOB, "claimNamespace", shorter)
    empty.ok(ALICE, "claimNamespace", label(namespace))
    for name in ("m", "m" * 96):
        release = empty.publish(ALICE, namespace, name, "1.0.0")
        model = model_id(label(namespace), name)
        assert empty.refused(BOB, "yank", release, "spite")[0] == "NotPermitted"
        empty.ok(ALICE, "setChannel", model, STABLE, release, NONE, 0)
        empty.ok(ALICE, "yank", release, "retired")


@pytest.mark.parametrize(
    "word",
    [
        label("Acme"),
        label("ac me"),
        b"acme\0\0x".ljust(32, b"\0"),
        b"acme".ljust(31, b"\0") + b"\x01",
        b"\0acme".ljust(32, b"\0"),
        b"acme".rjust(32, b"\0"),
        "\u0430cme".encode().ljust(32, b"\0"),
        b"acme\n".ljust(32, b"\0"),
        label("-acme"),
        label("acme-"),
        label("acme/minilm"),
        NONE,
        b"\xff" * 32,
    ],
    ids=repr,
)
def test_confusable_and_non_canonical_labels_are_refused(pair, word):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    calls = [
        ("claimNamespace", word),
        ("publish", *publication("acme", "minilm", "1.0.1", first, word)),
        ("publish", *publication("acme", "minilm", word, first)),
        ("setChannel", MINILM, word, first, NONE, 0),
    ]
    for call in calls:
        assert pair.refused(ALICE, *call) == ("BadLabel", word)


@pytest.mark.parametrize("version", ["1.0", "v1.0.0", "01.0.0", "1.0.0\0a", "1.0.0-01", "latest"])
def test_confusable_versions_are_refused(pair, version):
    word = label(version)
    assert pair.refused(ALICE, "publish", *publication("acme", "minilm", word)) == ("BadLabel", word)


def test_a_channel_cannot_pose_as_a_version(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    for text in ("2.0.0", "2.0.0-rc.1", "1.0.0"):
        refusal = pair.refused(ALICE, "setChannel", MINILM, label(text), first, NONE, 0)
        assert refusal == ("BadLabel", label(text))


def test_key_compromise_a_new_owner_inherits_no_grants(pair):
    """A thief of the owner's key leaves a hidden grant behind; moving to a fresh key ends it."""
    pair.ok(ALICE, "setRoles", ACME, DAVE.address, GRANTABLE)
    first = pair.publish(DAVE, "acme", "minilm", "1.0.0")
    pair.ok(ALICE, "transferNamespace", ACME, BOB.address)
    pair.ok(BOB, "acceptNamespace", ACME)
    assert pair.machine.call("roleOf", ACME, DAVE.address) == 0
    assert pair.refused(DAVE, "publish", *publication("acme", "minilm", "6.6.6", first))[0] == "NotPermitted"
    assert pair.refused(DAVE, "setRoles", ACME, DAVE.address, PUBLISH)[0] == "NotPermitted"
    pair.ok(BOB, "setRoles", ACME, CAROL.address, ADMIN)
    pair.ok(CAROL, "setRoles", ACME, DAVE.address, PUBLISH)
    assert pair.machine.call("roleOf", ACME, DAVE.address) == PUBLISH


def test_key_compromise_a_role_can_be_taken_back(pair):
    pair.ok(ALICE, "setRoles", ACME, BOB.address, PUBLISH)
    release = pair.publish(BOB, "acme", "minilm", "1.0.0")
    pair.ok(ALICE, "setRoles", ACME, BOB.address, 0)
    pair.ok(ALICE, "yank", release, "the publisher's key was stolen")
    refusal = pair.refused(BOB, "publish", *publication("acme", "minilm", "1.0.1", release))
    assert refusal == ("NotPermitted", BOB.address, PUBLISH)


def test_a_namespace_is_not_lost_to_an_account_that_never_accepts(pair):
    pair.ok(ALICE, "transferNamespace", ACME, "0x" + "ee" * 20)
    pair.publish(ALICE, "acme", "minilm", "1.0.0")
    pair.ok(ALICE, "transferNamespace", ACME, BOB.address)
    pair.ok(BOB, "acceptNamespace", ACME)


# A wallet that calls the address in its first 20 bytes with the rest and passes on what comes back.
_WALLET = bytes.fromhex("601436038060145f375f5f825f5f5f3560601c5af13d5f5f3e3d5f82602057fd5bf3")
_INIT = bytes([0x60, len(_WALLET), 0x80, 0x60, 9, 0x3D, 0x39, 0x3D, 0xF3]) + _WALLET


def test_the_owner_may_be_a_contract(empty):
    machine = empty.machine
    deployed = machine.send_raw(ALICE, DEPLOYER, bytes(32) + _INIT)
    wallet = keccak256(b"\xff" + DEPLOYER + bytes(32) + keccak256(_INIT))[12:]
    assert deployed.output == wallet
    assert machine.code(wallet) == _WALLET

    def through_wallet(*call):
        return machine.send_raw(ALICE, wallet, ADDRESS + encode_call(*call))

    assert through_wallet("claimNamespace", ACME).ok
    assert machine.call("getNamespace", ACME)["owner"] == "0x" + wallet.hex()
    release = through_wallet("publish", *publication("acme", "minilm", "1.0.0")).output
    assert machine.call("getRelease", release)["publisher"] == "0x" + wallet.hex()
    assert machine.send(ALICE, "yank", release, "not through the wallet").error[0] == "NotPermitted"
    assert through_wallet("yank", release, "by the wallet").ok
    assert through_wallet("claimNamespace", ACME).error == ("NamespaceTaken", "0x" + wallet.hex())
    assert through_wallet("transferNamespace", ACME, BOB.address).ok
    assert machine.send(BOB, "acceptNamespace", ACME).ok
    assert machine.send(BOB, "transferNamespace", ACME, "0x" + wallet.hex()).ok
    assert through_wallet("acceptNamespace", ACME).ok
