"""Finding what a node anchored: events say where to look, storage decides.

Specified in docs/spec/receipt-log.md, section 10.
"""

from collections.abc import Iterator
from contextlib import suppress

from modelreg.errors import FormatError, NotFoundError, UnreachableError
from modelreg.format.batch import Batch
from modelreg.format.digest import keccak256
from modelreg.ledger.receipt_log_events import Event, block_time, newest_events
from modelreg.ledger.receipt_log_records import AnchoredBatch, hash_of_words
from modelreg.ledger.receipt_log_view import ReceiptLogView

__all__ = ["batch_of_block", "find_batch", "find_batch_at", "newest_batches"]

_EVENT = keccak256(b"Anchored(address,uint64,uint64,uint64,uint32,bytes32)")
_WORDS = 4


def newest_batches(log: ReceiptLogView, node: bytes) -> Iterator[AnchoredBatch]:
    """A node's batches, newest first, each proven by the hash in storage.

    Raises:
        VerificationError: the endpoint gives a batch that the node did not anchor.
        UnreachableError: it leaves one out, or knows no events.
    """
    yield from _batches_below(log, node, _count(log, node))


def _count(log: ReceiptLogView, node: bytes) -> int:
    found = log.node(node)
    return found.batches if found else 0


def _batches_below(log: ReceiptLogView, node: bytes, index: int) -> Iterator[AnchoredBatch]:
    """The batches before one of `index`, the newest first; later ones are passed over unchecked."""
    for event in newest_events(log, node, {_EVENT: _WORDS}) if index else ():
        if event.words[0] != index - 1:
            # Of a block that a reorganisation replaced, or shown twice; a gap shows in the end.
            continue
        index -= 1
        words = _words(event, block_time(log, event.block))
        log.require_batch_hash(node, index, hash_of_words(words))
        if (anchored := _understood(node, words)) is not None:
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


def find_batch_at(log: ReceiptLogView, node: bytes, index: int) -> AnchoredBatch:
    """A node's batch by its index, proven. Raises NotFoundError if there is none, and as above."""
    found = next(_batches_below(log, node, index + 1), None) if index < _count(log, node) else None
    if found is not None and found.index == index:
        return found
    raise NotFoundError(f"node 0x{node.hex()} has anchored no batch {index}")


def batch_of_block(log: ReceiptLogView, batch: Batch) -> AnchoredBatch | None:
    """A batch that is the newest of its node in the pinned block, which anchored it; None if it is not."""
    node = log.node(batch.node)
    if node is None or node.batches == 0:
        return None
    anchored = AnchoredBatch(batch, node.batches - 1, log.header.number, log.header.time)
    return anchored if log.holds_batch(anchored) else None


def _words(event: Event, time: int) -> tuple[int, ...]:
    index, first, count, root = event.words
    return index, int.from_bytes(event.key, "big"), first, count, root, event.block, time


def _understood(node: bytes, words: tuple[int, ...]) -> AnchoredBatch | None:
    """A proven batch; None for one that `anchor` would not take, which hides no other."""
    index, epoch, first, count, root, block, time = words
    with suppress(FormatError):
        batch = Batch(node, epoch, first, count, root.to_bytes(32, "big"))
        return AnchoredBatch(batch, index, block, time)
    return None
