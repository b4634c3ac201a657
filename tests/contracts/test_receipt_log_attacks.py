"""Attacks on bonds, batches, challenges and verdicts, each named."""

import pytest

from tests.contracts import abi, gadgets
from tests.contracts.abi import RECEIPT_LOG, keccak256
from tests.contracts.evm import ALICE, CAROL, Account
from tests.contracts.model import NOBODY
from tests.contracts.receipt_log_model import (
    CHALLENGE_WINDOW,
    DAY,
    DEPOSIT,
    EXIT_DELAY,
    EXPELLED,
    FAIL,
    RESPONSE_TIME,
    WITHHELD,
)
from tests.contracts.receipt_log_pair import (
    ACME,
    AUDITORS,
    CLIENT,
    ETHER,
    NODE,
    WATCHER,
    Story,
    opening_of,
    policy_of,
    receipt,
    sign,
    word,
)
from tests.contracts.receipt_log_types import HALF_ORDER, LOG_ADDRESS, Batch
from tests.reference import receipt_log as reference
from tests.reference.contract import NONE

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SALT = word("salt")


def two_receipts(story, salt=NONE):
    """Arguments of `slashEquivocation`: two answers for one place."""
    a, signature = story.signed(2)
    b = a._replace(outputCommit=word("another answer"))
    return a, signature, b, sign(NODE, b.digest()), salt


def announcement(reporter, evidence):
    a, _, b, _, salt = evidence
    return reference.announcement(reporter.address, a.digest(), b.digest(), salt)


def fails(story, *auditors, **changes):
    return [story.vote(auditor, **changes) for auditor in auditors]


# Signatures


def malleated(signature: bytes) -> bytes:
    """The other signature that recovers to the same key."""
    s = (ORDER - int.from_bytes(signature[32:64], "big")).to_bytes(32, "big")
    return signature[:32] + s + bytes([55 - signature[64]])


@pytest.mark.parametrize(
    "mangled",
    [
        malleated,
        lambda signature: signature[:64],
        lambda signature: signature + b"\0",
        lambda _: b"",
        lambda signature: signature[:64] + bytes([signature[64] - 27]),
        lambda signature: signature[:64] + bytes([signature[64] + 8]),
        lambda _: bytes(64) + b"\x1b",
        lambda signature: signature[:32] + bytes(32) + b"\x1b",
        lambda signature: signature[:32] + (HALF_ORDER + 1).to_bytes(32, "big") + b"\x1b",
        lambda signature: b"\xff" * 32 + signature[32:],
        lambda signature: signature[:32] + bytes([signature[32] | 0x80]) + signature[33:],
    ],
)
def test_a_signature_in_another_form_is_refused(story, mangled):
    a, signature, b, other, salt = two_receipts(story)
    bad = mangled(signature)
    assert story.pair.refused(CLIENT, "slashEquivocation", a, bad, b, other, salt) == ("BadSignature",)
    assert story.pair.refused(CLIENT, "slashEquivocation", b, other, a, bad, salt) == ("BadSignature",)
    assert story.pair.refused(CLIENT, "challenge", a, bad, story.batch, NONE, value=DEPOSIT) == (
        "BadSignature",
    )
    votes = fails(story, *AUDITORS)
    votes[1] = (*votes[1][:2], mangled(votes[1][2]))
    assert story.pair.refused(CLIENT, "slashByQuorum", *story.judgement(votes)) == ("BadSignature",)


def test_a_malleated_signature_does_not_make_two_receipts_of_one(story):
    a, signature = story.signed(2)
    args = (a, signature, a, malleated(signature), NONE)
    assert story.pair.refused(CLIENT, "slashEquivocation", *args) == ("BadSignature",)


def test_the_zero_account_signs_nothing(story):
    """What recovers to nobody is no receipt of the node zero."""
    a = receipt(NODE, story.release, 0, 0)._replace(node=NOBODY)
    b = a._replace(outputCommit=NONE)
    nobodys = b"\x01" * 64 + b"\x1d"
    assert story.pair.refused(CLIENT, "slashEquivocation", a, nobodys, b, nobodys, NONE) == ("BadSignature",)


# Replay


@pytest.mark.parametrize("domain", [(1, LOG_ADDRESS), (31337, "0x" + "ee" * 20), (1, "0x" + "ee" * 20)])
def test_a_receipt_for_another_chain_or_contract_is_no_evidence(story, domain):
    a, signature, b, _, salt = two_receipts(story)
    foreign = sign(NODE, b.digest(*domain))
    found = story.pair.refused(CLIENT, "slashEquivocation", a, signature, b, foreign, salt)
    assert found[0] in ("WrongSigner", "BadSignature")
    args = (a, sign(NODE, a.digest(*domain)), story.batch, NONE)
    found = story.pair.refused(CLIENT, "challenge", *args, value=DEPOSIT)
    assert found[0] in ("WrongSigner", "BadSignature")


@pytest.mark.parametrize("domain", [(1, LOG_ADDRESS), (31337, "0x" + "ee" * 20)])
def test_a_verdict_for_another_chain_or_contract_is_no_vote(story, domain):
    votes = []
    for auditor in AUDITORS:
        verdict = story.verdict()
        votes.append((verdict.report, verdict.issuedAt, sign(auditor, verdict.digest(*domain))))
    found = story.pair.refused(ALICE, "slashByQuorum", *story.judgement(votes))
    assert found[0] in ("NotAuditor", "BadSignature")


