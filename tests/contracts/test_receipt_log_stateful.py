"""Random histories: the receipt log against its model, and the invariants of receipt-log.md, section 7."""

from copy import deepcopy
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.contracts.evm import ALICE, BOB, CAROL, DAVE, Evm
from tests.contracts.model import NOBODY
from tests.contracts.receipt_log_model import (
    ACTIVE,
    CHALLENGE_WINDOW,
    DAY,
    DEPOSIT,
    EXIT_DELAY,
    EXITING,
    OPEN,
    RESPONSE_TIME,
)
from tests.contracts.receipt_log_pair import (
    ACME,
    AUDITORS,
    ETHER,
    LogPair,
    opening_of,
    policy_of,
    receipt,
    sign,
    word,
)
from tests.contracts.receipt_log_types import Batch, Receipt, Verdict
from tests.contracts.test_stateful import QUIET
from tests.reference import receipt_log as reference
from tests.reference.contract import NONE

NODES = [BOB, CAROL]
SENDERS = st.sampled_from([ALICE, BOB, CAROL, DAVE])
VALUES = st.sampled_from([0, 1, ETHER, 9 * ETHER])
STEPS = st.sampled_from([1, 12, 3600, DAY, RESPONSE_TIME + 1])
SALT = word("salt")
# What may make a bond smaller, and whose.
TAKERS = {
    "exit",
    "slashEquivocation",
    "slashMisanchored",
    "slashTimeout",
    "slashPlaceTimeout",
    "slashByQuorum",
}


class Anchored(NamedTuple):
    receipt: Receipt
    batch: Batch
    proof: list[bytes]


