"""Each rule of docs/spec/contract.md, sections 3 and 4, once."""

import pytest

from tests.contracts.abi import ADDRESS, ARTIFACT, RevertedError, label
from tests.contracts.evm import ALICE, BOB, CAROL, DAVE
from tests.contracts.model import ADMIN, CHANNEL, GRANTABLE, NOBODY, OWNER, PUBLISH, YANK
from tests.contracts.pair import publication
from tests.reference.contract import NONE, model_id

ACME = label("acme")
MAIN = label("main")
STABLE = label("stable")
MINILM = model_id(ACME, "minilm")
UNKNOWN = b"\x77" * 32


def test_a_claimed_namespace_has_its_owner_and_cannot_be_claimed_again(pair):
    assert pair.machine.call("getNamespace", ACME) == {"owner": ALICE.address, "pendingOwner": NOBODY}
    assert pair.refused(BOB, "claimNamespace", ACME) == ("NamespaceTaken", ALICE.address)
    assert pair.refused(ALICE, "claimNamespace", ACME) == ("NamespaceTaken", ALICE.address)


def test_a_transfer_takes_two_steps(pair):
    pair.ok(ALICE, "transferNamespace", ACME, BOB.address)
    assert pair.machine.call("getNamespace", ACME)["owner"] == ALICE.address
    assert pair.refused(CAROL, "acceptNamespace", ACME) == ("NotPendingOwner", CAROL.address, BOB.address)
    pair.ok(BOB, "acceptNamespace", ACME)
    assert pair.machine.call("getNamespace", ACME) == {"owner": BOB.address, "pendingOwner": NOBODY}
    assert pair.refused(ALICE, "publish", *publication("acme", "m", "1.0.0")) == (
        "NotPermitted",
        ALICE.address,
        PUBLISH,
    )
    assert pair.refused(BOB, "acceptNamespace", ACME) == ("NotPendingOwner", BOB.address, NOBODY)


def test_an_offer_can_be_withdrawn(pair):
    pair.ok(ALICE, "transferNamespace", ACME, BOB.address)
    pair.ok(ALICE, "transferNamespace", ACME, NOBODY)
    assert pair.refused(BOB, "acceptNamespace", ACME) == ("NotPendingOwner", BOB.address, NOBODY)


def test_only_the_owner_offers_a_namespace(pair):
    pair.ok(ALICE, "setRoles", ACME, BOB.address, GRANTABLE)
    refusal = pair.refused(BOB, "transferNamespace", ACME, BOB.address)
    assert refusal == ("NotPermitted", BOB.address, OWNER)


@pytest.mark.parametrize(
    "call",
    [
        ("transferNamespace", label("nobody"), BOB.address),
        ("acceptNamespace", label("nobody")),
        ("setRoles", label("nobody"), BOB.address, PUBLISH),
        ("publish", *publication("nobody", "m", "1.0.0")),
    ],
    ids=lambda call: call[0],
)
def test_an_unclaimed_namespace_admits_nothing(empty, call):
    assert empty.refused(ALICE, *call) == ("UnknownNamespace", label("nobody"))


def test_nobody_has_a_role_in_an_unclaimed_namespace(empty):
    assert empty.machine.call("roleOf", ACME, NOBODY) == 0
    assert empty.machine.call("roleOf", ACME, ALICE.address) == 0
    assert empty.machine.call("getNamespace", ACME) == {"owner": NOBODY, "pendingOwner": NOBODY}


def test_the_owner_has_every_role(pair):
    assert pair.machine.call("roleOf", ACME, ALICE.address) == GRANTABLE | OWNER
    pair.ok(ALICE, "setRoles", ACME, ALICE.address, 0)
    assert pair.machine.call("roleOf", ACME, ALICE.address) == GRANTABLE | OWNER


def test_roles_are_replaced_as_a_whole(pair):
    pair.ok(ALICE, "setRoles", ACME, BOB.address, PUBLISH | YANK)
    pair.ok(ALICE, "setRoles", ACME, BOB.address, CHANNEL)
    assert pair.machine.call("roleOf", ACME, BOB.address) == CHANNEL
    pair.ok(ALICE, "setRoles", ACME, BOB.address, 0)
    assert pair.machine.call("roleOf", ACME, BOB.address) == 0