@pytest.mark.parametrize(
    "changes",
    [
        {"policyId": word("another policy")},
        {"receipt": word("another receipt")},
        {"node": CAROL.address},
        {"outcome": 1},
        {"outcome": 5},
    ],
)
def test_a_verdict_on_something_else_is_no_vote(story, changes):
    votes = fails(story, *AUDITORS)
    verdict = story.verdict()._replace(**changes)
    votes[0] = (verdict.report, verdict.issuedAt, sign(AUDITORS[0], verdict.digest()))
    assert story.pair.refused(ALICE, "slashByQuorum", *story.judgement(votes))[0] == "NotAuditor"


def test_another_nodes_batch_proves_nothing(story):
    """Carol anchors Bob's receipts; neither Bob nor Carol has to answer for that."""
    pair = story.pair
    pair.ok(CAROL, "register", "https://carol.example", value=10 * ETHER)
    pair.ok(CAROL, "enrol", story.policy)
    digests = [each.digest() for each in story.receipts]
    copied = story.anchor_digests(0, 0, digests, CAROL)
    stolen = pair.ok(CAROL, "anchor", 0, 5, 5, story.batch.root)
    assert stolen.ok
    assert not pair.call("provesReceipt", NODE.address, copied, digests[0], 0, story.proof(0))
    assert pair.call("provesReceipt", CAROL.address, copied, digests[0], 0, story.proof(0))
    assert not pair.call("provesReceipt", CAROL.address, story.batch, digests[0], 0, story.proof(0))
    policy, outcome, one, _, proof, votes = story.judgement(fails(story, *AUDITORS))
    args = (policy, outcome, one, copied, proof, votes)
    assert pair.refused(ALICE, "slashByQuorum", *args) == ("UnknownBatch", NODE.address, 0)
    relabelled = one._replace(node=CAROL.address)
    args = (policy, outcome, relabelled, copied, proof, votes)
    assert pair.refused(ALICE, "slashByQuorum", *args) == ("BadProof",)


def test_a_root_made_for_another_node_or_place_holds_nothing(story):
    """A root binds node, epoch, first and count: none can be replayed elsewhere."""
    pair, digests = story.pair, [word("a"), word("b")]
    roots = [
        reference.batch_root(CAROL.address, 0, 5, digests),
        reference.batch_root(NODE.address, 1, 5, digests),
        reference.batch_root(NODE.address, 0, 6, digests),
        reference.batch_root(NODE.address, 0, 5, [*digests, word("c")]),
    ]
    for root in roots:
        twin = story.copy()
        twin.pair.ok(NODE, "anchor", 0, 5, 2, root)
        place = twin.pair.machine.block, twin.pair.machine.time
        batch = (1, 0, 5, 2, root, *place)
        proof = reference.batch_proof(digests, 0)
        assert not twin.pair.call("provesReceipt", NODE.address, batch, digests[0], 5, proof)
    assert pair.call("getNode", NODE.address)["batches"] == 1


# Trees


def test_leaf_and_node_are_not_confused(story):
    """Neither an inner node as a receipt, nor a leaf's hash as a digest, nor a receipt as an inner node."""
    digests = [each.digest() for each in story.receipts]
    leaves = [reference.leaf_hash(digest) for digest in digests]
    inner = keccak256(b"\x01" + leaves[0] + leaves[1])
    proof = story.proof(0)
    for digest, siblings in ((inner, proof[1:]), (leaves[0], proof), (leaves[0] + leaves[1], proof[1:])):
        claim = (NODE.address, story.batch, digest[:32], 0, siblings)
        assert not story.pair.call("provesReceipt", *claim)
    top = keccak256(b"\x01" + leaves[0] + leaves[1])
    for tag in (b"", b"\x00", b"\x03", b"\x04"):
        confused = keccak256(tag + leaves[0] + leaves[1])
        assert confused != top
        root = _sealed(NODE, 1, 0, 2, confused)
        twin = story.copy()
        twin.pair.ok(NODE, "anchor", 1, 0, 2, root)
        batch = (1, 1, 0, 2, root, twin.pair.machine.block, twin.pair.machine.time)
        assert not twin.pair.call("provesReceipt", NODE.address, batch, digests[0], 0, [leaves[1]])


@pytest.mark.parametrize("tag", [b"", b"\x00", b"\x01", b"\x03"])
def test_a_leaf_has_its_own_tag(story, tag):
    digest = word("digest")
    root = _sealed(NODE, 1, 0, 1, keccak256(tag + digest))
    story.pair.ok(NODE, "anchor", 1, 0, 1, root)
    batch = (1, 1, 0, 1, root, story.pair.machine.block, story.pair.machine.time)
    assert not story.pair.call("provesReceipt", NODE.address, batch, digest, 0, [])


def _sealed(node, epoch, first, count, top):
    place = b"".join(number.to_bytes(8, "big") for number in (epoch, first, count))
    return keccak256(b"\x03" + reference.address_word(node.address) + place + top)


