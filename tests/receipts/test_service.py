"""Recorder, journal and pages behind the real server: a model with a trace, asked and opened."""

import io
import json
import time

import pytest
from onnx import ModelProto

from modelreg.errors import UnreachableError
from modelreg.format import receipt_text
from modelreg.format.trace_plan import TracePlan
from modelreg_verifier.receipts.claim import read_claim
from modelreg_verifier.receipts.opening import read_opening
from modelreg_verifier.receipts.opening_check import check_opening, missing_parts
from modelreg_verifier.receipts.records import Records
from modelreg_verifier.receipts.segments import Retention
from modelreg_verifier.receipts.service import ReceiptService, journal_of
from modelreg_verifier.trace.program import Program
from tests.receipts.making import DOMAIN, NODE, remove_openings
from tests.serving import graphs
from tests.serving.running import ask, infer, running

X = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0, 1, 2, 3]}
PLAN = TracePlan("model.onnx", cuts=(("y",),))
TOKEN = b"the operator's own"
OPERATOR = {"Authorization": "Bearer " + TOKEN.decode()}


def programs(_release, plan):
    return Program.of(ModelProto.FromString(graphs.linear()), plan.fixed)


@pytest.fixture
def service(tmp_path):
    path = journal_of(tmp_path, NODE.address)
    made = ReceiptService(path, NODE, DOMAIN, token=TOKEN, plans=lambda *_: PLAN, programs=programs)
    yield made
    made.close()


def engines(release, plan):
    raise UnreachableError("cannot be loaded", found=f"{release}, {plan.file}")


def traced(**changes):
    return graphs.served("acme/traced", graphs.linear(**changes), cuts=(("y",),))


def digest_of(answer):
    return receipt_text.read_answer(
        answer["parameters"]["modelreg_receipt"].encode(), DOMAIN
    ).verify(DOMAIN)  # fmt: skip


def test_cuts_are_computed_again_for_an_opening(service):
    models = graphs.table(traced())
    with running(models, recorder=service.recorder, pages=service.pages(models, engines)) as server:
        digest = digest_of(infer(server.url, "acme/traced", {"inputs": [X]})[1]).hex()
        status, headers, raw = ask(server.url, f"/openings/0x{digest}?parts=cuts,inputs", headers=OPERATOR)
        assert (status, headers.get_content_type()) == (200, "application/octet-stream")
        opening = read_opening(io.BytesIO(raw))
        plan, _ = check_opening(opening)
        assert missing_parts(opening, plan) == ("outputs",)
        assert ask(server.url, f"/openings/0x{digest}?parts=cuts", headers={})[0] == 401

        models.put(traced(weights=-graphs.WEIGHTS))  # other weights under the same name
        assert ask(server.url, f"/openings/0x{digest}", headers=OPERATOR)[0] == 500
        models.remove("acme/traced", "1.0.0")
        status, _, answer = ask(server.url, f"/openings/0x{digest}", headers=OPERATOR)
        assert (status, "cannot be loaded" in json.dumps(answer)) == (500, True)
        assert ask(server.url, f"/openings/0x{digest}?parts=outputs", headers=OPERATOR)[0] == 200


def test_claims_are_computed_from_what_was_committed(service):
    models = graphs.table(traced())
    with running(models, recorder=service.recorder, pages=service.pages(models, engines)) as server:
        digest = digest_of(infer(server.url, "acme/traced", {"inputs": [X]})[1])
        status, _, raw = ask(server.url, f"/claims/0x{digest.hex()}?segment=0", headers=OPERATOR)
        assert status == 200
        claim = read_claim(io.BytesIO(raw))
        claim.verify(NODE.address, DOMAIN)
        status, _, raw = ask(server.url, f"/openings/0x{digest.hex()}", headers=OPERATOR)
        [cut] = read_opening(io.BytesIO(raw)).cuts
        assert "y" in claim.tensors
        assert (claim.receipt, claim.tensors["y"].dims) == (digest, cut.tensors["y"].dims)
        assert ask(server.url, f"/claims/0x{digest.hex()}?segment=2", headers=OPERATOR)[0] == 410


def test_no_answer_without_a_receipt(service):
    """The journal fails: nobody gets an answer that nothing is known of."""
    with running(graphs.table(traced()), recorder=service.recorder) as server:
        service.journal.close()
        status, answer = infer(server.url, "acme/traced", {"inputs": [X]})
        assert status == 500
        assert "outputs" not in answer
        assert "no receipt" in answer["error"]


def test_pages_of_nothing(service):
    models = graphs.table(traced())
    with running(models, pages=service.pages(models, engines)) as server:
        for path in (
            "/receipts/0x12",
            "/receipts/",
            "/receiptsfoo",
            "/batches",
            "/batches/1",
            "/receipts/..",
        ):
            status, _, answer = ask(server.url, path)
            assert (status, list(answer)) == (404, ["error"])
        assert ask(server.url, "/receipts")[0] == 400
        assert ask(server.url, "/receipts?epoch=1&first=0", headers={"Origin": "http://page"})[0] == 403


def test_a_clock_that_jumps_ahead_removes_nothing(service, monkeypatch):
    models = graphs.table(traced())
    with running(models, recorder=service.recorder) as server:
        digest = digest_of(infer(server.url, "acme/traced", {"inputs": [X]})[1])
    records = Records(service.journal.path)
    now, later = time.time(), time.time() + Retention().seconds_max + 3600
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: later)
        service.prune(now)
        assert records.kept(records.find(digest))
    service.prune(later)  # nor does a ledger that lies
    assert records.kept(records.find(digest))
    assert remove_openings(service.journal.path) == 1
    records.close()
