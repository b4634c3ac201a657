"""What receipts are judged by: what an auditor fetches, and for whom."""

import pytest

from modelreg_verifier.audit.judge import judge
from modelreg_verifier.audit.subjects import Trusted, subjects
from modelreg_verifier.audit.verdict import Reason, Ruling
from tests.verifier.auditing import DOMAIN, RELEASE, early


def test_nothing_is_fetched_because_a_receipt_names_it(tmp_path):
    def ledger():
        pytest.fail("the ledger was asked")

    world = early()
    foreign = [world.calibration([1e-6] * 4, release=b"\x01" * 32)]
    opening = world.opening()
    subject = subjects(Trusted(tmp_path, ledger, DOMAIN, foreign))(
        RELEASE, opening.receipt.receipt.digest(DOMAIN)
    )
    found = judge(opening, subject)
    assert (found.ruling, found.reason) == (Ruling.UNDECIDABLE, Reason.CALIBRATION)
    assert not list(tmp_path.iterdir())