def test_no_batch_reaches_beyond_its_end_by_overflow(story):
    """Claims about batches that nobody anchored give false, not a panic."""
    huge = (1 << 64) - 1
    for batch in ((0, 0, huge, 5, word("r"), 1, 1), (0, 0, 0, 0, word("r"), 1, 1)):
        assert not story.pair.call("provesReceipt", NODE.address, batch, word("d"), huge, [])


# Front-running and self-slashing


def test_front_running_evidence_earns_nothing(story):
    """A copied transaction slashes, but its sender has announced nothing and is paid nothing."""
    evidence = two_receipts(story, SALT)
    story.pair.ok(CLIENT, "announce", announcement(CLIENT, evidence))
    story.pair.ok(WATCHER, "slashEquivocation", *evidence)
    assert story.pair.call("balanceOf", WATCHER.address) == 0
    assert story.pair.call("burned") == 10 * ETHER


def test_front_running_an_announcement_earns_nothing(story):
    evidence = two_receipts(story, SALT)
    story.pair.ok(WATCHER, "announce", announcement(CLIENT, evidence))
    story.pair.ok(CLIENT, "announce", announcement(CLIENT, evidence))
    story.pair.ok(CLIENT, "slashEquivocation", *evidence)
    assert story.pair.call("balanceOf", CLIENT.address) == ETHER
    assert story.pair.call("balanceOf", WATCHER.address) == 0


def test_an_announcement_in_the_same_block_is_too_late(story):
    """Who sees the evidence in flight could put both in front of it."""
    machine, evidence = story.pair.machine, two_receipts(story, SALT)
    wallet = gadgets.deploy(machine, gadgets.wallet(gadgets.STOP))
    ids = evidence[0].digest(), evidence[2].digest()
    commitment = reference.announcement("0x" + wallet.hex(), *ids, SALT)
    calls = ("announce", commitment), ("slashEquivocation", *evidence)
    gadgets.run(machine, wallet, *(RECEIPT_LOG.address + RECEIPT_LOG.encode_call(*call) for call in calls))
    assert story.pair.call("announcedIn", commitment) == machine.block
    assert story.pair.call("balanceOf", "0x" + wallet.hex()) == 0
    assert story.pair.call("burned") == 10 * ETHER


def test_self_slashing_saves_at_most_a_tenth(story):
    """A node that is about to be caught brings the evidence itself."""
    evidence = two_receipts(story, SALT)
    story.pair.ok(NODE, "announce", announcement(NODE, evidence))
    story.pair.ok(NODE, "slashEquivocation", *evidence)
    assert story.pair.call("balanceOf", NODE.address) == ETHER
    assert story.pair.call("burned") == 9 * ETHER
    story.pair.ok(NODE, "withdraw")


def test_self_slashing_with_a_small_bond_buys_no_licence(story):
    """Evidence used up while the bond is small would leave the key free to contradict itself later."""
    pair = story.pair
    poor = CAROL
    pair.ok(poor, "register", "https://poor.example", value=1)
    a = receipt(poor, story.release, 0, 0)
    b = a._replace(outputCommit=word("other"))
    evidence = a, sign(poor, a.digest()), b, sign(poor, b.digest()), NONE
    pair.ok(poor, "slashEquivocation", *evidence)
    for call in (("register", "https://rich.example"), ("topUp", poor.address)):
        assert pair.refused(poor, *call, value=9 * ETHER) == ("WrongStatus", poor.address, EXPELLED)
    assert pair.refused(poor, "anchor", 0, 0, 1, word("r")) == ("WrongStatus", poor.address, EXPELLED)
    assert pair.refused(poor, "requestExit")[0] == "WrongStatus"


def test_a_key_that_contradicted_itself_before_registering_never_registers(story):
    a = receipt(CAROL, story.release, 0, 0)
    b = a._replace(outputCommit=word("other"))
    evidence = a, sign(CAROL, a.digest()), b, sign(CAROL, b.digest()), NONE
    story.pair.ok(ALICE, "slashEquivocation", *evidence)
    found = story.pair.refused(CAROL, "register", "https://c.example", value=ETHER)
    assert found == ("WrongStatus", CAROL.address, EXPELLED)


def test_a_cheap_judgement_does_not_shield_from_a_dear_one(story):
    """A node that fears `withheld` (6) hurries to be judged for `fail` (4)."""
    story.pair.ok(NODE, "slashByQuorum", *story.judgement(fails(story, *AUDITORS)))
    votes = fails(story, *AUDITORS, outcome=WITHHELD)
    story.pair.ok(ALICE, "slashByQuorum", *story.judgement(votes, outcome=WITHHELD))
    assert story.pair.call("burned") == 6 * ETHER
    found = story.pair.refused(ALICE, "slashByQuorum", *story.judgement(fails(story, *AUDITORS)))
    assert found[0] == "AlreadyJudged"


def test_a_cheap_policy_does_not_shield_from_a_dear_one(story):
    lax = story.pair.ok(ALICE, "createPolicy", ACME, "minilm", policy_of(penalty=1)).output
    story.pair.ok(NODE, "enrol", lax)
    story.receipts = [receipt(NODE, story.release, 1, seq) for seq in range(2)]
    story.batch = story.anchor(story.receipts)
    strict, story.policy = story.policy, lax
    story.pair.ok(NODE, "slashByQuorum", *story.judgement(fails(story, *AUDITORS)))
    story.policy = strict
    story.pair.ok(ALICE, "slashByQuorum", *story.judgement(fails(story, *AUDITORS)))
    assert story.pair.call("burned") == 4 * ETHER + 1


