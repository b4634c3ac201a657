"""How likely a sample is to find a cheat. Specified in docs/spec/audit.md, section 2. No input or output.

All numbers are exact: integers and fractions.
"""

from fractions import Fraction
from math import comb

from modelreg.errors import InputError
from modelreg.format.batch import MAX_RECEIPTS

__all__ = ["detection", "false_receipts", "needed_draws"]


def false_receipts(count: int, share: Fraction) -> int:
    """How many of `count` receipts are false if `share` of them are; rounded up."""
    _check_share("share of false receipts", share)
    return -(-count * share.numerator // share.denominator)


def detection(count: int, false: int, draws: int, rate: Fraction = Fraction(1)) -> Fraction:
    """The probability that `draws` uniform draws without replacement find a false receipt.

    The number of false ones among them is hypergeometric; each is recognised with probability `rate`.

    Args:
        count: receipts in the batch.
        false: false ones among them.
        draws: how many are audited.
        rate: of the false ones that are audited, how many are recognised.

    Raises:
        InputError: numbers that are no batch and no part of it, or a rate that is no probability.
    """
    _check_share("detection rate", rate)
    if not (0 < count <= MAX_RECEIPTS and 0 <= false <= count and 0 <= draws <= count):
        raise InputError(
            "sample",
            expected=f"1 to {MAX_RECEIPTS} receipts, of which some are false and some drawn",
            found=f"{count}, {false}, {draws}",
        )
    # Drawing and being false are symmetric: the smaller of both keeps the integers small.
    few, many = sorted((false, draws))
    missed, whole = rate.denominator - rate.numerator, rate.denominator
    least = max(0, few + many - count)
    most = few if missed else 0
    ways = sum(
        comb(many, k) * comb(count - many, few - k) * missed**k * whole ** (few - k)
        for k in range(least, most + 1)
    )
    return 1 - Fraction(ways, comb(count, few) * whole**few)


def needed_draws(count: int, false: int, wanted: Fraction, rate: Fraction = Fraction(1)) -> int | None:
    """The least number of draws that find a false receipt with probability `wanted`.

    None if not even all receipts do. Raises InputError as `detection`.
    """
    _check_share("wanted probability", wanted)
    if detection(count, false, count, rate) < wanted:
        return None
    enough = 1
    while detection(count, false, min(enough, count), rate) < wanted:
        enough *= 2
    low, high = enough // 2, min(enough, count)
    while low < high:
        middle = (low + high) // 2
        if detection(count, false, middle, rate) < wanted:
            low = middle + 1
        else:
            high = middle
    return low


def _check_share(what: str, value: Fraction) -> None:
    if not 0 <= value <= 1:
        raise InputError(what, expected="0 to 1", found=float(value))
