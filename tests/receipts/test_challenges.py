"""Which challenges a journal answers, and endpoints that would have it answer others."""

import time
from contextlib import closing
from dataclasses import replace

import pytest

from modelreg.errors import NotFoundError
from modelreg_verifier.receipts.challenges import Respondent, waiting_challenges
from modelreg_verifier.receipts.journal import Journal
from modelreg_verifier.receipts.records import Anchored, Records
from tests.ledger.adversary import LyingRpc
from tests.ledger.conftest import chain, chain_template, world  # noqa: F401  fixtures
from tests.ledger.receipt_log_world import (
    ADDRESSES,
    DOMAIN,
    ETHER,
    NODE,
    OTHER,
    OWNER,
    SIGNERS,
    URL,
    LogWorld,
    response_of,
)
from tests.receipts.making import draft

COUNT = 5


@pytest.fixture
def log_world(world):  # noqa: F811  a fixture
    made = LogWorld(world)
    made.writer(OWNER).deploy()
    made.writer().register(URL, 5 * ETHER)
    return made


def drafts():
    return [draft(seq, response=response_of(seq)) for seq in range(COUNT)]


@pytest.fixture
def node(log_world, tmp_path):
    """(world, records, signed receipts, their batch) of a node that anchored five."""
    path = tmp_path / "journal.sqlite"
    journal = Journal(path, SIGNERS[NODE], DOMAIN)
    signed = [journal.append(each)[0] for each in drafts()]
    journal.close()
    with closing(Records(path)) as records:
        tree = records.tree(*records.unbatched())
        records.add_batch(tree.batch)
        anchored = log_world.writer().anchor(tree.batch).anchored
        records.note_anchor(Anchored(tree.batch, anchored.index, anchored.block, anchored.anchored_at))
        yield log_world, records, signed, anchored


def hide(change):
    return {"eth_getLogs": lambda _rpc, _params, answer: change(answer)}


def answers(records, log):
    respondent = Respondent(log, records)
    return [respondent.answer(each) for each in waiting_challenges(log, records)]


def test_what_waits_is_answered(node):
    made, records, signed, anchored = node
    made.challenges().challenge(signed[1], anchored)
    made.challenges().challenge_place(anchored, 4)
    log = made.log()
    waiting = waiting_challenges(log, records)
    assert [each.place for each in waiting] == [None, (0, 4)]
    respondent = Respondent(log, records)
    answers = [respondent.answer(each) for each in waiting]
    assert [each.signed for each in answers] == [signed[1], signed[4]]
    assert {each.anchored for each in answers} == {anchored}
    for each in answers:
        assert each.send(made.challenges(NODE)).succeeded
    assert waiting_challenges(made.log(), records) == []
    assert made.node().open_challenges == 0


def test_nothing_is_searched_for_while_nothing_is_open(node):
    made, records, _, _ = node

    def refuse(*_):
        raise AssertionError("events were asked for")

    assert waiting_challenges(made.log(LyingRpc(made.world.rpc, eth_getLogs=refuse)), records) == []


def test_a_lying_rpc_shows_the_challenge_of_another_node_instead(node):
    """Else the count would be reached, and the one that costs the bond never be seen."""
    made, records, signed, anchored = node
    made.writer(OTHER).register(URL, ETHER)
    _, theirs = made.anchored(2, key=OTHER)
    made.challenges(OWNER).challenge(signed[0], anchored)
    made.challenges(OWNER).challenge(made.receipt(0, key=OTHER), theirs)
    events = made.world.rpc.request("eth_getLogs", [{"fromBlock": "0x0", "toBlock": "latest"}])
    foreign = events[-1]

    def mixed(entries):
        own = f"0x{ADDRESSES[NODE].rjust(32, bytes(1)).hex()}"
        return [*entries, foreign | {"topics": [foreign["topics"][0], own, foreign["topics"][2]]}]

    log = made.log(LyingRpc(made.world.rpc, **hide(mixed)))
    waiting = waiting_challenges(log, records)
    assert {each.id for each in waiting} == {
        signed[0].receipt.digest(DOMAIN),
        made.receipt(0, key=OTHER).receipt.digest(DOMAIN),
    }
    respondent = Respondent(log, records)
    with pytest.raises(NotFoundError, match="journal"):
        respondent.answer(next(each for each in waiting if each.id != signed[0].receipt.digest(DOMAIN)))


def test_a_lost_receipt_has_no_answer_and_others_have(node):
    made, records, signed, anchored = node
    lost = made.receipt(7, epoch=signed[0].receipt.epoch)
    made.challenges().challenge_place(anchored, 0)
    log = made.log()
    [place] = waiting_challenges(log, records)
    respondent = Respondent(log, records)
    assert respondent.answer(place).signed == signed[0]
    with pytest.raises(NotFoundError):
        respondent.answer(replace(place, id=lost.receipt.digest(DOMAIN), place=None))
    with pytest.raises(NotFoundError):
        respondent.answer(replace(place, place=(1, 0)))
    with pytest.raises(NotFoundError):
        respondent.answer(replace(place, place=(0, COUNT)))


@pytest.mark.parametrize("noted", [{"position": None, "block": None, "at": None}, {"block": 1}])
def test_a_note_that_is_missing_or_wrong_is_mended_by_the_ledger(node, noted):
    """Killed between anchoring and noting, or the chain reorganised since."""
    made, records, signed, anchored = node
    records.note_anchor(replace(records.batches()[0], **noted))
    made.challenges().challenge(signed[2], anchored)
    made.challenges().challenge_place(anchored, 3)
    found = answers(records, made.log())
    assert [each.anchored for each in found] == [anchored, anchored]


def test_what_is_overdue_waits_for_nobody(node, monkeypatch):
    made, records, signed, anchored = node
    made.challenges().challenge(signed[2], anchored)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 4 * 86_400)
    made.writer(OTHER).register(URL)
    assert waiting_challenges(made.log(), records) == []
    assert made.node().open_challenges == 1