def test_an_admin_grants_all_but_admin(pair):
    pair.ok(ALICE, "setRoles", ACME, BOB.address, ADMIN)
    pair.ok(BOB, "setRoles", ACME, CAROL.address, PUBLISH | YANK | CHANNEL)
    assert pair.refused(BOB, "setRoles", ACME, CAROL.address, ADMIN) == ("NotPermitted", BOB.address, OWNER)
    pair.ok(BOB, "setRoles", ACME, BOB.address, ADMIN | PUBLISH)


def test_an_admin_cannot_take_admin_away(pair):
    pair.ok(ALICE, "setRoles", ACME, BOB.address, ADMIN)
    pair.ok(ALICE, "setRoles", ACME, CAROL.address, ADMIN)
    assert pair.refused(BOB, "setRoles", ACME, CAROL.address, 0) == ("NotPermitted", BOB.address, OWNER)
    pair.ok(BOB, "setRoles", ACME, CAROL.address, ADMIN | YANK)
    pair.ok(ALICE, "setRoles", ACME, CAROL.address, 0)


def test_only_an_admin_grants(pair):
    pair.ok(ALICE, "setRoles", ACME, BOB.address, PUBLISH | YANK | CHANNEL)
    refusal = pair.refused(BOB, "setRoles", ACME, BOB.address, PUBLISH)
    assert refusal == ("NotPermitted", BOB.address, ADMIN)


@pytest.mark.parametrize("roles", [OWNER, 32, 1 << 96 | 1, (1 << 256) - 1])
def test_roles_that_do_not_exist_cannot_be_granted(pair, roles):
    assert pair.refused(ALICE, "setRoles", ACME, BOB.address, roles) == ("BadRoles", roles)


@pytest.mark.parametrize("missing", [PUBLISH, YANK, CHANNEL])
def test_each_role_opens_its_own_call_only(pair, missing):
    release = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    calls = {
        CHANNEL: ("setChannel", MINILM, STABLE, release, NONE, 0),
        PUBLISH: ("publish", *publication("acme", "minilm", "1.1.0", release)),
        YANK: ("yank", release, "weights leaked"),
    }
    pair.ok(ALICE, "setRoles", ACME, BOB.address, (GRANTABLE & ~ADMIN) & ~missing)
    for role, call in calls.items():
        if role == missing:
            assert pair.refused(BOB, *call) == ("NotPermitted", BOB.address, role)
        else:
            pair.ok(BOB, *call)


