"""The chain's one SQLite file: schema, connections, transactions, errors. docs/spec/chain.md, section 6.

WAL with synchronous=FULL: a COMMIT returns after the log is on the disk, readers see the last commit and
never wait, and a block is one SQL transaction, so that there is no half of one.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
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
from modelreg.format.digest import keccak256

__all__ = [
    "APPLICATION_ID",
    "NODE_TABLE",
    "SCHEMA_VERSION",
    "connect",
    "initialise",
    "insert_nodes",
    "node_at",
    "reading",
    "translated",
    "writing",
]

APPLICATION_ID = 0x6D726367  # "mrcg", in the file's header: tells a chain from any other database
SCHEMA_VERSION = 1
_BUSY_MS = 60_000

NODE_TABLE = "CREATE TABLE node (hash BLOB PRIMARY KEY, body BLOB NOT NULL)"
_SCHEMA = f"""
{NODE_TABLE};
CREATE TABLE genesis (chain_id INTEGER NOT NULL, hash BLOB NOT NULL, alloc TEXT NOT NULL);
CREATE TABLE block (number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, header BLOB NOT NULL);
CREATE TABLE tx (
  number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, sender BLOB NOT NULL, raw BLOB NOT NULL
);
CREATE TABLE receipt (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE log (
  number INTEGER NOT NULL, position INTEGER NOT NULL, address BLOB NOT NULL,
  topic0 BLOB, topic1 BLOB, topic2 BLOB, topic3 BLOB, data BLOB NOT NULL,
  PRIMARY KEY (number, position)
) WITHOUT ROWID;
CREATE INDEX log_by_address ON log (address, topic0, number);
CREATE INDEX log_by_topic ON log (topic0, number);
"""


def _raise(error: sqlite3.Error, path: Path) -> ModelregError:
    """The branch of ModelregError for what SQLite says."""
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    where = f"the chain file {path}"
    if name.startswith("SQLITE_FULL"):
        return UnreachableError(f"no space left for {where}", hint="free some space; no block was written")
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return NotPermittedError(
            f"{where} is read-only", hint="check the file's and the directory's permissions"
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return UnreachableError(f"{where} is locked by another process", hint="wait for it or end it")
    if name.startswith("SQLITE_NOTADB"):
        return FormatError(f"{where} is not a chain", expected="an SQLite database", found="other bytes")
    if name.startswith("SQLITE_CORRUPT"):
        return VerificationError(f"{where} is damaged", found=str(error), hint="restore it from a copy")
    if name.startswith("SQLITE_CANTOPEN"):
        return NotPermittedError(f"cannot open {where}", found=str(error))
    return UnreachableError(f"{where} failed", found=f"{name}: {error}")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into the branches of ModelregError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _raise(error, path) from error


def _open(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{mode}", uri=True, isolation_level=None, check_same_thread=False, timeout=0
    )
    connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    return connection


def _needs_immutable(path: Path, error: sqlite3.Error) -> bool:
    """A cleanly closed file on a read-only disk: no WAL to read, and none can be made."""
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")) and not Path(f"{path}-wal").exists()


def connect(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """Open an existing chain. Raises NotFoundError, FormatError, NotPermittedError or UnreachableError."""
    if not path.is_file():
        raise NotFoundError(
            f"no chain at {path}",
            hint="`modelreg init` makes one; if this home joined another, bring that one back",
        )
    with translated(path):
        connection = _open(path, "mode=ro" if readonly else "mode=rw")
        try:
            _check(connection, path)
        except sqlite3.Error as error:
            connection.close()
            if not (readonly and _needs_immutable(path, error)):
                raise
            connection = _open(path, "mode=ro&immutable=1")
            _check(connection, path)
        if not readonly:
            connection.execute("PRAGMA synchronous=FULL")
        return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    application, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application != APPLICATION_ID:
        connection.close()
        raise FormatError(
            f"{path} is not a chain",
            expected=f"application id {APPLICATION_ID:#x}",
            found=f"{application:#x}",
        )
    if version != SCHEMA_VERSION:
        connection.close()
        raise FormatError(f"the chain file {path}", expected=f"schema {SCHEMA_VERSION}", found=version)


@contextmanager
def initialise(path: Path) -> Iterator[sqlite3.Connection]:
    """Make the tables and whatever the body adds, as one transaction in a new file.

    An empty database counts as new, so that a creation that was killed can be repeated. Raises ConflictError
    where a chain exists, FormatError where anything else does.
    """
    with translated(path):
        connection = _open(path, "mode=rwc")
        try:
            _refuse_existing(connection, path)  # before anything is changed, and again under the lock
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA journal_mode=WAL")
            with _transaction(connection, "EXCLUSIVE"):
                _refuse_existing(connection, path)
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
                yield connection
        finally:
            connection.close()
        _sync_directory(path.parent)


def _refuse_existing(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID:
        raise ConflictError(f"a chain exists at {path}", hint="open it, or choose another path")
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise FormatError(f"{path} holds another database", expected="no file, or an empty one")


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _transaction(connection: sqlite3.Connection, kind: str) -> Iterator[None]:
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def writing(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """One SQL transaction that holds the write lock from its start; commits, or leaves no trace."""
    with translated(path), _transaction(connection, "IMMEDIATE"):
        yield connection


@contextmanager
def reading(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """One snapshot: everything read inside is of the same head."""
    with translated(path), _transaction(connection, "DEFERRED"):
        yield connection


def node_at(connection: sqlite3.Connection, digest: bytes) -> bytes | None:
    """The trie node or bytecode with this keccak-256. Raises VerificationError if its bytes have changed."""
    row = connection.execute("SELECT body FROM node WHERE hash = ?", (digest,)).fetchone()
    if row is None:
        return None
    body = bytes(row[0])
    if keccak256(body) != digest:
        raise VerificationError(
            "the chain file is damaged: trie node or code", expected=digest.hex(), found=keccak256(body).hex()
        )
    return body


def insert_nodes(connection: sqlite3.Connection, nodes: Mapping[bytes, bytes]) -> None:
    """Keep new trie nodes; one that exists already has the same bytes."""
    connection.executemany("INSERT OR IGNORE INTO node (hash, body) VALUES (?, ?)", nodes.items())
