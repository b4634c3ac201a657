"""Each check of docs/spec/receipt-log.md, once."""

import pytest

from tests.contracts.abi import RevertedError, label
from tests.contracts.evm import ALICE, BOB, CAROL
from tests.contracts.model import ADMIN, NOBODY
from tests.contracts.receipt_log_model import (
    ACTIVE,
    CHALLENGE_WINDOW,
    DAY,
    DEPOSIT,
    EXIT_DELAY,
    EXITED,
    EXITING,
    EXPELLED,
    FAIL,
    INCONCLUSIVE,
    PASS,
    RESPONSE_TIME,
    UNKNOWN,
    WITHHELD,
)
from tests.contracts.receipt_log_pair import (
    ACME,
    AUDITORS,
    CLIENT,
    ETHER,
    MINILM,
    NODE,
    WATCHER,
    policy_of,
    receipt,
    sign,
    word,
)
from tests.contracts.receipt_log_types import LOG_ADDRESS, Receipt
from tests.reference import receipt_log as reference
from tests.reference.contract import NONE, model_id

URL = "https://node.example"
ROOT = word("root")


def equivocation(story, salt=NONE, **changes):
    """(arguments of `slashEquivocation`, digest, digest)."""
    a, signature = story.signed(2)
    b = a._replace(**(changes or {"outputCommit": word("another answer")}))
    return (a, signature, b, sign(NODE, b.digest()), salt), a.digest(), b.digest()


def misanchored(story, salt=NONE):
    """Arguments of `slashMisanchored`: a receipt that the batch does not have in its place."""
    hidden = story.receipts[2]._replace(outputCommit=word("what the client got"))
    anchored = story.receipts[2].digest()
    return hidden, sign(NODE, hidden.digest()), story.batch, anchored, story.proof(2), salt


# Nodes


@pytest.mark.parametrize("size", [0, 257])
def test_an_endpoint_has_1_to_256_bytes(log, size):
    assert log.refused(NODE, "register", "x" * size) == ("BadEndpoint", size)
    log.ok(NODE, "register", "x" * 256)
    log.ok(NODE, "register", "x")
    log.check_state()


def test_registering_again_changes_the_endpoint_and_adds_to_the_bond(log):
    log.ok(NODE, "register", URL, value=ETHER)
    since = log.machine.time
    log.ok(NODE, "register", "https://elsewhere.example", value=1)
    log.ok(NODE, "register", URL)
    node = log.call("getNode", NODE.address)
    assert (node["bond"], node["endpoint"], node["registeredAt"]) == (ETHER + 1, URL, since)
    assert (log.call("nodeCount"), node["status"]) == (1, ACTIVE)


def test_anybody_adds_to_the_bond_of_a_node(story):
    story.pair.ok(ALICE, "topUp", NODE.address, value=5)
    story.pair.ok(NODE, "requestExit")
    story.pair.ok(ALICE, "topUp", NODE.address, value=6)
    assert story.pair.bond() == 10 * ETHER + 11


def test_the_bond_of_none_but_a_node_is_added_to(story):
    pair = story.pair
    assert pair.refused(ALICE, "topUp", CAROL.address, value=5) == ("WrongStatus", CAROL.address, UNKNOWN)
    pair.ok(NODE, "requestExit")
    pair.ok(NODE, "exit", after=EXIT_DELAY)
    assert pair.refused(ALICE, "topUp", NODE.address, value=5) == ("WrongStatus", NODE.address, EXITED)


def test_a_bond_is_freed_after_the_delay_and_not_before(story):
    pair = story.pair
    pair.ok(NODE, "requestExit")
    end = pair.machine.time + EXIT_DELAY
    assert pair.refused(NODE, "exit", after=pair.wait(end - 1)) == ("TooEarly", end)
    pair.ok(NODE, "exit", after=1)
    assert pair.bond() == 0
    assert pair.call("balanceOf", NODE.address) == 10 * ETHER
    pair.check_state()


def test_one_exits_in_steps(story):
    pair = story.pair
    assert pair.refused(NODE, "exit", after=EXIT_DELAY) == ("WrongStatus", NODE.address, ACTIVE)
    assert pair.refused(NODE, "cancelExit") == ("WrongStatus", NODE.address, ACTIVE)
    pair.ok(NODE, "requestExit")
    assert pair.refused(NODE, "requestExit") == ("WrongStatus", NODE.address, EXITING)
    assert pair.refused(CAROL, "requestExit") == ("WrongStatus", CAROL.address, UNKNOWN)


def test_a_cancelled_exit_begins_anew(story):
    pair = story.pair
    pair.ok(NODE, "requestExit")
    pair.ok(NODE, "cancelExit", after=EXIT_DELAY - 1)
    pair.ok(NODE, "anchor", 0, 5, 1, ROOT)
    pair.ok(NODE, "requestExit")
    assert pair.refused(NODE, "exit", after=EXIT_DELAY - 1)[0] == "TooEarly"


