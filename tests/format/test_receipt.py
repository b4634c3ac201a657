"""Receipts: digest, signature and both forms, against a reference by hand and eth_account."""

import json
import timeit

import coincurve
import pytest
from eth_account.messages import _hash_eip191_message, encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError, InputError, VerificationError
from modelreg.format import receipt_text
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import Domain, Receipt, SignedReceipt, sign
from modelreg.format.signature import Signer, recover
from tests.format.fuzzing import fuzz_in_subprocess
from tests.reference import receipt as reference
from tests.reference.receipt_vectors import DOMAIN, KEY, OTHER_CHAIN, VECTORS, documents, render
from tests.reference.secp256k1 import N, P, address_of


def rows(name):
    return {row["name"]: row for row in json.loads((VECTORS / name).read_text())}


ACCEPTED, REFUSED = rows("accepted.json"), rows("refused.json")
READ = {
    "bytes": lambda data, _: SignedReceipt.from_bytes(data),
    "header": lambda data, _: receipt_text.from_header(data.decode()),
    "object": receipt_text.read_object,
    "answer": receipt_text.read_answer,
}


def domain_of(stated):
    return Domain(stated["chainId"], bytes.fromhex(stated["verifyingContract"][2:]))


def reference_domain(domain):
    return {**DOMAIN, "chainId": domain.chain_id, "verifyingContract": domain.contract}


NODE = address_of(KEY)
HERE = Domain(DOMAIN["chainId"], DOMAIN["verifyingContract"])


def typed_data(signed, domain):
    """What every EIP-712 library takes."""
    written = receipt_text.to_object(signed, domain)
    types = {
        "EIP712Domain": [{"type": kind, "name": name} for kind, name in reference.DOMAIN_FIELDS],
        "Receipt": [{"type": kind, "name": name} for kind, name in reference.FIELDS],
    }
    return {
        "types": types,
        "primaryType": "Receipt",
        "domain": written["domain"],
        "message": written["receipt"],
    }


def test_vectors_are_what_the_reference_makes():
    for name, made in documents().items():
        assert (VECTORS / name).read_text() == render(made), "run python -m tests.reference.receipt_vectors"


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name):
    row = ACCEPTED[name]
    raw, written = bytes.fromhex(row["bytes"]), row["object"]
    domain = domain_of(written["domain"])
    signed = SignedReceipt.from_bytes(raw)
    assert bytes(signed) == raw
    assert bytes(signed.receipt) == raw[:322]
    assert Receipt.from_bytes(raw[:322]) == signed.receipt
    assert f"0x{signed.verify(domain).hex()}" == written["digest"]
    assert sign(signed.receipt, domain, Signer(bytes.fromhex(row["key"]))) == signed
    assert receipt_text.to_object(signed, domain) == written
    assert receipt_text.to_header(signed) == row["header"]
    assert receipt_text.from_header(row["header"]) == signed
    text = json.dumps(written).encode()
    assert receipt_text.stated_domain(text) == domain
    assert receipt_text.read_object(text, domain) == signed
    answer = {key: value for key, value in written.items() if key != "domain"}
    assert receipt_text.answer_object(signed, domain) == answer
    assert receipt_text.read_answer(json.dumps(answer, indent=1).encode(), domain) == signed


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    row = REFUSED[name]
    data = row["text"].encode() if "text" in row else bytes.fromhex(row["hex"])
    if row["check"] == 3:
        signed = READ[row["form"]](data, HERE)
        with pytest.raises(VerificationError):
            signed.verify(HERE)
    else:
        with pytest.raises(VerificationError) as caught:
            READ[row["form"]](data, HERE)
        assert isinstance(caught.value, FormatError) == (row["check"] < 3)
    assert failed_check(row["form"], data) == row["check"]


def failed_check(form, data):
    try:
        if form in ("object", "answer"):
            found = getattr(reference, f"read_{form}")(data, DOMAIN)
        else:
            found = reference.read_header(data.decode()) if form == "header" else reference.read_bytes(data)
        reference.verify(*found, DOMAIN)
    except ValueError as error:
        return error.args[0]
    return None


WORDS = st.binary(min_size=32, max_size=32)
ADDRESSES = st.binary(min_size=20, max_size=20)
NUMBERS = st.integers(0, 2**53 - 1)
RECEIPTS = st.builds(
    Receipt,
    st.just(1),
    ADDRESSES,
    WORDS.filter(any).map(ReleaseId),
    WORDS,
    WORDS,
    ADDRESSES,
    WORDS,
    WORDS,
    WORDS,
    WORDS,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    WORDS,
)
DOMAINS = st.builds(Domain, NUMBERS, ADDRESSES)
SIGNED = st.builds(SignedReceipt, RECEIPTS, st.binary(min_size=65, max_size=65))


