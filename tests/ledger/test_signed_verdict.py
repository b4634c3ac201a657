"""Verdicts as auditors exchange them, against a slow reference."""

import pytest

from modelreg.errors import VerificationError
from modelreg.format.receipt import Domain
from modelreg.ledger.signed_verdict import SignedVerdict
from tests.reference import judging as reference
from tests.reference.receipt_vectors import DOMAIN, OTHER_CHAIN

VALID = reference.vectors("verdicts.json")
REFUSED = reference.vectors("refused-verdicts.json")


def domain(of=DOMAIN):
    return Domain(of["chainId"], of["verifyingContract"])


@pytest.mark.parametrize("name", VALID)
def test_valid(name):
    block = bytes.fromhex(VALID[name]["hex"])
    found, (value, auditor) = SignedVerdict.from_bytes(block), reference.read_verdict(block, DOMAIN)
    assert bytes(found) == block
    assert found.verify(domain()) == auditor == bytes.fromhex(VALID[name]["auditor"])
    assert (found.verdict.policy_id, int(found.verdict.outcome)) == (value["policy"], value["outcome"])
    assert list(found.anchored.words) == value["batch"]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    block = bytes.fromhex(REFUSED[name]["hex"])
    with pytest.raises(VerificationError):
        SignedVerdict.from_bytes(block).verify(domain())
    with pytest.raises(reference.Refused):
        reference.read_verdict(block, DOMAIN)


def test_verdict_of_another_chain():
    """a verdict replayed on another chain"""
    block = bytes.fromhex(VALID["fail"]["hex"])
    with pytest.raises(VerificationError):
        SignedVerdict.from_bytes(block).verify(domain(OTHER_CHAIN))