def test_registering_while_exiting_changes_nothing_of_that(story):
    pair = story.pair
    pair.ok(NODE, "requestExit")
    end = pair.machine.time + EXIT_DELAY
    pair.ok(NODE, "register", URL, value=1)
    assert pair.call("getNode", NODE.address)["exitableAt"] == end
    assert pair.refused(NODE, "anchor", 0, 5, 1, ROOT) == ("WrongStatus", NODE.address, EXITING)


def test_who_exited_comes_back_with_its_history(story):
    pair = story.pair
    pair.ok(NODE, "requestExit")
    pair.ok(NODE, "exit", after=EXIT_DELAY)
    assert pair.refused(NODE, "anchor", 0, 5, 1, ROOT) == ("WrongStatus", NODE.address, EXITED)
    pair.ok(NODE, "register", URL, value=7)
    node = pair.call("getNode", NODE.address)
    assert (node["nextSeq"], node["batches"], node["bond"], node["registeredAt"]) == (
        5,
        1,
        7,
        pair.machine.time,
    )
    pair.ok(NODE, "anchor", 0, 5, 1, ROOT)
    assert pair.call("nodeCount") == 1


def test_a_balance_is_sent_to_its_account(story):
    pair = story.pair
    pair.ok(NODE, "requestExit")
    pair.ok(NODE, "exit", after=EXIT_DELAY)
    before = pair.machine.balance(bytes(NODE))
    outcome = pair.ok(NODE, "withdraw")
    fee = outcome.gas * 100 * 10**9
    assert pair.machine.balance(bytes(NODE)) == before + 10 * ETHER - fee
    assert pair.refused(NODE, "withdraw") == ("NothingToWithdraw",)


# Anchoring


@pytest.mark.parametrize("count", [0, (1 << 20) + 1, (1 << 32) - 1])
def test_a_batch_has_1_to_a_million_receipts(story, count):
    assert story.pair.refused(NODE, "anchor", 0, 5, count, ROOT) == ("BadCount", count)
    story.pair.ok(NODE, "anchor", 0, 5, 1 << 20, ROOT)


def test_a_root_is_not_zero(story):
    assert story.pair.refused(NODE, "anchor", 0, 5, 1, NONE) == ("ZeroRoot",)


@pytest.mark.parametrize(("epoch", "first"), [(0, 4), (0, 6), (0, 0), (1, 5), (1, 1)])
def test_a_batch_goes_on_where_the_last_one_ended(story, epoch, first):
    assert story.pair.refused(NODE, "anchor", epoch, first, 1, ROOT) == ("OutOfSequence", 0, 5)


def test_batches_of_an_epoch_follow_each_other(story):
    for first, count in ((5, 2), (7, 1), (8, 3)):
        story.pair.ok(NODE, "anchor", 0, first, count, ROOT)
        assert story.pair.call("getNode", NODE.address)["nextSeq"] == first + count
    assert story.pair.refused(NODE, "anchor", 0, 3, 1, ROOT) == ("OutOfSequence", 0, 11)


def test_epochs_grow(story):
    pair = story.pair
    pair.ok(NODE, "anchor", 7, 0, 2, ROOT)
    for epoch in (0, 6, 7):
        assert pair.refused(NODE, "anchor", epoch, 0, 1, ROOT) == ("OutOfSequence", 7, 2)
    pair.ok(NODE, "anchor", 7, 2, 1, ROOT)
    pair.ok(NODE, "anchor", (1 << 53) - 1, 0, 1, ROOT)
    pair.check_state()


@pytest.mark.parametrize("place", [(1 << 53, 0), ((1 << 64) - 1, 0), (0, (1 << 53) - 1), (0, (1 << 64) - 1)])
def test_epochs_and_seqs_are_below_2_to_the_53(story, place):
    """What readers refuse would hide every batch before it."""
    assert story.pair.refused(NODE, "anchor", *place, 2, ROOT) == ("NumberTooLarge",)


def test_the_last_seq_may_be_2_to_the_53_less_one(story):
    found = story.pair.refused(NODE, "anchor", 0, (1 << 53) - 2, 2, ROOT)
    assert found == ("OutOfSequence", 0, 5)