def test_a_challenge_by_the_nodes_friend_does_not_end_in_a_small_loss(story):
    """No challenge is dearer than another: one that is missed takes the whole bond but the share."""
    one = receipt(NODE, story.release, 1, 0, client=CAROL.address)
    batch = story.anchor([one])
    story.pair.ok(CAROL, "challenge", one, sign(NODE, one.digest()), batch, NONE, value=DEPOSIT)
    story.pair.ok(NODE, "slashTimeout", one, after=RESPONSE_TIME + 1)
    assert story.pair.call("balanceOf", CAROL.address) == DEPOSIT + ETHER
    assert story.pair.call("burned") == 9 * ETHER


# Challenges


def test_a_withheld_opening_costs_the_bond(story):
    pair = story.pair
    pair.ok(*story.challenge(), value=DEPOSIT)
    end = pair.machine.time + RESPONSE_TIME
    found = pair.refused(WATCHER, "slashTimeout", story.receipts[0], after=pair.wait(end))
    assert found == ("TooEarly", end + 1)
    pair.ok(WATCHER, "slashTimeout", story.receipts[0], after=1)
    assert pair.bond() == 0
    assert pair.call("balanceOf", CLIENT.address) == DEPOSIT + ETHER
    assert pair.call("balanceOf", WATCHER.address) == 0
    assert pair.call("burned") == 9 * ETHER
    assert pair.refused(CLIENT, "slashTimeout", story.receipts[0])[0] == "NoOpenChallenge"
    assert pair.refused(NODE, "respond", *story.response())[0] == "NoOpenChallenge"
    pair.check_state()


def test_a_receipt_left_out_of_its_batch_costs_the_bond(story):
    """The client has a signed receipt, the batch another in its place; the node shows no proof of that."""
    hidden = story.receipts[2]._replace(outputCommit=word("what the client got"))
    signature = sign(NODE, hidden.digest())
    story.pair.ok(CLIENT, "challenge", hidden, signature, story.batch, NONE, value=DEPOSIT)
    _, opening, batch, proof = story.response(2)
    assert story.pair.refused(NODE, "respond", hidden, opening, batch, proof) == ("BadProof",)
    story.pair.ok(CLIENT, "slashTimeout", hidden, after=RESPONSE_TIME + 1)
    assert story.pair.bond() == 0


def test_a_root_of_garbage_costs_the_bond(story):
    one = receipt(NODE, story.release, 0, 5)
    root = word("no tree at all")
    story.pair.ok(NODE, "anchor", 0, 5, 1, root)
    batch = story.batch._replace(
        index=1,
        first=5,
        count=1,
        root=root,
        blockNumber=story.pair.machine.block,
        anchoredAt=story.pair.machine.time,
    )
    story.pair.ok(CLIENT, "challenge", one, sign(NODE, one.digest()), batch, NONE, value=DEPOSIT)
    story.pair.ok(CLIENT, "slashTimeout", one, after=RESPONSE_TIME + 1)
    assert story.pair.bond() == 0


def test_griefing_with_challenges_pays_the_node(story):
    for seq in range(5):
        story.pair.ok(*story.challenge(seq), value=DEPOSIT)
    for seq in range(5):
        story.pair.ok(NODE, "respond", *story.response(seq))
    assert story.pair.call("balanceOf", NODE.address) == 5 * DEPOSIT
    assert story.pair.bond() == 10 * ETHER


def test_a_withheld_batch_costs_the_bond(story):
    """Nobody has a receipt of it, so nobody could challenge one; anybody demands a place instead."""
    pair = story.pair
    pair.ok(*story.place_challenge(2), value=DEPOSIT)
    end = pair.machine.time + RESPONSE_TIME
    place = NODE.address, 0, 2
    found = pair.refused(ALICE, "slashPlaceTimeout", *place, after=pair.wait(end))
    assert found == ("TooEarly", end + 1)
    pair.ok(ALICE, "slashPlaceTimeout", *place, after=1)
    assert pair.bond() == 0
    assert pair.call("balanceOf", WATCHER.address) == DEPOSIT + ETHER
    assert pair.call("burned") == 9 * ETHER
    assert pair.refused(CLIENT, "slashPlaceTimeout", *place)[0] == "NoOpenChallenge"
    assert pair.refused(NODE, "respondPlace", *story.place_response(2))[0] == "NoOpenChallenge"
    pair.check_state()


def test_another_receipt_of_the_node_answers_no_place(story):
    """Neither its neighbour, nor one that it signs for the place now, nor the place of another batch."""
    pair = story.pair
    later = story.anchor([receipt(NODE, story.release, 1, seq) for seq in range(5)])
    pair.ok(*story.place_challenge(2), value=DEPOSIT)

    def refusal(one, batch, proof):
        return pair.refused(NODE, "respondPlace", one, sign(NODE, one.digest()), batch, proof)

    neighbour = reference.place_id(NODE.address, 0, 3)
    assert refusal(story.receipts[3], story.batch, story.proof(3)) == ("NoOpenChallenge", neighbour)
    made_up = story.receipts[2]._replace(outputCommit=word("made up"))
    assert refusal(made_up, story.batch, story.proof(2)) == ("BadProof",)
    relabelled = story.receipts[3]._replace(seq=2)
    assert refusal(relabelled, story.batch, story.proof(3)) == ("BadProof",)
    elsewhere = receipt(NODE, story.release, 1, 2)
    assert refusal(elsewhere, story.batch, story.proof(2)) == ("OutsideBatch", 1, 2)
    second = reference.place_id(NODE.address, 1, 2)
    assert refusal(elsewhere, later, story.proof(2)) == ("NoOpenChallenge", second)
    pair.ok(NODE, "respondPlace", *story.place_response(2))


