"""The log that a node signs into, and its index in SQLite. Specified in docs/spec/openings.md, section 5.

A receipt is in the journal as soon as its entry is in a file. Whoever reads the journal indexes first what
the log has more; any process may, as what it finds follows from the files alone.
"""

import os
import sqlite3
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from struct import Struct

from modelreg.format.receipt import SIGNED_BYTES, SignedReceipt
from modelreg.store.files import os_errors
from modelreg_verifier.receipts.database import translated, writing
from modelreg_verifier.receipts.segments import Place, next_segment, open_segment

__all__ = ["HEAD_BYTES", "entry_head", "index_log", "segments_of"]

_MAGIC = b"mrl1"
_START = Struct(">4sI")
_BODY = Struct(f">Q32s{SIGNED_BYTES}s128sQ")
HEAD_BYTES = _START.size + _BODY.size
_Row = tuple[int, int, bytes, bytes, bytes, int, int, int]


def segments_of(path: Path) -> Path:
    """Where the files of a journal's log lie."""
    return path.with_name(path.name + "-openings")


def entry_head(signed: SignedReceipt, digest: bytes, response: bytes, size: int) -> bytes:
    """What an entry has before the `size` bytes that are kept with a receipt."""
    body = _BODY.pack(signed.receipt.seq, digest, bytes(signed), response, size)
    return _START.pack(_MAGIC, zlib.crc32(body)) + body


def index_log(connection: sqlite3.Connection, path: Path) -> None:
    """Add to the table of receipts what the log of the last epoch has behind the last of them.

    Raises:
        ModelregError: the files cannot be read, or the table not written.
    """
    directory = segments_of(path)
    with os_errors(f"cannot read {directory}"), translated(path):
        if not _has_more(directory, *_indexed(connection)):
            return
        with writing(connection, path):
            rows = _in_order(*_indexed(connection), directory)
            connection.executemany("INSERT INTO receipt VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _indexed(connection: sqlite3.Connection) -> tuple[Place, int]:
    """The place, of size 0, behind the last receipt of the last epoch in the table, and the seq to come."""
    query = """
        SELECT e.epoch, coalesce(segment, 1), coalesce(start + size, 0), coalesce(seq + 1, 0)
        FROM (SELECT max(epoch) AS epoch FROM epoch) AS e LEFT JOIN receipt USING (epoch)
        ORDER BY seq DESC LIMIT 1"""
    epoch, segment, start, seq = connection.execute(query).fetchone()
    return Place(epoch or 0, segment, start, 0), seq


def _in_order(place: Place, seq: int, directory: Path) -> Generator[_Row]:
    """The entries from a place on, up to the first that does not follow: one before it was lost.

    A power loss can take the end of a file and leave the next one; what comes behind was never anchored.
    """
    for expected, row in enumerate(_entries(directory, place), seq):
        if row[1] != expected:
            return
        yield row


def _has_more(directory: Path, place: Place, seq: int) -> bool:
    """Whether there is a whole entry; told without a lock, since most look-ups find none."""
    try:
        grown = (directory / place.name).stat().st_size > place.start
    except FileNotFoundError:
        grown = False
    if not grown and next_segment(directory, place) is None:
        return False
    with closing(_in_order(place, seq, directory)) as rows:
        return next(rows, None) is not None


def _entries(directory: Path, place: Place | None) -> Iterator[_Row]:
    """The rows of all whole entries from a place on."""
    while place is not None:
        # Looked for first: a file that has a next one is not written to any more.
        following = next_segment(directory, place)
        try:
            descriptor = open_segment(directory, place)
        except FileNotFoundError:
            pass
        else:
            try:
                yield from _entries_of(descriptor, place)
            finally:
                os.close(descriptor)
        place = following


def _entries_of(descriptor: int, place: Place) -> Iterator[_Row]:
    """Those of one file, until one is not whole: it is being written, failed, or was lost with the power."""
    end = os.fstat(descriptor).st_size
    at = place.start
    while at + HEAD_BYTES <= end:
        raw = os.pread(descriptor, HEAD_BYTES, at)
        magic, checksum = _START.unpack_from(raw)
        body = raw[_START.size :]
        if magic != _MAGIC or zlib.crc32(body) != checksum:
            return
        seq, digest, signed, response, size = _BODY.unpack(body)
        start = at + HEAD_BYTES
        if start + size > end:
            return
        yield place.epoch, seq, digest, signed, response, place.segment, start, size
        at = start + size