def test_only_a_node_anchors(story):
    assert story.pair.refused(CAROL, "anchor", 0, 0, 1, ROOT) == ("WrongStatus", CAROL.address, UNKNOWN)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_every_receipt_of_a_batch_is_proved(story, count):
    receipts = [receipt(NODE, story.release, 3, seq) for seq in range(count)]
    digests = [each.digest() for each in receipts]
    batch = story.anchor(receipts)
    for seq, digest in enumerate(digests):
        proof = reference.batch_proof(digests, seq)
        assert story.pair.call("provesReceipt", NODE.address, batch, digest, seq, proof)
        assert story.pair.model.proves_receipt(NODE.address, batch, digest, seq, proof)
        for wrong in (seq + 1, seq ^ 1, count + seq, (1 << 64) - 1):
            assert not story.pair.call("provesReceipt", NODE.address, batch, digest, wrong, proof)
        for siblings in ([*proof, digest], proof[:-1] if proof else [NONE], [*proof[:-1], NONE]):
            assert not story.pair.call("provesReceipt", NODE.address, batch, digest, seq, siblings)


def test_a_batch_that_was_not_anchored_proves_nothing(story):
    digest, proof = story.receipts[0].digest(), story.proof(0)
    assert story.pair.call("provesReceipt", NODE.address, story.batch, digest, 0, proof)
    for changes in ({"index": 1}, {"blockNumber": 1}, {"anchoredAt": story.batch.anchoredAt + 1}):
        made_up = story.batch._replace(**changes)
        assert not story.pair.call("provesReceipt", NODE.address, made_up, digest, 0, proof)


def test_a_batch_reaches_no_seq_before_its_first(story):
    later = story.anchor([receipt(NODE, story.release, 0, seq) for seq in (5, 6)])
    one, signature = story.signed(2)
    assert not story.pair.call("provesReceipt", NODE.address, later, one.digest(), 2, [NONE])
    found = story.pair.refused(CLIENT, "challenge", one, signature, later, NONE, value=DEPOSIT)
    assert found == ("OutsideBatch", 0, 2)


def test_the_digests_are_those_of_eip_712(story):
    one = story.receipts[3]
    assert story.pair.call("receiptDigest", one) == one.digest()
    assert story.pair.call("verdictDigest", story.verdict()) == story.verdict().digest()
    fields, name, version, chain_id, contract, salt, extensions = story.pair.call("eip712Domain")
    assert (fields, name, version, chain_id) == (b"\x0f", "modelreg", "1", 31337)
    assert (contract, salt, extensions) == (LOG_ADDRESS, NONE, ())


# Evidence


@pytest.mark.parametrize("field", ["outputCommit", "client", "issuedAt", "releaseId", "prevReceipt"])
def test_two_receipts_for_one_seq_expel_the_node(story, field):
    other = {"client": ALICE.address, "issuedAt": 5}.get(field, word("other"))
    evidence, *_ = equivocation(story, **{field: other})
    story.pair.ok(CLIENT, "slashEquivocation", *evidence)
    assert story.pair.bond() == 0
    assert story.pair.call("burned") == 10 * ETHER
    assert story.pair.call("getNode", NODE.address)["status"] == EXPELLED
    assert story.pair.refused(CLIENT, "slashEquivocation", *evidence) == (
        "WrongStatus",
        NODE.address,
        EXPELLED,
    )
    story.pair.check_state()


@pytest.mark.parametrize("changes", [{"epoch": 1}, {"seq": 3}, {"epoch": 2, "seq": 0}])
def test_receipts_of_different_places_contradict_nothing(story, changes):
    evidence, *_ = equivocation(story, **changes)
    assert story.pair.refused(CLIENT, "slashEquivocation", *evidence) == ("NoContradiction",)


def test_one_receipt_twice_contradicts_nothing(story):
    evidence = (*story.signed(2), *story.signed(2), NONE)
    assert story.pair.refused(CLIENT, "slashEquivocation", *evidence) == ("NoContradiction",)


def test_receipts_of_different_nodes_contradict_nothing(story):
    other = receipt(CAROL, story.release, 0, 2)
    evidence = (*story.signed(2), other, sign(CAROL, other.digest()), NONE)
    assert story.pair.refused(CLIENT, "slashEquivocation", *evidence) == ("NoContradiction",)


@pytest.mark.parametrize("which", [0, 2])
def test_both_receipts_have_the_schema_and_the_nodes_signature(story, which):
    evidence, *_ = equivocation(story)
    for schema in (0, 2):
        changed = evidence[which]._replace(schema=schema)
        args = (*evidence[:which], changed, sign(NODE, changed.digest()), *evidence[which + 2 :])
        assert story.pair.refused(CLIENT, "slashEquivocation", *args) == ("BadSchema", schema)
    foreign = sign(CAROL, evidence[which].digest())
    args = (*evidence[: which + 1], foreign, *evidence[which + 2 :])
    refusal = story.pair.refused(CLIENT, "slashEquivocation", *args)
    assert refusal == ("WrongSigner", NODE.address, CAROL.address)


def test_a_receipt_that_was_anchored_as_another_expels_the_node(story):
    story.pair.ok(CLIENT, "slashMisanchored", *misanchored(story))
    assert story.pair.call("getNode", NODE.address)["status"] == EXPELLED
    assert story.pair.refused(CLIENT, "slashMisanchored", *misanchored(story))[0] == "WrongStatus"


