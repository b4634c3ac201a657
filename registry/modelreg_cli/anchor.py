"""`anchor`: the roots of this home's receipts go onto the ledger."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelreg.format.batch import MAX_RECEIPTS
from modelreg_cli.password import password_file_option
from modelreg_cli.receipt_log import cost, log_writer, own_records, receipt_log
from modelreg_cli.session import Session, pass_session

if TYPE_CHECKING:
    from modelreg.format.batch import Batch
    from modelreg.ledger.receipt_log_writer import Anchoring, ReceiptLogWriter
    from modelreg_verifier.receipts.records import Records

__all__ = ["anchor_command"]


@click.command("anchor")
@password_file_option
@pass_session
def anchor_command(session: Session, password_file: Path | None) -> None:
    """Post the Merkle roots of all receipts that this home signed and has not anchored.

    It may run while `modelreg serve` does, and again after a crash: each receipt is anchored once. A batch
    holds at most 2^20 receipts of one run of `serve`.
    """
    with own_records(session) as records:
        waiting = _unanchored(session, records)
        documents = []
        if waiting or records.unbatched():
            with log_writer(session, password_file) as writer:
                documents = [_document(done) for done in _anchor_all(writer, records, waiting)]
    lines = [
        f"batch {row['index']}: {row['count']} receipts of epoch {row['epoch']} from seq {row['first']},"
        f" in block {row['block']}"
        for row in documents
    ]
    session.output.result(documents, "\n".join(lines) or "nothing to anchor")


def _unanchored(session: Session, records: "Records") -> "list[Batch]":
    """Batches that were noted and are not on the ledger: of a killed run, or taken back by a reorganisation.

    As a node's batches are a sequence, those before one that is there are there too.
    """
    from modelreg.ledger.receipt_log_records import AnchoredBatch

    waiting: list[Batch] = []
    noted = records.batches()
    if all(row.at is None for row in noted):
        return [row.batch for row in noted]
    with receipt_log(session) as log:
        for row in reversed(noted):
            if row.position is not None and row.block is not None and row.at is not None:
                anchored = AnchoredBatch(row.batch, row.position, row.block, row.at)
                if log.holds_batch(anchored):
                    break
            waiting.append(row.batch)
    return waiting[::-1]


def _anchor_all(
    writer: "ReceiptLogWriter", records: "Records", waiting: "list[Batch]"
) -> "Iterator[Anchoring]":
    for batch in waiting:
        yield _anchor(writer, records, batch)
    # What is signed meanwhile waits for the next time, or a busy node would never be done.
    finished = None
    while (found := records.unbatched()) is not None and found[0] != finished:
        epoch, first, count = found
        tree = records.tree(epoch, first, count)
        records.add_batch(tree.batch)
        yield _anchor(writer, records, tree.batch)
        finished = epoch if count < MAX_RECEIPTS else None


def _anchor(writer: "ReceiptLogWriter", records: "Records", batch: "Batch") -> "Anchoring":
    from modelreg_verifier.receipts.records import Anchored

    done = writer.anchor(batch)
    where = done.anchored
    records.note_anchor(Anchored(batch, where.index, where.block, where.anchored_at))
    return done


def _document(done: "Anchoring") -> dict[str, Any]:
    where, batch = done.anchored, done.anchored.batch
    return {
        "index": where.index,
        "epoch": batch.epoch,
        "first": batch.first,
        "count": batch.count,
        "root": f"0x{batch.root.hex()}",
        "block": where.block,
        "anchored_at": where.anchored_at,
        **cost(done.receipt),
    }