class Histories(RuleBasedStateMachine):
    """Most calls come from one who may and say what is right; each argument goes wrong now and then."""

    def machine(self) -> Evm | None:
        return None

    @initialize()
    def begin(self):
        self.pair = LogPair(self.machine())
        registry = self.pair.registry
        registry.ok(ALICE, "claimNamespace", ACME)
        first = registry.publish(ALICE, "acme", "minilm", "1.0.0")
        other = registry.publish(ALICE, "acme", "magika", "1.0.0")
        self.releases = [first, first, first, other, word("unknown")]
        terms = [policy_of(), policy_of(minimumBond=6 * ETHER, deadline=13 * DAY, quorum=3)]
        make = [self.pair.ok(ALICE, "createPolicy", ACME, "minilm", policy) for policy in terms]
        self.policies = [outcome.output for outcome in make]
        self.anchored: list[Anchored] = []
        for node in NODES:
            self.pair.ok(node, "register", "https://node.example", value=10 * ETHER)
            self.pair.ok(node, "enrol", self.policies[0])
            self._anchor(node, 0, 0, 2, [first, first], NOBODY, 12)

    # Drawing

    def _mostly(self, data, right, wrong):
        """`right`, or one draw in eight of `wrong`."""
        return data.draw(wrong) if data.draw(st.integers(0, 7)) == 7 else right

    def _some(self, data) -> Anchored:
        return data.draw(st.sampled_from(self.anchored))

    def _signature(self, data, one: Receipt) -> bytes:
        owner = next(node for node in NODES if node.address == one.node)
        return sign(self._mostly(data, owner, SENDERS), one.digest())

    def _proof(self, data, found: Anchored) -> list[bytes]:
        return self._mostly(data, found.proof, st.just([NONE]))

    def _batch(self, data, found: Anchored) -> Batch:
        return self._mostly(data, found.batch, st.sampled_from([each.batch for each in self.anchored]))

    def _act(self, sender, function, *args, value=0, after=12):
        model = self.pair.model
        bonds = {account: node.bond for account, node in model.nodes.items()}
        kept = {name: deepcopy(getattr(model, name)) for name in ("batches", "policies", "recorded")}
        attached = deepcopy(model.attached)
        outcome = self.pair.send(sender, function, *args, value=value, after=after)
        for account, before in bonds.items():
            node = model.nodes[account]
            assert self.pair.call("getNode", account)["bond"] == node.bond
            if node.bond < before:
                assert outcome.ok
                assert function in TAKERS
                assert function != "exit" or account == sender.address
        for name, entries in kept.items():
            assert entries.items() <= getattr(model, name).items(), f"{name} were overwritten"
        for key, digests in attached.items():
            assert model.attached[key][: len(digests)] == digests
        waiting = sum(state == OPEN for *_, state in model.challenges.values())
        assert waiting == sum(node.openChallenges for node in model.nodes.values())
        return outcome

    # Nodes

    @rule(sender=SENDERS, value=VALUES, after=STEPS, endpoint=st.sampled_from(["https://n.example", ""]))
    def register(self, sender, value, after, endpoint):
        self._act(sender, "register", endpoint, value=value, after=after)

    @rule(sender=SENDERS, node=SENDERS, value=VALUES)
    def top_up(self, sender, node, value):
        self._act(sender, "topUp", node.address, value=value)

    @rule(sender=SENDERS, data=st.data())
    def exit_in_steps(self, sender, data):
        """Whatever comes next on the way out, sometimes too early."""
        node = self.pair.model.nodes[sender.address]
        right = {ACTIVE: "requestExit", EXITING: "exit"}.get(node.status, "withdraw")
        function = self._mostly(data, right, st.sampled_from(["requestExit", "cancelExit", "exit"]))
        wait = max(1, node.exitableAt - self.pair.machine.time) if function == "exit" else 12
        self._act(sender, function, after=self._mostly(data, wait, STEPS))

    @rule(sender=SENDERS)
    def withdraw(self, sender):
        self._act(sender, "withdraw")

    # Anchoring

    @rule(data=st.data(), node=st.sampled_from(NODES), count=st.integers(1, 3), after=STEPS)
    def anchor(self, data, node, count, after):
        state = self.pair.model.nodes[node.address]
        right = data.draw(st.sampled_from([(state.epoch, state.nextSeq), (state.epoch + 1, 0)]))
        wrong = [(0, 0), (state.epoch, state.nextSeq + 1), (state.epoch + 1, 1), (1 << 53, 0)]
        epoch, first = self._mostly(data, right, st.sampled_from(wrong))
        releases = [data.draw(st.sampled_from(self.releases)) for _ in range(count)]
        client = data.draw(st.sampled_from([NOBODY, ALICE.address]))
        self._anchor(node, epoch, first, count, releases, client, after)

    def _anchor(self, node, epoch, first, count, releases, client, after):
        made = [receipt(node, releases[i], epoch, first + i, client=client) for i in range(count)]
        digests = [one.digest() for one in made]
        index = self.pair.model.nodes[node.address].batches
        root = reference.batch_root(node.address, epoch, first, digests)
        if not self._act(node, "anchor", epoch, first, count, root, after=after).ok:
            return
        batch = Batch(index, epoch, first, count, root, self.pair.machine.block, self.pair.machine.time)
        for i, one in enumerate(made):
            self.anchored.append(Anchored(one, batch, reference.batch_proof(digests, i)))

    # Evidence

    @rule(data=st.data(), sender=SENDERS, guilty=st.integers(0, 3), announced=st.booleans())
    def contradict(self, data, sender, guilty, announced):
        """One contradiction in four is one: expelled nodes do little afterwards."""
        found = self._some(data)
        one = found.receipt
        twin = one._replace(outputCommit=word("other"))
        if announced:
            self._act(
                sender, "announce", reference.announcement(sender.address, twin.digest(), one.digest(), SALT)
            )
        if data.draw(st.booleans()):
            right, wrong = one, data.draw(st.sampled_from([twin, self._some(data).receipt]))
            args = (twin, self._signature(data, twin), right if guilty == 0 else wrong)
            self._act(sender, "slashEquivocation", *args, self._signature(data, args[2]), SALT)
        else:
            signed = twin if guilty == 0 else one
            args = (signed, self._signature(data, signed), self._batch(data, found), one.digest())
            self._act(sender, "slashMisanchored", *args, self._proof(data, found), SALT)

    # Challenges

    @rule(data=st.data(), after=STEPS)
    def challenge(self, data, after):
        found = self._some(data)
        one = found.receipt
        sender = self._mostly(data, data.draw(st.sampled_from([ALICE, DAVE])), SENDERS)
        policy = data.draw(st.sampled_from(self.policies))
        value = self._mostly(data, DEPOSIT, VALUES)
        args = (one, self._signature(data, one), self._batch(data, found), policy)
        self._act(sender, "challenge", *args, value=value, after=after)

    def _challenged(self, data) -> Anchored:
        challenges = self.pair.model.challenges
        waiting = [a for a in self.anchored if challenges.get(a.receipt.digest(), [0, 0, 0])[2] == OPEN]
        return data.draw(st.sampled_from(waiting or self.anchored))

    @rule(data=st.data(), sender=SENDERS, after=STEPS)
    def respond(self, data, sender, after):
        found = self._challenged(data)
        opening = self._mostly(data, opening_of(found.receipt.seq), st.just((NONE,) * 4))
        args = (found.receipt, opening, self._batch(data, found), self._proof(data, found))
        self._act(sender, "respond", *args, after=after)

    @rule(data=st.data(), sender=SENDERS, after=STEPS)
    def slash_timeout(self, data, sender, after):
        self._act(sender, "slashTimeout", self._challenged(data).receipt, after=after)

    @rule(data=st.data(), sender=SENDERS, after=STEPS)
    def challenge_place(self, data, sender, after):
        found = self._some(data)
        seq = self._mostly(data, found.receipt.seq, st.integers(0, 3))
        args = (found.receipt.node, self._batch(data, found), seq)
        self._act(sender, "challengePlace", *args, value=self._mostly(data, DEPOSIT, VALUES), after=after)

    def _owed(self, data) -> Anchored:
        challenges = self.pair.model.challenges
        places = {
            id(a): reference.place_id(a.receipt.node, a.batch.index, a.receipt.seq) for a in self.anchored
        }
        waiting = [a for a in self.anchored if challenges.get(places[id(a)], [0, 0, 0])[2] == OPEN]
        return data.draw(st.sampled_from(waiting or self.anchored))

    @rule(data=st.data(), sender=SENDERS, after=STEPS)
    def respond_place(self, data, sender, after):
        found = self._owed(data)
        one = self._mostly(data, found.receipt, st.sampled_from([each.receipt for each in self.anchored]))
        args = (one, self._signature(data, one), self._batch(data, found), self._proof(data, found))
        self._act(sender, "respondPlace", *args, after=after)

    @rule(data=st.data(), sender=SENDERS, after=STEPS)
    def slash_place_timeout(self, data, sender, after):
        found = self._owed(data)
        args = (found.receipt.node, found.batch.index, found.receipt.seq)
        self._act(sender, "slashPlaceTimeout", *args, after=after)

    # Attachments

    @rule(data=st.data(), sender=SENDERS, digest=st.sampled_from([word("a"), word("b"), NONE]))
    def attach(self, data, sender, digest):
        self._act(sender, "attach", data.draw(st.sampled_from(self.releases)), digest)

    # Policies

    @rule(data=st.data(), node=st.sampled_from(NODES), function=st.sampled_from(["enrol", "enrol", "resign"]))
    def enrol_or_resign(self, data, node, function):
        policy = self._mostly(data, data.draw(st.sampled_from(self.policies)), st.just(NONE))
        self._act(node, function, policy)

    @rule(data=st.data(), outcome=st.sampled_from([2, 2, 5, 1]), after=STEPS)
    def judge(self, data, outcome, after):
        found = self._some(data)
        policy = self._mostly(data, self.policies[0], st.just(self.policies[1]))
        digest = found.receipt.digest()
        verdict = Verdict(policy, digest, found.receipt.node, outcome, word("report"), 1)
        judges = data.draw(
            st.sampled_from([AUDITORS, AUDITORS[:2], AUDITORS[1:], AUDITORS[:1], AUDITORS[::-1]])
        )
        votes = [(word("report"), 1, sign(judge, verdict.digest())) for judge in judges]
        if data.draw(st.booleans()):
            self._act(ALICE, "recordVerdict", verdict, votes[0][2])
        args = (policy, outcome, found.receipt, self._batch(data, found), self._proof(data, found), votes)
        self._act(ALICE, "slashByQuorum", *args, after=after)

    def teardown(self):
        self.pair.check_state()


def test_random_histories():
    run_state_machine_as_test(Histories, settings=settings(max_examples=6, stateful_step_count=25, **QUIET))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_many_long_random_histories():
    run_state_machine_as_test(Histories, settings=settings(max_examples=60, stateful_step_count=60, **QUIET))


def test_the_delays_leave_no_gap():
    """Every deadline ends before a bond is free, even when each is used to its last second."""
    assert CHALLENGE_WINDOW + RESPONSE_TIME < 13 * DAY < EXIT_DELAY
