"""kill -9 at any point: what was acknowledged is there, once, in its place."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelreg.errors import ConflictError
from modelreg.format.receipt import SignedReceipt
from modelreg_verifier.receipts.assembly import Parts, assemble
from modelreg_verifier.receipts.records import Records
from tests.receipts.making import CUTS, DOMAIN, OUTPUTS, check_chain, journal

ROOT = Path(__file__).parents[2]
SEED = 7


def begin(path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "tests.receipts.record_fast", str(path)]
    return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def killed(path, seconds):
    """Let it run for a while after its first receipt; the digests that were printed whole."""
    process = begin(path)
    first = process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    process.wait(30)
    process.stdout.close()
    return [line for line in (first + rest).splitlines() if len(line) == 64]


def epochs_of(records):
    return [row[0] for row in records._rows("SELECT epoch FROM epoch ORDER BY epoch")]


def campaign(path, rounds):
    chance = random.Random(SEED)
    acknowledged = []
    for _ in range(rounds):
        acknowledged += killed(path, chance.uniform(0.0, 0.3))
    records = Records(path / "journal.sqlite")
    epochs = epochs_of(records)
    assert len(epochs) == rounds
    digests = set()
    for epoch in epochs:
        page = records.page(epoch, 0, 1 << 30)
        [[count]] = records._rows("SELECT count(*) FROM receipt WHERE epoch = ?", epoch)
        assert len(page) == count  # no gap
        check_chain(page)
        digests |= {SignedReceipt.from_bytes(raw).receipt.digest(DOMAIN).hex() for raw in page}
    assert len(acknowledged) == len(set(acknowledged)) >= rounds
    assert digests.issuperset(acknowledged)
    for digest in chance.sample(acknowledged, 20):
        opening = assemble(records, bytes.fromhex(digest), Parts(), lambda *_: (OUTPUTS, CUTS))
        assert len(opening.cuts) == len(CUTS)
    records.close()
    with journal(path) as again:  # the lock went with the process
        assert again.epoch == epochs[-1] + 1


def test_kill_9(tmp_path):
    campaign(tmp_path, 5)


@pytest.mark.slow
def test_kill_9_often(tmp_path):
    campaign(tmp_path, 50)


def test_second_process_is_refused_while_the_first_works(tmp_path):
    process = begin(tmp_path)
    try:
        assert process.stdout.readline()
        with pytest.raises(ConflictError, match=f"process {process.pid}"), journal(tmp_path):
            pass
    finally:
        process.kill()
        process.communicate()
