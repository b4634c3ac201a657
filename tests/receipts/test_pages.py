"""What a node answers about its receipts, without a server around it."""

import asyncio
import io
import json
import re

import pytest

from modelreg.errors import InputError, NotFoundError
from modelreg.format import receipt_text
from modelreg.format.receipt import SIGNED_BYTES, SignedReceipt
from modelreg_verifier.receipts import pages as pages_module
from modelreg_verifier.receipts.access import HEADER as ASK
from modelreg_verifier.receipts.access import Access, sign_request
from modelreg_verifier.receipts.assembly import parse_parts
from modelreg_verifier.receipts.claim import read_claim, sign_claim
from modelreg_verifier.receipts.opening import read_opening
from modelreg_verifier.receipts.opening_check import check_opening, missing_parts
from modelreg_verifier.receipts.pages import PAGE_MAX, ReceiptPages
from modelreg_verifier.receipts.recorder import HEADER
from modelreg_verifier.receipts.records import Anchored, Records
from modelreg_verifier.receipts.segments import Retention
from modelreg_verifier.serving.exchange import Refusal
from tests.receipts.making import (
    CUTS,
    DOMAIN,
    NODE,
    NOW,
    OUTPUTS,
    PLAN,
    Clock,
    appended,
    floats,
    inference,
    journal,
    record,
    remove_openings,
)
from tests.receipts.test_access import AUDITOR, TOKEN

OPERATOR = {"Authorization": "Bearer " + TOKEN.decode()}


class World:
    def __init__(self, opened):
        self.journal, self.records = opened, Records(opened.path)
        self.access = Access(DOMAIN, frozenset({AUDITOR.address}), TOKEN, Clock())
        self.remade = []
        self.outputs, self.cuts = OUTPUTS, CUTS
        self.claim = self.claimed

    def claimed(self, digest, segment):
        if segment > 3:
            raise NotFoundError(f"segment {segment}")
        return sign_claim(digest, segment, {"y": floats(segment)}, DOMAIN, NODE)

    def remake(self, release, plan, inputs):
        self.remade.append((release, plan, dict(inputs)))
        return self.outputs, self.cuts

    def get(self, path, query=None, headers=None):
        """Status and body of one GET."""

        async def run():
            pages = ReceiptPages(self.records, self.access, self.remake, self.claim)
            kind = re.match("/(receipts|batches|proofs|openings|claims)", path)[1]
            reply = await getattr(pages, kind)(path.removeprefix(f"/{kind}"), query or {}, headers or {})
            return reply.status, b"".join(map(bytes, reply.parts))

        try:
            return asyncio.run(run())
        except Refusal as refusal:
            return refusal.status, refusal.text
        except NotFoundError as error:
            return 404, str(error)

    def record(self, **options):
        signed = receipt_text.from_header(record(self.journal, **options).headers[HEADER])
        return signed, f"0x{signed.receipt.digest(DOMAIN).hex()}"

    def opening(self, digest, parts=None):
        status, body = self.get(f"/openings/{digest}", {"parts": parts} if parts else {}, OPERATOR)
        assert status == 200, body
        return read_opening(io.BytesIO(body))


@pytest.fixture
def world(tmp_path):
    with journal(tmp_path) as opened:
        made = World(opened)
        yield made
        made.records.close()


def test_receipt_by_its_digest(world):
    signed, digest = world.record()
    status, body = world.get(f"/receipts/{digest}")
    assert status == 200
    found = receipt_text.read_object(body, DOMAIN)
    assert found == signed
    assert found.verify(DOMAIN).hex() == digest[2:]


@pytest.mark.parametrize(
    "path",
    ["/", "/0x00", "/0x" + "AB" * 32, "/0x" + "ab" * 32, "/0x" + "ab" * 32 + "/", "/" + "ab" * 32, "foo"],
)
def test_receipt_that_is_not_there(world, path):
    world.record()
    assert world.get(f"/receipts{path}")[0] == 404


