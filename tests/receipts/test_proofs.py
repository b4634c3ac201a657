"""Inclusion proofs: what a node answers at `/proofs`, and what is none."""

import json
from types import SimpleNamespace

import pytest

from modelreg.errors import FormatError, NotFoundError, VerificationError
from modelreg.format.batch import Batch
from modelreg.format.receipt import SignedReceipt
from modelreg.ledger.receipt_log_records import AnchoredBatch
from modelreg_verifier.receipts import proving
from modelreg_verifier.receipts.checks import LedgerChecks, Outcome, check_inclusion
from modelreg_verifier.receipts.inclusion import Inclusion
from modelreg_verifier.receipts.proving import NotAnchoredError, Proofs
from modelreg_verifier.receipts.records import Anchored, Records
from tests.receipts.making import DOMAIN, NODE, appended, journal
from tests.reference import receipt as reference


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with journal(tmp_path_factory.mktemp("proofs")) as made:
        yield made


@pytest.fixture(scope="module")
def records(opened):
    found = Records(opened.path)
    yield found
    found.close()


def anchor(opened, records, count, index):
    """Sign so many receipts, and note a batch of them as anchored; their signed forms."""
    signed = appended(opened, count)
    epoch, first, found = records.unbatched()
    assert found == count
    batch = records.tree(epoch, first, count).batch
    records.add_batch(batch)
    records.note_anchor(Anchored(batch, index, 100 + index, 1_790_000_000 + index))
    return signed


@pytest.fixture(scope="module")
def batches(opened, records):
    return [anchor(opened, records, count, at) for at, count in enumerate((1, 255, 256, 257, 514))]


def digests_of(signed):
    return [each.receipt.digest(DOMAIN) for each in signed]


