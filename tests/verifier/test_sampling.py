"""Which receipts are drawn, and what that shows, against a reference by hand."""

import json
import random
from fractions import Fraction

import pytest

from modelreg.errors import FormatError, InputError
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import Receipt
from modelreg_verifier.audit.detection import detection, false_receipts, needed_draws
from modelreg_verifier.audit.sampling import sample, seed_of, stratum_of
from tests.reference import audit as reference

SEED = b"\x07" * 32


def rows(name):
    return json.loads((reference.VECTORS / name).read_text())


def test_vectors_are_what_the_reference_makes():
    for name, made in reference.documents().items():
        assert (reference.VECTORS / name).read_text() == reference.render(made), "run tests.reference.audit"


@pytest.mark.parametrize("row", rows("samples.json"))
def test_samples(row):
    seed = seed_of(bytes.fromhex(row["block"]), bytes.fromhex(row["root"]))
    assert seed.hex() == row["seed"]
    found = sample(seed, [bytes.fromhex(key) for key in row["strata"]], row["draws"], row["cover"])
    assert (list(found.drawn), list(found.covering)) == (row["drawn"], row["covering"])
    assert found.places == found.drawn + found.covering
    assert len(set(found.places)) == len(found.places)


def test_probabilities():
    for count, false, draws, rate, wanted in rows("probabilities.json"):
        assert detection(count, false, draws, Fraction(rate)) == Fraction(wanted)


def test_needed_draws():
    for count, false, wanted, rate, least in rows("sizes.json"):
        assert needed_draws(count, false, Fraction(wanted), Fraction(rate)) == least


def test_every_receipt_is_drawn_equally_often():
    count, draws, rounds = 20, 5, 4000
    seen = [0] * count
    for number in range(rounds):
        for place in sample(seed_of(number.to_bytes(32, "big"), SEED), [b"s"] * count, draws).drawn:
            seen[place] += 1
    expected = rounds * draws / count
    # Chi-squared with 19 degrees of freedom is above 43.8 once in 1,000 times; seeds are fixed.
    assert sum((n - expected) ** 2 / expected for n in seen) < 43.8


def test_many_strata_do_not_thin_out_the_uniform_draws():
    """A node asks itself under 500 names, and cheats in the one stratum that is somebody else's."""
    strata = [b"%d" % number for number in range(500)] + [b"victim"] * 500
    hits = [
        any(place >= 500 for place in sample(seed_of(n.to_bytes(32, "big"), SEED), strata, 10, 10).drawn)
        for n in range(50)
    ]
    assert all(hits)  # each is missed with probability 1/1024


def test_a_small_stratum_is_covered():
    strata = [b"loud"] * 1000 + [b"quiet"] * 3
    assert max(sample(SEED, strata, 4).drawn) < 1000
    (place,) = sample(SEED, strata, 4, cover=1).covering
    assert place >= 1000


def test_a_greater_sample_goes_on_with_a_smaller_one():
    strata = [b"%d" % (n % 7) for n in range(300)]
    assert sample(SEED, strata, 90).drawn[:40] == sample(SEED, strata, 40).drawn
    assert sorted(sample(SEED, strata, 300).drawn) == list(range(300))


def test_seeds_of_other_blocks_and_roots_draw_others():
    other = seed_of(b"\x01" * 32, SEED)
    assert len({other, seed_of(b"\x02" * 32, SEED), seed_of(b"\x01" * 32, b"\x08" * 32)}) == 3
    assert sample(other, [b""] * 10**4, 8) != sample(SEED, [b""] * 10**4, 8)


def test_a_stratum_is_release_plan_and_client():
    fields = [1, b"n" * 20, ReleaseId(b"r" * 32), b"p" * 32, b"q" * 32, b"c" * 20, *[b"x" * 32] * 4, 1, 2, 3]
    assert stratum_of(Receipt(*fields, b"v" * 32)) == b"r" * 32 + b"p" * 32 + b"c" * 20


@pytest.mark.parametrize(
    "arguments",
    [(b"", [b"s"], 1, 0), (SEED, [], 1, 0), (SEED, [b"s"], -1, 0), (SEED, [b"s"], 1, -1),
     (SEED, [b"s"] * (2**20 + 1), 1, 0)],
)  # fmt: skip
def test_refused_samples(arguments):
    with pytest.raises(FormatError):
        sample(*arguments)


@pytest.mark.parametrize("pair", [(b"", SEED), (SEED, b"")])
def test_refused_seeds(pair):
    with pytest.raises(FormatError):
        seed_of(*pair)


@pytest.mark.parametrize(
    "arguments", [(0, 0, 0), (5, 6, 1), (5, 1, 6), (5, -1, 1), (5, 1, -1), (5, 1, 1, Fraction(2))]
)
def test_refused_numbers(arguments):
    with pytest.raises(InputError):
        detection(*arguments)


def test_large_batches_are_quick():
    count = 1 << 20
    assert needed_draws(count, false_receipts(count, Fraction(1, 100)), Fraction(99, 100)) == 459
    assert needed_draws(count, 1, Fraction(1, 2)) == count // 2
    assert needed_draws(count, 2, Fraction(1, 2), Fraction(1, 10)) is None


def test_false_receipts_are_rounded_up():
    assert [false_receipts(10, Fraction(n, 100)) for n in (0, 1, 10, 11, 100)] == [0, 1, 1, 2, 10]


def test_a_sample_finds_cheats_as_often_as_it_says():
    strata, false = [b"s"] * 50, set(random.Random(5).sample(range(50), 5))
    hits = sum(
        not false.isdisjoint(sample(seed_of(n.to_bytes(32, "big"), SEED), strata, 8).drawn)
        for n in range(2000)
    )
    assert abs(hits / 2000 - float(detection(50, 5, 8))) < 0.03