def test_page_of_receipts(world):
    made = appended(world.journal, 5)
    epoch = str(world.journal.epoch)

    def page(**query):
        status, body = world.get("/receipts", {"epoch": epoch, **query})
        assert status == 200
        return [
            SignedReceipt.from_bytes(body[at : at + SIGNED_BYTES]) for at in range(0, len(body), SIGNED_BYTES)
        ]

    assert page(first="0") == made
    assert page(first="1", count="2") == made[1:3]
    assert page(first="4", count=str(2**53 - 1)) == made[4:]


def test_pages_are_bounded(world, monkeypatch):
    monkeypatch.setattr("modelreg_verifier.receipts.pages.PAGE_MAX", 3)
    appended(world.journal, 5)
    for query in ({}, {"count": "5"}):
        _, body = world.get("/receipts", {"epoch": str(world.journal.epoch), "first": "0", **query})
        assert len(body) == 3 * SIGNED_BYTES
    assert PAGE_MAX * SIGNED_BYTES < 1 << 20


def test_page_ends_before_a_gap(world):
    appended(world.journal, 5)
    world.records._rows("DELETE FROM receipt WHERE seq = 2")
    _, body = world.get("/receipts", {"epoch": str(world.journal.epoch), "first": "0"})
    assert len(body) == 2 * SIGNED_BYTES


@pytest.mark.parametrize(
    "query",
    [{}, {"epoch": "1"}, {"first": "1"}, {"epoch": "x", "first": "0"}, {"epoch": "-1", "first": "0"},
     {"epoch": str(2**53), "first": "0"}, {"epoch": "1", "first": "\u0661"},
     {"epoch": "9" * 5000, "first": "0"},
     {"epoch": "1", "first": "0", "count": ""}],
)  # fmt: skip
def test_query_of_another_form(world, query):
    assert world.get("/receipts", query)[0] == 400


def test_page_of_nothing(world):
    assert world.get("/receipts", {"epoch": "1", "first": "0"})[0] == 404


def test_proof_before_and_after_its_anchor(world):
    _, digest = world.record()
    assert world.get(f"/proofs/{digest}")[0] == 409
    epoch, first, count = world.records.unbatched()
    batch = world.records.tree(epoch, first, count).batch
    world.records.add_batch(batch)
    world.records.note_anchor(Anchored(batch, 0, 7, int(NOW)))
    status, body = world.get(f"/proofs/{digest}")
    assert status == 200
    assert json.loads(body) == {
        "digest": digest,
        "node": f"0x{NODE.address.hex()}",
        "seq": 0,
        "batch": {
            "index": 0, "epoch": epoch, "first": 0, "count": 1, "root": f"0x{batch.root.hex()}",
            "blockNumber": 7, "anchoredAt": int(NOW),
        },
        "siblings": [],
    }  # fmt: skip
    assert world.get("/proofs/0x" + "12" * 32)[0] == 404
    assert world.get(f"/proofs/{digest.upper()}")[0] == 404
    appended(world.journal, 1)
    world.records.prune(NOW + 15 * 86_400, Retention())
    assert world.get(f"/proofs/{digest}")[0] == 404


def test_batch(world):
    appended(world.journal, 3)
    epoch = world.journal.epoch
    batch = world.records.tree(epoch, 0, 3).batch
    assert world.get(f"/batches/{epoch}/0")[0] == 404
    world.records.add_batch(batch)
    expected = {
        "node": f"0x{NODE.address.hex()}",
        "epoch": epoch,
        "first": 0,
        "count": 3,
        "root": f"0x{batch.root.hex()}",
        "anchored": None,
    }
    assert json.loads(world.get(f"/batches/{epoch}/0")[1]) == expected
    world.records.note_anchor(Anchored(batch, 2, 9, int(NOW)))
    expected["anchored"] = {"position": 2, "block": 9, "at": int(NOW)}
    assert json.loads(world.get(f"/batches/{epoch}/0")[1]) == expected


