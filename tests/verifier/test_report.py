"""Reports: the document, and the page for people, with names that were made to break it."""

import json
import math
from fractions import Fraction
from html.parser import HTMLParser

import blake3
import pytest

from modelreg.errors import InputError
from modelreg.format.batch import Batch
from modelreg_verifier.audit.report import Judged, Report
from modelreg_verifier.audit.report_page import page
from modelreg_verifier.audit.verdict import Reason, Ruling, SegmentResult, Verdict
from modelreg_verifier.trace.distance import Outcome
from modelreg_verifier.trace.runtime import Settings, runtime_info

BATCH = Batch(b"\x01" * 20, 7, 100, 50, b"\x02" * 32)
EVIL = "</td></svg><script>alert(1)</script><img src=x onerror='a'>\"&'\u202e\x00\ud800"


def near(ratio, segment=0):
    return SegmentResult(segment, Outcome.NEAR, ratio * 1e-6, 1e-6, ratio, "a")


PASSED = Verdict(Ruling.PASS, Reason.NEAR, "all segments are near", None, (near(0.0), near(2.5, 1)))
DISPUTED = Verdict(
    Ruling.DISPUTE, Reason.DISTANCE, f"400 envelopes apart at {EVIL}", 1, (near(1.0), near(400.0, 1))
)
FAILED = Verdict(
    Ruling.FAIL,
    Reason.NON_FINITE,
    EVIL,
    0,
    (SegmentResult(0, Outcome.NON_FINITE, math.inf, 1e-6, None, EVIL),),
)
WITHHELD = Verdict(Ruling.WITHHELD, Reason.PART, "no opening")


def report(*verdicts, draws=None, **options):
    judged = tuple(Judged(100 + n, bytes([n]) * 32, verdict) for n, verdict in enumerate(verdicts))
    draws = len(judged) if draws is None else draws
    return Report(BATCH, b"\x03" * 32, runtime_info(Settings()), draws, judged, **options)


WHOLE = report(PASSED, DISPUTED, FAILED, WITHHELD, draws=3, false=5, rate=Fraction(9, 10))


class Reader(HTMLParser):
    """Elements, attributes and text, as a browser takes them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], set(), ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data):
        self.text += data


def test_the_document():
    found = json.loads(bytes(WHOLE).decode())
    assert found["kind"] == "modelreg/audit/1"
    assert found["node"] == "0x" + "01" * 20 and found["root"] == "0x" + "02" * 32
    assert (found["epoch"], found["first"], found["count"]) == (7, 100, 50)
    assert found["sample"]["draws"] == 3 and found["sample"]["covering"] == 1
    assert found["sample"]["probability"] == WHOLE.probability
    assert found["outcomes"] == {"pass": 1, "dispute": 1, "fail": 1, "withheld": 1}
    rows = found["receipts"]
    assert [row["outcome"] for row in rows] == ["pass", "dispute", "fail", "withheld"]
    assert rows[1]["segment"] == 1 and rows[1]["segments"][1]["ratio"] == 400.0
    assert rows[2]["segments"][0] == {
        "segment": 0, "outcome": "non-finite", "distance": None, "envelope": 1e-6, "ratio": None,
        "tensor": EVIL,
    }  # fmt: skip


def test_its_form_is_fixed():
    raw = bytes(WHOLE)
    value = json.loads(raw)
    again = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    assert raw == again
    assert WHOLE.digest == blake3.blake3(raw).digest()


def test_the_probability_is_that_of_the_uniform_draws():
    assert report(*[PASSED] * 10, false=5).probability == pytest.approx(0.6894, abs=1e-4)
    assert report(*[PASSED] * 10, false=5, draws=0).probability == 0
    assert report(*[PASSED] * 10, false=5, rate=Fraction(0)).probability == 0


def test_the_page_says_what_matters():
    text = Reader(page(WHOLE)).text
    for wanted in ("dispute", "withheld", "3 of 50 drawn, 1 to cover", "400", "non-finite", "0x" + "01" * 32):
        assert wanted in text
    assert f"{WHOLE.probability:.4f}" in text


def test_names_that_were_made_to_break_the_page():
    found = Reader(page(WHOLE))
    assert not {"script", "img", "iframe", "link", "object", "a"} & set(found.tags)
    assert not {name for name in found.attributes if name.startswith("on") or name in ("src", "href")}
    assert found.tags.count("html") == found.tags.count("svg") == 1
    whole = page(WHOLE)
    assert "\u202e" not in whole and "\0" not in whole
    assert "alert(1)" in found.text
    whole.encode()


def test_a_page_loads_nothing():
    assert "default-src 'none'" in page(WHOLE)
    assert "http" not in page(WHOLE).replace("http-equiv", "")


def test_each_ratio_is_a_point_and_zero_and_large_ones_stay_inside():
    far = Verdict(Ruling.DISPUTE, Reason.DISTANCE, "", 0, (near(1e300), near(0.0, 1), near(1e-9, 2)))
    whole = page(report(far, PASSED))
    assert Reader(whole).tags.count("circle") == 5
    heights = [float(part.split('"')[0]) for part in whole.split('cy="')[1:]]
    assert all(20 <= height <= 260 for height in heights)
    assert min(heights) == 20 and max(heights) == 260


def test_an_audit_without_numbers_has_no_plot():
    found = Reader(page(report(WITHHELD)))
    assert "svg" not in found.tags and "withheld" in found.text


def test_a_long_audit_lists_what_did_not_pass_first(monkeypatch):
    monkeypatch.setattr("modelreg_verifier.audit.report_page._ROWS_MAX", 1)
    text = Reader(page(report(PASSED, PASSED, WITHHELD))).text
    assert "1 of 3" in text and "0x" + "02" * 32 in text and "0x" + "00" * 32 not in text


def judged(seq, digest=b"\x01" * 32):
    return Judged(seq, digest, PASSED)


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([judged(99)], {}),
        ([judged(150)], {}),
        ([judged(100), judged(100)], {}),
        ([judged(100)], {"draws": 2}),
        ([judged(100)], {"draws": -1}),
        ([judged(100, b"\x01")], {}),
        ([judged(100)], {"seed": b""}),
        ([judged(100)], {"false": 51}),
        ([judged(100)], {"rate": Fraction(2)}),
    ],
)
def test_refused_reports(rows, options):
    given = {"seed": b"\x03" * 32, "draws": 1, "judged": tuple(rows), **options}
    with pytest.raises(InputError):
        Report(BATCH, runtime=runtime_info(Settings()), **given)
