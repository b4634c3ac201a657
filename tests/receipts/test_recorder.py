"""The recorder: what a receipt says of an inference, and what clients may say."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelreg.errors import FormatError, InputError, UnreachableError
from modelreg.format import receipt_text
from modelreg.format.commitments import Side, Tensor, check_opening, trace_root
from modelreg.format.trace_plan import TracePlan
from modelreg.format.values import hash_each, lay_out, values, values_of
from modelreg_verifier.receipts import recorder as recorder_module
from modelreg_verifier.receipts.committing import commit_to
from modelreg_verifier.receipts.recorder import HEADER, bare_plan
from modelreg_verifier.receipts.records import Records
from tests.receipts.making import (
    CUTS,
    DOMAIN,
    INPUTS,
    NODE,
    NOW,
    OUTPUTS,
    PLAN,
    RELEASE,
    RUNTIME,
    floats,
    inference,
    journal,
    record,
    recorder,
)

REQUEST_ID, CLIENT = "0x" + "aB" * 32, "0x" + "Cd" * 20


@pytest.fixture
def opened(tmp_path):
    with journal(tmp_path) as made:
        yield made


def signed_of(addition):
    """The receipt of an answer, which is the same in both places, and valid."""
    signed = receipt_text.from_header(addition.headers[HEADER])
    signed.verify(DOMAIN)
    assert receipt_text.read_answer(addition.parameters["modelreg_receipt"].encode(), DOMAIN) == signed
    return signed


def test_what_a_receipt_says(opened):
    found = signed_of(record(opened)).receipt
    assert (found.node, found.release_id, found.plan_id) == (NODE.address, RELEASE, PLAN.plan_id)
    assert found.runtime_fingerprint == RUNTIME.fingerprint
    assert (found.epoch, found.seq, found.issued_at) == (opened.epoch, 0, int(NOW))
    assert found.client == bytes(20)
    assert found.request_id != bytes(32)


def test_commitments_open_what_was_answered(opened):
    addition = record(opened, inference(parameters={"modelreg_salts": True}))
    found = signed_of(addition).receipt
    for side, commitment, tensors in (
        (Side.INPUT, found.input_commit, INPUTS),
        (Side.OUTPUT, found.output_commit, OUTPUTS),
    ):
        salt = bytes.fromhex(addition.parameters[f"modelreg_{side.name.lower()}_salt"][2:])
        check_opening(side, commitment, salt, values(tensors))


def test_salts_only_for_who_asks(opened):
    assert record(opened).parameters.keys() == {"modelreg_receipt"}
    quiet = record(opened, inference(parameters={"modelreg_salts": False}))
    assert quiet.parameters.keys() == {"modelreg_receipt"}


def test_salts_are_fresh(opened):
    receipts = [signed_of(record(opened)).receipt for _ in range(2)]
    for name in ("input_commit", "output_commit", "trace_root", "request_id"):
        assert len({getattr(found, name) for found in receipts}) == 2
    committed = commit_to(*lay_out([INPUTS, OUTPUTS, *CUTS]))
    assert len(set(committed.salts)) == 2 + len(CUTS)


def test_request_id_and_client(opened):
    asked = inference(parameters={"modelreg_request_id": REQUEST_ID, "modelreg_client": CLIENT})
    first, second = (signed_of(record(opened, asked)).receipt for _ in range(2))
    assert first.request_id == second.request_id == b"\xab" * 32
    assert first.client == b"\xcd" * 20
    assert (first.seq, second.seq) == (0, 1)  # the same request twice is two inferences


@pytest.mark.parametrize(
    "parameters",
    [
        {"modelreg_request_id": "ab" * 32},
        {"modelreg_request_id": "0x" + "ab" * 31},
        {"modelreg_request_id": "0x" + "ab" * 32 + "\n"},
        {"modelreg_request_id": "0x" + "ag" * 32},
        {"modelreg_request_id": "0x" + "\u0661" * 64},
        {"modelreg_request_id": ""},
        {"modelreg_request_id": 7},
        {"modelreg_request_id": True},
        {"modelreg_client": "0x" + "ab" * 32},
        {"modelreg_client": 0},
        {"modelreg_salts": "true"},
        {"modelreg_salts": 1},
    ],
)
def test_wrong_parameters_take_no_place(opened, parameters):
    with pytest.raises(InputError):
        record(opened, inference(parameters=parameters))
    assert signed_of(record(opened)).receipt.seq == 0


def test_bare_plan(opened):
    found = signed_of(record(opened, inference(cuts=()), plan=bare_plan(RELEASE, "m.onnx"))).receipt
    assert found.trace_root == trace_root(())
    assert found.plan_id == TracePlan("m.onnx").plan_id


@pytest.mark.parametrize("cuts", [(), CUTS[:2], CUTS[::-1], (*CUTS[:2], {"d": floats()})])
def test_cuts_that_are_not_those_of_the_plan_are_not_signed(opened, cuts):
    with pytest.raises(UnreachableError, match="cuts"):
        record(opened, inference(cuts=cuts))


def test_opening_that_nobody_would_read_is_refused_and_takes_no_place(opened, monkeypatch):
    """Tensors that stand in several sets count as often as an opening has them."""
    size = sum(len(tensor.data) for each in (INPUTS, OUTPUTS, *CUTS) for tensor in each.values())
    monkeypatch.setattr(recorder_module, "BYTES_MAX", size - 1)
    with pytest.raises(InputError, match="too large"):
        record(opened)
    monkeypatch.setattr(recorder_module, "BYTES_MAX", size)
    signed = receipt_text.from_header(record(opened).headers[HEADER])
    assert signed.receipt.seq == 0


def test_what_cannot_be_committed_to_is_not_the_clients_mistake(opened):
    """An error of ours must not be answered with 400, which both of these would be."""
    with pytest.raises(UnreachableError) as error:
        record(opened, inference(outputs={"x" * 257: floats()}))
    assert not isinstance(error.value, FormatError | InputError)


def test_large_and_small_tensors_alike(opened, tmp_path):
    large = {"x": Tensor("UINT8", (1 << 20,), memoryview(bytes(1 << 20)))}
    for inputs in (large, INPUTS):
        found = signed_of(record(opened, inference(inputs=inputs)))
        records = Records(opened.path)
        kept = records.kept(records.find(found.receipt.digest(DOMAIN)))
        check_opening(Side.INPUT, found.receipt.input_commit, kept.salts[0], values(kept.inputs))
        records.close()


@pytest.mark.parametrize("keep", [False, True])
def test_cuts_are_kept_by_choice(opened, keep):
    signed = signed_of(record(opened, keep_all=keep))
    records = Records(opened.path)
    kept = records.kept(records.find(signed.receipt.digest(DOMAIN)))
    records.close()
    assert (kept.cuts is not None) == keep
    if keep:
        assert [values(cut) for cut in kept.cuts] == [values(cut) for cut in CUTS]


def test_the_response_to_a_challenge_is_kept_with_the_receipt(opened):
    signed = signed_of(record(opened))
    records = Records(opened.path)
    response = records.find(signed.receipt.digest(DOMAIN)).response
    records.close()
    salts_and_values = [response[at : at + 32] for at in range(0, 128, 32)]
    for side, commitment, (salt, hashed), tensors in (
        (Side.INPUT, signed.receipt.input_commit, salts_and_values[:2], INPUTS),
        (Side.OUTPUT, signed.receipt.output_commit, salts_and_values[2:], OUTPUTS),
    ):
        check_opening(side, commitment, salt, hashed)
        assert hashed == values(tensors)


def test_a_tensor_of_several_sets_is_hashed_once():
    hashed = []
    shared = CUTS[0]["a"]
    sets = [{"a": shared}, {"a": shared, "b": CUTS[1]["b"]}]
    found = values_of(*lay_out(sets), lambda data: hashed.extend(data) or hash_each(data))
    assert len(hashed) == 2
    assert found == [values(CUTS[0]), values(CUTS[1])]


def test_many_at_once(opened):
    made = recorder(opened)
    with ThreadPoolExecutor(8) as pool:
        additions = list(pool.map(lambda _: made.record(inference()), range(100)))
    receipts = [signed_of(addition).receipt for addition in additions]
    assert sorted(found.seq for found in receipts) == list(range(100))


def test_closed_journal(opened):
    opened.close()
    with pytest.raises(UnreachableError):
        record(opened)


def test_the_parameter_fits_an_answer(opened):
    text = record(opened).parameters["modelreg_receipt"]
    assert len(text) < receipt_text.MAX_JSON_BYTES
    assert set(json.loads(text)) == {"receipt", "digest", "signature"}
