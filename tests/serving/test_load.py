"""kill -9 under load: every receipt that a client got is there afterwards, and each has its place.

`MODELREG_LOAD_SECONDS=60` runs five rounds of so many seconds in place of one of 20; `pytest -s` shows the
rates.
"""

import os
import socket

import pytest

from modelreg.format.receipt import SignedReceipt
from modelreg.format.receipt_text import from_header
from modelreg_verifier.receipts.records import Records
from tests.receipts.making import DOMAIN, check_chain
from tests.receipts.test_crash import epochs_of
from tests.serving.load import load

SECONDS = float(os.environ.get("MODELREG_LOAD_SECONDS", "20"))
ROUNDS = 5 if "MODELREG_LOAD_SECONDS" in os.environ else 1
GRACE = 0.5  # a connection that was reset is noticed a moment later


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kill_9_under_load(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rounds = load(tmp_path, port, ROUNDS, SECONDS)
    for found in rounds:
        first, last = found.down
        print(
            f"{found.rate:.0f} answers/s, {len(found.receipts)} in all; down for {last - first:.1f} s, "
            f"{len(found.gone)} connections refused or reset"
        )
        assert found.odd == []
        assert all(first <= at <= last + GRACE for at in found.gone)
        assert len(found.receipts) > 100
    answered = [header for found in rounds for header in found.receipts]
    assert len(set(answered)) == len(answered)
    records = Records(tmp_path / "journal.sqlite")
    epochs = epochs_of(records)
    assert len(epochs) == 2 * ROUNDS
    kept = set()
    for epoch in epochs:
        page = records.page(epoch, 0, 1 << 30)
        [[count]] = records._rows("SELECT count(*) FROM receipt WHERE epoch = ?", epoch)
        assert len(page) == count  # no gap
        check_chain(page)
        kept.update(SignedReceipt.from_bytes(raw).receipt.digest(DOMAIN) for raw in page)
    records.close()
    assert kept.issuperset(from_header(header).receipt.digest(DOMAIN) for header in answered)
