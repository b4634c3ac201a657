"""Trace plans against a slow reference, and plans made to harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError
from modelreg.format.trace_plan import FixedInput, NumericClass, TracePlan
from tests.reference import trace as reference
from tests.reference.dagcbor import reference_encode, render

VALID = reference.vectors("valid.json", "plan")
REFUSED = reference.vectors("refused.json", "plan")
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def test_vectors_are_what_the_reference_makes():
    for name, rows in reference.documents().items():
        assert (reference.VECTORS / name).read_text() == render(rows), "run python -m tests.reference.trace"


@pytest.mark.parametrize("name", VALID)
def test_valid(name):
    block = bytes.fromhex(VALID[name]["hex"])
    plan = TracePlan.from_bytes(block)
    assert bytes(plan) == block
    assert plan.plan_id.hex() == VALID[name]["digest"]
    value = reference.read("plan", block)
    assert [[row.name, row.datatype, row.data] for row in plan.fixed] == value["fixed"]
    assert [list(cut) for cut in plan.cuts] == value["cuts"]
    assert (plan.file, plan.numeric_class.value) == (value["file"], value["class"])
    assert plan.is_bare == (name in ("bare", "class fp32"))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    block = bytes.fromhex(REFUSED[name]["hex"])
    with pytest.raises(FormatError):
        TracePlan.from_bytes(block)
    with pytest.raises(reference.Refused):
        reference.read("plan", block)


@given(
    st.lists(st.frozensets(names, min_size=1, max_size=16), unique=True, max_size=10),
    st.sampled_from(NumericClass),
)
def test_written_plans_are_read_again(cuts, numeric_class):
    plan = TracePlan("model.onnx", (), numeric_class, tuple(tuple(sorted(c, key=str.encode)) for c in cuts))
    assert TracePlan.from_bytes(bytes(plan)) == plan
    reference.read("plan", bytes(plan))


@given(st.data())
def test_a_changed_block_is_refused_or_another_plan(data):
    block = bytearray(bytes.fromhex(VALID["a fixed input and two cuts"]["hex"]))
    place = data.draw(st.integers(0, len(block) - 1))
    block[place] ^= data.draw(st.integers(1, 255))
    try:
        plan = TracePlan.from_bytes(bytes(block))
    except FormatError:
        with pytest.raises(reference.Refused):
            value = reference.read("plan", bytes(block))
            reference.need(
                value["file"].isprintable() and "\\" not in value["file"] and ":" not in value["file"]
            )
            reference.need(not value["file"].startswith((" ", "/")) and "//" not in value["file"])
            reference.need(not value["file"].endswith((".", " ", "/")) and "./" not in value["file"])
    else:
        assert bytes(plan) == bytes(block)


def test_names_that_utf8_cannot_write():
    with pytest.raises(FormatError):
        bytes(TracePlan("model.onnx", cuts=(("\ud800",),)))
    with pytest.raises(FormatError):
        bytes(TracePlan("model.onnx", (FixedInput("\ud800", "BOOL", b"\0"),)))


def test_a_calibration_is_no_plan():
    with pytest.raises(FormatError):
        TracePlan.from_bytes(reference_encode(reference.calibration()))
