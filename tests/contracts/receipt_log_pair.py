"""ReceiptLog and its model side by side, and the story that most tests begin with."""

from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache

from tests.contracts import abi
from tests.contracts.abi import RECEIPT_LOG, keccak256, label
from tests.contracts.evm import ACCOUNTS, ALICE, BOB, CAROL, DAVE, Account, Evm, Outcome
from tests.contracts.model import RefusedError
from tests.contracts.pair import Pair, snake
from tests.contracts.receipt_log_model import ReceiptLog
from tests.contracts.receipt_log_types import Batch, Policy, Receipt, Verdict
from tests.reference import receipt_log as reference
from tests.reference.contract import NONE, model_id

ETHER = 10**18
NODE, CLIENT, WATCHER = BOB, CAROL, DAVE
ACME, MINILM = label("acme"), model_id(label("acme"), "minilm")
# Three auditors; Dave is one of them, so that an auditor can send transactions.
AUDITORS = sorted([DAVE, Account.named("erin"), Account.named("frank")], key=lambda a: a.address)


def deploy(machine: Evm) -> Evm:
    outcome = machine.send_raw(ALICE, abi.DEPLOYER, bytes(32) + RECEIPT_LOG.init_code)
    assert outcome.ok, outcome
    return machine


@cache
def _deployed() -> Evm:
    return deploy(Evm.fresh())


def sign(account: Account, digest: bytes) -> bytes:
    made = account.key.sign_msg_hash(digest).to_bytes()
    return made[:64] + bytes([made[64] + 27])


def word(text: str) -> bytes:
    return keccak256(text.encode())


def opening_of(seq: int) -> tuple[bytes, ...]:
    return tuple(word(f"{part} {seq}") for part in ("input salt", "input", "output salt", "output"))


def receipt(node: Account, release: bytes, epoch: int, seq: int, **changes) -> Receipt:
    opening = opening_of(seq)
    fields = {
        "schema": 1,
        "node": node.address,
        "releaseId": release,
        "planId": word("plan"),
        "requestId": word(f"request {seq}"),
        "client": CLIENT.address,
        "inputCommit": reference.commit(7, *opening[:2]),
        "outputCommit": reference.commit(8, *opening[2:]),
        "traceRoot": word(f"trace {seq}"),
        "runtimeFingerprint": word("runtime"),
        "epoch": epoch,
        "seq": seq,
        "issuedAt": 1_700_000_000 + seq,
        "prevReceipt": NONE,
    }
    return Receipt(**fields | changes)


class LogPair:
    """Every call goes to both and must do the same; ether that the contract holds is the model's."""

    def __init__(self, machine: Evm | None = None) -> None:
        self.machine = deploy(machine) if machine else _deployed().copy()
        self.registry = Pair(self.machine)
        self.model = ReceiptLog(self.registry.model)

    def copy(self) -> "LogPair":
        twin = LogPair.__new__(LogPair)
        twin.machine, twin.registry = self.machine.copy(), Pair(self.machine)
        twin.model = deepcopy(self.model)
        twin.registry.machine, twin.registry.model = twin.machine, twin.model.registry
        return twin

    def send(self, sender: Account, function: str, *args, value: int = 0, after: int = 12) -> Outcome:
        """One transaction; asserts that result, error, events and ether are the model's."""
        model = self.model
        model.now, model.block, model.value = self.machine.time + after, self.machine.block + 1, value
        model.events.clear()
        result = expected_error = None
        try:
            result = getattr(model, snake(function))(sender.address, *args)
        except RefusedError as refusal:
            expected_error = refusal.args
        data = RECEIPT_LOG.encode_call(function, *args)
        outcome = self.machine.send_raw(sender, RECEIPT_LOG.address, data, after, value)
        assert outcome.error == expected_error
        assert outcome.events == (model.events if outcome.ok else [])
        if outcome.ok:
            assert outcome.output == (b"" if result is None else _as_word(result))
        assert self.machine.balance(RECEIPT_LOG.address) == model.held()
        return outcome

    def ok(self, sender: Account, function: str, *args, value: int = 0, after: int = 12) -> Outcome:
        outcome = self.send(sender, function, *args, value=value, after=after)
        assert outcome.ok, outcome.error
        return outcome

    def refused(self, sender: Account, function: str, *args, value: int = 0, after: int = 12) -> tuple:
        """The (name, arguments...) that the call reverts with; it leaves no trace."""
        outcome = self.send(sender, function, *args, value=value, after=after)
        assert not outcome.ok
        assert not outcome.logs
        return outcome.error

    def call(self, function: str, *args):
        return self.machine.call(function, *args, contract=RECEIPT_LOG)

    def wait(self, until: int) -> int:
        """The `after` with which the next block has this time."""
        return until - self.machine.time

    def bond(self, node: Account = NODE) -> int:
        return self.call("getNode", node.address)["bond"]

    def check_state(self) -> None:
        """Every view says what the model says."""
        model, call = self.model, self.call
        assert call("nodeCount") == len(model.node_list)
        assert [call("nodeAt", i) for i in range(len(model.node_list))] == model.node_list
        for account in ACCOUNTS:
            assert call("getNode", account.address) == vars(model.nodes[account.address])
            assert call("balanceOf", account.address) == model.balances[account.address]
        assert call("burned") == model.burned
        for (node, index), digest in model.batches.items():
            assert call("batchHash", node, index) == digest
        for digest, (challenger, deadline, state) in model.challenges.items():
            found = call("getChallenge", digest)
            assert found == {"challenger": challenger, "deadline": deadline, "state": state}
        self._check_policies()

    def _check_policies(self) -> None:
        model, call = self.model, self.call
        for index, (policy_id, policy) in enumerate(model.policies.items()):
            assert call("getPolicy", policy_id) == policy._asdict()
            assert call("policyAt", policy.model, index) == policy_id
            assert call("policyCount", policy.model) == len(model.policies)
        for key, (since, until) in model.enrolments.items():
            assert call("getEnrolment", *key) == {"since": since, "until": until}
        for key, amount in model.charged.items():
            assert call("chargedFor", *key) == amount
        for key, time in model.recorded.items():
            assert call("recordedAt", *key) == time
        for commitment, block in model.announced.items():
            assert call("announcedIn", commitment) == block
        for key, digests in model.attached.items():
            assert list(call("attachments", *key)) == digests


