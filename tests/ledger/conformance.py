"""What reading and writing must do on any chain; a module that runs it gives the fixture `fresh`.

`fresh` is a World on a chain that funds KEYS and has the deployment proxy, and nothing else yet.
"""

import pytest

from modelreg.errors import ConflictError, InputError, NotFoundError, NotPermittedError
from modelreg.format.names import AtBranch, AtChannel, AtRelease, AtVersion, ModelName, ReleaseId, Version
from modelreg.ledger.records import ALL_ROLES, Channel, Move, Role
from tests.ledger.world import KEYS, MODEL, World, address_of, draft


class LedgerConformance:
    @pytest.fixture
    def world(self, fresh) -> World:
        fresh.writer().deploy()
        fresh.writer().claim_namespace("acme")
        return fresh

    def test_reading_before_deploying(self, fresh):
        with pytest.raises(NotFoundError, match="no contract"):
            fresh.view()

    def test_deploying_twice_deploys_once(self, fresh):
        assert fresh.writer().deploy() is not None
        assert fresh.writer(1).deploy() is None

    def test_namespaces(self, world):
        assert world.view().namespace("acme").owner == address_of(KEYS[0])
        assert world.view().namespace("nobody") is None
        with pytest.raises(ConflictError, match="namespace is taken"):
            world.writer(1).claim_namespace("acme")
        with pytest.raises(InputError):
            world.writer().claim_namespace("Acme")

    def test_a_namespace_changes_hands_in_two_steps(self, world):
        heir = address_of(KEYS[1])
        with pytest.raises(NotPermittedError):
            world.writer(1).accept_namespace("acme")
        world.writer().transfer_namespace("acme", heir)
        assert world.view().namespace("acme").pending_owner == heir
        world.writer(1).accept_namespace("acme")
        assert world.view().namespace("acme").owner == heir
        with pytest.raises(NotPermittedError):
            world.writer().publish(draft("1.0.0"))

    def test_roles(self, world):
        helper = address_of(KEYS[1])
        with pytest.raises(NotPermittedError, match="PUBLISH"):
            world.publish("1.0.0", key=1)
        world.writer().set_roles("acme", helper, Role.PUBLISH)
        assert world.view().roles("acme", helper) == Role.PUBLISH
        assert world.view().roles("acme", address_of(KEYS[0])) == ALL_ROLES
        release = world.publish("1.0.0", key=1)
        with pytest.raises(NotPermittedError, match="YANK"):
            world.writer(1).yank(release, "broken")
        world.writer().set_roles("acme", helper, Role(0))
        with pytest.raises(NotPermittedError):
            world.publish("1.0.1", parent=release, key=1)

    def test_a_lineage(self, world):
        first = world.publish("1.0.0")
        second = world.publish("1.1.0", first)
        fork = world.publish("2.0.0-rc.1", first, branch="next")
        view = world.view()
        assert [record.release_id for record in view.lineage(view.head(MODEL, "main"))] == [second, first]
        assert [record.seq for record in view.lineage(view.head(MODEL, "next"))] == [2, 1]
        assert view.head(MODEL, "next") == fork
        assert view.head(MODEL, "nothing") is None
        assert view.model(MODEL).branches == ("main", "next")
        record = view.release(second)
        assert (record.parent, record.branch, str(record.version)) == (first, "main", "1.1.0")
        assert record.publisher == address_of(KEYS[0])
        assert abs(record.published_at - view.header.time) < 60
        assert record.manifest_cid.digest == draft("1.1.0").manifest

    def test_references(self, world):
        first = world.publish("1.0.0")
        second = world.publish("1.1.0", first)
        world.writer().set_channel(MODEL, "stable", first, None)
        view = world.view()
        for reference, release in [
            (AtBranch(MODEL), second),
            (AtVersion(MODEL, Version("1.0.0")), first),
            (AtChannel(MODEL, "stable"), first),
            (AtRelease(second), second),
        ]:
            assert view.resolve(reference).release_id == release
        for reference in [
            AtBranch(MODEL, "other"),
            AtVersion(MODEL, Version("3.0.0")),
            AtChannel(MODEL, "beta"),
            AtRelease(ReleaseId(b"\1" * 32)),
            AtBranch(ModelName("acme", "other")),
        ]:
            with pytest.raises(NotFoundError):
                view.resolve(reference)

    def test_channels(self, world):
        first = world.publish("1.0.0")
        second = world.publish("1.1.0", first)
        writer = world.writer()
        assert writer.set_channel(MODEL, "stable", first, None) is not None
        with pytest.raises(ConflictError, match="channel moved"):
            writer.set_channel(MODEL, "stable", second, None)
        assert writer.set_channel(MODEL, "stable", second, first) is not None
        assert world.view().model(MODEL).channels == ("stable",)
        assert world.view().channel(MODEL, "stable") == Channel(second, None)

    def test_a_channel_moves_in_the_block_that_was_named(self, world):
        first = world.publish("1.0.0")
        second = world.publish("1.1.0", first)
        world.writer().set_channel(MODEL, "stable", first, None)
        block = world.view().header.number + 3
        receipt = world.writer().set_channel(MODEL, "stable", second, first, block)
        assert world.view().channel(MODEL, "stable") == Channel(first, Move(second, block))
        assert world.writer().set_channel(MODEL, "stable", second, first, block) == receipt
        with pytest.raises(ConflictError, match="channel moved"):
            world.writer().set_channel(MODEL, "stable", first, first)
        while world.view().header.number < block:
            assert world.view().resolve(AtChannel(MODEL, "stable")).release_id == first
            world.writer().send_ether(address_of(KEYS[1]), 1 + world.view().header.number)
        assert world.view().channel(MODEL, "stable") == Channel(second, None)
        assert world.reader().at_block(block - 1).resolve(AtChannel(MODEL, "stable")).release_id == first
        assert world.reader().at_block(block).resolve(AtChannel(MODEL, "stable")).release_id == second
        assert world.writer().set_channel(MODEL, "stable", second, first, block) == receipt

    def test_a_channel_does_not_move_in_the_past(self, world):
        release = world.publish("1.0.0")
        block = world.view().header.number
        with pytest.raises(ConflictError, match="block of the move has passed"):
            world.writer().set_channel(MODEL, "stable", release, None, block)
        for number in (0, -1, 2**64):
            with pytest.raises(InputError):
                world.writer().set_channel(MODEL, "stable", release, None, number)

    def test_a_channel_that_begins_later(self, world):
        release = world.publish("1.0.0")
        block = world.view().header.number + 1000
        world.writer().set_channel(MODEL, "stable", release, None, block)
        assert world.view().planned(AtChannel(MODEL, "stable")) == Move(release, block)
        assert world.view().planned(AtBranch(MODEL, "main")) is None
        with pytest.raises(NotFoundError, match=f"it begins in block {block}"):
            world.view().resolve(AtChannel(MODEL, "stable"))

    def test_a_yank_says_why(self, world):
        release = world.publish("1.0.0")
        assert world.view().yank_reason(release) is None
        reason = "weights of layer 3 were wrong: " + "é" * 80
        world.writer().yank(release, reason)
        assert world.view().release(release).yanked
        assert world.view().yank_reason(release) == reason
        with pytest.raises(ConflictError, match="is yanked"):
            world.writer().yank(release, "another reason")

    def test_models_are_listed_in_order(self, world):
        names = [ModelName("acme", name) for name in ("a", "Z" * 26, "b" * 27, "c" * 96)]
        for name in names:
            world.publish("1.0.0", model=name)
        assert list(world.view().models()) == names
        assert world.view().model_name(names[3].id) == names[3]
        assert world.view().model_name(b"\1" * 32) is None

    def test_a_taken_version(self, world):
        first = world.publish("1.0.0")
        with pytest.raises(ConflictError, match="version is taken") as caught:
            world.publish("1.0.0", first, content="other weights")
        assert str(first) in str(caught.value)

    def test_concurrent_publishers_the_loser_learns_both_heads(self, world):
        first = world.publish("1.0.0")
        second = world.publish("1.1.0", first)
        with pytest.raises(ConflictError, match="head moved") as caught:
            world.publish("1.2.0", first)
        assert (caught.value.expected, caught.value.found) == (str(first), str(second))

    def test_an_unknown_parent(self, world):
        with pytest.raises(NotFoundError):
            world.publish("1.0.0", ReleaseId(b"\7" * 32))

    def test_an_unclaimed_namespace(self, world):
        with pytest.raises(NotFoundError, match="nobody"):
            world.publish("1.0.0", model=ModelName("nobody", "m"))

    def test_repeating_a_command_sends_nothing(self, world):
        release = world.publish("1.0.0")
        world.writer().set_channel(MODEL, "stable", release, None)
        world.writer().yank(release, "broken")
        height = world.view().header.number
        again = world.writer().publish(draft("1.0.0"))
        assert again.release.release_id == release
        assert again.receipt.transaction
        assert world.writer().yank(release, "broken").transaction
        assert world.writer().set_channel(MODEL, "stable", release, None).transaction
        assert world.writer().claim_namespace("acme").transaction
        assert world.view().header.number == height

    def test_the_live_contract_has_the_code_of_the_artifact(self, world):
        # Opening a view compares the proven code hash.
        assert world.reader().header(0).number == 0
        assert world.view().account(address_of(KEYS[0])).nonce >= 2