def test_a_late_answer_of_a_place_saves_no_bond(story):
    pair = story.pair
    pair.ok(*story.place_challenge(), value=DEPOSIT)
    end = pair.machine.time + RESPONSE_TIME
    late = pair.wait(end + 1)
    assert pair.refused(NODE, "respondPlace", *story.place_response(), after=late) == ("TooLate", end)
    pair.ok(WATCHER, "slashPlaceTimeout", NODE.address, 0, 0)
    assert pair.bond() == 0


def test_a_replayed_place_is_neither_challenged_nor_answered_twice(story):
    pair, place = story.pair, reference.place_id(NODE.address, 0, 0)
    pair.ok(*story.place_challenge(), value=DEPOSIT)
    for account in (WATCHER, ALICE):
        found = pair.refused(*story.place_challenge(by=account), value=DEPOSIT)
        assert found == ("AlreadyChallenged", place)
    pair.ok(NODE, "respondPlace", *story.place_response())
    assert pair.refused(*story.place_challenge(), value=DEPOSIT) == ("AlreadyChallenged", place)
    assert pair.refused(NODE, "respondPlace", *story.place_response()) == ("NoOpenChallenge", place)
    missed = pair.refused(ALICE, "slashPlaceTimeout", NODE.address, 0, 0, after=RESPONSE_TIME + 1)
    assert missed == ("NoOpenChallenge", place)
    assert pair.bond() == 10 * ETHER


def test_a_place_is_never_taken_for_its_receipt(story):
    """The challenges of a receipt and of its place are two, and the answer to one is none to the other."""
    pair, digest = story.pair, story.receipts[0].digest()
    pair.ok(*story.place_challenge(), value=DEPOSIT)
    assert pair.refused(NODE, "respond", *story.response()) == ("NoOpenChallenge", digest)
    pair.ok(*story.challenge(), value=DEPOSIT)
    assert pair.call("getNode", NODE.address)["openChallenges"] == 2
    pair.ok(NODE, "respond", *story.response())
    assert pair.refused(ALICE, "slashTimeout", story.receipts[0], after=RESPONSE_TIME + 1)[0] == (
        "NoOpenChallenge"
    )
    pair.ok(ALICE, "slashPlaceTimeout", NODE.address, 0, 0)


def test_griefing_with_places_pays_the_node(story):
    for seq in range(5):
        story.pair.ok(*story.place_challenge(seq), value=DEPOSIT)
    for seq in range(5):
        outcome = story.pair.ok(NODE, "respondPlace", *story.place_response(seq))
        assert outcome.gas * 100 * 10**9 < DEPOSIT
    assert story.pair.call("balanceOf", NODE.address) == 5 * DEPOSIT
    assert story.pair.bond() == 10 * ETHER


def test_a_bond_stays_while_a_place_is_challenged(story):
    pair = story.pair
    pair.ok(NODE, "requestExit")
    pair.ok(*story.place_challenge(), value=DEPOSIT, after=CHALLENGE_WINDOW - 30)
    assert pair.refused(NODE, "exit", after=EXIT_DELAY) == ("ChallengesOpen", 1)
    pair.ok(ALICE, "slashPlaceTimeout", NODE.address, 0, 0)
    pair.ok(NODE, "exit")
    assert pair.call("balanceOf", NODE.address) == 0


def test_a_node_that_anchored_what_it_never_signed_has_no_answer(story):
    batch = story.anchor_digests(1, 0, [word("no receipt")])
    pair, one = story.pair, receipt(NODE, story.release, 1, 0)
    pair.ok(WATCHER, "challengePlace", NODE.address, batch, 0, value=DEPOSIT)
    found = pair.refused(NODE, "respondPlace", one, sign(NODE, one.digest()), batch, [])
    assert found == ("BadProof",)
    pair.ok(WATCHER, "slashPlaceTimeout", NODE.address, 1, 0, after=RESPONSE_TIME + 1)
    assert pair.bond() == 0


def test_a_receipt_that_no_reader_takes_answers_no_place(story):
    """The event would show what clients refuse, and nobody could go on from there."""
    one = receipt(NODE, story.release, 1, 0, issuedAt=1 << 53)
    pair, batch = story.pair, story.anchor([one])
    pair.ok(WATCHER, "challengePlace", NODE.address, batch, 0, value=DEPOSIT)
    found = pair.refused(NODE, "respondPlace", one, sign(NODE, one.digest()), batch, [])
    assert found == ("NumberTooLarge",)


