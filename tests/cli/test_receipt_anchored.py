"""`receipt verify` of what a node anchored: from its proof, from the node itself, and from a bundle."""

import io
import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from modelreg.config import read_config
from modelreg.format import receipt_text
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import SignedReceipt, sign
from modelreg.format.signature import Signer
from modelreg.format.trace_plan import TracePlan
from modelreg.keys import KeyStore
from modelreg.ledger.receipt_log_evidence import receipt_domain
from modelreg_verifier.evidence_file import Evidence
from modelreg_verifier.receipts.bundle import read_receipt_bundle, write_receipt_bundle
from modelreg_verifier.receipts.journal import Journal
from modelreg_verifier.receipts.opening import read_opening
from modelreg_verifier.receipts.opening_check import check_opening, missing_parts
from modelreg_verifier.receipts.proving import Proofs
from modelreg_verifier.receipts.records import Records
from modelreg_verifier.receipts.service import journal_of
from tests.cli.command import done, flip, modelreg, refused
from tests.cli.test_receipt import get
from tests.cli.test_serve import MODEL, Serving, publish
from tests.receipts.making import draft
from tests.serving import graphs

REF = f"{MODEL}@1.0.0"
CHECKS = ("on_ledger", "not_yanked", "in_batch", "batch_on_ledger", "final", "anchored")


def signer_of(home):
    config = read_config(home / "config.toml")
    account = KeyStore(home / "keystore").load(config.key, config.password_file.read_text().strip())
    return Signer(bytes(account.key))


def sign_receipts(home, release, count):
    """What `serve` does, without answers."""
    config = read_config(home / "config.toml")
    path = journal_of(home, config.key)
    path.parent.mkdir(exist_ok=True)
    with closing(Journal(path, signer_of(home), receipt_domain(config.chain.chain_id))) as journal:
        return [journal.append(draft(at, release=release))[0] for at in range(count)]


class Anchored:
    """A home whose key anchored two batches of receipts for 1.0.0, and files of what belongs to them."""

    def __init__(self, home):
        self.home = home
        config = read_config(home / "config.toml")
        self.domain = receipt_domain(config.chain.chain_id)
        self.journal = journal_of(home, config.key)

    def receipt(self, signed):
        path = self.home.parent / f"receipt-{signed.receipt.digest(self.domain).hex()[:8]}"
        path.write_text(json.dumps(receipt_text.to_object(signed, self.domain)))
        return path

    def found(self, signed):
        with closing(Records(self.journal)) as records:
            return Proofs(records).prove(signed.receipt.digest(self.domain))

    def proof(self, found):
        path = self.home.parent / "proof"
        path.write_text(json.dumps(found.to_object()))
        return path


@pytest.fixture(scope="module")
def _anchored_home(tmp_path_factory, _empty_home):
    home = tmp_path_factory.mktemp("anchored") / "home"
    shutil.copytree(_empty_home, home)
    publish(home, "1.0.0", graphs.WEIGHTS)
    done(home, "node", "register", "--endpoint", "http://127.0.0.1:1", "--bond", "1")
    release = ReleaseId.parse(done(home, "show", REF)["release_id"])
    batches = []
    for count in (3, 2):
        batches.append(sign_receipts(home, release, count))
        done(home, "anchor")
    return home, batches


@pytest.fixture
def batches(_anchored_home):
    return _anchored_home[1]


@pytest.fixture
def world(tmp_path, _anchored_home):
    return Anchored(Path(shutil.copytree(_anchored_home[0], tmp_path / "home")))


def outcomes(outcome):
    return {name: outcome.document["checks"][name] for name in CHECKS}


# Online.


def test_anchored_receipt(world, batches):
    for signed in batches[0]:
        proof = world.proof(world.found(signed))
        outcome = modelreg(world.home, "receipt", "verify", world.receipt(signed), "--proof", proof)
        assert outcome.code == 0, outcome.err
        assert outcomes(outcome) == dict.fromkeys(CHECKS, "yes")


def test_text_has_a_line_for_each_check(world, batches):
    signed = batches[0][1]
    arguments = ("receipt", "verify", world.receipt(signed), "--proof", world.proof(world.found(signed)))
    text = modelreg(world.home, *arguments, json_mode=False).out
    assert text.count(" yes\n") == 1 + len(CHECKS)


def test_proof_of_another_receipt(world, batches):
    proof = world.proof(world.found(batches[0][1]))
    outcome = modelreg(world.home, "receipt", "verify", world.receipt(batches[0][0]), "--proof", proof)
    assert outcome.code == 3
    assert outcomes(outcome) | {"in_batch": "no", "anchored": "no"} == outcomes(outcome)


def test_receipt_of_another_batch(world, batches):
    """A proof whose siblings are right and whose batch is the one before."""
    mine, other = world.found(batches[1][0]), world.found(batches[0][0])
    proof = world.proof(replace(mine, anchored=other.anchored))
    outcome = modelreg(world.home, "receipt", "verify", world.receipt(batches[1][0]), "--proof", proof)
    assert outcome.code == 3
    assert outcomes(outcome) | {"in_batch": "no", "batch_on_ledger": "yes", "anchored": "no"} == outcomes(
        outcome
    )


