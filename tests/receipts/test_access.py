"""Who may see an opening: vectors by hand, eth_account, and every way to be refused."""

import base64
import json

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from modelreg.errors import FormatError
from modelreg.format.receipt import Domain
from modelreg.format.signature import Signer
from modelreg_verifier.receipts.access import HEADER, LIFETIME_SECONDS, Access, OpeningRequest, sign_request
from modelreg_verifier.serving.exchange import Refusal
from tests.receipts.making import DOMAIN, NODE, NOW, OTHER, Clock
from tests.reference import openings as reference
from tests.reference.receipt_vectors import DOMAIN as VECTOR_DOMAIN

REQUESTS = json.loads((reference.VECTORS / "requests.json").read_text())
AUDITOR = Signer(b"\x05" * 32)
RECEIPT = b"\x42" * 32
TOKEN = b"the operator's own token"
DEADLINE = int(NOW) + 60


def domain():
    return Domain(VECTOR_DOMAIN["chainId"], VECTOR_DOMAIN["verifyingContract"])


@pytest.mark.parametrize("row", REQUESTS)
def test_vectors(row):
    signer = Signer(reference.AUDITOR)
    receipt = bytes.fromhex(row["receipt"][2:])
    request, signature = OpeningRequest.from_header(row["header"], receipt)
    assert request == OpeningRequest(signer.address, receipt, row["deadline"])
    assert request.digest(domain()).hex() == row["digest"][2:]
    assert request.to_header(signature) == row["header"]
    assert sign_request(signer, receipt, row["deadline"], domain()) == row["header"]


def test_eth_account_signs_the_same():
    request = OpeningRequest(AUDITOR.address, RECEIPT, DEADLINE)
    types = {"OpeningRequest": [
        {"name": "auditor", "type": "address"}, {"name": "receipt", "type": "bytes32"},
        {"name": "deadline", "type": "uint64"},
    ]}  # fmt: skip
    stated = {
        "name": "modelreg",
        "version": "1",
        "chainId": DOMAIN.chain_id,
        "verifyingContract": DOMAIN.contract,
    }
    message = {"auditor": request.auditor, "receipt": RECEIPT, "deadline": DEADLINE}
    signed = Account.from_key(b"\x05" * 32).sign_message(encode_typed_data(stated, types, message))
    assert bytes(signed.signature) == AUDITOR.sign(request.digest(DOMAIN))


def access(clock=None, token=TOKEN, others=()):
    auditors = frozenset({AUDITOR.address, *(other.address for other in others)})
    return Access(DOMAIN, auditors, token, clock or Clock())


def status(headers, receipt=RECEIPT, **options):
    try:
        access(**options).check(headers, receipt)
    except Refusal as refusal:
        return refusal.status
    return 200


def asked(signer=AUDITOR, receipt=RECEIPT, deadline=DEADLINE, domain=DOMAIN):
    return {HEADER: sign_request(signer, receipt, deadline, domain)}


def test_auditor_is_let_in():
    assert status(asked()) == 200


def test_operator_is_let_in():
    assert status({"Authorization": "Bearer " + TOKEN.decode()}) == 200
    assert status({"Authorization": "bearer  " + TOKEN.decode() + " "}) == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer "}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"},
     {"Authorization": TOKEN.decode()}, {"Authorization": "Bearer \udcff"}],
)  # fmt: skip
def test_nobody_is_refused(headers):
    assert status(headers) == 401


def test_no_token_is_not_an_empty_token():
    for header in ("Bearer ", "Bearer", "", "Bearer None"):
        assert status({"Authorization": header}, token=None) == 401


def test_request_of_somebody_who_is_no_auditor():
    assert status(asked(OTHER)) == 403
    assert status(asked(NODE)) == 403


def test_request_in_the_name_of_an_auditor():
    request = OpeningRequest(AUDITOR.address, RECEIPT, DEADLINE)
    forged = request.to_header(OTHER.sign(request.digest(DOMAIN)))
    assert status({HEADER: forged}) == 403
    assert status({HEADER: forged}, others=[OTHER]) == 403  # an auditor too
    broken = request.to_header(bytes(65))
    assert status({HEADER: broken}) == 403


def test_request_replayed_after_its_deadline():
    headers, clock = asked(), Clock()
    assert status(headers, clock=clock) == 200
    clock.now = DEADLINE
    assert status(headers, clock=clock) == 200
    clock.now = DEADLINE + 0.1
    assert status(headers, clock=clock) == 403


def test_request_that_would_last_too_long():
    assert status(asked(deadline=int(NOW) + LIFETIME_SECONDS)) == 200
    assert status(asked(deadline=int(NOW) + LIFETIME_SECONDS + 1)) == 403


def test_request_for_another_receipt():
    assert status(asked(receipt=b"\x43" * 32)) == 403


def test_request_replayed_on_another_chain_or_contract():
    assert status(asked(domain=Domain(1, DOMAIN.contract))) == 403
    assert status(asked(domain=Domain(DOMAIN.chain_id, bytes(20)))) == 403


def test_deadline_that_was_changed():
    request, signature = OpeningRequest.from_header(asked()[HEADER], RECEIPT)
    later = OpeningRequest(request.auditor, RECEIPT, DEADLINE + 1)
    assert status({HEADER: later.to_header(signature)}) == 403


@pytest.mark.parametrize(
    "text", ["", "x" * 124 + "=", "x" * 123, "!" * 124, base64.b64encode(bytes(94)).decode(), "\u00e9" * 124]
)
def test_header_of_another_form(text):
    assert status({HEADER: text}) == 400


def test_a_request_beyond_its_numbers():
    for values in ((bytes(19), RECEIPT, 0), (bytes(20), bytes(31), 0), (bytes(20), RECEIPT, 1 << 53)):
        with pytest.raises(FormatError):
            OpeningRequest(*values)
    late = base64.b64encode(bytes(20) + b"\xff" * 8 + bytes(65)).decode()
    assert status({HEADER: late}) == 400


def test_a_bad_request_is_not_saved_by_the_token():
    assert status({HEADER: "x", "Authorization": "Bearer " + TOKEN.decode()}) == 400
