"""The journal's file: what goes wrong with it, in the words and codes of everything else."""

import errno
import os
import sqlite3
import stat
import threading

import pytest

from modelreg.errors import ConflictError, NotPermittedError, UnreachableError, VerificationError
from modelreg.ledger.fees import Fees
from modelreg.ledger.outbox import Outbox, Sent
from tests.store.unprivileged import without_privileges

ACCOUNT = b"\x01" * 20


def sent(nonce, size=100):
    return Sent(bytes([nonce]) * 32, nonce, bytes(size), "test", Fees(2, 1))


def outbox(directory):
    return Outbox(directory / "outbox.sqlite", "1:aa", ACCOUNT)


def test_a_full_disk(tmp_path, monkeypatch):
    """SQLite says of a file that has its most pages what it says of a full disk."""
    box, connect = outbox(tmp_path), sqlite3.connect
    box.add(sent(1))

    def limited(*arguments, **options):
        database = connect(*arguments, **options)
        database.execute("PRAGMA max_page_count = 8")
        return database

    monkeypatch.setattr("modelreg.ledger.outbox.sqlite3.connect", limited)
    with pytest.raises(UnreachableError, match=r"No space left on device.*free some space") as caught:
        box.add(sent(2, 100_000))
    assert caught.value.exit_code == 6
    monkeypatch.undo()
    assert [row.nonce for row in box.unsettled(0)] == [1]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_where_the_lock_is_made(tmp_path, monkeypatch, number):
    def full(*_):
        raise OSError(number, os.strerror(number))

    box = outbox(tmp_path)
    monkeypatch.setattr("pathlib.Path.open", full)
    with pytest.raises(UnreachableError, match="free some space"), box.exclusive(0):
        pass


def test_a_full_disk_on_which_the_file_cannot_be_made(tmp_path, monkeypatch):
    status = os.statvfs_result((4096, 4096, 100, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr("modelreg.ledger.outbox.os.statvfs", lambda _: status)
    with pytest.raises(UnreachableError, match="free some space"):
        outbox(tmp_path / "missing")


def test_a_read_only_directory_is_not_a_full_disk(tmp_path):
    def check():
        with pytest.raises(NotPermittedError, match="permissions"):
            outbox(tmp_path)

    tmp_path.chmod(0o555)
    for above in tmp_path.parents[:3]:
        above.chmod(above.stat().st_mode | 0o011)
    without_privileges(tmp_path, check)
    tmp_path.chmod(stat.S_IRWXU)


@pytest.mark.parametrize("content", [b"anything else" * 400, b"SQLite format 3\0" + bytes(range(256)) * 40])
def test_a_damaged_file(tmp_path, content):
    (tmp_path / "outbox.sqlite").write_bytes(content)
    with pytest.raises(VerificationError, match="a journal of transactions"):
        outbox(tmp_path)


def test_a_file_that_another_program_keeps_locked(tmp_path, monkeypatch):
    box = outbox(tmp_path)
    monkeypatch.setattr("modelreg.ledger.outbox._BUSY_SECONDS", 0.05)
    other = sqlite3.connect(tmp_path / "outbox.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnreachableError, match=r"locked.*nothing is sent twice"):
        box.add(sent(1))
    other.close()
    box.add(sent(1))


def test_one_process_sends_at_a_time(tmp_path):
    first, second, refusals = outbox(tmp_path), outbox(tmp_path), []

    def wait():
        with pytest.raises(ConflictError, match="another process sends") as caught, second.exclusive(0.1):
            pass
        refusals.append(caught.value)

    with first.exclusive(0):
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join()
    assert len(refusals) == 1
    with second.exclusive(0):
        pass
