"""One snapshot of the chain: typed look-ups over the tables. Specified in docs/spec/chain.md, section 6."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from modelreg.chain import transaction
from modelreg.chain.database import insert_nodes, node_at
from modelreg.chain.header import EMPTY_ROOT, Header
from modelreg.chain.params import BlockRef
from modelreg.chain.receipt import Log, Receipt
from modelreg.chain.rpcerror import SERVER_ERROR, RpcError
from modelreg.chain.transaction import Transaction
from modelreg.errors import VerificationError
from modelreg.format.digest import keccak256

__all__ = ["Block", "View"]

_BLOCKHASH_WINDOW = 256


@dataclass(frozen=True, slots=True)
class Block:
    """A stored block; an empty one, as block 0 is, has neither transaction nor receipt."""

    hash: bytes
    header: Header
    tx: Transaction | None
    sender: bytes
    receipt: Receipt | None


def _checked(digest: bytes, body: bytes, what: str) -> bytes:
    if keccak256(body) != digest:
        raise VerificationError(
            f"the chain file is damaged: {what}", expected=digest.hex(), found=keccak256(body).hex()
        )
    return body


class View:
    """Reads inside one SQL transaction, and what one block writes there."""

    def __init__(self, connection: sqlite3.Connection, chain_id: int) -> None:
        self.connection = connection
        self.chain_id = chain_id

    def _row(self, sql: str, *values: object) -> tuple[bytes, ...] | None:
        row: tuple[bytes, ...] | None = self.connection.execute(sql, values).fetchone()
        return row

    def node(self, digest: bytes) -> bytes | None:
        """A trie node or bytecode by its keccak-256. Raises VerificationError if its bytes have changed."""
        return node_at(self.connection, digest)

    def head_number(self) -> int:
        """The number of the last block."""
        return int(self.connection.execute("SELECT max(number) FROM block").fetchone()[0])

    def head(self) -> Header:
        """The last block's header."""
        header = self.header(self.head_number())
        if header is None:
            raise VerificationError("the chain file is damaged", expected="a head block")
        return header

    def header(self, number: int) -> Header | None:
        """The header of a block, or None beyond the head."""
        row = self._row("SELECT hash, header FROM block WHERE number = ?", number)
        return None if row is None else Header.decode(_checked(row[0], row[1], f"block {number}"))

    def resolve(self, reference: BlockRef) -> int | None:
        """The number that a reference means; it may lie beyond the head."""
        if reference.hash is not None:
            return self.number_of(reference.hash)
        return self.head_number() if reference.number is None else reference.number

    def header_at(self, reference: BlockRef) -> Header:
        """The header that a reference means. Raises RpcError where there is none."""
        number = self.resolve(reference)
        header = None if number is None else self.header(number)
        if header is None:
            raise RpcError(SERVER_ERROR, "header not found")
        return header

    def number_of(self, block_hash: bytes) -> int | None:
        """The number of the block with this hash."""
        row = self._row("SELECT number FROM block WHERE hash = ?", block_hash)
        return None if row is None else int(row[0])

    def block(self, number: int) -> Block | None:
        """A whole block, or None beyond the head."""
        header = self.header(number)
        if header is None:
            return None
        sent = self._row("SELECT hash, raw, sender FROM tx WHERE number = ?", number)
        outcome = self._row("SELECT body FROM receipt WHERE number = ?", number)
        is_empty = header.transactions_root == EMPTY_ROOT
        if (sent is None, outcome is None) != (is_empty, is_empty):
            raise VerificationError(
                f"the chain file is damaged: block {number}", expected="a transaction if its header says so"
            )
        if sent is None or outcome is None:
            return Block(header.hash, header, None, b"", None)
        raw = _checked(sent[0], sent[1], f"transaction of block {number}")
        return Block(header.hash, header, transaction.decode(raw), sent[2], Receipt.decode(outcome[0]))

    def block_of_transaction(self, tx_hash: bytes) -> Block | None:
        """The block that holds a transaction."""
        row = self._row("SELECT number FROM tx WHERE hash = ?", tx_hash)
        return None if row is None else self.block(int(row[0]))

    def logs(self, number: int) -> tuple[Log, ...]:
        """The events of a block, as the index has them."""
        sql = (
            "SELECT address, topic0, topic1, topic2, topic3, data FROM log WHERE number = ? ORDER BY position"
        )
        rows = self.connection.execute(sql, (number,)).fetchall()
        return tuple(
            Log(row[0], tuple(topic for topic in row[1:5] if topic is not None), row[5]) for row in rows
        )

    def ancestors(self, number: int) -> Iterator[bytes]:
        """Hashes of the blocks before `number`, nearest first, as far as BLOCKHASH sees."""
        sql = "SELECT hash FROM block WHERE number < ? ORDER BY number DESC LIMIT ?"
        yield from (row[0] for row in self.connection.execute(sql, (number, _BLOCKHASH_WINDOW)).fetchall())

    def append(self, header: Header, nodes: dict[bytes, bytes]) -> None:
        """Store a header and the state's new nodes."""
        insert_nodes(self.connection, nodes)
        values = (header.number, header.hash, header.encode())
        self.connection.execute("INSERT INTO block (number, hash, header) VALUES (?, ?, ?)", values)

    def append_transaction(self, number: int, tx: Transaction, receipt: Receipt) -> None:
        """Store a block's transaction, its receipt, and the index of its logs."""
        run = self.connection.execute
        run(
            "INSERT INTO tx (number, hash, sender, raw) VALUES (?, ?, ?, ?)",
            (number, tx.hash, tx.sender, tx.raw),
        )
        run("INSERT INTO receipt (number, body) VALUES (?, ?)", (number, receipt.encode()))
        for position, log in enumerate(receipt.logs):
            topics = (*log.topics, None, None, None, None)[:4]
            run(
                "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (number, position, log.address, *topics, log.data),
            )