@pytest.mark.parametrize("word", ["index", "block", "anchored_at"])
def test_batch_that_nobody_anchored(world, batches, word):
    found = world.found(batches[0][0])
    changed = replace(found.anchored, **{word: getattr(found.anchored, word) + 1})
    proof = world.proof(replace(found, anchored=changed))
    outcome = modelreg(world.home, "receipt", "verify", world.receipt(batches[0][0]), "--proof", proof)
    assert outcome.code == 3
    assert outcomes(outcome) | {"batch_on_ledger": "no", "anchored": "no"} == outcomes(outcome)


def test_second_receipt_for_a_place(world, batches):
    """The node signed another receipt for a place that it anchored."""
    other = replace(batches[0][1].receipt, issued_at=batches[0][1].receipt.issued_at + 1)
    signed = sign(other, world.domain, signer_of(world.home))
    proof = world.proof(world.found(batches[0][1]))
    outcome = modelreg(world.home, "receipt", "verify", world.receipt(signed), "--proof", proof)
    assert (outcome.code, outcomes(outcome)["in_batch"]) == (3, "no")


def test_node_that_does_not_answer(world, batches):
    outcome = modelreg(world.home, "receipt", "verify", world.receipt(batches[0][0]))
    assert outcome.code == 0
    assert outcomes(outcome)["anchored"] == "unknown"
    assert "no inclusion proof" in outcome.err
    refused(
        world.home, "receipt", "verify", world.receipt(batches[0][0]), "--url", "http://127.0.0.1:1", code=6
    )


def test_what_is_no_proof(world, batches, tmp_path):
    receipt = world.receipt(batches[0][0])
    refused(world.home, "receipt", "verify", receipt, "--proof", receipt, code=3)
    refused(world.home, "receipt", "verify", receipt, "--proof", tmp_path / "none", code=4)
    both = ("--proof", world.proof(world.found(batches[0][0])), "--url", "http://127.0.0.1:1")
    refused(world.home, "receipt", "verify", receipt, *both, code=2)
    refused(world.home, "receipt", "verify", receipt, "--block", "0x" + "11" * 32, code=2)


def test_the_node_on_the_ledger_is_asked(world, batches):
    serving = Serving(world.home, REF)
    try:
        done(world.home, "node", "register", "--endpoint", serving.url, "--bond", "1")
        receipt = world.receipt(batches[0][0])
        assert outcomes(modelreg(world.home, "receipt", "verify", receipt)) == dict.fromkeys(CHECKS, "yes")
        digest = f"0x{batches[0][0].receipt.digest(world.domain).hex()}"
        status, body = get(serving.url, f"/proofs/{digest}")
        assert (status, json.loads(body)["digest"]) == (200, digest)
        serving.ask()
        status, page = get(serving.url, f"/receipts?epoch={newest_epoch(world)}&first=0")
        fresh = world.home.parent / "fresh"
        fresh.write_bytes(page)
        outcome = modelreg(world.home, "receipt", "verify", fresh)
        assert (status, outcome.code) == (200, 0)
        assert "not anchored yet" in outcome.err
    finally:
        assert serving.stop() == 0


def test_receipt_of_a_release_that_its_channel_left(home, tmp_path):
    """The cuts were not kept: they are computed once more with the release that answered."""
    publish(home, "1.0.0", graphs.WEIGHTS, "--channel", "stable")
    plan, token = tmp_path / "plan", tmp_path / "token"
    plan.write_bytes(bytes(TracePlan("model.onnx", cuts=(("y",),))))
    token.write_text("the operator's own token\n")
    serving = Serving(home, f"{MODEL}@stable", "--plan", plan, "--operator-token-file", token)
    headers = {"Authorization": f"Bearer {token.read_text().strip()}"}
    try:
        serving.ask()
        publish(home, "1.1.0", -graphs.WEIGHTS, "--channel", "stable")
        assert serving.wait_for("in")["version"] == "1.1.0"
        epoch = newest_epoch(Anchored(home))
        signed = SignedReceipt.from_bytes(get(serving.url, f"/receipts?epoch={epoch}&first=0")[1])
        digest = signed.receipt.digest(Anchored(home).domain).hex()
        status, raw = get(serving.url, f"/openings/0x{digest}", headers)
        assert status == 200, raw
        opening = read_opening(io.BytesIO(raw))
        assert missing_parts(opening, check_opening(opening)[0]) == ()
        assert opening.cuts[0].tensors["y"] == opening.outputs.tensors["y"]
    finally:
        assert serving.stop() == 0


def newest_epoch(world):
    with closing(Records(world.journal)) as records:
        return records.unbatched()[0]


# Offline.


@pytest.fixture
def bundled(world, batches):
    """A receipt, its bundle, and what the command said of it."""
    signed = batches[0][1]
    receipt, file = world.receipt(signed), world.home.parent / "receipt.bundle"
    proof = world.proof(world.found(signed))
    return receipt, file, done(world.home, "receipt", "bundle", receipt, file, "--proof", proof)


