"""What ReceiptLog must do, in plain Python: docs/spec/receipt-log.md, sections 2 to 6."""
# ruff: noqa: N815, ARG002 (fields have the ABI's names; a method has the sender whether it matters or not)

from collections import defaultdict
from dataclasses import dataclass, field

from tests.contracts.model import ADMIN, NOBODY, Registry, refuse_if
from tests.contracts.receipt_log_types import Batch, Policy, Verdict, signer
from tests.reference import receipt_log as reference
from tests.reference.contract import NONE, model_id

DAY = 86_400
EXIT_DELAY, CHALLENGE_WINDOW, RESPONSE_TIME, MAX_DEADLINE = 14 * DAY, 7 * DAY, 3 * DAY, 13 * DAY
DEPOSIT = 10**16
UNKNOWN, ACTIVE, EXITING, EXITED, EXPELLED = range(5)
NO_CHALLENGE, OPEN, ANSWERED, MISSED = range(4)
PASS, FAIL, INCONCLUSIVE, UNDECIDABLE, WITHHELD = range(1, 6)


@dataclass
class Node:
    epoch: int = 0
    nextSeq: int = 0
    batches: int = 0
    registeredAt: int = 0
    exitableAt: int = 0
    status: int = UNKNOWN
    bond: int = 0
    openChallenges: int = 0
    endpoint: str = ""


