"""Distances, and the tensors that attackers commit to."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg_verifier.trace.distance import Outcome, batch_of, compare
from tests.reference import audit as reference

A = np.array([[3.0, 4.0], [0.0, 1.0]], np.float32)


def judge(theirs, ours, batch=None, quantized=()):
    return compare({"a": np.asarray(theirs)}, {"a": np.asarray(ours)}, batch, quantized)


TYPES = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "UINT8": "u1"}
VECTORS = {row["name"]: row for row in json.loads((reference.VECTORS / "distances.json").read_text())}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name):
    row = VECTORS[name]
    theirs, ours = (
        np.frombuffer(bytes.fromhex(data), TYPES[datatype]).reshape(dims)
        for datatype, dims, data in (row["committed"], row["replayed"])
    )
    found = judge(theirs, ours, row["batch"], {"a"} if row["quantized"] else ())
    assert found.outcome.name.lower().replace("_", "-") == row["outcome"]
    assert found.distance == pytest.approx(math.inf if row["distance"] is None else row["distance"], rel=1e-9)


NUMBERS = st.floats(width=32) | st.sampled_from([0.0, 2.0**24, 3.3e38, -3.4e38, 1e-40, math.inf, math.nan])


@given(st.lists(st.tuples(NUMBERS, NUMBERS | st.just(None)), min_size=1, max_size=6), st.booleans())
def test_any_floats_have_the_distance_of_the_reference(pairs, split):
    theirs = np.array([x for x, _ in pairs], np.float32)
    ours = np.array([x if y is None else y for x, y in pairs], np.float32)
    batch = len(pairs) if split else None
    sides = [("FP32", [len(pairs)], side.tobytes()) for side in (theirs, ours)]
    outcome, far = reference.distance(*sides, batch, False)
    found = judge(theirs, ours, batch)
    assert found.outcome.name.lower().replace("_", "-") == outcome
    assert found.distance == pytest.approx(far, rel=1e-9)


def test_equal_bits():
    assert judge(A, A.copy()).outcome is Outcome.EQUAL


def test_the_distance_is_relative_to_what_was_committed():
    found = judge(A, A * np.float32(1.5))
    assert (found.outcome, found.tensor) == (Outcome.NEAR, "a")
    assert found.distance == pytest.approx(0.5)


def test_one_element_of_a_batch_cannot_hide_behind_the_others():
    theirs = np.ones((64, 100), np.float32)
    ours = theirs.copy()
    ours[5] *= 2
    assert judge(theirs, ours).distance == pytest.approx(1 / 8)
    assert judge(theirs, ours, batch=64).distance == pytest.approx(1)
    assert judge(theirs, ours, batch=32).distance == pytest.approx(1 / 8)


def test_the_worst_tensor_decides():
    one, two = {"a": A, "b": A * 2, "c": A}, {"a": A * np.float32(1.1), "b": A, "c": A}
    found = compare(one, two)
    assert (found.tensor, found.distance) == ("b", pytest.approx(0.5))


def test_what_was_not_replayed_is_passed_over():
    assert compare({"a": A, "b": A}, {"a": A}).outcome is Outcome.EQUAL


def test_missing_tensor():
    assert compare({}, {"a": A}).outcome is Outcome.MISSING


@pytest.mark.parametrize("shape", [(4,), (2, 2, 1), (1, 2), (0, 2)])
def test_wrong_shape(shape):
    found = judge(np.ones(shape, np.float32), A)
    assert (found.outcome, found.distance) == (Outcome.SHAPE, math.inf)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32"])
def test_wrong_dtype(dtype):
    assert judge(A.astype(dtype), A).outcome is Outcome.DATATYPE


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_where_none_came(value):
    theirs = A.copy()
    theirs[0, 0] = value
    assert judge(theirs, A).outcome is Outcome.NON_FINITE


def test_all_nan():
    assert judge(np.full_like(A, np.nan), A, batch=2).outcome is Outcome.NON_FINITE


def test_a_client_who_sends_nan_does_not_convict_the_node():
    theirs, ours = A.copy(), A.copy()
    theirs[1, 0] = ours[1, 0] = np.nan
    theirs.view(np.uint32)[1, 0] ^= 1
    assert judge(theirs, ours).outcome is Outcome.NEAR
    assert judge(theirs, ours).distance == 0


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_masks_are_honest(value):
    theirs, ours = A.copy(), A * np.float32(1.25)
    theirs[1, 0] = ours[1, 0] = value
    found = judge(theirs, ours)
    assert (found.outcome, found.distance) == (Outcome.NEAR, pytest.approx(0.25))
    ours[1, 0] = -value
    found = judge(theirs, ours)
    assert (found.outcome, found.distance) == (Outcome.OVERFLOW, pytest.approx(0.25))


def test_numbers_near_the_end_of_their_format_are_not_judged():
    ours = np.array([3.0e38, 1.0], np.float32)
    assert judge(np.array([np.inf, 1.0], np.float32), ours).outcome is Outcome.OVERFLOW
    assert (
        judge(np.array([np.inf, 1.0], np.float16), np.array([6e4, 1], np.float16)).outcome is Outcome.OVERFLOW
    )
    assert (
        judge(np.array([np.inf, 1.0], np.float16), np.array([6, 1], np.float16)).outcome is Outcome.NON_FINITE
    )


def test_an_overflow_excuses_itself_alone():
    ours = np.array([np.inf, 1.0, 2.0], np.float32)
    assert judge(np.array([3e38, 1, 2], np.float32), ours).outcome is Outcome.OVERFLOW
    assert judge(np.array([3e38, np.nan, 2], np.float32), ours).outcome is Outcome.NON_FINITE
    found = judge(np.array([3e38, 1, 4], np.float32), ours)
    assert (found.outcome, found.distance) == (Outcome.OVERFLOW, pytest.approx(2 / 17**0.5))


def test_an_overflow_in_one_tensor_hides_no_distance_in_another():
    theirs = {"a": np.array([np.inf], np.float32), "b": A * 2}
    found = compare(theirs, {"a": np.array([3e38], np.float32), "b": A})
    assert (found.outcome, found.tensor, found.distance) == (Outcome.OVERFLOW, "a", pytest.approx(0.5))


@pytest.mark.parametrize("huge", [-3.4e38, -1e9])
def test_huge_elements_hide_nothing(huge):
    ours = np.array([huge, huge, 0, 0, 1], np.float32)
    assert judge(ours * np.float32(1.000001), ours).distance == pytest.approx(1e-6, rel=0.2)
    for change in ([huge, huge, 1, 0, 1], [huge, huge, huge, 0, 1], [huge, 0, 0, 0, 1],
                   [huge, huge * 0.5, 0, 0, 1]):  # fmt: skip
        assert judge(np.array(change, np.float32), ours).distance > 0.5


def test_huge_elements_of_half_precision():
    ours = np.array([-65504, 0, 1], np.float16)
    assert judge(np.array([-65504, 1, 1], np.float16), ours).distance > 0.5


def test_zeros_and_subnormals():
    zero, small = np.zeros(4, np.float32), np.full(4, 1e-45, np.float32)
    assert judge(zero, zero.copy()).distance == 0
    assert judge(zero, -zero).distance == 0
    assert judge(small, small * 2).distance < 1e-6
    assert judge(zero, np.full(4, 1e-6, np.float32)).distance > 1e6


def test_doubles_whose_squares_overflow():
    theirs = np.array([1e300, 1e300])
    assert judge(theirs, theirs * 1.5).distance == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_integers_are_equal_or_not(dtype):
    ours = np.array([1, 0, 1], dtype)
    assert judge(ours.copy(), ours).outcome is Outcome.EQUAL
    assert judge(np.array([1, 1, 1], dtype), ours).outcome is Outcome.UNEQUAL


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_rounded_floats_are_as_far_apart_as_the_floats_were(dtype):
    rng = np.random.default_rng(0)
    floats = rng.normal(60, 20, 200_000)
    for size in (1e-4, 1e-3, 1e-2):
        other = floats + 20 * size * rng.standard_normal(floats.size)
        theirs, ours = (np.clip(np.rint(values), 0, 127).astype(dtype) for values in (floats, other))
        assert judge(theirs, ours, quantized={"a"}).distance == pytest.approx(size, rel=0.35)
        assert judge(theirs, ours).outcome is Outcome.UNEQUAL


def test_a_few_values_may_be_rounded_otherwise():
    theirs = np.arange(100, dtype=np.uint8)
    ours = theirs.copy()
    ours[:4] += 1
    assert judge(theirs, ours, quantized={"a"}).distance == 0
    ours[4] += 1
    assert judge(theirs, ours, quantized={"a"}).distance > 1e-4


def test_one_value_cannot_be_rounded_far():
    theirs = np.full(10, 3, np.int8)
    ours = theirs.copy()
    ours[0] = -128
    assert judge(theirs, ours, quantized={"a"}).distance > 10


def test_strings_are_equal_or_not():
    ours = np.array(["a", "b"], object)
    assert judge(ours.copy(), ours).outcome is Outcome.EQUAL
    assert judge(np.array(["a", "c"], object), ours).outcome is Outcome.UNEQUAL


def test_empty_and_scalar_tensors():
    assert judge(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), batch=0).outcome is Outcome.EQUAL
    assert judge(np.float32(2), np.float32(1), batch=1).distance == 0.5


def test_the_batch_is_what_all_inputs_share():
    assert batch_of({"a": np.zeros((4, 2)), "b": np.zeros(4), "c": np.zeros(())}) == 4
    assert batch_of({"a": np.zeros((4, 2)), "b": np.zeros((2, 4))}) is None
    assert batch_of({"a": np.zeros(())}) is None