def _as_word(result) -> bytes:
    return result if isinstance(result, bytes) else result.to_bytes(32, "big")


@dataclass
class Story:
    """Alice publishes, Bob is a node under a policy with three auditors, Carol is his client."""

    pair: LogPair
    release: bytes
    policy: bytes
    receipts: list[Receipt] = field(default_factory=list)
    batch: Batch | None = None

    @classmethod
    def told(cls, pair: LogPair, receipts: int = 5) -> "Story":
        pair.registry.ok(ALICE, "claimNamespace", ACME)
        release = pair.registry.publish(ALICE, "acme", "minilm", "1.0.0")
        policy = pair.ok(ALICE, "createPolicy", ACME, "minilm", policy_of()).output
        pair.ok(NODE, "register", "https://node.example", value=10 * ETHER)
        pair.ok(NODE, "enrol", policy)
        story = cls(pair, release, policy)
        if receipts:
            story.receipts = [receipt(NODE, release, 0, seq) for seq in range(receipts)]
            story.batch = story.anchor(story.receipts)
        return story

    def copy(self) -> "Story":
        return replace(self, pair=self.pair.copy(), receipts=list(self.receipts))

    def anchor(self, receipts: list[Receipt], node: Account = NODE, after: int = 12) -> Batch:
        first = receipts[0]
        digests = [each.digest() for each in receipts]
        return self.anchor_digests(first.epoch, first.seq, digests, node, after)

    def anchor_digests(self, epoch, first, digests, node: Account = NODE, after: int = 12) -> Batch:
        index = self.pair.model.nodes[node.address].batches
        root = reference.batch_root(node.address, epoch, first, digests)
        self.pair.ok(node, "anchor", epoch, first, len(digests), root, after=after)
        place = self.pair.machine.block, self.pair.machine.time
        return Batch(index, epoch, first, len(digests), root, *place)

    def proof(self, seq: int) -> list[bytes]:
        """Of a receipt in the story's batch."""
        digests = [each.digest() for each in self.receipts]
        return reference.batch_proof(digests, seq - self.batch.first)

    def signed(self, seq: int) -> tuple[Receipt, bytes]:
        return self.receipts[seq], sign(NODE, self.receipts[seq].digest())

    def vote(self, auditor: Account, seq: int = 0, outcome: int = 2, **changes) -> tuple:
        verdict = self.verdict(seq, outcome)._replace(**changes)
        return verdict.report, verdict.issuedAt, sign(auditor, verdict.digest())

    def verdict(self, seq: int = 0, outcome: int = 2) -> Verdict:
        digest = self.receipts[seq].digest()
        return Verdict(self.policy, digest, NODE.address, outcome, word("report"), 1_700_001_000)

    def judgement(self, votes, seq: int = 0, outcome: int = 2) -> tuple:
        """Arguments for `slashByQuorum`."""
        return self.policy, outcome, self.receipts[seq], self.batch, self.proof(seq), votes

    def challenge(self, seq: int = 0, by: Account = CLIENT, policy: bytes = NONE) -> tuple:
        """(sender, function, arguments...) of a challenge."""
        return by, "challenge", *self.signed(seq), self.batch, policy

    def place_challenge(self, seq: int = 0, by: Account = WATCHER) -> tuple:
        """(sender, function, arguments...) of a challenge of a place in the story's batch."""
        return by, "challengePlace", NODE.address, self.batch, seq

    def place_response(self, seq: int = 0) -> tuple:
        return *self.signed(seq), self.batch, self.proof(seq)

    def response(self, seq: int = 0) -> tuple:
        return self.receipts[seq], opening_of(seq), self.batch, self.proof(seq)


@cache
def _told() -> Story:
    return Story.told(LogPair())


def story_told() -> Story:
    """The story on a machine of its own, without telling it again."""
    return _told().copy()


def policy_of(**changes) -> Policy:
    fields = {
        "model": MINILM,
        "terms": word("terms"),
        "penalty": 4 * ETHER,
        "withheldPenalty": 6 * ETHER,
        "minimumBond": 8 * ETHER,
        "deadline": 10 * 86_400,
        "quorum": 2,
        "auditors": tuple(auditor.address for auditor in AUDITORS),
    }
    return Policy(**fields | changes)
