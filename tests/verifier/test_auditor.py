"""Auditing a batch: what a node shows is what it anchored, and what draws the sample is on the chain."""

import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from modelreg.errors import (
    FormatError,
    InputError,
    NotFoundError,
    NotPermittedError,
    UnreachableError,
    VerificationError,
)
from modelreg.format.batch import BatchTree
from modelreg.format.receipt import sign
from modelreg_verifier.audit.auditor import Auditor, block_after, shown_by
from modelreg_verifier.audit.dispute import Settled, Settlement
from modelreg_verifier.audit.node_client import NodeClient
from modelreg_verifier.audit.sampling import sample
from modelreg_verifier.audit.verdict import Reason, Ruling, Verdict
from tests.verifier import auditing
from tests.verifier.auditing import DOMAIN, NODE


@pytest.fixture(scope="module")
def batch_of_three():
    world = auditing.early()
    openings = [world.opening(seq=seq) for seq in range(3)]
    signed = [opening.receipt for opening in openings]
    digests = [each.receipt.digest(DOMAIN) for each in signed]
    return world, openings, signed, BatchTree(NODE.address, 1, 0, digests).batch


def test_batch_that_passes(batch_of_three):
    world, openings, signed, batch = batch_of_three
    shown = shown_by(iter(signed), batch, DOMAIN)
    known = dict(zip(shown.digests, openings, strict=True))
    auditor = Auditor(known.__getitem__, lambda _, digest: world.subject(known[digest]))
    report = auditor.audit(batch, shown, b"\x01" * 32, sample(b"\x01" * 32, shown.strata, 2), 1)
    assert (report.outcomes, report.draws) == ({Ruling.PASS: 2}, 2)
    assert (shown.release(0), shown.plan(0)) == (auditing.RELEASE, world.plan.plan_id)


@pytest.mark.parametrize(
    "error", [NotFoundError("gone"), UnreachableError("late"), FormatError("no opening")]
)
def test_opening_that_does_not_come_is_withheld(batch_of_three, error):
    world, openings, signed, batch = batch_of_three
    shown = shown_by(signed, batch, DOMAIN)

    def ask(_):
        raise error

    auditor = Auditor(ask, lambda *_: world.subject(openings[0]))
    drawn = sample(b"\x01" * 32, shown.strata, 3)
    assert auditor.audit(batch, shown, b"\x01" * 32, drawn, 1).outcomes == {Ruling.WITHHELD: 3}


def test_release_that_cannot_be_had_accuses_nobody(batch_of_three):
    _, openings, signed, batch = batch_of_three
    shown = shown_by(signed, batch, DOMAIN)

    def subject(*_):
        raise NotFoundError("no such release")

    auditor = Auditor(lambda _: openings[0], subject)
    drawn = sample(b"\x01" * 32, shown.strata, 1)
    assert auditor.audit(batch, shown, b"\x01" * 32, drawn, 1).outcomes == {Ruling.UNDECIDABLE: 1}


def test_other_receipts_than_those_anchored(batch_of_three):
    """edit after anchoring"""
    _, _, signed, batch = batch_of_three
    edited = sign(replace(signed[1].receipt, request_id=b"\x99" * 32), DOMAIN, NODE)
    with pytest.raises(VerificationError, match="not those that it anchored"):
        shown_by([signed[0], edited, signed[2]], batch, DOMAIN)
    with pytest.raises(VerificationError, match="receipt 0 of the batch"):
        shown_by([signed[1], signed[0], signed[2]], batch, DOMAIN)
    with pytest.raises(UnreachableError, match="withholds"):
        shown_by(signed[:2], batch, DOMAIN)


@dataclass(frozen=True)
class Block:
    number: int
    hash: bytes
    parent_hash: bytes


def chain(count, tag=b""):
    names = [tag + bytes([number]) for number in range(count + 1)]
    return [Block(n, names[n + 1], names[n]) for n in range(count)]


def test_block_after_the_anchor():
    blocks = chain(6)
    assert block_after(2, blocks[5], blocks.__getitem__) is blocks[3]
    assert block_after(4, blocks[5], blocks.__getitem__) is blocks[5]
    with pytest.raises(UnreachableError, match="no block after"):
        block_after(5, blocks[5], blocks.__getitem__)


@pytest.mark.parametrize("place", [2, 3, 4])
def test_block_of_another_chain_draws_no_sample(place):
    """an RPC that chooses the sample"""
    blocks, other = chain(6), chain(6, b"x")
    given = [*blocks[:place], other[place], *blocks[place + 1 :]]
    with pytest.raises(VerificationError, match="not on the chain"):
        block_after(2, blocks[5], given.__getitem__)