@pytest.mark.parametrize(
    "path", ["", "/", "/1", "/1/2/3", "/x/0", "/1/-1", f"/{2**53}/0", f"/0/{10**16 - 1}"]
)
def test_batch_that_is_not_there(world, path):
    assert world.get(f"/batches{path}")[0] == 404


# Openings.


def test_opening_of_everything(world):
    signed, digest = world.record()
    opening = world.opening(digest)
    assert opening.receipt == signed
    plan, _ = check_opening(opening)
    assert plan == PLAN
    assert missing_parts(opening, plan) == ()
    assert len(world.remade) == 1
    assert world.remade[0][:2] == (signed.receipt.release_id, PLAN)


LARGE = {"y": floats(*range(2000))}


def test_large_outputs_are_remade(world):
    world.outputs = LARGE
    signed, digest = world.record(found=inference(outputs=LARGE))
    kept = world.records.find(signed.receipt.digest(DOMAIN)).place.size
    assert kept < 2000
    assert world.opening(digest, "outputs").outputs.tensors == LARGE
    assert len(world.remade) == 1
    world.outputs = OUTPUTS
    assert world.get(f"/openings/{digest}", {"parts": "outputs"}, OPERATOR)[0] == 500
    assert world.opening(digest, "inputs")


def test_small_outputs_are_kept_even_if_others_would_be_made_now(world):
    _, digest = world.record()
    world.outputs = LARGE
    assert world.opening(digest).outputs.tensors == OUTPUTS


@pytest.mark.parametrize("outputs", [OUTPUTS, LARGE])
def test_what_was_kept_is_not_remade(world, outputs):
    _, digest = world.record(found=inference(outputs=outputs), keep_all=True)
    opening = world.opening(digest)
    assert missing_parts(opening, check_opening(opening)[0]) == ()
    assert not world.remade


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        ("inputs", ("outputs", "0", "1", "2")),
        ("outputs", ("inputs", "0", "1", "2")),
        ("inputs,outputs", ("0", "1", "2")),
        ("1", ("inputs", "outputs", "0", "2")),
        ("inputs,0,2", ("outputs", "1")),
        ("cuts", ("inputs", "outputs")),
        ("outputs,cuts,1", ("inputs",)),
    ],
)
def test_selective_opening(world, parts, missing):
    _, digest = world.record()
    opening = world.opening(digest, parts)
    plan, _ = check_opening(opening)
    assert missing_parts(opening, plan) == missing
    assert bool(world.remade) == any(word.isdigit() or word == "cuts" for word in parts.split(","))


def test_what_is_not_opened_stays_secret(world):
    _, digest = world.record()
    _, whole = world.get(f"/openings/{digest}", {}, OPERATOR)
    _, part = world.get(f"/openings/{digest}", {"parts": "inputs"}, OPERATOR)
    secret = read_opening(io.BytesIO(whole))
    for salt in (secret.outputs.salt, *(cut.salt for cut in secret.cuts)):
        assert salt in whole
        assert salt not in part
    assert bytes(secret.outputs.tensors["y"].data) not in part


@pytest.mark.parametrize(
    "parts", ["", "all", "inputs;outputs", "-1", "1.0", "\u0661", "inputs," * 300, "1000"]
)
def test_parts_of_another_form(world, parts):
    _, digest = world.record()
    assert world.get(f"/openings/{digest}", {"parts": parts}, OPERATOR)[0] == 400


def test_cut_that_the_plan_has_not(world):
    _, digest = world.record()
    assert world.get(f"/openings/{digest}", {"parts": "3"}, OPERATOR)[0] == 410
    assert parse_parts("3").cuts == {3}


