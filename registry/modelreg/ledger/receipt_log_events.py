"""A node's events in the receipt log, which say where to look and prove nothing.

Specified in docs/spec/receipt-log.md, sections 9 and 10.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from modelreg.errors import FormatError, UnreachableError
from modelreg.ledger.artifact import load_artifact
from modelreg.ledger.hexdata import address_text, data, hash32, quantity
from modelreg.ledger.pinned import fetch_header
from modelreg.ledger.receipt_log_view import ReceiptLogView
from modelreg.ledger.rpc import RpcRefusedError

__all__ = ["Event", "block_time", "newest_events"]

_LOGS_MAX = 10_000
_TOPICS = 3
# Public endpoints answer for a few thousand blocks at once, some for fewer.
_FIRST_STEP = 2048
_LAST_STEP = 1 << 20


class Event(NamedTuple):
    """An event: its block, the words of its data, its signature's hash, and its second indexed argument."""

    block: int
    words: tuple[int, ...]
    signature: bytes
    key: bytes


def newest_events(
    log: ReceiptLogView, node: bytes, signatures: Mapping[bytes, int], oldest: int = 0
) -> Iterator[Event]:
    """Events that have a node as the first of two indexed arguments, newest first; nothing of it is proven.

    Args:
        log: in whose block to begin.
        node: an address.
        signatures: the hash of each event that is asked for -> how many words its data has.
        oldest: Unix time; no older blocks are asked for.

    Raises:
        FormatError: the endpoint gives what is no such event.
        UnreachableError: it knows no events.
    """
    end, step = log.header.number, _FIRST_STEP
    while end >= 0 and (oldest == 0 or block_time(log, end) >= oldest):
        start = max(0, end - step + 1)
        try:
            rows = _logs(log, node, signatures, start, end)
        except RpcRefusedError:
            if step == 1:
                raise
            step = max(1, step // 8)
            continue
        yield from sorted(rows, reverse=True)
        end, step = start - 1, min(2 * step, _LAST_STEP)


def block_time(log: ReceiptLogView, block: int) -> int:
    """The Unix time of a block, as the endpoint has it. Raises UnreachableError if it has none."""
    header = fetch_header(log.rpc, block)
    if header is None:
        raise UnreachableError(f"{log.rpc.name} has no block {block}")
    return header.time


def _logs(
    log: ReceiptLogView, node: bytes, signatures: Mapping[bytes, int], start: int, end: int
) -> list[Event]:
    criteria = {
        "address": address_text(load_artifact("ReceiptLog").address),
        "topics": [[f"0x{name.hex()}" for name in signatures], f"0x{node.rjust(32, bytes(1)).hex()}"],
        "fromBlock": hex(start),
        "toBlock": hex(end),
    }
    answer = log.rpc.request("eth_getLogs", [criteria])
    if not isinstance(answer, list) or len(answer) > _LOGS_MAX:
        raise FormatError("events", expected=f"a list of at most {_LOGS_MAX}", found=type(answer).__name__)
    return [_event(entry, signatures, start, end) for entry in answer]


def _event(entry: Any, signatures: Mapping[bytes, int], start: int, end: int) -> Event:
    topics = entry.get("topics") if isinstance(entry, Mapping) else None
    if not isinstance(topics, list) or len(topics) != _TOPICS:
        raise FormatError("event", expected=f"an object with {_TOPICS} topics")
    signature, _, key = (hash32(topic, "an event's topic") for topic in topics)
    if signature not in signatures:
        raise FormatError("event", expected="one that was asked for", found=f"0x{signature.hex()}")
    block = quantity(entry.get("blockNumber"), "an event's block")
    if not start <= block <= end:
        raise FormatError("event", expected=f"one of block {start} to {end}", found=block)
    size = 32 * signatures[signature]
    raw = data(entry.get("data"), "an event's data", most=size)
    if len(raw) != size:
        raise FormatError("event", expected=f"{size} bytes of data", found=f"{len(raw)} bytes")
    words = tuple(int.from_bytes(raw[at : at + 32], "big") for at in range(0, size, 32))
    return Event(block, words, signature, key)
