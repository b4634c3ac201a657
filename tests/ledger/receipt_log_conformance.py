"""What the receipt log's reader and writer must do on any chain.

A module that runs it gives the fixtures `fresh`, as in `conformance`, and `wait`, which lets seconds pass.
"""

from dataclasses import replace

import pytest

from modelreg.errors import (
    ConflictError,
    InputError,
    NotFoundError,
    NotPermittedError,
    UnreachableError,
    VerificationError,
)
from modelreg.format.names import ModelName, ReleaseId
from modelreg.format.receipt import Domain
from modelreg.ledger.receipt_log_batches import find_batch, find_batch_at, newest_batches
from modelreg.ledger.receipt_log_challenges import DEPOSIT
from modelreg.ledger.receipt_log_evidence import Vote, reporter_salt
from modelreg.ledger.receipt_log_open import open_challenges, shown_receipt
from modelreg.ledger.receipt_log_policy import Outcome, Verdict
from modelreg.ledger.receipt_log_records import ChallengeState, Enrolment, Status
from modelreg.ledger.receipt_log_view import ReceiptLogView
from tests.ledger.receipt_log_world import (
    ADDRESSES,
    AUDITORS,
    DOMAIN,
    ETHER,
    NODE,
    OTHER,
    OWNER,
    SIGNERS,
    URL,
    LogWorld,
    batch_of,
    policy_of,
    response_of,
    word,
)
from tests.ledger.world import CHAIN_ID, MODEL

WEEK = 7 * 86_400


