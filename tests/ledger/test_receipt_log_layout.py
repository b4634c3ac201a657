"""Slots, words and ids of the receipt log against the compiler and the slow reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError, InputError, VerificationError
from modelreg.format.batch import Batch
from modelreg.ledger import receipt_log_layout as layout
from modelreg.ledger.abi import Revert, read_revert
from modelreg.ledger.artifact import load_artifact
from modelreg.ledger.receipt_log_policy import DEADLINE_MAX, Outcome, Policy, Verdict, policy_of
from modelreg.ledger.receipt_log_records import AnchoredBatch, Status, challenge_of, enrolment_of, node_of
from modelreg.ledger.receipt_log_reverts import MEANINGS
from modelreg.ledger.reverts import error_of
from tests.ledger.receipt_log_world import AUDITORS, DOMAIN, word
from tests.ledger.receipt_log_world import policy_of as made_policy
from tests.reference import receipt_log as reference

ARTIFACT = load_artifact("ReceiptLog")
NODE = b"\x11" * 20


def test_the_variables_lie_where_the_compiler_put_them():
    assert {
        entry["label"]: int(entry["slot"]) for entry in ARTIFACT.storage_layout["storage"]
    } == layout.VARIABLES


def test_every_error_has_a_meaning():
    registry = {entry["name"] for entry in load_artifact().abi if entry["type"] == "error"}
    errors = [entry for entry in ARTIFACT.abi if entry["type"] == "error"]
    assert {entry["name"] for entry in errors} - registry == MEANINGS.keys()
    for entry in errors:
        for value in (0, 1, (1 << 256) - 1):
            words = (value.to_bytes(32, "big"),) * len(entry["inputs"])
            error = error_of(Revert(entry["name"], words))
            assert "the contract refused" not in str(error)


def test_errors_of_two_contracts_are_told_by_one_list():
    both = [entry for name in ("ModelRegistry", "ReceiptLog") for entry in load_artifact(name).abi]
    selectors = {}
    for entry in (each for each in both if each["type"] == "error"):
        text = f"{entry['name']}({','.join(each['type'] for each in entry['inputs'])})"
        selectors.setdefault(word(text)[:4], set()).add(text)
        assert read_revert(both, word(text)[:4] + bytes(32 * len(entry["inputs"]))).name == entry["name"]
    assert all(len(names) == 1 for names in selectors.values())


u = {bits: st.integers(0, 2**bits - 1) for bits in (40, 53, 64)}


@given(
    u[40],
    u[53],
    st.integers(0, 2**52),
    st.integers(1, 2**20),
    st.binary(min_size=32, max_size=32),
    u[64],
    u[40],
)
def test_the_batch_hash_is_the_reference_s(index, epoch, first, count, root, block, at):
    anchored = AnchoredBatch(Batch(NODE, epoch, first, count, root), index, block, at)
    assert anchored.hash == reference.batch_hash((index, epoch, first, count, root, block, at))


def test_a_place_beyond_its_word():
    batch = Batch(NODE, 0, 0, 1, word("root"))
    for place in ((-1, 0, 0), (1 << 64, 0, 0), (0, 1 << 64, 0), (0, 0, 1 << 40)):
        with pytest.raises(FormatError):
            AnchoredBatch(batch, *place)


def test_ids_and_digests_are_the_reference_s():
    policy = made_policy()
    fields = policy.arguments
    assert policy.policy_id == reference.policy_id(fields)
    verdict = Verdict(policy.policy_id, word("receipt"), NODE, Outcome.WITHHELD, word("report"), 5)
    expected = reference.typed_digest(
        "Verdict", verdict.arguments, DOMAIN.chain_id, "0x" + DOMAIN.contract.hex()
    )
    assert verdict.digest(DOMAIN) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"quorum": 1},
        {"quorum": 4},
        {"auditors": AUDITORS * 11, "quorum": 20},
        {"auditors": AUDITORS[::-1]},
        {"auditors": (AUDITORS[0], AUDITORS[0])},
        {"auditors": (bytes(20), *AUDITORS)},
        {"auditors": (b"\1", *AUDITORS)},
        {"deadline": 0},
        {"deadline": DEADLINE_MAX + 1},
        {"penalty": 0},
        {"withheld_penalty": 0},
        {"penalty": made_policy().minimum_bond + 1},
        {"minimum_bond": 1 << 128},
        {"model": b""},
    ],
)
def test_policies_that_cannot_be_made(change):
    with pytest.raises(InputError):
        made_policy(**change)


def words_of(policy: Policy):
    number = int.from_bytes
    rest = policy.minimum_bond | policy.deadline << 128 | policy.quorum << 168
    penalties = policy.penalty | policy.withheld_penalty << 128
    words = number(policy.model, "big"), number(policy.terms, "big"), penalties, rest
    return words, [number(auditor, "big") for auditor in policy.auditors]


def test_a_policy_is_read_back_and_no_other():
    policy = made_policy()
    words, auditors = words_of(policy)
    assert policy_of(policy.policy_id, words, auditors) == policy
    assert policy_of(policy.policy_id, (0, 0, 0, 0), []) is None
    with pytest.raises(VerificationError, match="policy"):
        policy_of(word("other"), words, auditors)
    with pytest.raises(FormatError):
        policy_of(policy.policy_id, words, auditors[::-1])
    with pytest.raises(FormatError):
        policy_of(policy.policy_id, (*words[:3], words[3] | 1 << 255), auditors)


def test_words_that_the_contract_never_writes():
    for status in (5, 255):
        with pytest.raises(FormatError):
            node_of(NODE, status << 248, 0, b"")
    with pytest.raises(FormatError):
        node_of(NODE, 1 << 248, 1 << 192, b"")
    with pytest.raises(FormatError):
        challenge_of(4 << 200)
    with pytest.raises(FormatError):
        enrolment_of(1 << 80 | 1)
    assert node_of(NODE, 4 << 248, 0, b"").status is Status.EXPELLED
    assert node_of(NODE, 0, 0, b"") is challenge_of(0) is enrolment_of(0) is None