def test_a_release_keeps_all_that_was_said(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    second = pair.publish(ALICE, "acme", "minilm", "1.0.1", first, code=0x12)
    body = pair.machine.call("getRelease", second)
    assert (body["parent"], body["seq"], body["manifestHash"]) == (first, 2, 0x12)
    assert body["publishedAt"] == pair.machine.time
    assert body["publisher"] == ALICE.address
    pair.check_state()


def test_the_first_release_makes_the_model(pair):
    pair.publish(ALICE, "acme", "minilm", "1.0.0")
    pair.publish(ALICE, "acme", "MiniLM", "1.0.0")
    assert pair.machine.call("modelCount") == 2
    assert pair.machine.call("getModel", MINILM)["name"] == "acme/minilm"
    with pytest.raises(RevertedError) as caught:
        pair.machine.call("modelAt", 2)
    assert caught.value.error == ("Panic", 0x32)


def test_unknown_models_and_releases_have_no_record(pair):
    for view, error in (("getModel", "UnknownModel"), ("getRelease", "UnknownRelease")):
        with pytest.raises(RevertedError) as caught:
            pair.machine.call(view, UNKNOWN)
        assert caught.value.error == (error, UNKNOWN)
    leaf = (NONE, 0, 1, 0x1E, NONE)
    with pytest.raises(RevertedError) as caught:
        pair.machine.call("provesChunk", UNKNOWN, leaf, 0, 1, [])
    assert caught.value.error == ("UnknownRelease", UNKNOWN)
    for view in ("head", "versionOf", "channelOf"):
        assert pair.machine.call(view, UNKNOWN, MAIN) == NONE
    assert pair.machine.call("yankReason", UNKNOWN) == ""


def test_a_branch_begins_at_any_release_or_none(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    second = pair.publish(ALICE, "acme", "minilm", "1.1.0", first)
    pair.publish(ALICE, "acme", "minilm", "1.0.1", first, branch="fixes")
    pair.publish(ALICE, "acme", "minilm", "2.0.0-rc.1", branch="rewrite")
    tuned = pair.publish(ALICE, "acme", "tuned", "0.1.0", second)
    assert pair.machine.call("getRelease", tuned)["seq"] == 3
    assert pair.machine.call("getModel", MINILM)["branches"] == (MAIN, label("fixes"), label("rewrite"))
    pair.check_state()


def test_a_branch_cannot_begin_at_an_unknown_release(pair):
    refusal = pair.refused(ALICE, "publish", *publication("acme", "minilm", "1.0.0", UNKNOWN))
    assert refusal == ("UnknownRelease", UNKNOWN)


def test_a_head_moves_from_its_parent_only(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    second = pair.publish(ALICE, "acme", "minilm", "1.0.1", first)
    for stale in (first, NONE, UNKNOWN):
        refusal = pair.refused(ALICE, "publish", *publication("acme", "minilm", "1.0.2", stale))
        assert refusal == ("HeadMoved", stale, second)


@pytest.mark.parametrize("which", ["root", "manifest"])
def test_a_zero_digest_is_refused(pair, which):
    args = publication("acme", "minilm", "1.0.0", **{which: NONE})
    assert pair.refused(ALICE, "publish", *args) == ("ZeroDigest",)


@pytest.mark.parametrize("code", [0, 0x11, 0x13, 0x1B, 0x1D, 0x1F, 255])
def test_other_hashes_are_refused(pair, code):
    args = publication("acme", "minilm", "1.0.0", code=code)
    assert pair.refused(ALICE, "publish", *args) == ("BadHashCode", code)


def test_a_yank_keeps_the_data_and_says_why(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    before = pair.machine.call("getRelease", first)
    pair.ok(ALICE, "yank", first, "trained on the test set")
    assert pair.machine.call("getRelease", first) == before | {"yanked": True}
    assert pair.machine.call("yankReason", first) == "trained on the test set"
    assert pair.machine.call("head", MINILM, MAIN) == first
    pair.publish(ALICE, "acme", "minilm", "1.0.1", first)


def test_a_yank_is_for_good(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    pair.ok(ALICE, "yank", first, "a")
    assert pair.refused(ALICE, "yank", first, "another reason") == ("AlreadyYanked", first)
    assert pair.machine.call("yankReason", first) == "a"


@pytest.mark.parametrize("reason", ["", "x" * 257, "\u00e9" * 129])
def test_a_yank_needs_a_reason_of_1_to_256_bytes(pair, reason):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    assert pair.refused(ALICE, "yank", first, reason) == ("BadReason", len(reason.encode()))


@pytest.mark.parametrize("reason", ["x", "x" * 31, "x" * 32, "\u00e9" * 128])
def test_reasons_are_stored_whole(pair, reason):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    pair.ok(ALICE, "yank", first, reason)
    assert pair.machine.call("yankReason", first) == reason


def test_an_unknown_release_cannot_be_yanked(pair):
    assert pair.refused(ALICE, "yank", UNKNOWN, "x") == ("UnknownRelease", UNKNOWN)


def test_a_channel_moves_by_compare_and_swap(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    second = pair.publish(ALICE, "acme", "minilm", "1.0.1", first)
    refusal = pair.refused(ALICE, "setChannel", MINILM, STABLE, first, first, 0)
    assert refusal == ("ChannelMoved", first, NONE)
    pair.ok(ALICE, "setChannel", MINILM, STABLE, first, NONE, 0)
    refusal = pair.refused(ALICE, "setChannel", MINILM, STABLE, second, NONE, 0)
    assert refusal == ("ChannelMoved", NONE, first)
    pair.ok(ALICE, "setChannel", MINILM, STABLE, second, first, 0)
    pair.ok(ALICE, "setChannel", MINILM, STABLE, first, second, 0)
    assert pair.machine.call("getModel", MINILM)["channels"] == (STABLE,)


def test_a_channel_cannot_point_to_a_yanked_or_unknown_release(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    pair.ok(ALICE, "yank", first, "x")
    assert pair.refused(ALICE, "setChannel", MINILM, STABLE, first, NONE, 0) == ("AlreadyYanked", first)
    for missing in (NONE, UNKNOWN):
        refusal = pair.refused(ALICE, "setChannel", MINILM, STABLE, missing, NONE, 0)
        assert refusal == ("UnknownRelease", missing)


def test_a_channel_keeps_its_release_when_that_is_yanked(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    pair.ok(ALICE, "setChannel", MINILM, STABLE, first, NONE, 0)
    pair.ok(ALICE, "yank", first, "x")
    assert pair.machine.call("channelOf", MINILM, STABLE) == first


def test_a_channel_moves_in_the_block_that_was_named(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    second = pair.publish(ALICE, "acme", "minilm", "1.0.1", first)
    pair.ok(ALICE, "setChannel", MINILM, STABLE, first, NONE, 0)
    at = pair.machine.block + 3
    pair.ok(ALICE, "setChannel", MINILM, STABLE, second, first, at)
    seen = []
    for _ in range(3):
        seen.append((pair.machine.block, pair.machine.call("channelOf", MINILM, STABLE)))
        pair.refused(DAVE, "yank", first, "a block goes by")
    assert seen == [(at - 2, first), (at - 1, first), (at, second)]
    assert pair.machine.call("getChannel", MINILM, STABLE) == {
        "current": first,
        "next": second,
        "activation": at,
    }


def test_a_channel_can_begin_later(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    pair.ok(ALICE, "setChannel", MINILM, STABLE, first, NONE, pair.machine.block + 2)
    assert pair.machine.call("channelOf", MINILM, STABLE) == NONE
    pair.refused(DAVE, "yank", first, "a block goes by")
    assert pair.machine.call("channelOf", MINILM, STABLE) == first
    assert pair.machine.call("getModel", MINILM)["channels"] == (STABLE,)


def test_a_channel_does_not_move_in_the_past(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    for back in (0, 1):
        mined = pair.machine.block + 1
        refusal = pair.refused(ALICE, "setChannel", MINILM, STABLE, first, NONE, mined - back)
        assert refusal == ("ActivationPassed", mined - back, mined)


@pytest.mark.parametrize("again", [0, 9])
def test_a_move_that_was_put_off_can_be_replaced(pair, again):
    """Also by one back to where the channel is; whoever replaces it must know of it."""
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    second = pair.publish(ALICE, "acme", "minilm", "1.0.1", first)
    pair.ok(ALICE, "setChannel", MINILM, STABLE, first, NONE, 0)
    pair.ok(ALICE, "setChannel", MINILM, STABLE, second, first, pair.machine.block + 5)
    activation = again and pair.machine.block + again
    refusal = pair.refused(ALICE, "setChannel", MINILM, STABLE, first, first, activation)
    assert refusal == ("ChannelMoved", first, second)
    pair.ok(ALICE, "setChannel", MINILM, STABLE, first, second, activation)
    for _ in range(10):
        assert pair.machine.call("channelOf", MINILM, STABLE) == first
        pair.refused(DAVE, "yank", first, "a block goes by")


def test_a_move_in_force_is_where_the_next_one_begins(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    second = pair.publish(ALICE, "acme", "minilm", "1.0.1", first)
    pair.ok(ALICE, "setChannel", MINILM, STABLE, first, NONE, 0)
    pair.ok(ALICE, "setChannel", MINILM, STABLE, second, first, pair.machine.block + 2)
    pair.refused(DAVE, "yank", first, "a block goes by")
    pair.ok(ALICE, "setChannel", MINILM, STABLE, first, second, pair.machine.block + 4)
    assert pair.machine.call("channelOf", MINILM, STABLE) == second


def test_an_unknown_model_has_no_channels(pair):
    refusal = pair.refused(ALICE, "setChannel", UNKNOWN, STABLE, UNKNOWN, NONE, 0)
    assert refusal == ("UnknownModel", UNKNOWN)


def test_a_stranger_may_do_nothing(pair):
    first = pair.publish(ALICE, "acme", "minilm", "1.0.0")
    calls = {
        ("transferNamespace", ACME, DAVE.address): OWNER,
        ("setRoles", ACME, DAVE.address, PUBLISH): ADMIN,
        ("publish", *publication("acme", "minilm", "6.6.6", first)): PUBLISH,
        ("yank", first, "spite"): YANK,
        ("setChannel", MINILM, STABLE, first, NONE, 0): CHANNEL,
    }
    for call, role in calls.items():
        assert pair.refused(DAVE, *call) == ("NotPermitted", DAVE.address, role)


def test_no_call_takes_ether_and_no_other_call_exists(pair):
    for data in (b"", b"\xde\xad\xbe\xef"):
        assert not pair.machine.call_raw(bytes(ALICE), ADDRESS, data)[0]
    assert all(item.get("stateMutability") != "payable" for item in ARTIFACT["abi"])
