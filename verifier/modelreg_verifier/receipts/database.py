"""The journal's SQLite file: schema, connections, errors. Specified in docs/spec/openings.md, section 5.

WAL with synchronous=NORMAL: when a commit returns, it is in the operating system's hands, and no kill undoes
it. After a power loss the file is whole, but may lack its last commits; `durably` waits for the disk.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from modelreg.errors import (
    ConflictError,
    FormatError,
    ModelregError,
    NotFoundError,
    NotPermittedError,
    UnreachableError,
    VerificationError,
)
from modelreg.format.receipt import Domain
from modelreg.store.files import os_errors

__all__ = ["connect", "create", "durably", "translated", "writing"]

_APPLICATION_ID = 0x6D72726A  # "mrrj"
_SCHEMA_VERSION = 1
_BUSY_MS = 30_000
_SCHEMA = """
CREATE TABLE journal (node BLOB NOT NULL, chain_id INTEGER NOT NULL, contract BLOB NOT NULL) STRICT;
CREATE TABLE epoch (epoch INTEGER PRIMARY KEY) STRICT;
CREATE TABLE block (digest BLOB PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE receipt (
  epoch INTEGER NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL UNIQUE, signed BLOB NOT NULL,
  response BLOB NOT NULL, segment INTEGER NOT NULL, start INTEGER NOT NULL, size INTEGER NOT NULL,
  PRIMARY KEY (epoch, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE batch (
  epoch INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, root BLOB NOT NULL,
  position INTEGER, block INTEGER, anchored_at INTEGER,
  PRIMARY KEY (epoch, first)
) STRICT, WITHOUT ROWID;
"""


def _error(error: sqlite3.Error, path: Path) -> ModelregError:
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    where = f"the journal {path}"
    if name.startswith("SQLITE_FULL"):
        return UnreachableError(f"no space left for {where}", hint="free some space")
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_CANTOPEN")):
        return NotPermittedError(f"cannot use {where}", found=str(error), hint="check its permissions")
    if name.startswith("SQLITE_CORRUPT"):
        hint = "restore it from a copy: the next start begins a new epoch"
        return VerificationError(f"{where} is damaged", found=str(error), hint=hint)
    if name.startswith("SQLITE_NOTADB"):
        return FormatError(where, expected="an SQLite database", found="other bytes")
    return UnreachableError(f"{where} failed", found=f"{name}: {error}")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into the branches of ModelregError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _error(error, path) from error


def create(path: Path, node: bytes, domain: Domain) -> None:
    """Make the journal of a node (an address of 20 bytes) in a domain, unless it is there; mode 0600.

    Raises:
        ConflictError: it is there, and of another node or domain.
        ModelregError: it cannot be made.
    """
    with os_errors(f"cannot make {path}"):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    with translated(path):
        connection = _open(path)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            with durably(connection, path):
                if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    _initialise(connection, node, domain)
            _check(connection, path)
            _check_owner(connection, path, node, domain)
        finally:
            connection.close()


def _initialise(connection: sqlite3.Connection, node: bytes, domain: Domain) -> None:
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    row = (node, domain.chain_id, domain.contract)
    connection.execute("INSERT INTO journal VALUES (?, ?, ?)", row)
    connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")


def _check_owner(connection: sqlite3.Connection, path: Path, node: bytes, domain: Domain) -> None:
    found = connection.execute("SELECT node, chain_id, contract FROM journal").fetchone()
    if found != (node, domain.chain_id, domain.contract):
        raise ConflictError(
            f"the journal {path} is of another node, chain or contract",
            expected=_owner(node, domain.chain_id, domain.contract),
            found=_owner(*found),
            hint="move it away, and keep it until its receipts cannot be challenged any more",
        )


def _owner(node: bytes, chain: int, contract: bytes) -> str:
    return f"0x{node.hex()} on chain {chain}, contract 0x{contract.hex()}"


def connect(path: Path) -> sqlite3.Connection:
    """Open an existing journal. Raises NotFoundError, or what else is wrong with it."""
    if not path.is_file():
        raise NotFoundError(f"no journal of receipts at {path}", hint="`modelreg serve` makes one")
    with translated(path):
        connection = _open(path)
        try:
            _check(connection, path)
            connection.execute("PRAGMA synchronous=NORMAL")
        except BaseException:
            connection.close()
            raise
    return connection


def _open(path: Path) -> sqlite3.Connection:
    name = f"file:{quote(str(path))}?mode=rw"
    return sqlite3.connect(
        name, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY_MS / 1000
    )


def _check(connection: sqlite3.Connection, path: Path) -> None:
    found = tuple(
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if found != (_APPLICATION_ID, _SCHEMA_VERSION):
        expected = f"id {_APPLICATION_ID:#x}, schema {_SCHEMA_VERSION}"
        raise FormatError(f"the journal {path}", expected=expected, found=f"id {found[0]:#x}, {found[1]}")


@contextmanager
def writing(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """One transaction that commits, or leaves no trace; a killed process cannot undo it."""
    with translated(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


@contextmanager
def durably(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """As `writing`; after it, all that was ever committed is on the disk."""
    with translated(path):
        connection.execute("PRAGMA synchronous=FULL")
    try:
        with writing(connection, path):
            yield
    finally:
        with translated(path):
            connection.execute("PRAGMA synchronous=NORMAL")