class ReceiptLogConformance:
    @pytest.fixture
    def world(self, fresh) -> LogWorld:
        fresh.writer().deploy()
        fresh.writer().claim_namespace("acme")
        made = LogWorld(fresh)
        made.writer(OWNER).deploy()
        return made

    @pytest.fixture
    def node(self, world) -> LogWorld:
        world.writer().register(URL, 5 * ETHER)
        return world

    def test_reading_before_deploying(self, fresh):
        fresh.writer().deploy()
        with pytest.raises(NotFoundError, match="no contract"):
            ReceiptLogView.beside(fresh.view())
        assert LogWorld(fresh).writer().deploy() is not None
        assert LogWorld(fresh).writer(OTHER).deploy() is None

    def test_nobody_is_a_node_at_first(self, world):
        log = world.log()
        assert (log.node(ADDRESSES[NODE]), list(log.nodes()), log.burned()) == (None, [], 0)
        assert log.batch_hash(ADDRESSES[NODE], 0) is None
        assert list(newest_batches(log, ADDRESSES[NODE])) == []
        assert (log.policy(word("policy")), log.policies(MODEL.id)) == (None, [])
        assert log.challenge(word("receipt")) is log.enrolment(ADDRESSES[NODE], word("policy")) is None
        assert log.recorded_at(word("verdict"), ADDRESSES[0]) is log.announced_in(word("commitment")) is None
        with pytest.raises(NotFoundError):
            log.require_node(ADDRESSES[NODE])
        with pytest.raises(NotFoundError):
            log.require_policy(word("policy"))

    def test_a_node_registers_and_tops_up(self, world):
        long = "https://node.example/" + "x" * 235
        assert world.writer().register(long, 2 * ETHER) is not None
        node = world.node()
        assert (node.endpoint, node.bond, node.status) == (long, 2 * ETHER, Status.ACTIVE)
        assert abs(node.registered_at - world.log().header.time) < 60
        world.writer().register(URL, 3 * ETHER)
        assert (world.node().endpoint, world.node().bond) == (URL, 3 * ETHER)
        world.writer(OTHER).raise_bond(ADDRESSES[NODE], 4 * ETHER)
        world.writer(OTHER).register("https://other.example")
        assert [each.bond for each in world.log().nodes()] == [4 * ETHER, 0]
        with pytest.raises(ConflictError, match="status"):
            world.writer().raise_bond(ADDRESSES[OWNER], 1)
        for endpoint in ("", "x" * 257, "https://node\n", "\ud800"):
            with pytest.raises(InputError):
                world.writer().register(endpoint)
        with pytest.raises(InputError):
            world.writer().register(URL, 1 << 128)
        with pytest.raises(NotPermittedError, match="cannot pay"):
            world.writer().register(URL, 10**6 * ETHER)

    def test_repeating_a_command_sends_nothing(self, node):
        writer = node.writer()
        policy = policy_of()
        node.writer(OWNER).create_policy(MODEL, policy)
        writer.enrol(policy.policy_id)
        _, anchored = node.anchored()
        height = node.log().header.number
        assert writer.register(URL, 5 * ETHER).transaction
        assert writer.register(URL, 4 * ETHER).transaction
        assert writer.raise_bond(ADDRESSES[NODE], 5 * ETHER) is None
        assert node.writer(OWNER).create_policy(MODEL, policy).transaction
        assert writer.enrol(policy.policy_id).transaction
        again = writer.anchor(anchored.batch)
        assert again.anchored == anchored
        assert again.receipt.block == anchored.block
        assert node.log().header.number == height

    def test_a_node_leaves_and_takes_its_bond(self, node, wait):
        writer = node.writer()
        with pytest.raises(ConflictError, match="status"):
            writer.exit()
        writer.request_exit()
        writer.cancel_exit()
        writer.request_exit()
        assert node.node().status is Status.EXITING
        with pytest.raises(ConflictError, match="too early"):
            writer.exit()
        with pytest.raises(ConflictError, match="status"):
            writer.anchor(batch_of("root"))
        wait(2 * WEEK + 60)
        writer.exit()
        assert (node.node().status, node.node().bond) == (Status.EXITED, 0)
        assert node.log().balance(ADDRESSES[NODE]) == 5 * ETHER
        before = node.world.view().account(ADDRESSES[NODE]).balance
        receipt = writer.withdraw()
        after = node.world.view().account(ADDRESSES[NODE]).balance
        assert after == before + 5 * ETHER - receipt.cost
        assert writer.withdraw().transaction == receipt.transaction

    def test_batches_are_anchored_and_found(self, node):
        places = [(0, 0, 3), (0, 3, 1), (7, 0, 2)]
        made = [node.anchored(count, epoch, first)[1] for epoch, first, count in places]
        log = node.log()
        assert [each.index for each in made] == [0, 1, 2]
        assert all(log.holds_batch(each) for each in made)
        assert list(newest_batches(log, ADDRESSES[NODE])) == made[::-1]
        assert [find_batch_at(log, ADDRESSES[NODE], index) for index in range(3)] == made
        with pytest.raises(NotFoundError, match="no batch 3"):
            find_batch_at(log, ADDRESSES[NODE], 3)
        assert find_batch(log, ADDRESSES[NODE], 0, 2) == made[0]
        assert find_batch(log, ADDRESSES[NODE], 0, 3) == made[1]
        for epoch, seq in ((0, 4), (3, 0), (7, 2), (8, 0)):
            assert find_batch(log, ADDRESSES[NODE], epoch, seq) is None
        assert (node.node().epoch, node.node().next_seq, node.node().batches) == (7, 2, 3)
        # Older ones are found again without their transactions.
        assert node.writer().anchor(made[0].batch).anchored == made[0]

    def test_a_batch_out_of_sequence(self, node):
        _, anchored = node.anchored(2, epoch=5)
        with pytest.raises(ConflictError, match="follow"):
            node.writer().anchor(batch_of("root", epoch=5, first=3))
        others = batch_of("other", epoch=5, count=2), batch_of("old", epoch=4), batch_of("part", epoch=5)
        for batch in others:
            with pytest.raises(ConflictError, match="another batch"):
                node.writer().anchor(batch)
        with pytest.raises(InputError, match="another node"):
            node.writer(OTHER).anchor(anchored.batch)

    def test_policies(self, node):
        policy, second = policy_of(), policy_of(auditors=AUDITORS[:2], terms=bytes(32))
        node.writer(OWNER).create_policy(MODEL, policy)
        node.writer(OWNER).create_policy(MODEL, second)
        log = node.log()
        assert log.policies(MODEL.id) == [policy.policy_id, second.policy_id]
        assert [log.policy(each) for each in log.policies(MODEL.id)] == [policy, second]
        with pytest.raises(NotPermittedError, match="ADMIN"):
            node.writer(OTHER).create_policy(MODEL, policy_of(quorum=3))
        with pytest.raises(InputError, match="another model"):
            node.writer(OWNER).create_policy(ModelName("acme", "other"), policy_of(quorum=3))

    def test_enrolments(self, node):
        policy = policy_of(minimum_bond=6 * ETHER)
        node.writer(OWNER).create_policy(MODEL, policy)
        with pytest.raises(ConflictError, match="too low"):
            node.writer().enrol(policy.policy_id)
        node.writer().raise_bond(ADDRESSES[NODE], 6 * ETHER)
        node.writer().enrol(policy.policy_id)
        found = node.log().enrolment(ADDRESSES[NODE], policy.policy_id)
        assert found == Enrolment(node.log().header.time, None)
        node.writer().resign(policy.policy_id)
        resigned = node.log().enrolment(ADDRESSES[NODE], policy.policy_id)
        assert resigned == Enrolment(found.since, node.log().header.time + 2 * WEEK)
        assert resigned.covers(resigned.until - 1)
        assert not resigned.covers(resigned.until)
        assert not resigned.covers(found.since - 1)
        node.writer().enrol(policy.policy_id)
        assert node.log().enrolment(ADDRESSES[NODE], policy.policy_id) == found
        with pytest.raises(NotFoundError, match="policy"):
            node.writer().enrol(word("policy"))
        with pytest.raises(ConflictError, match="not enrolled"):
            node.writer().resign(word("policy"))

    def test_a_challenge_is_answered(self, node):
        tree, anchored = node.anchored()
        signed = node.receipt(1)
        digest = signed.receipt.digest(DOMAIN)
        assert node.challenges().challenge(signed, anchored).transaction
        found = node.log().challenge(digest)
        assert (found.challenger, found.state) == (ADDRESSES[OTHER], ChallengeState.OPEN)
        assert node.node().open_challenges == 1
        with pytest.raises(ConflictError, match="challenged before"):
            node.challenges(OWNER).challenge(signed, anchored)
        with pytest.raises(ConflictError, match="too early"):
            node.challenges().slash_timeout(signed.receipt)
        answer = node.challenges(NODE)
        with pytest.raises(VerificationError, match="opening"):
            answer.respond(signed.receipt, bytes(128), anchored, tree.prove(1))
        with pytest.raises(VerificationError, match="proof"):
            answer.respond(signed.receipt, response_of(1), anchored, tree.prove(2))
        with pytest.raises(InputError):
            answer.respond(signed.receipt, response_of(1)[:-1], anchored, tree.prove(1))
        answer.respond(signed.receipt, response_of(1), anchored, tree.prove(1))
        assert node.log().challenge(digest).state is ChallengeState.ANSWERED
        assert node.log().balance(ADDRESSES[NODE]) == DEPOSIT

    def test_a_withheld_opening_costs_the_bond(self, node, wait):
        _, anchored = node.anchored()
        signed = node.receipt(0)
        node.challenges().challenge(signed, anchored)
        wait(WEEK)
        node.challenges(OWNER).slash_timeout(signed.receipt)
        assert node.log().challenge(signed.receipt.digest(DOMAIN)).state is ChallengeState.MISSED
        assert node.node().bond == 0
        assert node.log().balance(ADDRESSES[OTHER]) == DEPOSIT + ETHER // 2
        assert node.log().burned() == 45 * ETHER // 10

    def test_the_receipt_at_a_place_is_shown(self, node):
        tree, anchored = node.anchored()
        assert node.log().place_challenge(ADDRESSES[NODE], 0, 2) is None
        sent = node.challenges().challenge_place(anchored, 2)
        assert node.challenges().challenge_place(anchored, 2) == sent
        found = node.log().place_challenge(ADDRESSES[NODE], 0, 2)
        assert (found.challenger, found.state) == (ADDRESSES[OTHER], ChallengeState.OPEN)
        assert node.node().open_challenges == 1
        with pytest.raises(ConflictError, match="challenged before"):
            node.challenges(OWNER).challenge_place(anchored, 2)
        with pytest.raises(InputError, match="place"):
            node.challenges(OWNER).challenge_place(anchored, 3)
        with pytest.raises(ConflictError, match="too early"):
            node.challenges().slash_place_timeout(ADDRESSES[NODE], 0, 2)
        answer = node.challenges(NODE)
        with pytest.raises(ConflictError, match="no open challenge"):
            answer.respond_place(node.receipt(1), anchored, tree.prove(1))
        with pytest.raises(VerificationError, match="proof"):
            answer.respond_place(node.receipt(2), anchored, tree.prove(1))
        assert answer.respond_place(node.receipt(2), anchored, tree.prove(2)).transaction
        assert node.challenges(OWNER).respond_place(node.receipt(2), anchored, tree.prove(2)) is None
        assert node.log().place_challenge(ADDRESSES[NODE], 0, 2).state is ChallengeState.ANSWERED
        assert shown_receipt(node.log(), anchored, 2, DOMAIN) == node.receipt(2)
        with pytest.raises(UnreachableError):
            shown_receipt(node.log(), anchored, 1, DOMAIN)
        assert node.log().balance(ADDRESSES[NODE]) == DEPOSIT

    def test_a_withheld_batch_costs_the_bond(self, node, wait):
        _, anchored = node.anchored()
        node.challenges().challenge_place(anchored, 0)
        wait(WEEK)
        assert node.challenges(OWNER).slash_place_timeout(ADDRESSES[NODE], 0, 0).transaction
        assert node.challenges().slash_place_timeout(ADDRESSES[NODE], 0, 0) is None
        assert node.node().bond == 0
        assert node.log().balance(ADDRESSES[OTHER]) == DEPOSIT + ETHER // 2

    def test_open_challenges_are_found(self, node):
        tree, anchored = node.anchored()
        receipts = [node.receipt(seq) for seq in range(3)]
        node.challenges().challenge(receipts[0], anchored)
        node.challenges().challenge_place(anchored, 1)
        node.challenges(OWNER).challenge(receipts[2], anchored)
        node.challenges(NODE).respond(receipts[2].receipt, response_of(2), anchored, tree.prove(2))
        log = node.log()
        place, receipt = open_challenges(log, ADDRESSES[NODE])
        assert (place.place, receipt.place) == ((0, 1), None)
        assert receipt.id == receipts[0].receipt.digest(DOMAIN)
        assert place.challenge == log.place_challenge(ADDRESSES[NODE], 0, 1)
        assert node.node().open_challenges == 2
        assert list(open_challenges(log, ADDRESSES[OWNER])) == []
        assert list(open_challenges(log, ADDRESSES[NODE], log.header.time + 1)) == []
        assert len(list(open_challenges(log, ADDRESSES[NODE], log.header.time - 3600))) == 2

    def test_blocks_are_attached_to_releases(self, node):
        digests = [word("a"), word("b"), word("a")]
        assert node.log().attachments(node.release, ADDRESSES[OTHER]) == ()
        sent = [node.writer(OTHER).attach(node.release, digest) for digest in digests]
        assert sent[0] == sent[2] != sent[1]
        log = node.log()
        assert log.attachments(node.release, ADDRESSES[OTHER]) == (word("a"), word("b"))
        assert log.attachments(node.release, ADDRESSES[OWNER]) == ()
        with pytest.raises(NotFoundError):
            node.writer(OTHER).attach(ReleaseId(word("none")), word("a"))
        for wrong in (bytes(32), b"short"):
            with pytest.raises(InputError):
                node.writer(OTHER).attach(node.release, wrong)

    def test_two_receipts_for_one_seq(self, node):
        first, second = node.receipt(4), node.receipt(4, request_id=word("another"))
        digests = [each.receipt.digest(DOMAIN) for each in (first, second)]
        salt = reporter_salt(b"\1" * 32, *digests)
        receipt = node.evidence().slash_equivocation(first, second, salt)
        assert node.node().status is Status.EXPELLED
        # The announcement was in an earlier block, so the reporter is paid.
        assert node.log().balance(ADDRESSES[OTHER]) == ETHER // 2
        assert node.evidence().slash_equivocation(first, second, salt) == receipt
        assert node.evidence(OWNER).slash_equivocation(first, second, salt) is None
        with pytest.raises(ConflictError, match="status"):
            node.writer().register(URL, ETHER)
        with pytest.raises(InputError, match="contradicts nothing"):
            other = node.receipt(4, key=OTHER)
            node.evidence().slash_equivocation(other, other, salt)

    def test_edit_after_anchoring(self, node):
        tree, anchored = node.anchored()
        signed = node.receipt(1, output_commit=word("edited"))
        held = node.receipt(1).receipt.digest(DOMAIN)
        node.evidence().slash_misanchored(signed, anchored, held, tree.prove(1), bytes(32))
        assert node.node().status is Status.EXPELLED

    def test_a_quorum_takes_the_penalty(self, node):
        policy = policy_of()
        node.writer(OWNER).create_policy(MODEL, policy)
        node.writer().enrol(policy.policy_id)
        tree, anchored = node.anchored()
        receipt = node.receipt(2).receipt
        digest = receipt.digest(DOMAIN)
        verdict = Verdict(policy.policy_id, digest, ADDRESSES[NODE], Outcome.FAIL, word("report"), 0)
        votes = [
            Vote(word("own"), time, signer.sign(verdict.of(word("own"), time).digest(DOMAIN)))
            for time, signer in enumerate(SIGNERS)
        ]
        case = policy.policy_id, Outcome.FAIL, receipt, anchored, tree.prove(2)
        with pytest.raises(ConflictError, match="too few votes"):
            node.evidence().slash_by_quorum(*case, votes[:1])
        with pytest.raises(NotPermittedError, match="not an auditor"):
            node.evidence().slash_by_quorum(*case, [votes[0], votes[0]])
        node.evidence().slash_by_quorum(*case, votes)
        assert node.log().charged(policy.policy_id, digest) == 2 * ETHER
        assert node.node().bond == 3 * ETHER
        assert node.evidence(OWNER).slash_by_quorum(*case, votes) is None
        with pytest.raises(InputError, match="outcome"):
            node.evidence().slash_by_quorum(policy.policy_id, Outcome.PASS, *case[2:], votes)
        with pytest.raises(NotFoundError, match="policy"):
            node.evidence().slash_by_quorum(word("none"), *case[1:], votes)

    def test_a_verdict_is_recorded(self, node):
        policy = policy_of()
        node.writer(OWNER).create_policy(MODEL, policy)
        verdict = Verdict(policy.policy_id, word("receipt"), ADDRESSES[NODE], Outcome.PASS, word("report"), 1)
        signature = SIGNERS[OTHER].sign(verdict.digest(DOMAIN))
        node.evidence(OWNER).record_verdict(verdict, signature)
        recorded = node.log().recorded_at(verdict.digest(DOMAIN), ADDRESSES[OTHER])
        assert recorded == node.log().header.time
        stranger = replace(verdict, policy_id=word("none"))
        with pytest.raises(NotFoundError, match="policy"):
            node.evidence().record_verdict(stranger, SIGNERS[OTHER].sign(stranger.digest(DOMAIN)))
        with pytest.raises(VerificationError):
            node.evidence().record_verdict(verdict, signature[:64] + b"\0")

    def test_a_receipt_for_another_chain_convicts_nobody(self, node):
        _, anchored = node.anchored()
        foreign = node.receipt(1, domain=Domain(CHAIN_ID + 1, DOMAIN.contract))
        with pytest.raises(VerificationError, match="signature"):
            node.challenges().challenge(foreign, anchored)
        with pytest.raises(VerificationError, match="signature"):
            node.evidence().slash_equivocation(node.receipt(1), foreign, bytes(32))
        assert node.node().bond == 5 * ETHER

    def test_a_batch_of_another_node_is_replayed(self, node):
        _, anchored = node.anchored()
        node.writer(OTHER).register("https://thief.example", ETHER)
        stolen = replace(anchored, batch=replace(anchored.batch, node=ADDRESSES[OTHER]))
        with pytest.raises(NotFoundError, match="anchored no batch"):
            node.log().require_batch(stolen)
        node.anchored(key=OTHER)
        with pytest.raises(VerificationError, match="batch 0"):
            node.log().require_batch(stolen)