def test_what_was_anchored_as_signed_is_no_contradiction(story):
    args = (*story.signed(2), story.batch, story.receipts[2].digest(), story.proof(2), NONE)
    assert story.pair.refused(CLIENT, "slashMisanchored", *args) == ("NoContradiction",)


def test_misanchoring_needs_every_part_of_its_evidence(story):
    hidden, signature, batch, anchored, proof, salt = misanchored(story)

    def refusal(*args):
        return story.pair.refused(CLIENT, "slashMisanchored", *args, salt)

    assert refusal(hidden, sign(CAROL, hidden.digest()), batch, anchored, proof)[0] == "WrongSigner"
    assert refusal(hidden, signature, batch, word("x"), proof) == ("BadProof",)
    assert refusal(hidden, signature, batch, anchored, proof[:-1]) == ("BadProof",)
    for changes in ({"index": 1}, {"anchoredAt": 1}, {"root": ROOT}, {"blockNumber": 1}, {"count": 6}):
        changed = batch._replace(**changes)
        assert refusal(hidden, signature, changed, anchored, proof)[0] == "UnknownBatch"
    elsewhere = hidden._replace(epoch=1)
    found = refusal(elsewhere, sign(NODE, elsewhere.digest()), batch, anchored, proof)
    assert found == ("OutsideBatch", 1, 2)
    later = hidden._replace(seq=5)
    found = refusal(later, sign(NODE, later.digest()), batch, anchored, proof)
    assert found == ("OutsideBatch", 0, 5)


def test_a_reporter_who_announced_has_a_tenth(story):
    evidence, a, b = equivocation(story, word("salt"), outputCommit=word("other"))
    story.pair.ok(CLIENT, "announce", reference.announcement(CLIENT.address, a, b, word("salt")))
    story.pair.ok(CLIENT, "slashEquivocation", *evidence)
    assert story.pair.call("balanceOf", CLIENT.address) == ETHER
    assert story.pair.call("burned") == 9 * ETHER


def test_a_reporter_of_misanchoring_has_a_tenth(story):
    args = misanchored(story, word("salt"))
    a, b = args[0].digest(), args[3]
    story.pair.ok(CLIENT, "announce", reference.announcement(CLIENT.address, a, b, word("salt")))
    story.pair.ok(CLIENT, "slashMisanchored", *args)
    assert story.pair.call("balanceOf", CLIENT.address) == ETHER


def test_an_announcement_keeps_its_block(story):
    story.pair.ok(CLIENT, "announce", ROOT)
    block = story.pair.machine.block
    story.pair.ok(NODE, "announce", ROOT)
    assert story.pair.call("announcedIn", ROOT) == block
    assert story.pair.call("announcedIn", NONE) == 0


# Challenges


@pytest.mark.parametrize("sent", [0, DEPOSIT - 1, DEPOSIT + 1])
def test_a_challenge_costs_the_deposit(story, sent):
    assert story.pair.refused(*story.challenge(), value=sent) == ("WrongDeposit", sent, DEPOSIT)


def test_an_answer_brings_the_node_the_deposit(story):
    pair = story.pair
    pair.ok(*story.challenge(), value=DEPOSIT)
    assert pair.call("getNode", NODE.address)["openChallenges"] == 1
    pair.ok(ALICE, "respond", *story.response(), after=RESPONSE_TIME)
    assert pair.call("getNode", NODE.address)["openChallenges"] == 0
    assert pair.call("balanceOf", NODE.address) == DEPOSIT
    assert pair.bond() == 10 * ETHER
    pair.check_state()


def test_an_answer_comes_in_time(story):
    pair = story.pair
    pair.ok(*story.challenge(), value=DEPOSIT)
    end = pair.machine.time + RESPONSE_TIME
    late = pair.wait(end + 1)
    assert pair.refused(NODE, "respond", *story.response(), after=late) == ("TooLate", end)


@pytest.mark.parametrize("part", range(4))
def test_an_answer_opens_both_commitments(story, part):
    story.pair.ok(*story.challenge(), value=DEPOSIT)
    one, opening, batch, proof = story.response()
    wrong = (*opening[:part], ROOT, *opening[part + 1 :])
    assert story.pair.refused(NODE, "respond", one, wrong, batch, proof) == ("BadOpening",)


def test_an_answer_opens_input_as_input_and_output_as_output(story):
    salt, values = word("salt"), word("values")
    twisted = {"inputCommit": reference.commit(8, salt, values)}
    twisted["outputCommit"] = reference.commit(7, salt, values)
    one = receipt(NODE, story.release, 1, 0, **twisted)
    batch = story.anchor([one])
    story.pair.ok(CLIENT, "challenge", one, sign(NODE, one.digest()), batch, NONE, value=DEPOSIT)
    found = story.pair.refused(NODE, "respond", one, (salt, values, salt, values), batch, [])
    assert found == ("BadOpening",)


