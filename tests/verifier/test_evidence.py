"""The file that settles a dispute: its form, and what it holds."""

import io

import pytest

from modelreg.errors import FormatError
from modelreg_verifier.audit.evidence import Evidence, read_evidence, write_evidence
from modelreg_verifier.receipts.claim import sign_claim, write_claim
from modelreg_verifier.receipts.opening import write_opening
from tests.reference.dagcbor import reference_encode
from tests.verifier.auditing import DOMAIN, NODE, early


@pytest.fixture(scope="module")
def evidence():
    world = early()
    claim = sign_claim(bytes(32), 1, world.trace.cuts[0], DOMAIN, NODE)
    return Evidence(world.opening(), claim)


def parts(evidence):
    return b"".join(write_opening(evidence.opening)), b"".join(write_claim(evidence.claim))


def framed(opening, claim, body, **changes):
    header = reference_encode({"kind": "modelreg/evidence/1", "opening": opening, "claim": claim, **changes})
    return len(header).to_bytes(4, "big") + header + body


def test_as_the_specification_has_it(evidence):
    opening, claim = parts(evidence)
    raw = b"".join(write_evidence(evidence))
    assert raw == framed(len(opening), len(claim), opening + claim)
    assert read_evidence(io.BytesIO(raw)) == evidence


@pytest.mark.parametrize(
    "change",
    [
        lambda o, c: framed(len(o), len(c), o + c + b"\0"),
        lambda o, c: framed(len(o), len(c), (o + c)[:-1]),
        lambda o, c: framed(len(o), len(c) - 1, o + c),
        lambda o, c: framed(len(o) + 1, len(c) - 1, o + c),
        lambda o, c: framed(len(o) - 1, len(c) + 1, o + c),
        lambda o, c: framed(len(c), len(o), c + o),
        lambda o, c: framed((600 << 20) + 1, len(c), o + c),
        lambda o, c: framed(len(o), len(c), o + c, kind="modelreg/claim/1"),
        lambda o, c: framed(len(o), len(c), o + c, more=1),
        lambda o, _: framed(len(o), 0, o),
        lambda *_: b"",
    ],
    ids=["bytes behind", "an early end", "a claim too short", "an opening too long", "an opening too short",
         "claim first", "a huge size", "another kind", "a further key", "no claim", "nothing"],
)  # fmt: skip
def test_refused(evidence, change):
    with pytest.raises(FormatError):
        read_evidence(io.BytesIO(change(*parts(evidence))))


def test_a_size_over_the_limit_is_refused_before_it_is_read(evidence, monkeypatch):
    opening, claim = parts(evidence)
    for most in (len(opening) - 1, len(claim) - 1):
        monkeypatch.setattr("modelreg_verifier.audit.evidence._PART_BYTES_MAX", most)
        with pytest.raises(FormatError):
            read_evidence(io.BytesIO(framed(len(opening), len(claim), opening + claim)))
    monkeypatch.setattr("modelreg_verifier.audit.evidence._PART_BYTES_MAX", max(len(opening), len(claim)))
    assert read_evidence(io.BytesIO(framed(len(opening), len(claim), opening + claim))) == evidence
