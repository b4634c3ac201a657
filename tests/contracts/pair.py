"""The contract and its model side by side: every call goes to both and must do the same."""

import re
from dataclasses import asdict

from tests.contracts import abi
from tests.contracts.evm import ACCOUNTS, Account, Evm, Outcome
from tests.contracts.model import NOBODY, RefusedError, Registry
from tests.reference.contract import NONE


def snake(name: str) -> str:
    return re.sub(r"([A-Z])", r"_\1", name).lower()


class Pair:
    def __init__(self, machine=None) -> None:
        self.machine = machine or Evm.fresh()
        self.model = Registry()

    def send(self, sender: Account, function: str, *args, after: int = 12) -> Outcome:
        """One transaction; asserts that result, error and events are the model's."""
        self.model.now, self.model.block = self.machine.time + after, self.machine.block + 1
        self.model.events.clear()
        result = expected_error = None
        try:
            result = getattr(self.model, snake(function))(sender.address, *args)
        except RefusedError as refusal:
            expected_error = refusal.args
        outcome = self.machine.send(sender, function, *args, after=after)
        assert outcome.error == expected_error
        assert outcome.events == self.model.events
        if outcome.ok:
            assert outcome.output == (result or b"")
        return outcome

    def ok(self, sender: Account, function: str, *args, after: int = 12) -> Outcome:
        outcome = self.send(sender, function, *args, after=after)
        assert outcome.ok, outcome.error
        return outcome

    def refused(self, sender: Account, function: str, *args) -> tuple:
        """The (name, arguments...) that the call reverts with; it leaves no trace."""
        outcome = self.send(sender, function, *args)
        assert not outcome.ok
        assert not outcome.logs
        return outcome.error

    def publish(self, sender, namespace, name, version, parent=NONE, branch="main", **other) -> bytes:
        """Publish with made-up digests and return the release id."""
        return self.ok(
            sender, "publish", *publication(namespace, name, version, parent, branch, **other)
        ).output

    def check_state(self) -> None:
        """Every view says what the model says."""
        call, model = self.machine.call, self.model
        for namespace in model.owners:
            assert call("getNamespace", namespace) == {
                "owner": model.owners[namespace],
                "pendingOwner": model.offers.get(namespace, NOBODY),
            }
            for account in ACCOUNTS:
                assert call("roleOf", namespace, account.address) == model.role_of(namespace, account.address)
        assert call("modelCount") == len(model.models)
        for index, (model_id, entry) in enumerate(model.models.items()):
            assert call("modelAt", index) == model_id
            assert call("getModel", model_id) == {
                "name": entry.name,
                "branches": tuple(entry.branches),
                "channels": tuple(entry.channels),
            }
        for view, table in (("head", model.heads), ("versionOf", model.versions)):
            for (model_id, label), release in table.items():
                assert call(view, model_id, label) == release
        for (model_id, label), channel in model.channels.items():
            assert call("getChannel", model_id, label) == asdict(channel)
            assert call("channelOf", model_id, label) == channel.at(self.machine.block)
        for release, body in model.releases.items():
            assert call("getRelease", release) == body
            assert call("yankReason", release) == model.reasons.get(release, "")


def publication(namespace, name, version, parent=NONE, branch="main", root=None, manifest=None, code=0x1E):
    """Arguments for `publish`; labels may be texts or raw words."""
    namespace, version, branch = map(_label, (namespace, version, branch))
    root = abi.keccak256(b"root" + version) if root is None else root
    manifest = abi.keccak256(b"manifest" + version) if manifest is None else manifest
    return namespace, name, version, branch, parent, root, manifest, code


def _label(text: str | bytes) -> bytes:
    return abi.label(text) if isinstance(text, str) else text