def test_spam_of_one_account_hides_no_attachment_of_another(story):
    story.pair.ok(WATCHER, "attach", story.release, word("calibration"))
    for number in range(20):
        story.pair.ok(ALICE, "attach", story.release, word(f"spam {number}"))
    assert story.pair.call("attachments", story.release, WATCHER.address) == (word("calibration"),)


def test_deposits_come_back_even_when_no_bond_is_left(story):
    for seq in range(3):
        story.pair.ok(*story.challenge(seq), value=DEPOSIT)
    for seq in range(3):
        story.pair.ok(CLIENT, "slashTimeout", story.receipts[seq], after=RESPONSE_TIME + 1)
    assert story.pair.call("balanceOf", CLIENT.address) == 3 * DEPOSIT + ETHER


def test_a_stranger_cannot_make_a_node_open_the_receipts_of_others(story):
    """The openings become public: only the client and auditors that the node agreed to may ask for them."""
    foreign = policy_of(terms=word("spy"), auditors=tuple(sorted([ALICE.address, CAROL.address])))
    spy = story.pair.ok(ALICE, "createPolicy", ACME, "minilm", foreign).output
    found = story.pair.refused(*story.challenge(by=ALICE, policy=spy), value=DEPOSIT)
    assert found == ("NotEnrolled", NODE.address, spy)


# Exits


def test_exit_before_slash_is_too_slow_for_every_deadline(story):
    """The worst case: anchor, ask to exit in the next block, and all the others take all their time."""
    pair, anchored = story.pair, story.batch.anchoredAt
    pair.ok(NODE, "requestExit", after=1)
    exitable = pair.machine.time + EXIT_DELAY
    pair.ok(*story.challenge(), value=DEPOSIT, after=pair.wait(anchored + CHALLENGE_WINDOW))
    twin = story.copy()
    twin.pair.ok(ALICE, "slashTimeout", story.receipts[0], after=RESPONSE_TIME + 1)
    assert twin.pair.machine.time < anchored + 13 * DAY < exitable
    assert twin.pair.bond() == 0
    votes = fails(story, *AUDITORS)
    pair.ok(ALICE, "slashByQuorum", *story.judgement(votes), after=pair.wait(anchored + 10 * DAY))
    assert pair.bond() == 6 * ETHER


def test_a_bond_stays_while_a_challenge_is_open(story):
    pair = story.pair
    pair.ok(NODE, "requestExit")
    pair.ok(*story.challenge(), value=DEPOSIT, after=CHALLENGE_WINDOW - 30)
    assert pair.refused(NODE, "exit", after=EXIT_DELAY) == ("ChallengesOpen", 1)
    pair.ok(ALICE, "slashTimeout", story.receipts[0])
    pair.ok(NODE, "exit")
    assert pair.call("balanceOf", NODE.address) == 0


def test_an_exit_that_has_ripened_anchors_nothing(story):
    """Otherwise a node could wait for the delay first, cheat then and be gone in the next block."""
    story.pair.ok(NODE, "requestExit")
    found = story.pair.refused(NODE, "anchor", 0, 5, 1, word("r"), after=EXIT_DELAY)
    assert found[0] == "WrongStatus"


def test_challenges_cannot_hold_an_exit_up_for_ever(story):
    pair = story.pair
    pair.ok(NODE, "requestExit")
    for seq in range(5):
        pair.ok(*story.challenge(seq), value=DEPOSIT, after=DAY)
        pair.ok(NODE, "respond", *story.response(seq))
    found = pair.refused(*story.challenge(0), value=DEPOSIT, after=3 * DAY)
    assert found[0] == "TooLate"
    pair.ok(NODE, "exit", after=8 * DAY)


def test_an_old_equivocation_costs_the_bond_of_who_came_back(story):
    evidence = two_receipts(story)
    story.pair.ok(NODE, "requestExit")
    story.pair.ok(NODE, "exit", after=EXIT_DELAY)
    story.pair.ok(NODE, "register", "https://again.example", value=3 * ETHER)
    story.pair.ok(CLIENT, "slashEquivocation", *evidence)
    assert story.pair.bond() == 0


def test_resigning_from_a_policy_does_not_escape_it(story):
    """What is anchored in the two weeks after is judged; what is anchored later is not."""
    pair = story.pair
    pair.ok(NODE, "resign", story.policy)
    end = pair.machine.time + EXIT_DELAY
    for epoch, after, refusal in ((1, pair.wait(end - 1), None), (2, 1, "NotEnrolled")):
        story.receipts = [receipt(NODE, story.release, epoch, 0)]
        story.batch = story.anchor(story.receipts, after=after)
        twin = story.copy()
        outcome = twin.pair.send(ALICE, "slashByQuorum", *twin.judgement(fails(twin, *AUDITORS)))
        assert (outcome.error or [None])[0] == refusal


def test_enrolling_again_does_not_wash_old_batches_clean(story):
    pair = story.pair
    pair.ok(NODE, "resign", story.policy)
    end = pair.machine.time + EXIT_DELAY
    story.receipts = [receipt(NODE, story.release, 1, 0)]
    story.batch = story.anchor(story.receipts, after=pair.wait(end - 1))
    pair.ok(NODE, "enrol", story.policy, after=DAY)
    pair.ok(ALICE, "slashByQuorum", *story.judgement(fails(story, *AUDITORS)))


