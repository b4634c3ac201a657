"""Batches against a reference by hand, and what a node could put in the place of a receipt."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError, VerificationError
from modelreg.format.batch import MAX_RECEIPTS, Batch, BatchTree
from modelreg.format.digest import keccak256
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import Domain, Receipt
from tests.reference import receipt as reference
from tests.reference.receipt_vectors import VECTORS

ROWS = {row["name"]: row for row in json.loads((VECTORS / "batches.json").read_text())}
NODE = b"\x05" * 20
HERE = Domain(31415, b"\x06" * 20)


def verify(row):
    batch = Batch(
        bytes.fromhex(row["node"]), row["epoch"], row["first"], row["count"], bytes.fromhex(row["root"])
    )
    batch.verify(row["seq"], bytes.fromhex(row["digest"]), [bytes.fromhex(node) for node in row["proof"]])


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row["holds"]])
def test_true_batches(name):
    verify(ROWS[name])


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row["holds"]])
def test_false_batches(name):
    with pytest.raises(VerificationError):
        verify(ROWS[name])


@given(st.integers(1, 70), st.integers(0, 2**40), st.integers(0, 2**40), st.data())
def test_roots_and_proofs_equal_the_reference(count, epoch, first, data):
    digests = [keccak256(bytes([number])) for number in range(count)]
    made = BatchTree(NODE, epoch, first, digests)
    assert made.batch.root == reference.batch_root(NODE, epoch, first, digests)
    index, other = (data.draw(st.integers(0, count - 1)) for _ in range(2))
    proof = made.prove(first + index)
    assert list(proof) == reference.batch_proof(digests, index)
    made.batch.verify(first + index, digests[index], proof)
    if other != index:
        with pytest.raises(VerificationError):
            made.batch.verify(first + index, digests[other], proof)
        with pytest.raises(VerificationError):
            made.batch.verify(first + other, digests[index], proof)


def receipt(seq, **changes):
    word = b"\x01" * 32
    fields = {
        "schema": 1,
        "node": NODE,
        "release_id": ReleaseId(word),
        "client": bytes(20),
        "epoch": 3,
        "seq": seq,
        "issued_at": 7,
    }
    words = {name: word for name in Receipt.__dataclass_fields__ if name not in fields}
    return Receipt(**{**words, **fields, **changes})


def batch_of(receipts):
    return BatchTree(NODE, 3, 10, [made.digest(HERE) for made in receipts])


def test_each_receipt_is_in_its_batch():
    receipts = [receipt(10 + number) for number in range(6)]
    made = batch_of(receipts)
    for one in receipts:
        made.batch.verify_receipt(one, HERE, made.prove(one.seq))


@pytest.mark.parametrize(
    "changes",
    [{"node": b"\x07" * 20}, {"epoch": 4}, {"seq": 13}, {"seq": 9}, {"seq": 16}, {}],
    ids=str,
)
def test_a_receipt_that_was_anchored_as_another_is_not_in_the_batch(changes):
    """The node anchors the digest of what it never may show: of another epoch, node or seq."""
    anchored = receipt(**{"seq": 12, "issued_at": 8, **changes})
    made = batch_of([receipt(10), receipt(11), anchored, receipt(13), receipt(14), receipt(15)])
    made.batch.verify(12, anchored.digest(HERE), made.prove(12))
    if changes:
        with pytest.raises(VerificationError):
            made.batch.verify_receipt(anchored, HERE, made.prove(12))
    with pytest.raises(VerificationError):
        made.batch.verify_receipt(receipt(12), HERE, made.prove(12))


def test_a_receipt_for_another_contract_is_not_in_the_batch():
    made = batch_of([receipt(10), receipt(11)])
    with pytest.raises(VerificationError):
        made.batch.verify_receipt(receipt(10), Domain(HERE.chain_id, bytes(20)), made.prove(10))


@pytest.mark.parametrize("seq", [-1, 9, 12, 2**64])
def test_a_seq_outside_the_batch_is_named(seq):
    made = batch_of([receipt(10), receipt(11)])
    with pytest.raises(VerificationError, match="expected seq 10 to 11"):
        made.batch.verify(seq, bytes(32), made.prove(10))


@pytest.mark.parametrize("seq", [9, 12, 2**53])
def test_there_is_no_proof_of_what_is_not_there(seq):
    with pytest.raises(FormatError):
        batch_of([receipt(10), receipt(11)]).prove(seq)


@pytest.mark.parametrize(
    ("node", "epoch", "first", "count", "root"),
    [
        (bytes(19), 1, 0, 1, bytes(32)),
        (bytes(20), -1, 0, 1, bytes(32)),
        (bytes(20), 2**53, 0, 1, bytes(32)),
        (bytes(20), 1, -1, 1, bytes(32)),
        (bytes(20), 1, 2**53 - 1, 2, bytes(32)),
        (bytes(20), 1, 0, 0, bytes(32)),
        (bytes(20), 1, 0, MAX_RECEIPTS + 1, bytes(32)),
        (bytes(20), 1, 0, 1, bytes(31)),
    ],
)
def test_no_batch_is_made_that_no_ledger_holds(node, epoch, first, count, root):
    with pytest.raises(FormatError):
        Batch(node, epoch, first, count, root)


def test_limits_are_checked_before_anything_is_hashed():
    with pytest.raises(FormatError, match=f"{MAX_RECEIPTS} receipts"):
        BatchTree(NODE, 1, 0, range(MAX_RECEIPTS + 1))
    with pytest.raises(FormatError, match="receipts"):
        BatchTree(NODE, 1, 0, [])
    with pytest.raises(FormatError, match="2\\^53"):
        BatchTree(NODE, 2**53, 0, [0])
    with pytest.raises(FormatError, match="32 bytes"):
        BatchTree(NODE, 1, 0, [bytes(31)])
    with pytest.raises(FormatError, match="20 bytes"):
        BatchTree(bytes(32), 1, 0, [bytes(32)])


def test_100000_receipts_have_a_root_soon_and_proofs_of_17_siblings():
    """The bar is half a second; a machine under load gets some leeway."""
    digests = [number.to_bytes(32, "big") for number in range(100_000)]
    started = time.process_time()
    made = BatchTree(NODE, 1, 0, digests)
    assert time.process_time() - started < 1.5
    proof = made.prove(99)
    assert len(proof) == 17
    made.batch.verify(99, digests[99], proof)