def test_an_answer_proves_the_place(story):
    story.pair.ok(*story.challenge(1), value=DEPOSIT)
    one, opening, batch, proof = story.response(1)
    assert story.pair.refused(NODE, "respond", one, opening, batch, proof[::-1]) == ("BadProof",)
    other = batch._replace(index=1)
    assert story.pair.refused(NODE, "respond", one, opening, other, proof)[0] == "UnknownBatch"


def test_there_is_nothing_to_answer_without_a_challenge(story):
    digest = story.receipts[0].digest()
    assert story.pair.refused(NODE, "respond", *story.response()) == ("NoOpenChallenge", digest)
    assert story.pair.refused(CLIENT, "slashTimeout", story.receipts[0]) == ("NoOpenChallenge", digest)


def test_a_receipt_is_challenged_once(story):
    pair, digest = story.pair, story.receipts[0].digest()
    pair.ok(*story.challenge(), value=DEPOSIT)
    assert pair.refused(*story.challenge(), value=DEPOSIT) == ("AlreadyChallenged", digest)
    pair.ok(NODE, "respond", *story.response())
    assert pair.refused(*story.challenge(), value=DEPOSIT) == ("AlreadyChallenged", digest)
    assert pair.refused(NODE, "respond", *story.response()) == ("NoOpenChallenge", digest)
    assert pair.refused(CLIENT, "slashTimeout", story.receipts[0]) == ("NoOpenChallenge", digest)


def test_a_challenge_comes_within_the_window(story):
    end = story.batch.anchoredAt + CHALLENGE_WINDOW
    late = story.pair.wait(end + 1)
    twin = story.copy()
    assert story.pair.refused(*story.challenge(), value=DEPOSIT, after=late) == ("TooLate", end)
    twin.pair.ok(*twin.challenge(), value=DEPOSIT, after=late - 1)


def test_a_challenge_needs_the_nodes_signature_and_a_batch_with_the_place(story):
    pair, one = story.pair, story.receipts[0]
    forged = sign(CAROL, one.digest())
    assert (
        pair.refused(CLIENT, "challenge", one, forged, story.batch, NONE, value=DEPOSIT)[0] == "WrongSigner"
    )
    unknown = story.batch._replace(anchoredAt=story.batch.anchoredAt + 9)
    args = (*story.signed(0), unknown, NONE)
    assert pair.refused(CLIENT, "challenge", *args, value=DEPOSIT) == ("UnknownBatch", NODE.address, 0)
    later = receipt(NODE, story.release, 0, 5)
    args = (later, sign(NODE, later.digest()), story.batch, NONE)
    assert pair.refused(CLIENT, "challenge", *args, value=DEPOSIT) == ("OutsideBatch", 0, 5)
    old = one._replace(schema=2)
    args = (old, sign(NODE, old.digest()), story.batch, NONE)
    assert pair.refused(CLIENT, "challenge", *args, value=DEPOSIT) == ("BadSchema", 2)


def test_a_receipt_for_anybody_is_challenged_by_anybody(story):
    one = receipt(NODE, story.release, 1, 0, client=NOBODY)
    batch = story.anchor([one])
    story.pair.ok(ALICE, "challenge", one, sign(NODE, one.digest()), batch, NONE, value=DEPOSIT)


def test_an_auditor_challenges_the_receipts_of_others(story):
    story.pair.ok(*story.challenge(by=WATCHER, policy=story.policy), value=DEPOSIT)


def test_a_stranger_challenges_no_receipt_of_others(story):
    pair, refused = story.pair, story.pair.refused
    assert refused(*story.challenge(by=WATCHER), value=DEPOSIT) == ("UnknownPolicy", NONE)
    found = refused(*story.challenge(by=ALICE, policy=story.policy), value=DEPOSIT)
    assert found == ("NotAuditor", ALICE.address)
    other = pair.ok(ALICE, "createPolicy", ACME, "minilm", policy_of(terms=NONE)).output
    found = refused(*story.challenge(by=WATCHER, policy=other), value=DEPOSIT)
    assert found == ("NotEnrolled", NODE.address, other)


# Challenges of a place


@pytest.mark.parametrize("sent", [0, DEPOSIT - 1, DEPOSIT + 1])
def test_a_challenge_of_a_place_costs_the_deposit(story, sent):
    assert story.pair.refused(*story.place_challenge(), value=sent) == ("WrongDeposit", sent, DEPOSIT)


