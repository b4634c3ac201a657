"""Random histories: the contract against its model, every refusal and every state."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.contracts.abi import label
from tests.contracts.evm import ACCOUNTS, ALICE, BOB, CAROL, Evm
from tests.contracts.model import NOBODY, Channel
from tests.contracts.pair import Pair
from tests.reference.contract import NONE, model_id

BAD = label("Bad!")
SENDERS = st.sampled_from(ACCOUNTS)
TARGETS = st.sampled_from([account.address for account in ACCOUNTS] + [NOBODY])
OWNED = st.sampled_from([label("acme"), label("beta")])
NAMESPACES = st.sampled_from([label("acme"), label("beta"), label("gamma"), BAD])
NAMES = st.sampled_from(["minilm", "magika"])
VERSIONS = st.sampled_from([label(f"1.{minor}.0-{rc}") for minor in range(3) for rc in range(4)])
BRANCHES = st.sampled_from([label("main"), label("next")])
CHANNELS = st.sampled_from([label("stable"), label("beta"), label("1.0.0"), BAD])
DIGESTS = st.binary(min_size=32, max_size=32)
ROLES = st.one_of(st.integers(0, 15), st.sampled_from([16, 31, 1 << 200]))
REASONS = st.sampled_from(["broken", "x" * 256, "x" * 257, ""])
# Of a move's activation over the newest block; the next block is one ahead, and too early.
AHEAD = st.sampled_from([0, 0, 1, 2, 3, 8, 2**63])
STEPS = st.sampled_from([1, 12, 3600])
UNKNOWN = b"\x77" * 32


class Histories(RuleBasedStateMachine):
    """Most calls come from one who may and say what is right; each argument goes wrong now and then."""

    def machine(self) -> Evm:
        return Evm.fresh()

    @initialize()
    def begin(self):
        self.pair = Pair(self.machine())
        for account, namespace in ((ALICE, "acme"), (BOB, "beta")):
            self.pair.ok(account, "claimNamespace", label(namespace))
            self.pair.publish(account, namespace, "minilm", "1.0.0")
        self.pair.publish(ALICE, "acme", "magika", "1.0.0", self._releases()[1])

    def _releases(self) -> list[bytes]:
        return list(self.pair.model.releases)

    def _owner(self, namespace: bytes):
        address = self.pair.model.owners.get(namespace)
        return next((account for account in ACCOUNTS if account.address == address), CAROL)

    def _mostly(self, data, right, wrong):
        """`right`, or one draw in eight of `wrong`."""
        return data.draw(wrong) if data.draw(st.integers(0, 7)) == 7 else right

    def _some_release(self, data) -> bytes:
        return self._mostly(
            data, data.draw(st.sampled_from(self._releases())), st.sampled_from([NONE, UNKNOWN])
        )

    def _some_model(self, data) -> bytes:
        return self._mostly(data, data.draw(st.sampled_from(list(self.pair.model.models))), st.just(UNKNOWN))

    def _namespace_of(self, model: bytes) -> bytes:
        entry = self.pair.model.models.get(model)
        return entry.namespace if entry else UNKNOWN

    @rule(sender=SENDERS, namespace=NAMESPACES)
    def claim(self, sender, namespace):
        self.pair.send(sender, "claimNamespace", namespace)

    @rule(data=st.data(), namespace=NAMESPACES, to=TARGETS)
    def offer(self, data, namespace, to):
        sender = self._mostly(data, self._owner(namespace), SENDERS)
        self.pair.send(sender, "transferNamespace", namespace, to)

    @rule(sender=SENDERS, namespace=NAMESPACES)
    def accept(self, sender, namespace):
        self.pair.send(sender, "acceptNamespace", namespace)

    @rule(data=st.data(), namespace=NAMESPACES, account=TARGETS, roles=ROLES)
    def grant(self, data, namespace, account, roles):
        sender = self._mostly(data, self._owner(namespace), SENDERS)
        self.pair.send(sender, "setRoles", namespace, account, roles)

    @rule(data=st.data(), namespace=OWNED, name=NAMES, version=VERSIONS, branch=BRANCHES, after=STEPS)
    def publish(self, data, namespace, name, version, branch, after):
        namespace = self._mostly(data, namespace, NAMESPACES)
        sender = self._mostly(data, self._owner(namespace), SENDERS)
        name = self._mostly(data, name, st.just("a..b"))
        head = self.pair.model.heads.get((model_id(namespace, name), branch))
        parent = head or self._some_release(data)
        parent = self._mostly(data, parent, st.sampled_from([NONE, UNKNOWN, *self._releases()]))
        digests = [self._mostly(data, data.draw(DIGESTS), st.just(NONE)) for _ in range(2)]
        code = self._mostly(data, 0x1E, st.sampled_from([0x12, 0, 255]))
        version = self._mostly(data, version, st.just(BAD))
        branch = self._mostly(data, branch, st.just(BAD))
        self.pair.send(
            sender, "publish", namespace, name, version, branch, parent, *digests, code, after=after
        )

    @rule(data=st.data(), reason=REASONS)
    def yank(self, data, reason):
        release = self._some_release(data)
        body = self.pair.model.releases.get(release, {"model": UNKNOWN})
        sender = self._mostly(data, self._owner(self._namespace_of(body["model"])), SENDERS)
        self.pair.send(sender, "yank", release, reason)

    @rule(data=st.data(), channel=CHANNELS, ahead=AHEAD)
    def set_channel(self, data, channel, ahead):
        model = self._some_model(data)
        own = [release for release, body in self.pair.model.releases.items() if body["model"] == model]
        release = self._mostly(
            data, data.draw(st.sampled_from(own or [UNKNOWN])), st.sampled_from(self._releases())
        )
        release = self._mostly(data, release, st.just(UNKNOWN))
        known = self.pair.model.channels.get((model, channel), Channel())
        target = known.next if known.activation else known.current
        expected = self._mostly(data, target, st.sampled_from([NONE, UNKNOWN, *self._releases()]))
        sender = self._mostly(data, self._owner(self._namespace_of(model)), SENDERS)
        activation = self.pair.machine.block + ahead if ahead else 0
        self.pair.send(sender, "setChannel", model, channel, release, expected, activation)

    def teardown(self):
        self.pair.check_state()


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def test_random_histories():
    run_state_machine_as_test(Histories, settings=settings(max_examples=10, stateful_step_count=25, **QUIET))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_long_random_histories():
    run_state_machine_as_test(Histories, settings=settings(max_examples=200, stateful_step_count=80, **QUIET))