def offline(home, bundled, *options, receipt=None):
    file, bundle, document = bundled
    options = options or ("--block", document["hash"])
    return modelreg(home, "receipt", "verify", receipt or file, "--offline", bundle, *options)


def test_bundle_without_a_home_or_a_chain(bundled, tmp_path):
    outcome = offline(tmp_path / "nowhere", bundled)
    assert outcome.code == 0, outcome.err
    assert outcomes(outcome) == dict.fromkeys(CHECKS, "yes")
    by_name = offline(tmp_path / "nowhere", bundled, "--release", REF, "--block", bundled[2]["hash"])
    assert by_name.document["checks"]["release"] == "yes"


def test_bundle_in_a_home_that_saw_the_block(world, bundled):
    (world.home / "chain.sqlite").unlink()
    assert modelreg(world.home, "receipt", "verify", bundled[0], "--offline", bundled[1]).code == 0


def test_bundle_with_a_wrong_or_no_block_hash(bundled, tmp_path):
    assert offline(tmp_path / "nowhere", bundled, "--block", "0x" + "11" * 32).code == 3
    assert modelreg(tmp_path / "nowhere", "receipt", "verify", bundled[0], "--offline", bundled[1]).code == 2


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_tampered_bundle(bundled, tmp_path, share):
    flip(bundled[1], int(bundled[1].stat().st_size * share))
    assert offline(tmp_path / "nowhere", bundled).code == 3


def rewritten(bundled, change):
    """The bundle, changed by somebody who can compute its CIDs anew."""
    with bundled[1].open("rb") as file:
        bundle = read_receipt_bundle(file)
    with bundled[1].open("wb") as file:
        write_receipt_bundle(file, change(bundle))


def test_tampered_bundle_with_a_root_of_its_own(bundled, tmp_path):
    """Receipt and siblings are as they were; the batch is one that was never anchored."""

    def change(bundle):
        anchored = bundle.inclusion.anchored
        forged = replace(anchored, batch=replace(anchored.batch, root=bytes(31) + b"\1"))
        return replace(bundle, inclusion=replace(bundle.inclusion, anchored=forged))

    rewritten(bundled, change)
    outcome = offline(tmp_path / "nowhere", bundled)
    assert outcome.code == 3
    assert outcomes(outcome) | {"in_batch": "no", "batch_on_ledger": "no"} == outcomes(outcome)


def test_tampered_answers_of_a_bundle(bundled, tmp_path):
    """Each proof's last node changed, one answer after the other."""

    def change(bundle):
        answers = dict(bundle.evidence.answers)
        for question, answer in answers.items():
            if question.startswith("eth_getProof") and answer["storageProof"]:
                proofs = [{**each, "value": "0x1"} for each in answer["storageProof"]]
                answers[question] = {**answer, "storageProof": proofs}
        place = bundle.evidence
        return replace(bundle, evidence=Evidence(place.chain_id, place.contract, place.block, answers))

    rewritten(bundled, change)
    assert "state proof" in offline(tmp_path / "nowhere", bundled).err


def test_bundle_of_another_chain(world, bundled, tmp_path):
    """It says that it is of another chain than this home's, and than the receipt's."""
    rewritten(
        bundled,
        lambda bundle: replace(
            bundle, evidence=replace(bundle.evidence, chain_id=bundle.evidence.chain_id + 1)
        ),
    )
    assert "another chain" in offline(world.home, bundled).err
    assert offline(tmp_path / "nowhere", bundled).code == 3


def test_bundle_of_another_receipt(world, batches, bundled, tmp_path):
    outcome = offline(tmp_path / "nowhere", bundled, receipt=world.receipt(batches[0][0]))
    assert outcome.code == 3
    assert "another receipt" in outcome.err


def test_bundle_of_another_contract(bundled, tmp_path):
    rewritten(bundled, lambda bundle: replace(bundle, evidence=replace(bundle.evidence, contract=bytes(20))))
    assert offline(tmp_path / "nowhere", bundled).code in (3, 6)


def test_bundle_of_a_release_is_none_of_a_receipt(world, bundled, tmp_path):
    done(world.home, "bundle", REF, tmp_path / "release.bundle")
    receipt = bundled[0]
    refused(world.home, "receipt", "verify", receipt, "--offline", tmp_path / "release.bundle", code=3)
    refused(world.home, "receipt", "verify", receipt, "--offline", tmp_path / "none", code=4)


def test_no_bundle_of_what_is_not_anchored(world, batches, tmp_path):
    found = world.found(batches[0][0])
    wrong = replace(found, anchored=replace(found.anchored, index=1))
    receipt, file = world.receipt(batches[0][0]), tmp_path / "b"
    refused(world.home, "receipt", "bundle", receipt, file, "--proof", world.proof(wrong), code=3)
    refused(world.home, "receipt", "bundle", receipt, file, code=6)
    assert not file.exists()
    file.write_text("")
    refused(world.home, "receipt", "bundle", receipt, file, "--proof", world.proof(found), code=5)
