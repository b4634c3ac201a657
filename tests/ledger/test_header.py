"""Headers: docs/spec/ledger.md, section 3."""

import random

import pytest

from modelreg.errors import FormatError, VerificationError
from modelreg.ledger.header import parse_header
from tests.reference.ledger import BASIC, FORKS, reference_header


@pytest.fixture
def block():
    return reference_header(FORKS["prague"], random.Random(5))


@pytest.mark.parametrize("name", [*BASIC, *FORKS["prague"]])
def test_a_changed_field_is_refused(block, name):
    value = block[name]
    block[name] = value[:-1] + ("1" if value[-1] != "1" else "2")
    with pytest.raises(VerificationError, match="does not hash"):
        parse_header(block)


@pytest.mark.parametrize("name", [*BASIC, "hash"])
def test_a_missing_field_is_refused(block, name):
    del block[name]
    with pytest.raises(FormatError):
        parse_header(block)


@pytest.mark.parametrize("name", FORKS["prague"][:-1])
def test_a_gap_between_the_forks_is_refused(block, name):
    block[name] = None
    with pytest.raises(FormatError, match="missing"):
        parse_header(block)


def test_a_field_of_a_later_fork_is_named(block):
    del block["requestsHash"]
    block["blockAccessListHash"] = "0x" + "00" * 32
    with pytest.raises(VerificationError, match="blockAccessListHash"):
        parse_header(block)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stateRoot", "0x12"),
        ("stateRoot", 7),
        ("stateRoot", None),
        ("number", "7"),
        ("number", "0x"),
        ("number", "0x" + "f" * 65),
        ("extraData", "0x" + "00" * 1025),
        ("logsBloom", "0x" + "00" * 10_000_000),
        ("miner", "0x" + "00" * 21),
        ("baseFeePerGas", []),
    ],
)
def test_a_field_of_another_form_is_refused(block, name, value):
    block[name] = value
    with pytest.raises(FormatError):
        parse_header(block)


@pytest.mark.parametrize("answer", [[], "0x", 3, True])
def test_what_is_no_block_is_refused(answer):
    with pytest.raises(FormatError):
        parse_header(answer)
