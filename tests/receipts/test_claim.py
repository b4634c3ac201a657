"""Claims: their form and their signature, against a reference by hand."""

import io
import json
import tracemalloc

import pytest

from modelreg.errors import FormatError, VerificationError
from modelreg.format.commitments import Tensor
from modelreg.format.receipt import Domain
from modelreg.format.signature import Signer
from modelreg.format.values import values
from modelreg_verifier.receipts.claim import TENSORS_MAX, Claim, read_claim, sign_claim, write_claim
from tests.receipts.making import floats
from tests.reference import claims as reference
from tests.reference.receipt_vectors import DOMAIN, KEY

SIGNER = Signer(KEY)
HERE = Domain(DOMAIN["chainId"], DOMAIN["verifyingContract"])


def rows(name):
    found = json.loads((reference.VECTORS / name).read_text())
    return {row["name"]: bytes.fromhex(row["bytes"]) for row in found}


ACCEPTED, MISREAD, UNSIGNED = (rows(f"{name}.json") for name in ("accepted", "misread", "unsigned"))


def test_vectors_are_what_the_reference_makes():
    for name, made in reference.documents().items():
        found = (reference.VECTORS / name).read_text()
        assert found == reference.render(made), "run python -m tests.reference.claims"


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name):
    claim = read_claim(io.BytesIO(ACCEPTED[name]))
    claim.verify(SIGNER.address, HERE)
    assert b"".join(write_claim(claim)) == ACCEPTED[name]
    again = sign_claim(claim.receipt, claim.segment, claim.tensors, HERE, SIGNER)
    assert again == claim


@pytest.mark.parametrize("name", MISREAD)
def test_refused_by_its_form(name):
    with pytest.raises(FormatError):
        read_claim(io.BytesIO(MISREAD[name]))


@pytest.mark.parametrize("name", UNSIGNED)
def test_not_signed_by_the_node(name):
    with pytest.raises(VerificationError):
        read_claim(io.BytesIO(UNSIGNED[name])).verify(SIGNER.address, HERE)


@pytest.mark.parametrize(
    "where", [Domain(HERE.chain_id + 1, HERE.contract), Domain(HERE.chain_id, bytes(20))]
)
def test_claim_replayed_on_another_chain_or_contract(where):
    with pytest.raises(VerificationError):
        read_claim(io.BytesIO(ACCEPTED["four tensors"])).verify(SIGNER.address, where)


def test_a_claim_has_more_tensors_than_a_commitment():
    many = {f"t{number:05}": floats(1.0) for number in range(TENSORS_MAX)}
    claim = sign_claim(bytes(32), 0, many, HERE, SIGNER)
    assert read_claim(io.BytesIO(b"".join(write_claim(claim)))) == claim
    with pytest.raises(FormatError):
        values(many)
    with pytest.raises(FormatError):
        sign_claim(bytes(32), 0, {**many, "u": floats()}, HERE, SIGNER)


def test_the_limit_is_for_all_tensors_together():
    part = Tensor("UINT8", (600,), bytes(600))
    raw = b"".join(write_claim(sign_claim(bytes(32), 0, {"a": part, "b": part}, HERE, SIGNER)))
    assert len(read_claim(io.BytesIO(raw), max_bytes=1200).tensors) == 2
    with pytest.raises(FormatError):
        read_claim(io.BytesIO(raw), max_bytes=1199)


def test_tensors_that_are_announced_take_no_memory():
    claim = sign_claim(bytes(32), 0, {"a": Tensor("UINT8", (1 << 20,), bytes(1 << 20))}, HERE, SIGNER)
    raw = b"".join(write_claim(claim))
    with pytest.raises(FormatError):
        read_claim(io.BytesIO(raw), max_bytes=1000)
    tracemalloc.start()
    with pytest.raises(FormatError):
        read_claim(io.BytesIO(raw[:300]))
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()


def test_a_claim_has_a_digest_and_a_signature():
    with pytest.raises(FormatError):
        Claim(bytes(31), 0, {}, bytes(65))
    with pytest.raises(FormatError):
        Claim(bytes(32), 1 << 16, {}, bytes(65))
