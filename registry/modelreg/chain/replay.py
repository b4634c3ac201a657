"""Re-execution of a whole chain from its genesis. Specified in docs/spec/chain.md, section 10.

The state is made anew in a scratch database from the recorded balances and the raw transactions; nothing of
the stored state is trusted, all of it is compared.
"""

import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from modelreg.chain import database
from modelreg.chain.admission import read_transaction
from modelreg.chain.block import NewBlock, build, build_empty
from modelreg.chain.genesis import make_genesis, read_alloc
from modelreg.chain.header import Header
from modelreg.chain.rpcerror import RpcError
from modelreg.chain.view import Block, View
from modelreg.errors import VerificationError

__all__ = ["ReplayReport", "replay"]

_BLOCKHASH_WINDOW = 256


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What was re-executed: blocks after the genesis block, their gas, and the head that came out."""

    blocks: int
    gas_used: int
    head_hash: bytes
    state_root: bytes


def replay(path: str | Path, progress: Callable[[int, int], None] | None = None) -> ReplayReport:
    """Execute every transaction again and compare everything that is stored with what comes out.

    Args:
        path: the chain's file; it may be in use, blocks that arrive meanwhile are left out.
        progress: called with blocks done and blocks in all.

    Raises:
        VerificationError: the first thing that differs, with the block's number.
    """
    where = Path(path)
    opened = closing(database.connect(where, readonly=True))
    with database.translated(where), opened as chain, closing(_scratch()) as scratch:
        return _Replay(chain, scratch).run(progress or (lambda _done, _total: None))


def _scratch() -> sqlite3.Connection:
    """A private database on the disk that vanishes when it is closed."""
    connection = sqlite3.connect("", isolation_level=None)
    for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", database.NODE_TABLE):
        connection.execute(statement)
    return connection


def _same(what: str, stored: object, computed: object) -> None:
    if stored != computed:
        shown = [value.hex() if isinstance(value, bytes) else value for value in (stored, computed)]
        raise VerificationError(f"replay: {what}", expected=shown[1], found=shown[0])


class _Replay:
    """One run: the stored chain, the scratch state, the hashes that BLOCKHASH may ask for."""

    def __init__(self, chain: sqlite3.Connection, scratch: sqlite3.Connection) -> None:
        row = chain.execute("SELECT chain_id, hash, alloc FROM genesis").fetchone()
        self._chain_id, self._genesis_hash, self._alloc = int(row[0]), row[1], row[2]
        self._stored = View(chain, self._chain_id)
        self._scratch = scratch
        self._hashes: deque[bytes] = deque(maxlen=_BLOCKHASH_WINDOW)

    def run(self, progress: Callable[[int, int], None]) -> ReplayReport:
        _same("file structure", self._stored.connection.execute("PRAGMA integrity_check").fetchone()[0], "ok")
        last = self._stored.head_number()
        header, gas_used = self._genesis(), 0
        for number in range(1, last + 1):
            header = self._block(number, header)
            gas_used += header.gas_used
            progress(number, last)
        return ReplayReport(last, gas_used, header.hash, header.state_root)

    def _block_at(self, number: int) -> Block:
        stored = self._stored.block(number)
        if stored is None or (number == 0 and stored.tx is not None):
            raise VerificationError(f"replay: block {number}", expected="a block, and block 0 empty")
        return stored

    def _genesis(self) -> Header:
        stored = self._block_at(0)
        header, nodes = make_genesis(read_alloc(self._alloc), stored.header.timestamp)
        _same("genesis hash", self._genesis_hash, header.hash)
        _same("block 0: hash", stored.hash, header.hash)
        self._keep(0, header, nodes)
        return header

    def _keep(self, number: int, header: Header, nodes: dict[bytes, bytes]) -> None:
        for digest, body in nodes.items():
            _same(f"block {number}: trie node", self._stored.node(digest), body)
        database.insert_nodes(self._scratch, nodes)
        self._hashes.appendleft(header.hash)

    def _block(self, number: int, parent: Header) -> Header:
        stored = self._block_at(number)
        new = self._execute(stored, parent)
        self._compare(number, stored, new)
        self._keep(number, new.header, new.nodes)
        return new.header

    def _execute(self, stored: Block, parent: Header) -> NewBlock:
        number, timestamp = stored.header.number, stored.header.timestamp
        if timestamp <= parent.timestamp:
            raise VerificationError(
                f"replay: block {number}: time", expected=f"after {parent.timestamp}", found=timestamp
            )
        if stored.tx is None:
            return build_empty(parent, timestamp=timestamp)
        try:
            return build(
                parent,
                read_transaction(stored.tx.raw, self._chain_id),
                chain_id=self._chain_id,
                timestamp=timestamp,
                nodes=lambda digest: database.node_at(self._scratch, digest),
                ancestors=list(self._hashes),
                seconds=None,
            )
        except RpcError as error:
            raise VerificationError(f"replay: block {number}: transaction", found=error.message) from error

    def _compare(self, number: int, stored: Block, new: NewBlock) -> None:
        _same(f"block {number}: gas used", stored.header.gas_used, new.header.gas_used)
        _same(f"block {number}: state root", stored.header.state_root, new.header.state_root)
        _same(f"block {number}: receipts root", stored.header.receipts_root, new.header.receipts_root)
        _same(f"block {number}: header", stored.header.encode(), new.header.encode())
        _same(f"block {number}: hash", stored.hash, new.header.hash)
        _same(f"block {number}: sender", stored.sender, new.tx.sender if new.tx else b"")
        _same(f"block {number}: receipt", stored.receipt, new.receipt)
        logs = new.receipt.logs if new.receipt else ()
        _same(f"block {number}: log index", self._stored.logs(number), logs)