def test_opening_needs_authorisation(world):
    signed, digest = world.record()
    assert world.get(f"/openings/{digest}")[0] == 401
    raw = signed.receipt.digest(DOMAIN)
    good = {ASK: sign_request(AUDITOR, raw, int(NOW) + 60, DOMAIN)}
    assert world.get(f"/openings/{digest}", {}, good)[0] == 200
    assert world.get(f"/openings/{digest}", {"parts": "inputs"}, good)[0] == 200
    _, other = world.record()
    assert world.get(f"/openings/{other}", {}, good)[0] == 403


def test_authorisation_comes_first(world):
    """Who may not see openings learns nothing from asking, not even whether there is one."""
    assert world.get("/openings/0x" + "ab" * 32)[0] == 401
    assert world.get("/openings/0x" + "ab" * 32, {"parts": "x"})[0] == 401
    assert world.get("/openings/0x" + "ab" * 32, {}, OPERATOR)[0] == 404


def test_large_openings_count_until_they_are_sent(world, monkeypatch):
    """Clients that read slowly would else have one in memory each."""
    monkeypatch.setattr(pages_module, "_SMALL_BYTES", 1)
    monkeypatch.setattr(pages_module, "_WAIT_SECONDS", 0.1)
    _, digest = world.record()

    async def run():
        pages = ReceiptPages(world.records, world.access, world.remake)
        held = [await pages.openings(f"/{digest}", {}, OPERATOR) for _ in range(2)]
        with pytest.raises(Refusal, match="others") as refused:
            await pages.openings(f"/{digest}", {}, OPERATOR)
        assert refused.value.status == 503
        held[0].sent()
        await pages.openings(f"/{digest}", {}, OPERATOR)

    asyncio.run(run())


def test_opening_that_is_gone(world):
    _, digest = world.record()
    assert world.get(f"/openings/{digest}", {}, OPERATOR)[0] == 200
    assert remove_openings(world.journal.path) == 1
    assert world.get(f"/openings/{digest}", {}, OPERATOR)[0] == 410


@pytest.mark.parametrize("cuts", [CUTS[:2], (*CUTS[:2], {"c": floats(1.0)}), CUTS[::-1], ()])
def test_cuts_remade_otherwise_are_not_sent(world, cuts):
    _, digest = world.record()
    world.cuts = cuts
    assert world.get(f"/openings/{digest}", {}, OPERATOR)[0] == 500
    assert world.get(f"/openings/{digest}", {"parts": "inputs,outputs"}, OPERATOR)[0] == 200


def test_cuts_that_cannot_be_remade(world):
    _, digest = world.record()

    def fails(*_):
        raise InputError("the runtime refuses")

    world.remake = fails
    assert world.get(f"/openings/{digest}", {}, OPERATOR)[0] == 500


def test_damaged_tensors_are_not_sent(world):
    _, digest = world.record()
    [file] = list(world.journal.path.with_name("journal.sqlite-openings").iterdir())
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    assert world.get(f"/openings/{digest}", {}, OPERATOR)[0] == 500


def test_claims_are_for_those_who_may_see_openings(world):
    _, digest = world.record()
    status, body = world.get(f"/claims/{digest}", {"segment": "3"}, OPERATOR)
    assert status == 200
    claim = read_claim(io.BytesIO(body))
    claim.verify(NODE.address, DOMAIN)
    assert (f"0x{claim.receipt.hex()}", claim.segment) == (digest, 3)
    assert world.get(f"/claims/{digest}", {"segment": "3"})[0] == 401
    for segment in ("", "-1", "x", "65536", "99999999999999999"):
        assert world.get(f"/claims/{digest}", {"segment": segment}, OPERATOR)[0] == 400
    assert world.get(f"/claims/{digest}", {}, OPERATOR)[0] == 400
    assert world.get(f"/claims/{digest}", {"segment": "4"}, OPERATOR)[0] == 410
    assert world.get("/claims/0x" + "ab" * 32, {"segment": "0"}, OPERATOR)[0] == 404
    world.claim = None
    assert world.get(f"/claims/{digest}", {"segment": "3"}, OPERATOR)[0] == 404
