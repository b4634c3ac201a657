"""A chain in a file: make it, open it, ask it. Specified in docs/spec/chain.md, sections 6 to 9."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from modelreg.chain import database
from modelreg.chain.admission import read_transaction
from modelreg.chain.block import NewBlock, build, build_empty, next_timestamp
from modelreg.chain.genesis import check_parameters, make_genesis, write_alloc
from modelreg.chain.params import data, take
from modelreg.chain.render import Json, hexadecimal
from modelreg.chain.rpc import call_method
from modelreg.chain.rpcerror import SERVER_ERROR, RpcError
from modelreg.chain.transaction import Transaction
from modelreg.chain.view import View
from modelreg.errors import NotPermittedError, UnreachableError, VerificationError

__all__ = ["Chain", "create", "open_chain"]

_MINING_SECONDS = 30.0


def create(path: str | Path, *, chain_id: int, alloc: Mapping[bytes, int], timestamp: int) -> None:
    """Make a chain with its genesis block: all of it, or nothing that `open_chain` would accept.

    Args:
        path: the file to make; its directory exists.
        chain_id: EIP-155 chain id, 1 to 2^53 - 1.
        alloc: wei by address (20 bytes); the deterministic deployment proxy is added.
        timestamp: of the genesis block, unix seconds.

    Raises:
        ConflictError: a chain exists there.
        FormatError: another file exists there.
    """
    check_parameters(chain_id, alloc, timestamp)
    header, nodes = make_genesis(alloc, timestamp)
    with database.initialise(Path(path)) as connection:
        View(connection, chain_id).append(header, nodes)
        connection.execute(
            "INSERT INTO genesis VALUES (?, ?, ?)", (chain_id, header.hash, write_alloc(alloc))
        )


def open_chain(path: str | Path, *, readonly: bool = False) -> "Chain":
    """Open a chain; any number of processes may.

    Raises:
        NotFoundError: no such file.
        FormatError, VerificationError: not a chain, of another schema, or damaged.
        NotPermittedError: the file cannot be read, or (without `readonly`) not written.
    """
    return Chain(Path(path), readonly=readonly)


def _identity(connection: sqlite3.Connection) -> tuple[int, bytes]:
    """The chain id and the genesis hash, after a check that block 0 and the head are there."""
    row = connection.execute("SELECT chain_id, hash FROM genesis").fetchone()
    if row is None:
        raise VerificationError("the chain file is damaged", expected="a genesis record")
    view = View(connection, int(row[0]))
    first = view.header(0)
    if first is None or first.hash != row[1]:
        raise VerificationError("the chain file is damaged: genesis block", expected=row[1].hex())
    if view.node(view.head().state_root) is None:
        raise VerificationError("the chain file is damaged", expected="the head's state")
    return int(row[0]), bytes(row[1])


def _store(view: View, new: NewBlock) -> None:
    view.append(new.header, new.nodes)
    if new.tx is not None and new.receipt is not None:
        view.append_transaction(new.header.number, new.tx, new.receipt)


class Chain:
    """An open chain. Threads may share it; a forked child must open its own."""

    def __init__(self, path: Path, *, readonly: bool) -> None:
        self.path = path
        self.readonly = readonly
        self._idle: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._mining = threading.Lock()
        self._closed = False
        self._process = os.getpid()
        with self._connection() as connection, database.reading(connection, path):
            self.chain_id, self.genesis_hash = _identity(connection)

    def request(self, method: str, params: Sequence[object]) -> Json:
        """Answer a JSON-RPC method, as a node would; a transaction is on the disk when this returns.

        Raises:
            RpcError: what a node would answer as an error.
            UnreachableError: disk full, file locked for a minute, or chain closed.
            VerificationError: the file is damaged.
        """
        if method == "eth_sendRawTransaction":
            return hexadecimal(self._mine(data(take(params, 1, 1)[0])))
        with self._connection() as connection, database.reading(connection, self.path):
            return call_method(View(connection, self.chain_id), method, params)

    def _mine(self, raw: bytes) -> bytes:
        self._require_writable()
        import modelreg.chain.execution  # noqa: F401  takes a while; not while others wait for the lock

        tx = read_transaction(raw, self.chain_id)
        with self._mining, self._connection() as connection, database.writing(connection, self.path):
            self._append(View(connection, self.chain_id), tx)
        return tx.hash

    def mine_empty(self, age: float) -> float:
        """Append a block without a transaction, if the newest one is at least `age` seconds old.

        Returns:
            The seconds until the next one is due, if none comes before.

        Raises:
            NotPermittedError: the chain is open for reading only.
            UnreachableError, VerificationError: as `request`.
        """
        self._require_writable()
        with self._mining, self._connection() as connection, database.writing(connection, self.path):
            view = View(connection, self.chain_id)
            parent, now = view.head(), time.time()
            if now - parent.timestamp < age:
                return parent.timestamp + age - now
            new = build_empty(parent, timestamp=next_timestamp(parent, int(now)))
            _store(view, new)
            return age

    def _require_writable(self) -> None:
        if self.readonly:
            raise NotPermittedError(f"the chain {self.path} is open for reading only")

    def _append(self, view: View, tx: Transaction) -> None:
        if view.block_of_transaction(tx.hash):
            raise RpcError(SERVER_ERROR, "already known")
        parent = view.head()
        new = build(
            parent,
            tx,
            chain_id=self.chain_id,
            timestamp=next_timestamp(parent, int(time.time())),
            nodes=view.node,
            ancestors=view.ancestors(parent.number + 1),
            seconds=_MINING_SECONDS,
        )
        _store(view, new)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else uses meanwhile."""
        if os.getpid() != self._process:
            raise UnreachableError("a chain does not survive a fork", hint="open it in the child")
        with self._guard:
            if self._closed:
                raise UnreachableError(f"the chain {self.path} is closed")
            connection = self._idle.pop() if self._idle else None
        connection = connection or database.connect(self.path, readonly=self.readonly)
        try:
            yield connection
        finally:
            with self._guard:
                if self._closed:
                    connection.close()
                else:
                    self._idle.append(connection)

    def close(self) -> None:
        """Close the file; requests that run finish first or fail, later ones are refused."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