@dataclass
class ReceiptLog:
    """The state; each method does what the contract's function of that name does, or raises RefusedError."""

    registry: Registry
    nodes: dict[str, Node] = field(default_factory=lambda: defaultdict(Node))
    node_list: list[str] = field(default_factory=list)
    batches: dict[tuple[str, int], bytes] = field(default_factory=dict)
    challenges: dict[bytes, list] = field(default_factory=dict)
    policies: dict[bytes, Policy] = field(default_factory=dict)
    enrolments: dict[tuple[str, bytes], tuple[int, int]] = field(default_factory=dict)
    charged: dict[tuple[bytes, bytes], int] = field(default_factory=dict)
    recorded: dict[tuple[bytes, str], int] = field(default_factory=dict)
    announced: dict[bytes, int] = field(default_factory=dict)
    attached: dict[tuple[bytes, str], list[bytes]] = field(default_factory=lambda: defaultdict(list))
    balances: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    burned: int = 0
    paid_out: int = 0
    events: list[tuple[str, dict]] = field(default_factory=list)
    now: int = 0
    block: int = 0
    value: int = 0

    def _emit(self, name, /, **values):
        self.events.append((name, values))

    def held(self) -> int:
        """What the contract must hold, in wei."""
        deposits = sum(DEPOSIT for _, _, state in self.challenges.values() if state == OPEN)
        bonds = sum(node.bond for node in self.nodes.values())
        return bonds + sum(self.balances.values()) + deposits + self.burned

    # Nodes

    def _require_status(self, account, needed):
        actual = self.nodes[account].status
        refuse_if(actual != needed, "WrongStatus", account, actual)

    def register(self, sender, endpoint):
        node = self.nodes[sender]
        refuse_if(node.status == EXPELLED, "WrongStatus", sender, EXPELLED)
        size = len(endpoint.encode())
        refuse_if(not 1 <= size <= 256, "BadEndpoint", size)
        if sender not in self.node_list:
            self.node_list.append(sender)
        if node.status in (UNKNOWN, EXITED):
            node.status, node.registeredAt = ACTIVE, self.now
        node.endpoint = endpoint
        self._emit("Registered", node=sender, endpoint=endpoint)
        if self.value:
            self._add_to_bond(sender, sender)

    def top_up(self, sender, account):
        status = self.nodes[account].status
        refuse_if(status not in (ACTIVE, EXITING), "WrongStatus", account, status)
        self._add_to_bond(account, sender)

    def _add_to_bond(self, account, by):
        self.nodes[account].bond += self.value
        self._emit("BondAdded", node=account, amount=self.value, by=by)

    def request_exit(self, sender):
        self._require_status(sender, ACTIVE)
        node = self.nodes[sender]
        node.status, node.exitableAt = EXITING, self.now + EXIT_DELAY
        self._emit("ExitRequested", node=sender, exitableAt=node.exitableAt)

    def cancel_exit(self, sender):
        self._require_status(sender, EXITING)
        self.nodes[sender].status, self.nodes[sender].exitableAt = ACTIVE, 0
        self._emit("ExitCancelled", node=sender)

    def exit(self, sender):
        self._require_status(sender, EXITING)
        node = self.nodes[sender]
        refuse_if(self.now < node.exitableAt, "TooEarly", node.exitableAt)
        refuse_if(node.openChallenges, "ChallengesOpen", node.openChallenges)
        bond = node.bond
        node.status, node.exitableAt, node.bond = EXITED, 0, 0
        self.balances[sender] += bond
        self._emit("Exited", node=sender, bond=bond)

    def withdraw(self, sender):
        amount = self.balances[sender]
        refuse_if(amount == 0, "NothingToWithdraw")
        self.balances[sender] = 0
        self.paid_out += amount
        self._emit("Withdrawn", account=sender, amount=amount)

    def _slash(self, account, amount, reporter):
        node = self.nodes[account]
        taken = min(amount, node.bond)
        share = taken // 10 if reporter != NOBODY else 0
        node.bond -= taken
        self.balances[reporter] += share
        self.burned += taken - share
        self._emit("Slashed", node=account, amount=taken, reporter=reporter, share=share)

    def _expel(self, account, reporter):
        node = self.nodes[account]
        refuse_if(node.status == EXPELLED, "WrongStatus", account, EXPELLED)
        node.status, node.exitableAt = EXPELLED, 0
        self._slash(account, node.bond, reporter)

    # Anchoring

    def anchor(self, sender, epoch, first, count, root):
        self._require_status(sender, ACTIVE)
        refuse_if(not 1 <= count <= 1 << 20, "BadCount", count)
        refuse_if(epoch >= 1 << 53 or first + count > 1 << 53, "NumberTooLarge")
        refuse_if(root == NONE, "ZeroRoot")
        node = self.nodes[sender]
        allowed = (epoch, first) == (node.epoch, node.nextSeq) or (epoch > node.epoch and first == 0)
        refuse_if(not allowed, "OutOfSequence", node.epoch, node.nextSeq)
        index = node.batches
        node.epoch, node.nextSeq, node.batches = epoch, first + count, index + 1
        batch = Batch(index, epoch, first, count, root, self.block, self.now)
        self.batches[sender, index] = reference.batch_hash(batch)
        self._emit("Anchored", node=sender, epoch=epoch, index=index, first=first, count=count, root=root)
        return index

    def proves_receipt(self, node, batch, digest, seq, proof):
        if self.batches.get((node, batch.index)) != reference.batch_hash(batch):
            return False
        place = node, batch.epoch, batch.first, batch.count
        return reference.climbs_to(batch.root, *place, digest, seq, proof)

    # Checks

    def _require_signer(self, digest, signature):
        account = signer(digest, signature)
        refuse_if(account is None, "BadSignature")
        return account

    def _require_signed(self, receipt, signature):
        refuse_if(receipt.schema != 1, "BadSchema", receipt.schema)
        account = self._require_signer(receipt.digest(), signature)
        refuse_if(account != receipt.node, "WrongSigner", receipt.node, account)

    def _require_holds(self, node, batch, epoch, seq):
        known = self.batches.get((node, batch.index)) == reference.batch_hash(batch)
        refuse_if(not known, "UnknownBatch", node, batch.index)
        inside = batch.epoch == epoch and batch.first <= seq < batch.first + batch.count
        refuse_if(not inside, "OutsideBatch", epoch, seq)

    def _require_included(self, receipt, batch, digest, proof):
        self._require_holds(receipt.node, batch, receipt.epoch, receipt.seq)
        proved = self.proves_receipt(receipt.node, batch, digest, receipt.seq, proof)
        refuse_if(not proved, "BadProof")

    def _require_until(self, end):
        refuse_if(self.now > end, "TooLate", end)

    # Evidence

    def announce(self, sender, commitment):
        self.announced.setdefault(commitment, self.block)
        self._emit("Announced", commitment=commitment)

    def _reporter(self, sender, a, b, salt):
        block = self.announced.get(reference.announcement(sender, a, b, salt), self.block)
        return sender if block < self.block else NOBODY

    def slash_equivocation(self, sender, a, signature_a, b, signature_b, salt):
        self._require_signed(a, signature_a)
        self._require_signed(b, signature_b)
        same_place = (a.node, a.epoch, a.seq) == (b.node, b.epoch, b.seq)
        refuse_if(not same_place or a == b, "NoContradiction")
        ids = a.digest(), b.digest()
        self._emit("Equivocated", node=a.node, epoch=a.epoch, seq=a.seq, a=ids[0], b=ids[1])
        self._expel(a.node, self._reporter(sender, *ids, salt))

    def slash_misanchored(self, sender, receipt, signature, batch, anchored, proof, salt):
        self._require_signed(receipt, signature)
        signed = receipt.digest()
        refuse_if(signed == anchored, "NoContradiction")
        self._require_included(receipt, batch, anchored, proof)
        place = {"node": receipt.node, "epoch": receipt.epoch, "seq": receipt.seq}
        self._emit("Misanchored", **place, signed=signed, anchored=anchored)
        self._expel(receipt.node, self._reporter(sender, signed, anchored, salt))

    # Challenges

    def challenge(self, sender, receipt, signature, batch, policy):
        refuse_if(self.value != DEPOSIT, "WrongDeposit", self.value, DEPOSIT)
        self._require_signed(receipt, signature)
        self._require_holds(receipt.node, batch, receipt.epoch, receipt.seq)
        self._require_until(batch.anchoredAt + CHALLENGE_WINDOW)
        if receipt.client not in (NOBODY, sender):
            auditors = self._require_jurisdiction(policy, receipt, batch).auditors
            refuse_if(sender not in auditors, "NotAuditor", sender)
        digest = receipt.digest()
        deadline = self._open(sender, receipt.node, digest)
        self._emit("Challenged", node=receipt.node, receipt=digest, challenger=sender, deadline=deadline)
        return digest

    def _open(self, sender, node, key):
        refuse_if(key in self.challenges, "AlreadyChallenged", key)
        self.challenges[key] = [sender, self.now + RESPONSE_TIME, OPEN]
        self.nodes[node].openChallenges += 1
        return self.now + RESPONSE_TIME

    def _open_challenge(self, key):
        found = self.challenges.get(key, [NOBODY, 0, NO_CHALLENGE])
        refuse_if(found[2] != OPEN, "NoOpenChallenge", key)
        return found

    def respond(self, sender, receipt, opening, batch, proof):
        found = self._open_challenge(receipt.digest())
        self._require_until(found[1])
        self._require_included(receipt, batch, receipt.digest(), proof)
        opened = reference.commit(7, *opening[:2]), reference.commit(8, *opening[2:])
        refuse_if(opened != (receipt.inputCommit, receipt.outputCommit), "BadOpening")
        self._close(found, receipt.node, ANSWERED, receipt.node)
        names = "inputSalt", "inputValues", "outputSalt", "outputValues"
        values = dict(zip(names, opening, strict=True))
        self._emit("Answered", node=receipt.node, receipt=receipt.digest(), opening=values)

    def slash_timeout(self, sender, receipt):
        digest = receipt.digest()
        self._miss(digest, receipt.node, "Missed", receipt=digest)

    def challenge_place(self, sender, node, batch, seq):
        refuse_if(self.value != DEPOSIT, "WrongDeposit", self.value, DEPOSIT)
        self._require_holds(node, batch, batch.epoch, seq)
        self._require_until(batch.anchoredAt + CHALLENGE_WINDOW)
        place = reference.place_id(node, batch.index, seq)
        deadline = self._open(sender, node, place)
        said = {"index": batch.index, "seq": seq, "challenger": sender, "deadline": deadline}
        self._emit("PlaceChallenged", node=node, **said)
        return place

    def respond_place(self, sender, receipt, signature, batch, proof):
        found = self._open_challenge(reference.place_id(receipt.node, batch.index, receipt.seq))
        self._require_until(found[1])
        self._require_signed(receipt, signature)
        self._require_included(receipt, batch, receipt.digest(), proof)
        refuse_if(receipt.issuedAt >= 1 << 53, "NumberTooLarge")
        self._close(found, receipt.node, ANSWERED, receipt.node)
        said = {"receipt": receipt._asdict(), "signature": signature}
        self._emit("PlaceAnswered", node=receipt.node, id=receipt.digest(), **said)

    def slash_place_timeout(self, sender, node, index, seq):
        self._miss(reference.place_id(node, index, seq), node, "PlaceMissed", index=index, seq=seq)

    def _miss(self, key, node, event, **said):
        found = self._open_challenge(key)
        refuse_if(self.now <= found[1], "TooEarly", found[1] + 1)
        self._close(found, node, MISSED, found[0])
        self._emit(event, node=node, **said)
        self._slash(node, self.nodes[node].bond, found[0])

    def _close(self, found, node, state, winner):
        found[2] = state
        self.nodes[node].openChallenges -= 1
        self.balances[winner] += DEPOSIT

    # Attachments

    def attach(self, sender, release, digest):
        refuse_if(release not in self.registry.releases, "UnknownRelease", release)
        refuse_if(digest == NONE, "ZeroDigest")
        self.attached[release, sender].append(digest)
        self._emit("Attached", release=release, account=sender, digest=digest)

    # Policies and verdicts

    def create_policy(self, sender, namespace, name, policy):
        refuse_if(not self.registry.role_of(namespace, sender) & ADMIN, "NotPermitted", sender, ADMIN)
        model = model_id(namespace, name)
        refuse_if(policy.model != model, "WrongModel", model, policy.model)
        size = len(policy.auditors)
        ascending = sorted(set(policy.auditors)) == list(policy.auditors) and NOBODY not in policy.auditors
        refuse_if(size > 32 or not ascending, "BadAuditors")
        majority = 2 <= policy.quorum <= size < 2 * policy.quorum
        refuse_if(not majority, "BadQuorum", policy.quorum, size)
        refuse_if(not 0 < policy.deadline <= MAX_DEADLINE, "BadDeadline", policy.deadline)
        for penalty in (policy.penalty, policy.withheldPenalty):
            refuse_if(not 0 < penalty <= policy.minimumBond, "BadPenalty")
        name_of = reference.policy_id(policy)
        refuse_if(name_of in self.policies, "PolicyExists", name_of)
        self.policies[name_of] = policy
        self._emit("PolicyCreated", policy=name_of, model=model, by=sender)
        return name_of

    def _policy(self, name):
        refuse_if(name not in self.policies, "UnknownPolicy", name)
        return self.policies[name]

    def enrol(self, sender, policy):
        self._require_status(sender, ACTIVE)
        needed, bond = self._policy(policy).minimumBond, self.nodes[sender].bond
        refuse_if(bond < needed, "BondTooLow", bond, needed)
        since, until = self.enrolments.get((sender, policy), (self.now, 1))
        refuse_if(until == 0, "AlreadyEnrolled", policy)
        self.enrolments[sender, policy] = since, 0
        self._emit("Enrolled", node=sender, policy=policy)

    def resign(self, sender, policy):
        since, until = self.enrolments.get((sender, policy), (0, 0))
        refuse_if(since == 0 or until, "NotEnrolled", sender, policy)
        self.enrolments[sender, policy] = since, self.now + EXIT_DELAY
        self._emit("Resigned", node=sender, policy=policy, until=self.now + EXIT_DELAY)

    def _require_jurisdiction(self, name, receipt, batch):
        policy = self._policy(name)
        since, until = self.enrolments.get((receipt.node, name), (1 << 60, 0))
        enrolled = since <= batch.anchoredAt and (until == 0 or batch.anchoredAt < until)
        refuse_if(not enrolled, "NotEnrolled", receipt.node, name)
        release = self.registry.releases.get(receipt.releaseId)
        refuse_if(release is None, "UnknownRelease", receipt.releaseId)
        refuse_if(release["model"] != policy.model, "ForeignRelease", receipt.releaseId, release["model"])
        return policy

    def record_verdict(self, sender, verdict, signature):
        refuse_if(not PASS <= verdict.outcome <= WITHHELD, "BadOutcome", verdict.outcome)
        policy = self._policy(verdict.policyId)
        auditor = self._require_signer(verdict.digest(), signature)
        refuse_if(auditor not in policy.auditors, "NotAuditor", auditor)
        key = verdict.digest(), auditor
        refuse_if(key in self.recorded, "AlreadyRecorded", auditor)
        self.recorded[key] = self.now
        said = verdict._asdict()
        self._emit("VerdictRecorded", policy=said.pop("policyId"), auditor=auditor, **said)

    def slash_by_quorum(self, sender, name, outcome, receipt, batch, proof, votes):
        refuse_if(outcome not in (FAIL, WITHHELD), "BadOutcome", outcome)
        digest = receipt.digest()
        self._require_included(receipt, batch, digest, proof)
        policy = self._require_jurisdiction(name, receipt, batch)
        self._require_until(batch.anchoredAt + policy.deadline)
        self._require_quorum(policy, name, digest, receipt.node, outcome, votes)
        penalty = policy.penalty if outcome == FAIL else policy.withheldPenalty
        before = self.charged.get((name, digest), 0)
        refuse_if(penalty <= before, "AlreadyJudged", digest)
        self.charged[name, digest] = penalty
        self._emit("Judged", policy=name, receipt=digest, node=receipt.node, outcome=outcome)
        self._slash(receipt.node, penalty - before, NOBODY)

    def _require_quorum(self, policy, name, digest, node, outcome, votes):
        refuse_if(len(votes) < policy.quorum, "NoQuorum", len(votes), policy.quorum)
        last = ""
        for report, issued_at, signature in votes:
            verdict = Verdict(name, digest, node, outcome, report, issued_at)
            auditor = self._require_signer(verdict.digest(), signature)
            refuse_if(auditor not in policy.auditors or auditor <= last, "NotAuditor", auditor)
            last = auditor