def test_the_receipt_at_a_place_brings_the_node_the_deposit(story):
    pair = story.pair
    pair.ok(*story.place_challenge(4), value=DEPOSIT)
    assert pair.call("getNode", NODE.address)["openChallenges"] == 1
    pair.ok(ALICE, "respondPlace", *story.place_response(4), after=RESPONSE_TIME)
    assert pair.call("getNode", NODE.address)["openChallenges"] == 0
    assert pair.call("balanceOf", NODE.address) == DEPOSIT
    assert pair.bond() == 10 * ETHER
    pair.check_state()


def test_what_an_answer_shows_can_be_challenged(story):
    """The receipt and its signature are in the event; the rest of section 5 goes on from there."""
    pair = story.pair
    pair.ok(*story.place_challenge(3), value=DEPOSIT)
    [(_, shown)] = pair.ok(NODE, "respondPlace", *story.place_response(3)).events
    one, signature = Receipt(**shown["receipt"]), shown["signature"]
    pair.ok(CLIENT, "challenge", one, signature, story.batch, NONE, value=DEPOSIT)
    pair.ok(NODE, "respond", *story.response(3))
    pair.check_state()


def test_a_challenged_place_is_one_of_an_anchored_batch(story):
    pair, batch = story.pair, story.batch
    later = story.anchor([receipt(NODE, story.release, 0, seq) for seq in (5, 6)])
    for place, refusal in (
        ((CAROL.address, batch, 0), ("UnknownBatch", CAROL.address, 0)),
        ((NODE.address, batch._replace(index=1), 0), ("UnknownBatch", NODE.address, 1)),
        ((NODE.address, batch._replace(anchoredAt=1 << 39), 0), ("UnknownBatch", NODE.address, 0)),
        ((NODE.address, batch, 5), ("OutsideBatch", 0, 5)),
        ((NODE.address, later, 4), ("OutsideBatch", 0, 4)),
    ):
        assert pair.refused(WATCHER, "challengePlace", *place, value=DEPOSIT) == refusal


def test_a_place_is_challenged_within_the_window(story):
    end = story.batch.anchoredAt + CHALLENGE_WINDOW
    late, twin = story.pair.wait(end + 1), story.copy()
    assert story.pair.refused(*story.place_challenge(), value=DEPOSIT, after=late) == ("TooLate", end)
    twin.pair.ok(*twin.place_challenge(), value=DEPOSIT, after=late - 1)


def test_the_receipt_at_a_place_is_proved(story):
    pair = story.pair
    pair.ok(*story.place_challenge(1), value=DEPOSIT)
    one, signature, batch, proof = story.place_response(1)
    assert pair.refused(NODE, "respondPlace", one, signature, batch, proof[::-1]) == ("BadProof",)
    forged = batch._replace(anchoredAt=1)
    assert pair.refused(NODE, "respondPlace", one, signature, forged, proof)[0] == "UnknownBatch"
    foreign = sign(CAROL, one.digest())
    assert pair.refused(NODE, "respondPlace", one, foreign, batch, proof)[0] == "WrongSigner"
    old = one._replace(schema=2)
    found = pair.refused(NODE, "respondPlace", old, sign(NODE, old.digest()), batch, proof)
    assert found == ("BadSchema", 2)


def test_nothing_is_owed_at_a_place_without_a_challenge(story):
    place = reference.place_id(NODE.address, 0, 0)
    for function, args in (
        ("respondPlace", story.place_response()),
        ("slashPlaceTimeout", (NODE.address, 0, 0)),
    ):
        assert story.pair.refused(NODE, function, *args) == ("NoOpenChallenge", place)


# Attachments


def test_anybody_attaches_to_a_release(story):
    for account in (ALICE, WATCHER):
        for digest in (word("first"), word("second"), word("first")):
            story.pair.ok(account, "attach", story.release, digest)
    story.pair.check_state()


def test_only_blocks_are_attached_and_only_to_releases(story):
    assert story.pair.refused(ALICE, "attach", story.release, NONE) == ("ZeroDigest",)
    assert story.pair.refused(ALICE, "attach", ROOT, word("block")) == ("UnknownRelease", ROOT)


# Policies


def test_only_an_admin_of_the_namespace_makes_policies(story):
    pair, policy = story.pair, policy_of(terms=NONE)
    pair.registry.ok(ALICE, "setRoles", ACME, BOB.address, 15 & ~ADMIN)
    assert pair.refused(BOB, "createPolicy", ACME, "minilm", policy) == ("NotPermitted", BOB.address, ADMIN)
    found = pair.refused(ALICE, "createPolicy", label("nobody"), "minilm", policy)
    assert found == ("NotPermitted", ALICE.address, ADMIN)
    pair.registry.ok(ALICE, "setRoles", ACME, BOB.address, ADMIN)
    pair.ok(BOB, "createPolicy", ACME, "minilm", policy)
    assert pair.call("policyCount", MINILM) == 2


