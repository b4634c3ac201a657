"""eth_getLogs over the index of events. Specified in docs/spec/chain.md, section 9."""

import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelreg.chain import render
from modelreg.chain.header import Header
from modelreg.chain.params import BlockRef, address, block_ref, hash32, invalid
from modelreg.chain.receipt import Log
from modelreg.chain.render import Json
from modelreg.chain.rpcerror import LIMIT_EXCEEDED, SERVER_ERROR, RpcError
from modelreg.chain.view import View

__all__ = ["find"]

_MAX_LOGS = 10_000
_MAX_CHOICES = 1000
_SECONDS = 10.0
_STEPS_PER_LOOK = 100_000
_Row = tuple[int, int, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes]
_COLUMNS = ("address", "topic0", "topic1", "topic2", "topic3")


@dataclass(frozen=True, slots=True)
class _Query:
    first: int
    last: int
    choices: dict[str, list[bytes]]
    topics: int


def _choices(value: object, read: Callable[[object], bytes]) -> list[bytes]:
    """One value or a list of alternatives; none at all means any."""
    items = value if isinstance(value, list) else [] if value is None else [value]
    if len(items) > _MAX_CHOICES:
        raise invalid(f"exceed max addresses or topics per search position ({_MAX_CHOICES})")
    return [read(item) for item in items]


def _topics(value: object) -> list[list[bytes]]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > 4:
        raise invalid("exceed max topics")
    return [[] if isinstance(item, list) and None in item else _choices(item, hash32) for item in value]


def _number(view: View, ref: BlockRef) -> int:
    head = view.head_number()
    return head if ref.number is None else ref.number


def _range(view: View, criteria: Mapping[str, object]) -> tuple[int, int]:
    given = [criteria.get(name) for name in ("fromBlock", "toBlock")]
    if criteria.get("blockHash") is not None:
        if any(item is not None for item in given):
            raise invalid("cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other")
        number = view.number_of(hash32(criteria["blockHash"]))
        if number is None:
            raise RpcError(SERVER_ERROR, "unknown block")
        return number, number
    first, last = (_number(view, block_ref(item)) for item in given)
    if first > last:
        raise invalid("invalid block range params")
    return first, last


def _query(view: View, criteria: object) -> _Query:
    if not isinstance(criteria, Mapping):
        raise invalid("want a filter object")
    first, last = _range(view, criteria)
    topics = _topics(criteria.get("topics"))
    choices = [_choices(criteria.get("address"), address), *topics]
    return _Query(first, last, dict(zip(_COLUMNS, choices, strict=False)), len(topics))


def _where(query: _Query) -> tuple[str, list[object]]:
    clauses, values = ["log.number BETWEEN ? AND ?"], [query.first, query.last]
    bound: list[object] = [*values]
    for column, choices in query.choices.items():
        if choices:
            clauses.append(f"{column} IN ({','.join('?' * len(choices))})")
            bound += choices
    if query.topics:
        clauses.append(f"topic{query.topics - 1} IS NOT NULL")
    return " AND ".join(clauses), bound


def find(view: View, criteria: object) -> Json:
    """The events that a filter selects, oldest first. Raises RpcError beyond 10,000 events or 10 s."""
    where, values = _where(_query(view, criteria))
    sql = (
        "SELECT log.number, position, address, topic0, topic1, topic2, topic3, data, "  # noqa: S608  no values
        "block.hash, header, tx.hash "
        f"FROM log JOIN block USING (number) JOIN tx USING (number) WHERE {where} "
        f"ORDER BY log.number, position LIMIT {_MAX_LOGS + 1}"
    )
    rows = _fetch(view.connection, sql, values)
    if len(rows) > _MAX_LOGS:
        raise RpcError(LIMIT_EXCEEDED, f"query returned more than {_MAX_LOGS} results")
    return [_entry(row) for row in rows]


def _fetch(connection: sqlite3.Connection, sql: str, values: list[object]) -> list[_Row]:
    deadline = time.monotonic() + _SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_PER_LOOK)
    try:
        return connection.execute(sql, values).fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname == "SQLITE_INTERRUPT":
            raise RpcError(LIMIT_EXCEEDED, f"query timeout exceeded ({_SECONDS:g}s)") from error
        raise
    finally:
        connection.set_progress_handler(None, 0)


def _entry(row: _Row) -> Json:
    number, position, emitter, *topics, data, block_hash, header, tx_hash = row
    entry = Log(emitter, tuple(topic for topic in topics if topic is not None), data)
    timestamp = Header.decode(header).timestamp
    return render.log(
        entry, position, block_hash=block_hash, tx_hash=tx_hash, number=number, timestamp=timestamp
    )