@given(SIGNED, DOMAINS)
def test_the_digest_is_that_of_eth_account_and_of_the_reference(signed, domain):
    digest = signed.receipt.digest(domain)
    signable = encode_typed_data(full_message=typed_data(signed, domain))
    assert digest == _hash_eip191_message(signable)
    assert digest == reference.digest_of(reference.unpack(bytes(signed.receipt)), reference_domain(domain))


@given(SIGNED, DOMAINS)
def test_every_form_carries_every_receipt(signed, domain):
    assert SignedReceipt.from_bytes(bytes(signed)) == signed
    assert receipt_text.from_header(receipt_text.to_header(signed)) == signed
    written = json.dumps(receipt_text.to_object(signed, domain)).encode()
    assert receipt_text.read_object(written, domain) == signed
    answer = json.dumps(receipt_text.answer_object(signed, domain)).encode()
    assert receipt_text.read_answer(answer, domain) == signed


@given(RECEIPTS, DOMAINS, st.integers(1, 2**250))
def test_what_a_node_signs_verifies_and_no_changed_bit_does(receipt, domain, number):
    signer = Signer(number.to_bytes(32, "big"))
    raw = bytes(receipt)
    receipt = Receipt.from_bytes(raw[:2] + signer.address + raw[22:])
    signed = sign(receipt, domain, signer)
    assert signed.verify(domain) == receipt.digest(domain)
    changed = bytearray(bytes(signed))
    changed[number % 387] ^= 1 << number % 8
    with pytest.raises(VerificationError):
        SignedReceipt.from_bytes(bytes(changed)).verify(domain)


@given(st.integers(1, 2**250), WORDS)
def test_signatures_equal_those_of_eth_account(number, digest):
    from eth_keys.datatypes import PrivateKey

    secret = number.to_bytes(32, "big")
    signature = Signer(secret).sign(digest)
    made = PrivateKey(secret).sign_msg_hash(digest)
    assert (signature[:64], signature[64] - 27) == (made.to_bytes()[:64], made.v)
    assert recover(digest, signature) == Signer(secret).address


@given(st.binary(min_size=65, max_size=65), WORDS)
def test_arbitrary_signatures_are_refused_or_some_others(signature, digest):
    try:
        signer = recover(digest, signature)
    except VerificationError:
        signer = b""
    assert signer != NODE


@pytest.mark.parametrize("size", [0, 64, 66])
def test_a_signature_of_another_length_is_refused(size):
    with pytest.raises(VerificationError, match="65 bytes"):
        recover(bytes(32), bytes(size))