def test_a_policy_is_made_once(story):
    found = story.pair.refused(ALICE, "createPolicy", ACME, "minilm", policy_of())
    assert found == ("PolicyExists", story.policy)


def test_a_policy_is_for_the_model_named(story):
    found = story.pair.refused(ALICE, "createPolicy", ACME, "other", policy_of())
    assert found == ("WrongModel", model_id(ACME, "other"), MINILM)


A, B, C = (auditor.address for auditor in AUDITORS)
MANY = tuple(f"0x{i:040x}" for i in range(1, 34))


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"auditors": (B, A, C)}, ("BadAuditors",)),
        ({"auditors": (A, A, C)}, ("BadAuditors",)),
        ({"auditors": (A, B, B)}, ("BadAuditors",)),
        ({"auditors": (NOBODY, A, B)}, ("BadAuditors",)),
        ({"auditors": MANY, "quorum": 20}, ("BadAuditors",)),
        ({"auditors": ()}, ("BadQuorum", 2, 0)),
        ({"auditors": (A,), "quorum": 1}, ("BadQuorum", 1, 1)),
        ({"quorum": 0}, ("BadQuorum", 0, 3)),
        ({"quorum": 1}, ("BadQuorum", 1, 3)),
        ({"quorum": 4}, ("BadQuorum", 4, 3)),
        ({"auditors": MANY[:4]}, ("BadQuorum", 2, 4)),
        ({"deadline": 0}, ("BadDeadline", 0)),
        ({"deadline": 13 * DAY + 1}, ("BadDeadline", 13 * DAY + 1)),
        ({"penalty": 0}, ("BadPenalty",)),
        ({"penalty": 8 * ETHER + 1}, ("BadPenalty",)),
        ({"withheldPenalty": 0}, ("BadPenalty",)),
        ({"withheldPenalty": 8 * ETHER + 1}, ("BadPenalty",)),
    ],
)
def test_an_unsound_policy_is_refused(story, changes, refusal):
    assert story.pair.refused(ALICE, "createPolicy", ACME, "minilm", policy_of(**changes)) == refusal


def test_policies_at_the_limits(story):
    widest = {"auditors": MANY[:32], "quorum": 32, "deadline": 13 * DAY, "penalty": 8 * ETHER}
    for changes in (widest, {"auditors": (A, B)}, {"auditors": MANY[:4], "quorum": 3}):
        story.pair.ok(ALICE, "createPolicy", ACME, "minilm", policy_of(**changes))
    story.pair.check_state()


def test_an_unknown_policy_is_none(story):
    with pytest.raises(RevertedError) as caught:
        story.pair.call("getPolicy", ROOT)
    assert caught.value.error == ("UnknownPolicy", ROOT)
    assert story.pair.refused(NODE, "enrol", ROOT) == ("UnknownPolicy", ROOT)
    verdict = story.verdict()._replace(policyId=ROOT)
    found = story.pair.refused(NODE, "recordVerdict", verdict, sign(AUDITORS[0], verdict.digest()))
    assert found == ("UnknownPolicy", ROOT)
    votes = [story.vote(auditor) for auditor in AUDITORS]
    args = story.judgement(votes)
    assert story.pair.refused(NODE, "slashByQuorum", ROOT, *args[1:]) == ("UnknownPolicy", ROOT)


def test_who_enrols_is_a_node_with_the_bond(story):
    pair = story.pair
    assert pair.refused(CAROL, "enrol", story.policy) == ("WrongStatus", CAROL.address, UNKNOWN)
    pair.ok(CAROL, "register", URL, value=8 * ETHER - 1)
    assert pair.refused(CAROL, "enrol", story.policy) == ("BondTooLow", 8 * ETHER - 1, 8 * ETHER)
    pair.ok(CAROL, "topUp", CAROL.address, value=1)
    pair.ok(CAROL, "enrol", story.policy)
    assert pair.refused(CAROL, "enrol", story.policy) == ("AlreadyEnrolled", story.policy)
    pair.ok(CAROL, "requestExit")
    assert pair.refused(CAROL, "enrol", story.policy) == ("WrongStatus", CAROL.address, EXITING)


def test_who_resigns_is_enrolled(story):
    pair = story.pair
    assert pair.refused(CAROL, "resign", story.policy) == ("NotEnrolled", CAROL.address, story.policy)
    pair.ok(NODE, "resign", story.policy)
    assert pair.refused(NODE, "resign", story.policy) == ("NotEnrolled", NODE.address, story.policy)
    pair.ok(NODE, "enrol", story.policy)
    pair.ok(NODE, "resign", story.policy)
    pair.check_state()


# Verdicts