@pytest.mark.parametrize("at", range(5))
def test_proofs_are_those_of_the_reference(batches, records, at):
    digests, proofs = digests_of(batches[at]), Proofs(records)
    count = len(digests)
    root = reference.batch_root(
        NODE.address, batches[at][0].receipt.epoch, batches[at][0].receipt.seq, digests
    )
    for place in sorted({0, count // 2, count - 1, min(255, count - 1), min(256, count - 1)}):
        found = proofs.prove(digests[place])
        assert found.siblings == tuple(reference.batch_proof(digests, place))
        assert found.anchored.batch.root == root
        assert (found.anchored.index, found.anchored.block) == (at, 100 + at)
        found.check(batches[at][place].receipt, DOMAIN)
        assert Inclusion.from_json(json.dumps(found.to_object()).encode()) == found


def test_trees_of_few_batches_are_kept(batches, records, monkeypatch):
    monkeypatch.setattr(proving, "_KEPT", 2)
    proofs, asked = Proofs(records), []
    for _ in range(2):
        for signed in batches:
            asked.append(proofs.prove(digests_of(signed)[0]))
            assert len(proofs._kept) <= 2
    assert asked[:5] == asked[5:]


def test_receipt_that_is_not_anchored_yet(batches, opened, records):
    [signed] = appended(opened, 1)
    [digest] = digests_of([signed])
    with pytest.raises(NotAnchoredError, match="not anchored yet"):
        Proofs(records).prove(digest)
    epoch, first, count = records.unbatched()
    records.add_batch(records.tree(epoch, first, count).batch)
    with pytest.raises(NotAnchoredError, match="not anchored yet"):
        Proofs(records).prove(digest)


def test_receipt_that_nobody_signed(records):
    with pytest.raises(NotFoundError, match="no receipt"):
        Proofs(records).prove(bytes(32))


@pytest.fixture
def found(batches, records):
    """The proof of a receipt, and the receipt."""
    signed = batches[3][200]
    return Proofs(records).prove(signed.receipt.digest(DOMAIN)), signed.receipt


def altered(found, **changes):
    batch, anchored = found.anchored.batch, found.anchored
    words = {"index": anchored.index, "block": anchored.block, "at": anchored.anchored_at}
    values = {
        "node": batch.node,
        "epoch": batch.epoch,
        "first": batch.first,
        "count": batch.count,
        "root": batch.root,
    }
    values |= {key: value for key, value in changes.items() if key in values}
    rest = {key: value for key, value in changes.items() if key in ("digest", "seq", "siblings")}
    whole = {"digest": found.digest, "seq": found.seq, "siblings": found.siblings, **rest}
    return Inclusion(
        anchored=AnchoredBatch(Batch(**values), words["index"], words["block"], words["at"]), **whole
    )


@pytest.mark.parametrize(
    "change",
    [
        "of another receipt",
        "of another seq",
        "of another node",
        "of another epoch",
        "of another first",
        "of another count",
        "of another root",
        "sibling less",
        "sibling more",
        "sibling changed",
        "siblings sorted",
    ],
)
def test_proof(found, change):
    proof, receipt = found
    batch, nodes = proof.anchored.batch, proof.siblings
    changes = {
        "of another receipt": {"digest": bytes(32)},
        "of another seq": {"seq": proof.seq + 1},
        "of another node": {"node": bytes(20)},
        "of another epoch": {"epoch": batch.epoch + 1},
        "of another first": {"first": batch.first - 1},
        "of another count": {"count": batch.count - 1},
        "of another root": {"root": bytes(32)},
        "sibling less": {"siblings": nodes[:-1]},
        "sibling more": {"siblings": (*nodes, bytes(32))},
        "sibling changed": {"siblings": (bytes(32), *nodes[1:])},
        "siblings sorted": {"siblings": nodes[::-1]},
    }
    proof.check(receipt, DOMAIN)
    with pytest.raises(VerificationError):
        altered(proof, **changes[change]).check(receipt, DOMAIN)


@pytest.mark.parametrize(
    "change",
    [
        "no JSON",
        "a list",
        "key missing",
        "key besides",
        "key twice",
        "batch without root",
        "seq as text",
        "seq with a sign",
        "seq with a fraction",
        "index beyond 64 bits",
        "time beyond 40 bits",
        "count of zero",
        "upper-case digest",
        "short sibling",
        "siblings as text",
        "21 siblings",
        "5,000 bytes",
    ],
)
def test_what_is_no_proof(found, change):
    whole = found[0].to_object()
    text, batch = json.dumps(whole), whole["batch"]
    texts = {
        "no JSON": text[:-1],
        "a list": f"[{text}]",
        "key missing": json.dumps({key: value for key, value in whole.items() if key != "seq"}),
        "key besides": json.dumps({**whole, "more": 1}),
        "key twice": text[:-1] + f', "seq": {whole["seq"]}}}',
        "batch without root": json.dumps({**whole, "batch": {**batch, "root": None}}),
        "seq as text": json.dumps({**whole, "seq": str(whole["seq"])}),
        "seq with a sign": json.dumps({**whole, "seq": -1}),
        "seq with a fraction": json.dumps({**whole, "seq": 1.0}),
        "index beyond 64 bits": json.dumps({**whole, "batch": {**batch, "index": 1 << 64}}),
        "time beyond 40 bits": json.dumps({**whole, "batch": {**batch, "anchoredAt": 1 << 40}}),
        "count of zero": json.dumps({**whole, "batch": {**batch, "count": 0}}),
        "upper-case digest": json.dumps({**whole, "digest": "0x" + whole["digest"][2:].upper()}),
        "short sibling": json.dumps({**whole, "siblings": ["0x12"]}),
        "siblings as text": json.dumps({**whole, "siblings": "0x"}),
        "21 siblings": json.dumps({**whole, "siblings": ["0x" + "00" * 32] * 21}),
        "5,000 bytes": text + " " * 5000,
    }
    with pytest.raises(FormatError):
        Inclusion.from_json(texts[change].encode())


def test_proof_of_a_batch_that_is_no_longer_kept(tmp_path):
    """The newest receipt of an epoch stays; what proves it does not."""
    from modelreg_verifier.receipts.segments import Retention

    with journal(tmp_path) as opened:
        records = Records(opened.path)
        signed = anchor(opened, records, 3, 0)
        records.prune(1_790_000_000 + 15 * 86_400, Retention())
        assert isinstance(signed[-1], SignedReceipt)
        with pytest.raises(NotFoundError, match="receipts of epoch"):
            Proofs(records).prove(signed[-1].receipt.digest(DOMAIN))
        records.close()


class Log:
    """A receipt log that holds whatever is asked for, in a block of some height."""

    def __init__(self, height):
        self.header = SimpleNamespace(number=height)

    def holds_batch(self, _anchored):
        return True


@pytest.mark.parametrize(
    ("above", "replaceable", "final"),
    [(0, 0, "yes"), (0, 1, "not yet"), (63, 64, "not yet"), (64, 64, "yes")],
)
def test_anchor_is_final_when_no_reorganisation_reaches_it(found, above, replaceable, final):
    proof, receipt = found
    outcomes = check_inclusion(Log(proof.anchored.block + above), receipt, DOMAIN, proof, replaceable)
    assert outcomes == ("yes", "yes", final)
    assert LedgerChecks(Outcome.YES, Outcome.YES, *outcomes).anchored == final
