"""Finding what a node anchored: events say where to look, storage decides.

Specified in docs/spec/receipt-log.md, section 10.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from modelreg.errors import FormatError, UnreachableError
from modelreg.format.batch import Batch
from modelreg.format.digest import keccak256
from modelreg.ledger.artifact import load_artifact
from modelreg.ledger.hexdata import address_text, data, hash32, quantity
from modelreg.ledger.pinned import fetch_header
from modelreg.ledger.receipt_log_records import AnchoredBatch, hash_of_words
from modelreg.ledger.receipt_log_view import ReceiptLogView
from modelreg.ledger.rpc import RpcRefusedError

__all__ = ["batch_of_block", "find_batch", "newest_batches"]

_EVENT = keccak256(b"Anchored(address,uint64,uint64,uint64,uint32,bytes32)")
_LOGS_MAX = 10_000
# Public endpoints answer for a few thousand blocks at once, some for fewer.
_FIRST_STEP = 2048
_LAST_STEP = 1 << 20
_WORDS = 4


def newest_batches(log: ReceiptLogView, node: bytes) -> Iterator[AnchoredBatch]:
    """A node's batches, newest first, each proven by the hash in storage.

    Raises:
        VerificationError: the endpoint gives a batch that the node did not anchor.
        UnreachableError: it leaves one out, or knows no events.
    """
    found = log.node(node)
    index = found.batches if found else 0
    for block, words in _events(log, node) if index else ():
        if words[0] != index - 1:
            # Of a block that a reorganisation replaced, or shown twice; a gap shows in the end.
            continue
        index -= 1
        time = _time_of(log, block)
        log.require_batch_hash(node, index, hash_of_words((*words, block, time)))
        if (anchored := _understood(node, words, block, time)) is not None:
            yield anchored
        if index == 0:
            return
    if index:
        raise UnreachableError(
            f"{log.rpc.name} does not show batch {index - 1} of node 0x{node.hex()}",
            hint="use an RPC that keeps all events, or take the batch from the node",
        )


def find_batch(log: ReceiptLogView, node: bytes, epoch: int, seq: int) -> AnchoredBatch | None:
    """The batch that has a receipt's place, proven; None if the node has anchored none. Raises as above."""
    for anchored in newest_batches(log, node):
        batch = anchored.batch
        if batch.epoch == epoch and batch.first <= seq < batch.first + batch.count:
            return anchored
        if (batch.epoch, batch.first) < (epoch, seq):
            return None
    return None


def batch_of_block(log: ReceiptLogView, batch: Batch) -> AnchoredBatch | None:
    """A batch that is the newest of its node in the pinned block, which anchored it; None if it is not."""
    node = log.node(batch.node)
    if node is None or node.batches == 0:
        return None
    anchored = AnchoredBatch(batch, node.batches - 1, log.header.number, log.header.time)
    return anchored if log.holds_batch(anchored) else None


def _time_of(log: ReceiptLogView, block: int) -> int:
    header = fetch_header(log.rpc, block)
    if header is None:
        raise UnreachableError(f"{log.rpc.name} has no block {block}")
    return header.time


def _understood(node: bytes, words: tuple[int, ...], block: int, time: int) -> AnchoredBatch | None:
    """A proven batch; None for one that `anchor` would not take, which hides no other."""
    index, epoch, first, count, root = words
    with suppress(FormatError):
        batch = Batch(node, epoch, first, count, root.to_bytes(32, "big"))
        return AnchoredBatch(batch, index, block, time)
    return None


def _events(log: ReceiptLogView, node: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Blocks and what they say was anchored in them, newest first; nothing of it is proven."""
    end, step = log.header.number, _FIRST_STEP
    while end >= 0:
        start = max(0, end - step + 1)
        try:
            rows = _logs(log, node, start, end)
        except RpcRefusedError:
            if step == 1:
                raise
            step = max(1, step // 8)
            continue
        yield from sorted(rows, reverse=True)
        end, step = start - 1, min(2 * step, _LAST_STEP)


def _logs(log: ReceiptLogView, node: bytes, start: int, end: int) -> list[tuple[int, tuple[int, ...]]]:
    criteria = {
        "address": address_text(load_artifact("ReceiptLog").address),
        "topics": [f"0x{_EVENT.hex()}", f"0x{node.rjust(32, bytes(1)).hex()}"],
        "fromBlock": hex(start),
        "toBlock": hex(end),
    }
    answer = log.rpc.request("eth_getLogs", [criteria])
    if not isinstance(answer, list) or len(answer) > _LOGS_MAX:
        raise FormatError("events", expected=f"a list of at most {_LOGS_MAX}", found=type(answer).__name__)
    return [_event(entry, start, end) for entry in answer]


def _event(entry: Any, start: int, end: int) -> tuple[int, tuple[int, ...]]:
    topics = entry.get("topics") if isinstance(entry, Mapping) else None
    if not isinstance(topics, list) or len(topics) != 3:
        raise FormatError("event", expected="an object with 3 topics")
    block = quantity(entry.get("blockNumber"), "an event's block")
    if not start <= block <= end:
        raise FormatError("event", expected=f"one of block {start} to {end}", found=block)
    raw = data(entry.get("data"), "an event's data", most=32 * _WORDS)
    if len(raw) != 32 * _WORDS:
        raise FormatError("event", expected=f"{_WORDS} words", found=f"{len(raw)} bytes")
    index, first, count, root = (int.from_bytes(raw[at : at + 32], "big") for at in range(0, len(raw), 32))
    epoch = int.from_bytes(hash32(topics[2], "an event's topic"), "big")
    return block, (index, epoch, first, count, root)