@pytest.mark.parametrize("outcome", range(PASS, WITHHELD + 1))
def test_a_verdict_is_recorded_once_and_moves_no_bond(story, outcome):
    verdict = story.verdict(outcome=outcome)
    for auditor in AUDITORS[:2]:
        signature = sign(auditor, verdict.digest())
        story.pair.ok(CLIENT, "recordVerdict", verdict, signature)
        found = story.pair.refused(CLIENT, "recordVerdict", verdict, signature)
        assert found == ("AlreadyRecorded", auditor.address)
    assert story.pair.bond() == 10 * ETHER
    story.pair.check_state()


@pytest.mark.parametrize("outcome", [0, 6, 255])
def test_there_are_five_outcomes(story, outcome):
    verdict = story.verdict(outcome=outcome)
    found = story.pair.refused(CLIENT, "recordVerdict", verdict, sign(AUDITORS[0], verdict.digest()))
    assert found == ("BadOutcome", outcome)


def test_only_verdicts_of_auditors_are_recorded(story):
    verdict = story.verdict()
    found = story.pair.refused(CLIENT, "recordVerdict", verdict, sign(ALICE, verdict.digest()))
    assert found == ("NotAuditor", ALICE.address)


@pytest.mark.parametrize(("outcome", "penalty"), [(FAIL, 4 * ETHER), (WITHHELD, 6 * ETHER)])
def test_a_quorum_takes_the_penalty_and_gives_it_to_nobody(story, outcome, penalty):
    votes = [story.vote(auditor, outcome=outcome) for auditor in AUDITORS[1:]]
    story.pair.ok(ALICE, "slashByQuorum", *story.judgement(votes, outcome=outcome))
    assert story.pair.bond() == 10 * ETHER - penalty
    assert story.pair.call("burned") == penalty
    assert story.pair.call("balanceOf", ALICE.address) == 0
    assert story.pair.call("getNode", NODE.address)["status"] == ACTIVE


@pytest.mark.parametrize("outcome", [0, PASS, INCONCLUSIVE, 4, 6])
def test_a_quorum_for_anything_else_takes_nothing(story, outcome):
    votes = [story.vote(auditor, outcome=outcome) for auditor in AUDITORS]
    found = story.pair.refused(ALICE, "slashByQuorum", *story.judgement(votes, outcome=outcome))
    assert found == ("BadOutcome", outcome)


def test_a_receipt_costs_its_penalty_once(story):
    fails = [story.vote(auditor) for auditor in AUDITORS]
    story.pair.ok(ALICE, "slashByQuorum", *story.judgement(fails))
    again = [story.vote(auditor, issuedAt=7) for auditor in AUDITORS]
    for votes in (fails, again):
        found = story.pair.refused(ALICE, "slashByQuorum", *story.judgement(votes))
        assert found == ("AlreadyJudged", story.receipts[0].digest())
    fails = [story.vote(auditor, seq=1) for auditor in AUDITORS]
    story.pair.ok(ALICE, "slashByQuorum", *story.judgement(fails, seq=1))
    assert story.pair.bond() == 2 * ETHER


def test_votes_are_judged_until_the_policys_deadline(story):
    votes = [story.vote(auditor) for auditor in AUDITORS]
    end = story.batch.anchoredAt + 10 * DAY
    late, twin = story.pair.wait(end + 1), story.copy()
    assert story.pair.refused(ALICE, "slashByQuorum", *story.judgement(votes), after=late) == ("TooLate", end)
    twin.pair.ok(ALICE, "slashByQuorum", *twin.judgement(votes), after=late - 1)


def test_only_anchored_receipts_are_judged(story):
    policy, outcome, one, batch, proof, votes = story.judgement([story.vote(a) for a in AUDITORS])

    def refusal(*args):
        return story.pair.refused(ALICE, "slashByQuorum", policy, outcome, *args, votes)

    assert refusal(one, batch, proof[1:]) == ("BadProof",)
    assert refusal(one._replace(issuedAt=0), batch, proof) == ("BadProof",)
    assert refusal(one, batch._replace(anchoredAt=0), proof)[0] == "UnknownBatch"
    assert refusal(one._replace(seq=5), batch, proof) == ("OutsideBatch", 0, 5)


def test_the_receipt_is_for_a_release_of_the_policys_model(story):
    pair = story.pair
    foreign = pair.registry.publish(ALICE, "acme", "magika", "1.0.0")
    story.receipts = [receipt(NODE, release, 1, seq) for seq, release in enumerate([foreign, ROOT])]
    story.batch = story.anchor(story.receipts)
    found = pair.refused(ALICE, "slashByQuorum", *story.judgement([story.vote(a) for a in AUDITORS]))
    assert found == ("ForeignRelease", foreign, model_id(ACME, "magika"))
    votes = [story.vote(a, seq=1) for a in AUDITORS]
    assert pair.refused(ALICE, "slashByQuorum", *story.judgement(votes, seq=1)) == ("UnknownRelease", ROOT)
