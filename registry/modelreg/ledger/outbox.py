"""The journal of signed transactions: written before they are sent. docs/spec/ledger.md, section 8."""

import contextlib
import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from modelreg.errors import (
    ConflictError,
    ModelregError,
    NotPermittedError,
    UnreachableError,
    VerificationError,
)
from modelreg.ledger.fees import Fees

__all__ = ["Outbox", "Sent"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sent (
  hash BLOB PRIMARY KEY,
  chain TEXT NOT NULL,
  account BLOB NOT NULL,
  nonce INTEGER NOT NULL,
  raw BLOB NOT NULL,
  purpose TEXT NOT NULL,
  most TEXT NOT NULL,
  tip TEXT NOT NULL,
  open INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX IF NOT EXISTS sent_by_nonce ON sent (chain, account, nonce);
CREATE INDEX IF NOT EXISTS sent_by_purpose ON sent (chain, account, purpose);
"""
_COLUMNS = "hash, nonce, raw, purpose, most, tip, open"
_BUSY_SECONDS = 30.0
_LOOK_AGAIN = 0.02
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Sent:
    """A signed transaction. `purpose` says what it was for, in words that a retry would choose again."""

    hash: bytes
    nonce: int
    raw: bytes
    purpose: str
    fees: Fees
    open: bool = True


def _locked(file: IO[bytes]) -> bool:
    """Take the lock of an open file, unless somebody has it; closing the file gives it back."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Outbox:
    """The transactions that one account sent on one chain.

    Args:
        path: the SQLite file; other accounts and chains may share it.
        chain: chain id and genesis hash, as text.
        account: the sender's 20 bytes.
    """

    def __init__(self, path: Path, chain: str, account: bytes) -> None:
        self._path = path
        self._key = (chain, account)
        self._lock = path.with_name(f"{path.name}.{chain.replace(':', '-')[:40]}.{account.hex()}.lock")
        with self._database() as database:
            database.executescript(_SCHEMA)

    @contextlib.contextmanager
    def exclusive(self, patience: float) -> Iterator[None]:
        """Be the only process that sends for this account. Raises ConflictError after `patience` seconds."""
        end = time.monotonic() + patience
        with self._errors():
            file = self._lock.open("ab")
        with file:
            while not _locked(file):
                if time.monotonic() > end:
                    raise self._busy()
                time.sleep(_LOOK_AGAIN)
            yield

    def _busy(self) -> ConflictError:
        account = f"0x{self._key[1].hex()}"
        hint = "wait until it is done, or end it"
        return ConflictError(f"another process sends with the key of {account}", hint=hint)

    def add(self, sent: Sent) -> None:
        """Journal a transaction; it is on disk when this returns."""
        values = (
            sent.hash,
            *self._key,
            sent.nonce,
            sent.raw,
            sent.purpose,
            str(sent.fees.most),
            str(sent.fees.tip),
        )
        with self._database() as database:
            database.execute(
                "INSERT INTO sent (hash, chain, account, nonce, raw, purpose, most, tip)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (hash) DO UPDATE SET open = 1",
                values,
            )

    def unsettled(self, nonce: int) -> list[Sent]:
        """What is open, and what is done but has a nonce that the chain has not used (any more)."""
        return self._select("(open = 1 OR nonce >= ?) ORDER BY nonce, rowid", nonce)

    def for_purpose(self, purpose: str) -> list[Sent]:
        """What was sent for a purpose, newest first."""
        return self._select("purpose = ? ORDER BY rowid DESC", purpose)

    def close(self, nonce: int) -> None:
        """Take a nonce's transactions for settled: one of them, or somebody else's, is on the chain."""
        with self._database() as database:
            database.execute(
                "UPDATE sent SET open = 0 WHERE chain = ? AND account = ? AND nonce = ?", (*self._key, nonce)
            )

    def drop(self, nonce: int) -> None:
        """Forget a nonce's transactions: they can never be mined."""
        with self._database() as database:
            database.execute(
                "DELETE FROM sent WHERE chain = ? AND account = ? AND nonce = ?", (*self._key, nonce)
            )

    def _select(self, condition: str, value: object) -> list[Sent]:
        query = f"SELECT {_COLUMNS} FROM sent WHERE chain = ? AND account = ? AND {condition}"  # noqa: S608
        with self._database() as database:
            rows = database.execute(query, (*self._key, value)).fetchall()
        return [
            Sent(row[0], row[1], row[2], row[3], Fees(int(row[4]), int(row[5])), bool(row[6])) for row in rows
        ]

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            database = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")
                yield database
            finally:
                database.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise _error_of(error, self._path) from None


def _error_of(error: sqlite3.Error | OSError, path: Path) -> ModelregError:
    what, name = f"cannot use {path}", getattr(error, "sqlite_errorname", "")
    if _for_want_of_space(error, name, path.parent):
        hint = "free some space, or run `modelreg gc`, and try again"
        return UnreachableError(what, found=os.strerror(errno.ENOSPC), hint=hint)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR")):
        return UnreachableError(what, found=str(error), hint="try again: nothing is sent twice")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        hint = "move it away once none of this key's transactions waits; a new one is made"
        return VerificationError(what, expected="a journal of transactions", found=str(error), hint=hint)
    hint = "check the permissions of the file and its directory, and the mount"
    return NotPermittedError(what, found=str(error), hint=hint)


def _for_want_of_space(error: sqlite3.Error | OSError, name: str, directory: Path) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    # On a full disk SQLite cannot open a file that it would have to make.
    return name.startswith("SQLITE_FULL") or (name.startswith("SQLITE_CANTOPEN") and _is_full(directory))


def _is_full(directory: Path) -> bool:
    try:
        return os.statvfs(directory).f_bavail == 0
    except OSError:
        return False
