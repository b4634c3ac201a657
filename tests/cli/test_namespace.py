"""`namespace`: sharing and handing over names, and getting rid of a key that somebody stole."""

import pytest

from tests.cli.command import done, modelreg, refused
from tests.cli.conftest import MODEL

STRANGER = "0x" + "11" * 20
NOBODY = "0x" + "00" * 20


def address(home):
    return next(key["address"] for key in done(home, "key", "list") if key["signs"])


def head(home):
    return done(home, "chain", "status")["block"]


def roles(home, account=None):
    return done(home, "namespace", "show", "acme", *(["--account", account] if account else []))["roles"]


def publish(home, path, version):
    return "publish", path / "config.json", "--model", "acme/other", "--version", version


@pytest.fixture
def node(world):
    return world.node()


def test_shows_the_owner_and_the_roles_of_an_account(world, node):
    owner = address(world.publisher)
    shown = done(world.publisher, "namespace", "show", "acme")
    expected = {"namespace": "acme", "owner": owner, "pending_owner": None}
    assert shown == expected | {"account": owner, "roles": ["owner"]}
    assert done(node, "namespace", "show", "acme") == expected | {"account": address(node), "roles": []}
    text = modelreg(node, "namespace", "show", "acme", json_mode=False).out
    assert text == f"owner    {owner}\naccount  {address(node)}: no role\n"


def test_grants_and_revokes_roles(world, node):
    account = address(node)
    granted = done(world.publisher, "namespace", "grant", "acme", account, "publish", "YANK")
    assert (granted["before"], granted["roles"], granted["changed"]) == ([], ["publish", "yank"], True)
    assert granted["gas"] > 20_000
    more = done(world.publisher, "namespace", "grant", "acme", account, "channel", "publish")
    assert more["roles"] == ["publish", "yank", "channel"]
    done(node, *publish(node, world.first, "1.0.0"), "--channel", "beta")
    less = done(world.publisher, "namespace", "revoke", "acme", account, "publish", "admin")
    assert less["roles"] == roles(node) == ["yank", "channel"]
    refused(node, *publish(node, world.first, "1.0.1"), code=8)
    done(node, "yank", "acme/other@1.0.0", "--reason", "may still")
    done(world.publisher, "namespace", "revoke", "acme", account)
    assert roles(node) == []


def test_says_that_nothing_changed(world, node):
    account = address(node)
    words = [
        ("grant", "acme", account, "publish"),
        ("transfer", "acme", account),
        ("revoke", "acme", STRANGER),
    ]
    for number, arguments in enumerate(words):
        assert done(world.publisher, "namespace", *arguments)["changed"] == (number < 2)
        before = head(world.publisher)
        assert done(world.publisher, "namespace", *arguments)["changed"] is False
        assert head(world.publisher) == before
        text = modelreg(world.publisher, "namespace", *arguments, json_mode=False).out
        assert text.startswith("nothing changed: ")
    assert done(node, "namespace", "accept", "acme")["changed"] is True
    assert done(node, "namespace", "accept", "acme")["changed"] is False


def test_only_who_may_shares_and_hands_over(world, node):
    before = head(world.publisher)
    for arguments in (
        ("grant", "acme", address(node), "publish"),
        ("revoke", "acme", STRANGER),
        ("transfer", "acme", address(node)),
        ("accept", "acme"),
    ):
        refused(node, "namespace", *arguments, code=8)
    assert head(world.publisher) == before


def test_an_admin_shares_but_makes_no_admins(world, node):
    done(world.publisher, "namespace", "grant", "acme", address(node), "admin")
    done(node, "namespace", "grant", "acme", STRANGER, "publish", "yank")
    assert roles(node, STRANGER) == ["publish", "yank"]
    refused(node, "namespace", "grant", "acme", STRANGER, "admin", code=8)
    refused(node, "namespace", "revoke", "acme", address(node), code=8)
    refused(node, "namespace", "transfer", "acme", STRANGER, code=8)
    assert roles(node) == ["admin"]
    done(node, "namespace", "revoke", "acme", STRANGER, "yank")
    assert roles(node, STRANGER) == ["publish"]


def test_refuses(world):
    own, before = address(world.publisher), head(world.publisher)
    wrong_checksum = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeE"
    for arguments, code in (
        (("show", "none"), 4),
        (("grant", "none", STRANGER, "publish"), 4),
        (("revoke", "none", STRANGER), 4),
        (("transfer", "none", STRANGER), 4),
        (("accept", "none"), 4),
        (("show", "Acme"), 2),
        (("show", "acme/tiny"), 2),
        (("show", "acme", "--account", "0x12"), 2),
        (("grant", "acme", STRANGER), 2),
        (("grant", "acme", STRANGER, "own"), 2),
        (("grant", "acme", "somebody", "publish"), 2),
        (("grant", "acme", wrong_checksum, "publish"), 2),
        (("grant", "acme", own, "publish"), 2),
        (("revoke", "acme", own), 2),
        (("transfer", "acme", own), 2),
    ):
        refused(world.publisher, "namespace", *arguments, code=code)
    assert head(world.publisher) == before


def test_an_offer_is_withdrawn(world, node):
    done(world.publisher, "namespace", "transfer", "acme", address(node))
    assert done(node, "namespace", "show", "acme")["pending_owner"] == address(node)
    assert done(world.publisher, "namespace", "transfer", "acme", NOBODY)["pending_owner"] is None
    assert done(node, "namespace", "show", "acme")["pending_owner"] is None
    refused(node, "namespace", "accept", "acme", code=8)


def test_key_compromise_of_a_publisher_with_a_role(world, node):
    """The stolen key may publish: its owner takes the role back, and nothing signed with it counts."""
    thief = address(node)
    done(world.publisher, "namespace", "grant", "acme", thief, "publish")
    done(node, *publish(node, world.first, "1.0.0"))
    done(world.publisher, "namespace", "revoke", "acme", thief)
    line = refused(node, *publish(node, world.first, "1.0.1"), code=8)
    assert "PUBLISH" in line
    assert [row["version"] for row in done(world.publisher, "log", "acme/other")] == ["1.0.0"]


def test_key_compromise_of_the_owner(world, node):
    """The owner's key was stolen: the namespace goes to a new one of the same home, the old one is out."""
    home, old = world.publisher, address(world.publisher)
    done(home, "namespace", "grant", "acme", address(node), "publish")
    new = done(home, "key", "new")["address"]
    done(home, "namespace", "transfer", "acme", new)
    refused(home, "key", "use", STRANGER, code=4)
    done(home, "key", "use", new)
    refused(home, *publish(home, world.first, "1.0.0"), code=8)
    assert done(home, "namespace", "accept", "acme")["before"] == old
    assert done(home, "namespace", "show", "acme")["owner"] == new
    done(home, *publish(home, world.first, "1.0.0"))
    # Whom the thief may have given roles meanwhile has none any more.
    assert roles(home, address(node)) == []
    done(home, "key", "use", old)
    for words in (
        publish(home, world.first, "1.0.1"),
        ("yank", MODEL, "--reason", "revenge"),
        ("channel", "set", MODEL, "stable", MODEL),
        ("namespace", "transfer", "acme", old),
        ("namespace", "grant", "acme", old, "publish"),
    ):
        refused(home, *words, code=8)
