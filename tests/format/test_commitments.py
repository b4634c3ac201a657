"""Commitments to tensors and traces, against a reference by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError, VerificationError
from modelreg.format.commitments import (
    DATATYPES,
    MAX_CUTS,
    Side,
    Tensor,
    check_opening,
    commit,
    cut_leaf,
    prove_cut,
    trace_root,
    verify_cut,
)
from modelreg.format.values import values
from tests.reference import receipt as reference
from tests.reference.receipt_vectors import VECTORS


def rows(name, holds):
    found = json.loads((VECTORS / name).read_text())
    return {row["name"]: row for row in found if row.get("holds", "values" in row) == holds}


ACCEPTED, REFUSED = rows("commitments.json", True), rows("commitments.json", False)
TRUE_TRACES, FALSE_TRACES = rows("traces.json", True), rows("traces.json", False)


def tensors_of(row):
    made = {}
    for name, datatype, dims, data in row["tensors"]:
        assert name not in made
        made[name] = Tensor(datatype, tuple(dims), bytes.fromhex(data))
    return made


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted_tensors(name):
    row = ACCEPTED[name]
    hashed, salt = values(tensors_of(row)), bytes.fromhex(row["salt"])
    assert hashed.hex() == row["values"]
    for side, text in ((Side.INPUT, row["input"]), (Side.OUTPUT, row["output"])):
        assert commit(side, salt, hashed).hex() == text
        check_opening(side, bytes.fromhex(text), salt, hashed)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_tensors(name):
    row = REFUSED[name]
    with pytest.raises(FormatError):
        values(tensors_of(row))
    with pytest.raises(ValueError):
        reference.values_of([(*tensor[:3], bytes.fromhex(tensor[3])) for tensor in row["tensors"]])


def test_other_tensors_have_other_values():
    assert len({row["values"] for row in ACCEPTED.values()}) == len(ACCEPTED)


def test_the_order_of_the_mapping_does_not_count():
    made = tensors_of(ACCEPTED["every datatype"])
    assert values(dict(reversed(made.items()))) == values(made)


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
DIMS = st.lists(st.integers(0, 3), max_size=4)


@st.composite
def tensors(draw):
    datatype = draw(st.sampled_from(sorted(DATATYPES)))
    dims = draw(DIMS)
    count = math.prod(dims)
    if datatype == "BYTES":
        items = draw(st.lists(st.binary(max_size=4), min_size=count, max_size=count))
        return datatype, dims, b"".join(len(item).to_bytes(4, "little") + item for item in items)
    size = count * reference.WIDTHS[datatype]
    data = draw(st.binary(min_size=size, max_size=size))
    return datatype, dims, bytes(byte & 1 for byte in data) if datatype == "BOOL" else data


@given(st.dictionaries(NAMES, tensors(), max_size=5))
def test_values_equal_the_reference(made):
    expected = reference.values_of([(name, *tensor) for name, tensor in made.items()])
    found = {name: Tensor(kind, tuple(dims), data) for name, (kind, dims, data) in made.items()}
    assert values(found) == expected


@given(
    st.sampled_from(sorted(DATATYPES)), st.lists(st.integers(-1, 2**64), max_size=18), st.binary(max_size=40)
)
def test_arbitrary_tensors_are_refused_or_mean_what_the_reference_reads(datatype, dims, data):
    try:
        expected = reference.values_of([("x", datatype, dims, data)])
    except ValueError:
        with pytest.raises(FormatError):
            Tensor(datatype, tuple(dims), data)
    else:
        assert values({"x": Tensor(datatype, tuple(dims), data)}) == expected


def test_arrays_are_hashed_where_they_lie():
    array = np.arange(12, dtype="<f4").reshape(3, 4)
    bytes_of_it = Tensor("FP32", (3, 4), array.tobytes())
    assert values({"x": Tensor("FP32", (3, 4), array.data)}) == values({"x": bytes_of_it})
    empty = np.zeros((3, 0), "<f4")
    assert values({"x": Tensor("FP32", (3, 0), empty.data)}) == values({"x": Tensor("FP32", (3, 0), b"")})
    with pytest.raises(FormatError, match="contiguous"):
        Tensor("FP32", (4, 3), array.T.data)
    with pytest.raises(FormatError, match="contiguous"):
        Tensor("FP32", (3, 2), array[:, ::2].data)


def test_limits_are_checked_before_anything_is_hashed(monkeypatch):
    monkeypatch.setattr("modelreg.format.values.blake3_256", None)
    one = Tensor("BOOL", (), b"\x01")
    with pytest.raises(FormatError):
        values({f"t{number}": one for number in range(257)})
    for name in ("", "b" * 257, "\ud800"):
        with pytest.raises(FormatError, match="tensor name"):
            values({"a": one, name: one})


def test_names_with_a_percent_sign():
    one, two = Tensor("BOOL", (), b"\x01"), Tensor("BOOL", (), b"\x00")
    assert values({"100%b": one, "%%": two}) == reference.values_of(
        [("%%", "BOOL", (), b"\x00"), ("100%b", "BOOL", (), b"\x01")]
    )


SALT, HASHED = b"\x01" * 32, b"\x02" * 32


@pytest.mark.parametrize(
    ("side", "salt", "hashed"),
    [
        (Side.OUTPUT, SALT, HASHED),
        (Side.INPUT, b"\x03" * 32, HASHED),
        (Side.INPUT, SALT, b"\x03" * 32),
        (Side.INPUT, HASHED, SALT),
        (Side.INPUT, SALT[:-1], b"\x01" + HASHED),
        (Side.INPUT, b"", SALT + HASHED),
        (Side.INPUT, SALT + HASHED, b""),
    ],
    ids=["other side", "other salt", "other values", "swapped", "short salt", "no salt", "no values"],
)
def test_false_openings_are_refused(side, salt, hashed):
    commitment = commit(Side.INPUT, SALT, HASHED)
    check_opening(Side.INPUT, commitment, SALT, HASHED)
    with pytest.raises(VerificationError):
        check_opening(side, commitment, salt, hashed)


@pytest.mark.parametrize(("salt", "hashed"), [(SALT[:-1], HASHED), (SALT, HASHED[:-1]), (b"", HASHED)])
def test_no_commitment_is_made_with_other_lengths(salt, hashed):
    for make in (lambda: commit(Side.OUTPUT, salt, hashed), lambda: cut_leaf(0, salt, hashed)):
        with pytest.raises(FormatError, match="32 bytes"):
            make()


def verify(row):
    salt, hashed = bytes.fromhex(row["salt"]), bytes.fromhex(row["values"])
    proof = [bytes.fromhex(node) for node in row["proof"]]
    verify_cut(bytes.fromhex(row["root"]), row["count"], row["cut"], salt, hashed, proof)


@pytest.mark.parametrize("name", TRUE_TRACES)
def test_true_traces(name):
    row = TRUE_TRACES[name]
    if not row["count"]:
        assert trace_root([]).hex() == row["root"]
        return
    verify(row)


@pytest.mark.parametrize("name", FALSE_TRACES)
def test_false_traces(name):
    with pytest.raises(VerificationError):
        verify(FALSE_TRACES[name])


@given(st.integers(1, 40), st.data())
def test_traces_equal_the_reference(count, data):
    openings = [(bytes([cut]) * 32, bytes([cut + 100]) * 32) for cut in range(count)]
    leaves = [cut_leaf(cut, *opening) for cut, opening in enumerate(openings)]
    assert leaves == [reference.cut_leaf(cut, *opening) for cut, opening in enumerate(openings)]
    root = trace_root(leaves)
    assert root == reference.trace_root(leaves)
    cut, other = (data.draw(st.integers(0, count - 1)) for _ in range(2))
    verify_cut(root, count, cut, *openings[cut], prove_cut(leaves, cut))
    if other != cut:
        with pytest.raises(VerificationError):
            verify_cut(root, count, cut, *openings[other], prove_cut(leaves, cut))


def test_a_trace_has_at_most_65535_cuts():
    assert len(trace_root([SALT] * MAX_CUTS)) == 32
    with pytest.raises(FormatError, match="65535 cuts"):
        trace_root([SALT] * (MAX_CUTS + 1))
    for cut in (-1, MAX_CUTS):
        with pytest.raises(FormatError):
            cut_leaf(cut, SALT, HASHED)


def test_numbers_and_names_of_ff_leave_the_gaps_alone():
    """Dims and names that look most like the place of a digest."""
    odd = {"ÿ" * 100: Tensor("BOOL", (0, *[(1 << 63) - 1] * 15), b""), "z": Tensor("BOOL", (), b"\x01")}
    plain = [(name, odd[name].datatype, list(odd[name].dims), odd[name].data) for name in odd]
    assert values(odd) == reference.values_of(plain)