def test_batches_from_before_enrolling_are_not_judged(log):
    story = Story.told(log, receipts=0)
    late = log.ok(ALICE, "createPolicy", ACME, "minilm", policy_of(terms=NONE)).output
    story.receipts = [receipt(NODE, story.release, 0, 0)]
    story.batch = story.anchor(story.receipts)
    log.ok(NODE, "enrol", late)
    story.policy = late
    found = log.refused(ALICE, "slashByQuorum", *story.judgement(fails(story, *AUDITORS)))
    assert found == ("NotEnrolled", NODE.address, late)


# Auditors


@pytest.mark.parametrize("liar", AUDITORS)
def test_a_lying_auditor_alone_takes_no_bond(story, liar):
    """An auditor quorum has one bribed member; the honest node keeps its bond."""
    found = story.pair.refused(WATCHER, "slashByQuorum", *story.judgement(fails(story, liar)))
    assert found == ("NoQuorum", 1, 2)
    verdict = story.verdict()
    story.pair.ok(ALICE, "recordVerdict", verdict, sign(liar, verdict.digest()))
    assert story.pair.bond() == 10 * ETHER


@pytest.mark.parametrize("liar", AUDITORS)
def test_a_duplicate_auditor_is_no_quorum(story, liar):
    """Not by one signature twice, nor by two reports of one auditor."""
    once, again = story.vote(liar), story.vote(liar, report=word("another report"))
    for votes in ([once, once], [once, again], [once, once, again]):
        found = story.pair.refused(ALICE, "slashByQuorum", *story.judgement(votes))
        assert found == ("NotAuditor", liar.address)


def test_votes_out_of_order_are_refused(story):
    first, second, third = fails(story, *AUDITORS)
    for votes in ([second, first], [third, second, first], [first, third, second]):
        assert story.pair.refused(ALICE, "slashByQuorum", *story.judgement(votes))[0] == "NotAuditor"
    for votes in ([first, second], [first, third], [second, third], [first, second, third]):
        twin = story.copy()
        twin.pair.ok(ALICE, "slashByQuorum", *twin.judgement(votes))


def test_a_stranger_among_the_votes_is_refused(story):
    for stranger in (ALICE, NODE, Account.named("mallory")):
        for place in range(3):
            votes = fails(story, *AUDITORS[:2])
            votes.insert(place, story.vote(stranger))
            found = story.pair.refused(ALICE, "slashByQuorum", *story.judgement(votes))
            assert found[0] == "NotAuditor"


def test_mixed_outcomes_are_no_quorum(story):
    votes = [story.vote(AUDITORS[0]), story.vote(AUDITORS[1], outcome=WITHHELD)]
    for outcome in (FAIL, WITHHELD):
        found = story.pair.refused(ALICE, "slashByQuorum", *story.judgement(votes, outcome=outcome))
        assert found[0] == "NotAuditor"


def test_a_bribed_owner_judges_no_node_that_did_not_agree(story):
    """Auditors appointed after the fact judge nobody, whoever owns the namespace."""
    gang = sorted([Account.named("m"), Account.named("n")], key=lambda account: account.address)
    policy = policy_of(auditors=tuple(account.address for account in gang))
    bribed = story.pair.ok(ALICE, "createPolicy", ACME, "minilm", policy).output
    story.policy = bribed
    found = story.pair.refused(ALICE, "slashByQuorum", *story.judgement(fails(story, *gang)))
    assert found == ("NotEnrolled", NODE.address, bribed)
    assert story.pair.bond() == 10 * ETHER


def test_a_lying_quorum_gains_nothing(story):
    before = [story.pair.call("balanceOf", account.address) for account in (*AUDITORS, ALICE)]
    story.pair.ok(WATCHER, "slashByQuorum", *story.judgement(fails(story, *AUDITORS)))
    assert [story.pair.call("balanceOf", account.address) for account in (*AUDITORS, ALICE)] == before


# Ether


def through(wallet: bytes, story, function, *args, value=0):
    """A call by the wallet, on the contract alone: the model does not know the wallet."""
    data = RECEIPT_LOG.address + RECEIPT_LOG.encode_call(function, *args)
    return story.pair.machine.send_raw(ALICE, wallet, data, value=value)


def rich_wallet(story, on_ether: bytes) -> bytes:
    """A wallet that has been a node and may withdraw one ether."""
    wallet = gadgets.deploy(story.pair.machine, gadgets.wallet(on_ether))
    assert through(wallet, story, "register", "https://wallet.example", value=ETHER).ok
    assert through(wallet, story, "requestExit").ok
    story.pair.machine.send_raw(ALICE, wallet, b"", EXIT_DELAY)
    assert through(wallet, story, "exit").ok
    return wallet


def test_reentrancy_withdraws_once(story):
    machine = story.pair.machine
    wallet = rich_wallet(story, gadgets.calling_back("withdraw"))
    before = machine.balance(RECEIPT_LOG.address)
    assert through(wallet, story, "withdraw").ok
    assert machine.balance(wallet) == ETHER
    assert machine.balance(RECEIPT_LOG.address) == before - ETHER == story.pair.model.held()


def test_who_takes_no_ether_keeps_its_balance_and_blocks_nobody(story):
    machine = story.pair.machine
    wallet = rich_wallet(story, gadgets.REFUSE)
    outcome = through(wallet, story, "withdraw")
    assert outcome.error == ("TransferFailed",)
    assert story.pair.call("balanceOf", "0x" + wallet.hex()) == ETHER
    assert machine.balance(RECEIPT_LOG.address) == story.pair.model.held() + ETHER