def test_s_is_refused_from_just_above_half_the_order_on():
    r = bytes.fromhex(ACCEPTED["a receipt"]["bytes"])[322:354]
    assert len(recover(bytes(32), r + (N // 2).to_bytes(32, "big") + b"\x1b")) == 20
    with pytest.raises(VerificationError, match="a high s"):
        recover(bytes(32), r + (N // 2 + 1).to_bytes(32, "big") + b"\x1b")


def test_v_is_not_29_even_where_a_key_has_such_a_signature():
    """libsecp256k1 takes 2 and 3 for an r that stands for the x that is greater by the order."""
    r = next(x for x in range(1, 99) if pow((x + N) ** 3 + 7, (P - 1) // 2, P) == 1)
    signature = r.to_bytes(32, "big") + (1).to_bytes(32, "big")
    key = coincurve.PublicKey.from_signature_and_message(signature + b"\x02", b"\x01" * 32, hasher=None)
    assert len(key.format()) == 33
    with pytest.raises(VerificationError, match="v of 27 or 28"):
        recover(b"\x01" * 32, signature + b"\x1d")


@pytest.mark.parametrize("size", [0, 321, 323, 387])
def test_a_packed_receipt_of_another_length_is_refused(size):
    with pytest.raises(FormatError, match="322 bytes"):
        Receipt.from_bytes(bytes(size))


@pytest.mark.parametrize("size", [322, 386, 388])
def test_a_signed_receipt_of_another_length_is_refused(size):
    with pytest.raises(FormatError, match="387 bytes"):
        SignedReceipt.from_bytes(bytes.fromhex(ACCEPTED["a receipt"]["bytes"]).ljust(size)[:size])


@pytest.mark.parametrize("size", [0, 64, 66])
def test_no_signed_receipt_is_made_with_a_signature_of_another_length(size):
    receipt = SignedReceipt.from_bytes(bytes.fromhex(ACCEPTED["a receipt"]["bytes"])).receipt
    with pytest.raises(FormatError, match="65 bytes"):
        SignedReceipt(receipt, bytes(size))


def test_a_receipt_replayed_on_another_chain_or_contract_is_refused():
    raw = bytes.fromhex(ACCEPTED["a receipt"]["bytes"])
    SignedReceipt.from_bytes(raw).verify(HERE)
    for other in (Domain(OTHER_CHAIN["chainId"], HERE.contract), Domain(HERE.chain_id, bytes(20))):
        with pytest.raises(VerificationError, match="receipt signature"):
            SignedReceipt.from_bytes(raw).verify(other)


def test_a_node_signs_no_receipt_of_another():
    receipt = SignedReceipt.from_bytes(bytes.fromhex(ACCEPTED["a receipt"]["bytes"])).receipt
    with pytest.raises(InputError, match="another node"):
        sign(receipt, HERE, Signer(b"\x01" * 32))


@pytest.mark.parametrize("secret", [b"", b"\x01", bytes(32), b"\xff" * 32, b"\x01" * 33])
def test_what_is_no_private_key_is_refused(secret):
    with pytest.raises(InputError):
        Signer(secret)


def test_the_key_is_in_no_text():
    signer = Signer(KEY)
    for text in (repr(signer), str(signer), f"{signer}", repr(vars(Signer))):
        assert KEY.hex() not in text.lower()
        assert repr(KEY) not in text
        assert str(int.from_bytes(KEY, "big")) not in text


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"node": bytes(19)},
        {"client": bytes(21)},
        {"plan_id": bytes(31)},
        {"request_id": bytes(33)},
        {"input_commit": b""},
        {"output_commit": bytes(31)},
        {"trace_root": bytes(31)},
        {"runtime_fingerprint": bytes(31)},
        {"prev_receipt": bytes(31)},
        {"epoch": -1},
        {"seq": 2**53},
        {"issued_at": 2**64},
    ],
    ids=str,
)
def test_no_receipt_is_made_that_no_reader_takes(change):
    receipt = SignedReceipt.from_bytes(bytes.fromhex(ACCEPTED["a receipt"]["bytes"])).receipt
    fields = {name: getattr(receipt, name) for name in Receipt.__dataclass_fields__}
    assert Receipt(**fields) == receipt
    with pytest.raises(FormatError):
        Receipt(**fields | change)


@pytest.mark.parametrize(("chain_id", "contract"), [(-1, 20), (2**53, 20), (1, 19), (1, 32)])
def test_no_domain_is_made_that_no_reader_takes(chain_id, contract):
    with pytest.raises(FormatError):
        Domain(chain_id, bytes(contract))


def test_receipts_are_signed_and_verified_quickly():
    """The bar is 5,000 a second; a machine under load gets some leeway."""
    signed = SignedReceipt.from_bytes(bytes.fromhex(ACCEPTED["a receipt"]["bytes"]))
    signer = Signer(KEY)
    for call in (lambda: sign(signed.receipt, HERE, signer), lambda: signed.verify(HERE)):
        seconds = min(timeit.repeat(call, number=50, repeat=5)) / 50
        assert 1 / seconds > 3_000


def test_objects_of_other_writers_are_read():
    row = ACCEPTED["a receipt"]
    written = dict(reversed(row["object"].items()))
    written["receipt"] = dict(reversed(written["receipt"].items()))
    text = json.dumps(written, indent=2).replace("0x", "\\u0030x").encode()
    assert bytes(receipt_text.read_object(b"\r\n\t" + text, HERE)).hex() == row["bytes"]


def test_deep_nesting_is_refused_before_it_is_parsed():
    """Parsed it would end in a RecursionError, or worse where another library has raised Python's limit."""
    with pytest.raises(FormatError, match="nested at most"):
        receipt_text.read_object(b"[" * 4096, HERE)


def test_a_long_header_is_not_decoded():
    with pytest.raises(FormatError, match="516 characters"):
        receipt_text.from_header("A" * (1 << 20))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["receipt_bytes", "receipt_object"])
def test_fuzz_against_the_reference(target):
    fuzz_in_subprocess(target)
