"""Openings: their form and their checks, against a reference by hand."""

import io
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelreg.errors import FormatError, VerificationError
from modelreg.format.commitments import Tensor
from modelreg_verifier.receipts import framing, opening_check
from modelreg_verifier.receipts.opening import read_opening, write_opening
from modelreg_verifier.receipts.opening_check import check_opening, missing_parts
from tests.reference import openings as reference


def rows(name):
    found = json.loads((reference.VECTORS / name).read_text())
    return {row["name"]: reference.lengthen(row["bytes"]) for row in found}


ACCEPTED, MISREAD, MISOPENED = (rows(f"{name}.json") for name in ("accepted", "misread", "misopened"))


def read(raw, **options):
    return read_opening(io.BytesIO(raw), **options)


def test_vectors_are_what_the_reference_makes():
    for name, made in reference.documents().items():
        found = (reference.VECTORS / name).read_text()
        assert found == reference.render(made), "run python -m tests.reference.openings"


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name):
    raw = ACCEPTED[name]
    opening = read(raw)
    plan, runtime = check_opening(opening)
    assert (bytes(plan), bytes(runtime)) == (opening.plan, opening.runtime)
    assert b"".join(write_opening(opening)) == raw
    reference.check(reference.read(raw))


@pytest.mark.parametrize("name", MISREAD)
def test_refused_by_its_form(name):
    with pytest.raises(FormatError):
        read(MISREAD[name])
    with pytest.raises((ValueError, UnicodeDecodeError)):
        reference.read(MISREAD[name])


@pytest.mark.parametrize("name", MISOPENED)
def test_does_not_open_its_receipt(name):
    opening = read(MISOPENED[name])
    with pytest.raises(VerificationError):
        check_opening(opening)
    with pytest.raises(Exception) as error:
        reference.check(reference.read(MISOPENED[name]))
    if error.value.args and isinstance(error.value.args[0], int):
        assert error.value.args[0] == int(name[0])


@pytest.mark.parametrize(
    ("number", "check"), [("1", "check_plan"), ("2", "check_runtime"), ("3", "check_commitments")]
)
def test_each_check_refuses_what_is_its_own(number, check):
    for name, raw in MISOPENED.items():
        if not name.startswith(number):
            continue
        opening = read(raw)
        arguments = [opening_check.check_plan(opening)] if check == "check_commitments" else []
        with pytest.raises(VerificationError):
            getattr(opening_check, check)(opening, *arguments)


def test_missing_parts():
    def missing(name):
        opening = read(ACCEPTED[name])
        return missing_parts(opening, opening_check.check_plan(opening))

    assert missing("the whole") == missing("a bare plan") == ()
    assert missing("inputs only") == ("outputs", "0", "1", "2")
    assert missing("one cut only") == ("inputs", "outputs", "0", "2")


def test_too_much_is_refused_before_a_tensor_is_read():
    raw = ACCEPTED["the whole"]
    total = len(reference.DATA)
    assert read(raw, max_bytes=total)
    header = len(raw) - total
    file = io.BytesIO(raw[:header])  # no tensor is there to be read
    with pytest.raises(FormatError, match=f"at most {total - 1} bytes"):
        read_opening(file, max_bytes=total - 1)


def test_memory_grows_with_what_comes_not_with_what_is_announced():
    """metadata bomb: a few hundred bytes announce half a gigabyte."""
    huge = Tensor("UINT8", (1 << 20,), bytes(1 << 20))
    [rows_] = [framing.table({"x": huge})]
    rows_[0][2], rows_[0][3] = [500 << 20], 500 << 20
    raw = reference.frame(
        reference.WHOLE | {"inputs": [bytes(32), rows_], "outputs": None, "cuts": []}, bytes(100)
    )
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="an end after 100"):
            read(raw)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_header_too_long_is_refused_before_it_is_read():
    class Endless(io.RawIOBase):
        asked = 0

        def read(self, size=-1):
            self.asked += size
            return b"\xff" * size

    file = Endless()
    with pytest.raises(FormatError, match="header"):
        read_opening(file)
    assert file.asked == 4


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_changes_is_refused_or_read_as_by_the_reference(data):
    raw = bytearray(ACCEPTED["the whole"])
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        check_opening(read(bytes(raw)))
        ours = True
    except VerificationError:
        ours = False
    try:
        reference.check(reference.read(bytes(raw)))
        theirs = True
    except Exception:  # noqa: BLE001  whatever the reference stumbles over
        theirs = False
    assert ours == theirs