def test_a_challenger_that_takes_no_ether_cannot_stop_the_slash(story):
    wallet = gadgets.deploy(story.pair.machine, gadgets.wallet(gadgets.REFUSE))
    one = receipt(NODE, story.release, 1, 0, client="0x" + wallet.hex())
    batch = story.anchor([one])
    args = (one, sign(NODE, one.digest()), batch, NONE)
    assert through(wallet, story, "challenge", *args, value=DEPOSIT).ok
    data = RECEIPT_LOG.encode_call("slashTimeout", one)
    assert story.pair.machine.send_raw(ALICE, RECEIPT_LOG.address, data, RESPONSE_TIME + 1).ok
    assert story.pair.bond() == 0
    assert story.pair.call("balanceOf", "0x" + wallet.hex()) == DEPOSIT + ETHER


def test_forced_ether_belongs_to_nobody(story):
    pair = story.pair
    held = pair.model.held()
    gadgets.force(pair.machine, RECEIPT_LOG.address, 7)
    assert pair.machine.balance(RECEIPT_LOG.address) == held + 7
    assert pair.bond() == 10 * ETHER
    for account in (ALICE, NODE):
        data = RECEIPT_LOG.encode_call("withdraw")
        error = pair.machine.send_raw(account, RECEIPT_LOG.address, data).error
        assert error == ("NothingToWithdraw",)


def test_ether_is_taken_by_calls_that_ask_for_it_alone(story):
    """No fallback, and no value with any other call."""
    machine = story.pair.machine
    assert not machine.send_raw(ALICE, RECEIPT_LOG.address, b"", value=1).ok
    for item in RECEIPT_LOG.items("function"):
        if item["stateMutability"] == "nonpayable":
            selector = keccak256(abi.signature(item))[:4]
            outcome = machine.send_raw(NODE, RECEIPT_LOG.address, selector + bytes(2048), value=1)
            assert not outcome.ok, item["name"]
            assert outcome.output == b""


# Bounds


def test_dirty_bits_make_no_second_encoding(story):
    """Words beyond a field's size are refused, not cut: one receipt has one encoding."""
    one = story.receipts[0]
    data = RECEIPT_LOG.encode_call("receiptDigest", one)
    for field, (_, form) in enumerate(reference.RECEIPT):
        if form != "bytes32":
            dirty = bytearray(data)
            dirty[4 + 32 * field] = 1
            ok, output = story.pair.machine.call_raw(bytes(ALICE), RECEIPT_LOG.address, bytes(dirty))
            assert (ok, output) == (False, b""), form


def widest(story, count=32):
    """A policy with as many auditors as there can be, and a story under it."""
    crowd = sorted((Account.named(f"auditor {i}") for i in range(count)), key=lambda a: a.address)
    policy = policy_of(auditors=tuple(each.address for each in crowd), quorum=count)
    story.policy = story.pair.ok(ALICE, "createPolicy", ACME, "minilm", policy).output
    story.pair.ok(NODE, "enrol", story.policy)
    story.receipts = [receipt(NODE, story.release, 1, seq) for seq in range(2)]
    story.batch = story.anchor(story.receipts)
    return crowd


def test_the_widest_judgement_fits_in_a_block_thirty_times(story):
    """A quorum that is too dear to bring would be no quorum."""
    crowd = widest(story)
    outcome = story.pair.ok(ALICE, "slashByQuorum", *story.judgement(fails(story, *crowd)))
    assert outcome.gas < 1_000_000


def test_a_proof_longer_than_the_tree_costs_no_walk(story):
    one, opening, batch, _ = story.response()
    story.pair.ok(*story.challenge(), value=DEPOSIT)
    args = (one, opening, batch, [NONE] * 500)
    assert story.pair.refused(NODE, "respond", *args) == ("BadProof",)


def test_the_deepest_proof_is_checked(story):
    """A million receipts in one batch."""
    one = receipt(NODE, story.release, 2, 77)
    proof = [word(f"sibling {level}") for level in range(20)]
    top = reference.leaf_hash(one.digest())
    for level, sibling in enumerate(proof):
        pair = (sibling, top) if 77 >> level & 1 else (top, sibling)
        top = keccak256(b"\x01" + pair[0] + pair[1])
    root = _sealed(NODE, 2, 0, 1 << 20, top)
    story.pair.ok(NODE, "anchor", 2, 0, 1 << 20, root)
    batch = Batch(1, 2, 0, 1 << 20, root, story.pair.machine.block, story.pair.machine.time)
    assert story.pair.call("provesReceipt", NODE.address, batch, one.digest(), 77, proof)
    story.pair.ok(CLIENT, "challenge", one, sign(NODE, one.digest()), batch, NONE, value=DEPOSIT)
    outcome = story.pair.ok(NODE, "respond", one, opening_of(77), batch, proof)
    assert outcome.gas < 150_000


def test_the_registry_that_is_asked_is_the_one_of_this_version():
    assert abi.REGISTRY.address in bytes.fromhex(RECEIPT_LOG.artifact["deployedBytecode"][2:])
