"""Calibrations against a slow reference, and distances that must never be rounded down."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError
from modelreg.format.calibration import Calibration, Distance
from modelreg.format.digest import HashAlgorithm
from tests.reference import trace as reference
from tests.reference.dagcbor import reference_encode

VALID = reference.vectors("valid.json", "calibration")
REFUSED = reference.vectors("refused.json", "calibration")
GREATEST = math.ldexp(2**24 - 1, 104)


def fingerprint(runtime):
    return HashAlgorithm.BLAKE3_256.digest(reference_encode(runtime)).value


@pytest.mark.parametrize("name", VALID)
def test_valid(name):
    block = bytes.fromhex(VALID[name]["hex"])
    calibration = Calibration.from_bytes(block)
    assert bytes(calibration) == block
    assert calibration.digest.hex() == VALID[name]["digest"]
    value = reference.read("calibration", block)
    assert [runtime.value for runtime in calibration.runtimes] == value["runtimes"]
    rows = [[*row.key, [[d.mantissa, d.exponent] for d in row.distances]] for row in calibration.rows]
    assert rows == value["rows"]
    assert (calibration.samples, calibration.plan) == (value["samples"], value["plan"])


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    block = bytes.fromhex(REFUSED[name]["hex"])
    with pytest.raises(FormatError):
        Calibration.from_bytes(block)
    with pytest.raises(reference.Refused):
        reference.read("calibration", block)


@given(st.floats(0, GREATEST))
def test_a_distance_is_rounded_up(value):
    distance = Distance.above(value)
    assert [distance.mantissa, distance.exponent] == reference.distance_above(value)
    assert float(distance) >= value
    assert float(distance) <= max(value * (1 + 2**-23), 2.0**-126)


@pytest.mark.parametrize("value", [0.0, 1.0, 3e-7, 1 - 2**-25, 5e-324, 2.0**-126, GREATEST])
def test_distances_at_the_edges(value):
    distance = Distance.above(value)
    assert [distance.mantissa, distance.exponent] == reference.distance_above(value)


@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf, GREATEST * 2])
def test_distances_that_are_none(value):
    with pytest.raises(FormatError):
        Distance.above(value)


def test_the_envelope_is_the_greatest_of_all_batches():
    calibration = Calibration.from_bytes(bytes.fromhex(VALID["two runtimes"]["hex"]))
    found = calibration.envelope(fingerprint(reference.ONE), fingerprint(reference.TWO))
    assert found == (math.ldexp(2**24 - 1, -149), math.ldexp(2**23, 104))


def test_a_pair_that_was_not_measured_has_no_envelope():
    calibration = Calibration.from_bytes(bytes.fromhex(VALID["two runtimes"]["hex"]))
    assert calibration.envelope(fingerprint(reference.TWO), fingerprint(reference.ONE)) is None
    assert calibration.envelope(bytes(32), bytes(32)) is None
