"""Terms of policies against a slow reference."""

import pytest

from modelreg.errors import FormatError
from modelreg.format.terms import Terms
from tests.reference import judging as reference
from tests.reference.dagcbor import render

VALID = reference.vectors("terms.json")
REFUSED = reference.vectors("refused-terms.json")


def test_vectors_are_what_the_reference_makes():
    for name, rows in reference.documents().items():
        assert (reference.VECTORS / name).read_text() == render(rows), "run python -m tests.reference.judging"


@pytest.mark.parametrize("name", VALID)
def test_valid(name):
    block = bytes.fromhex(VALID[name]["hex"])
    terms, value = Terms.from_bytes(block), reference.read_terms(block)
    assert bytes(terms) == block
    assert (list(terms.parties), terms.strict) == (value["parties"], value["strict"])
    assert terms.digest.hex() == VALID[name]["digest"]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    block = bytes.fromhex(REFUSED[name]["hex"])
    with pytest.raises(FormatError):
        Terms.from_bytes(block)
    with pytest.raises(reference.Refused):
        reference.read_terms(block)
