"""How long an auditor waits for a node, and what is not the node's doing."""

import pytest

from modelreg.errors import NotFoundError, UnreachableError
from modelreg_verifier.audit.auditor import Auditor, shown_by
from modelreg_verifier.audit.node_client import KeepingError, Patience
from modelreg_verifier.audit.sampling import sample
from modelreg_verifier.audit.verdict import Ruling
from tests.verifier.test_auditor import DOMAIN, batch_of_three  # noqa: F401


class Node:
    """Answers after some silence."""

    def __init__(self, silent):
        self.silent, self.asked = silent, 0

    def ask(self, _seconds):
        self.asked += 1
        if self.asked <= self.silent:
            raise UnreachableError("no answer")
        return "an answer"


def test_what_got_no_answer_is_asked_for_again():
    slept, node = [], Node(3)
    assert Patience(600.0, slept.append).wait_for(node.ask) == "an answer"
    assert slept == [0.5, 1.0, 2.0]


def test_patience_ends_for_all_questions_together():
    patience, node = Patience(4.0, lambda _: None), Node(9)
    with pytest.raises(UnreachableError):
        patience.wait_for(node.ask)
    assert node.asked == 4
    with pytest.raises(UnreachableError):
        patience.wait_for(Node(1).ask)


def test_a_refusal_is_an_answer():
    def ask(_seconds):
        raise NotFoundError("gone")

    with pytest.raises(NotFoundError):
        Patience(600.0, lambda _: pytest.fail("waited")).wait_for(ask)


def test_full_disk_of_the_auditor_accuses_nobody(batch_of_three):  # noqa: F811
    _, _, signed, batch = batch_of_three
    shown = shown_by(signed, batch, DOMAIN)

    def ask(_):
        raise KeepingError("cannot keep what the node answers")

    auditor = Auditor(ask, lambda *_: pytest.fail("judged"))
    with pytest.raises(KeepingError):
        auditor.audit(batch, shown, b"\x01" * 32, sample(b"\x01" * 32, shown.strata, 1), 1)

    def silent(_):
        raise UnreachableError("no answer")

    auditor = Auditor(silent, lambda *_: pytest.fail("judged"))
    report = auditor.audit(batch, shown, b"\x01" * 32, sample(b"\x01" * 32, shown.strata, 1), 1)
    assert report.outcomes == {Ruling.WITHHELD: 1}


def test_whole_receipts_are_kept(batch_of_three):  # noqa: F811
    _, _, signed, batch = batch_of_three
    shown = shown_by(iter(signed), batch, DOMAIN)
    assert [shown.signed(place) for place in (2, 0, 1)] == [signed[2], signed[0], signed[1]]


def test_slow_answers_use_patience_up(monkeypatch):
    """a node that drips: each answer comes just in time"""
    now = [0.0]
    monkeypatch.setattr("modelreg_verifier.audit.node_client.time.monotonic", lambda: now[0])
    patience, given = Patience(100.0, lambda _: None), []

    def ask(seconds):
        given.append(seconds)
        now[0] += min(seconds, 70.0)
        return "an answer"

    for _ in range(3):
        assert patience.wait_for(ask) == "an answer"
    assert given == [120.0, 70.0, 20.0]