def test_whole_chain_that_is_another():
    """an RPC that makes up a chain of its own"""
    blocks, other = chain(6), chain(6, b"x")
    for number in (2, 4):
        with pytest.raises(VerificationError, match="not on the chain"):
            block_after(number, blocks[5], other.__getitem__)


@contextmanager
def answering(*pieces, pause=0.0):
    """A server that sends these bytes to whoever connects, and waits before each piece."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        peer, _ = listener.accept()
        with peer:
            peer.recv(65536)
            try:
                for piece in pieces:
                    peer.sendall(piece)
                    time.sleep(pause)
            except OSError:
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        thread.join()
        listener.close()


def head(length, status=200):
    return f"HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([head(387, 404) + b"none"], NotFoundError),
        ([head(4, 403) + b"none"], NotPermittedError),
        ([head(4, 500) + b"none"], UnreachableError),
        ([head(4, 302) + b"none"], NotFoundError),
        ([head(4, 503) + b"busy"], UnreachableError),
        ([head(0)], FormatError),
        ([head(386) + bytes(386)], FormatError),
        ([head(388) + bytes(388)], FormatError),
        ([head(387) + bytes(100)], UnreachableError),
        ([b"nonsense\r\n\r\n"], UnreachableError),
        ([b""], UnreachableError),
    ],
)
def test_answers_that_are_no_receipts(pieces, error):
    with answering(*pieces) as url, pytest.raises(error):
        list(NodeClient(url).receipts(1, 0, 1))


def test_opening_that_is_too_large():
    with answering(head(1 << 40), *[bytes(1 << 20)] * 16) as url, pytest.raises(FormatError, match="at most"):
        NodeClient(url, opening_bytes=1000).opening(bytes(32), "x")


def test_node_that_drips():
    """a byte now and then keeps no auditor waiting"""
    with answering(head(387), *[b"x"] * 40, pause=0.1) as url:
        began = time.monotonic()
        with pytest.raises(UnreachableError):
            list(NodeClient(url, seconds=0.5).receipts(1, 0, 1))
        assert time.monotonic() - began < 3.5


def test_receipts_come_in_pages(batch_of_three):
    _, _, signed, _ = batch_of_three
    raw = b"".join(map(bytes, signed))
    with answering(head(len(raw)) + raw) as url:
        assert list(NodeClient(url).receipts(1, 0, 3)) == signed


@pytest.mark.parametrize("url", ["", "ftp://a", "http://", "http://a:x", "http://a?b=c", "http://ä"])
def test_what_is_no_url(url):
    with pytest.raises(InputError):
        NodeClient(url)


SUBJECT = SimpleNamespace(receipt=bytes(32))
FAR = Verdict(Ruling.DISPUTE, Reason.DISTANCE, "far", 0, (), (0, 1, 2), Verdict(Ruling.PASS, Reason.NEAR))
OVERFLOWS = Verdict(Ruling.UNDECIDABLE, Reason.OVERFLOW)


@pytest.mark.parametrize(
    ("settled", "verdict", "found"),
    [
        ("cleared cleared cleared", FAR, (Ruling.PASS, Reason.CLEARED)),
        ("cleared cleared fail", FAR, (Ruling.FAIL, Reason.OPERATOR)),
        ("undecidable withheld fail", FAR, (Ruling.FAIL, Reason.OPERATOR)),
        ("cleared withheld undecidable", FAR, (Ruling.WITHHELD, Reason.CLAIM)),
        ("cleared undecidable cleared", FAR, (Ruling.INCONCLUSIVE, Reason.DISTANCE)),
        ("cleared cleared cleared", replace(FAR, otherwise=OVERFLOWS), (Ruling.UNDECIDABLE, Reason.OVERFLOW)),
    ],
)
def test_no_cleared_segment_excuses_another(batch_of_three, monkeypatch, settled, verdict, found):
    """a node that has a small offence cleared, and cheats in the segments behind it"""
    _, openings, signed, batch = batch_of_three
    rulings = settled.split()
    monkeypatch.setattr("modelreg_verifier.audit.auditor.judge", lambda *_: verdict)
    monkeypatch.setattr(
        "modelreg_verifier.audit.auditor.settle",
        lambda _opening, _claim, segment, _subject: Settlement(Settled(rulings[segment]), segment, ""),
    )
    auditor = Auditor(lambda _: openings[0], lambda *_: SUBJECT, claim=lambda *_: None)
    shown = shown_by(signed, batch, DOMAIN)
    report = auditor.audit(batch, shown, b"\x01" * 32, sample(b"\x01" * 32, shown.strata, 1), 1)
    assert (report.judged[0].verdict.ruling, report.judged[0].verdict.reason) == found
