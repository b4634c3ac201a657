"""The trusted head: docs/spec/ledger.md, section 7. Each test names the attack and the check."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError, UnreachableError, VerificationError
from modelreg.format.digest import HashAlgorithm
from modelreg.format.names import ModelName, Version
from modelreg.format.release import Release
from modelreg_verifier.head import HeadPolicy, ObservedBlock, advance, advance_branch, first
from modelreg_verifier.head_record import TrustedHead

NOW = 1_800_000_000
MODEL = ModelName("acme", "minilm").id
STRICT = HeadPolicy(replaceable=0, max_age=3600)
LOOSE = HeadPolicy(replaceable=10, max_age=3600)
BLOCK = ObservedBlock(
    chain_id=1,
    contract=b"\x01" * 20,
    genesis=b"\x02" * 32,
    number=1000,
    hash=b"\x03" * 32,
    parent_hash=b"\x04" * 32,
    time=NOW - 60,
)
SEEN = first(BLOCK, STRICT, NOW)


def later(blocks=1, seconds=12, **changes):
    changes = {"hash": b"\x05" * 32, "parent_hash": BLOCK.hash if blocks == 1 else b"\x06" * 32} | changes
    return replace(BLOCK, number=BLOCK.number + blocks, time=BLOCK.time + seconds, **changes)


def lineage(count, content=1):
    """Releases of one branch, newest first."""
    records = []
    for seq in range(1, count + 1):
        record = Release(
            model=MODEL,
            parent=records[-1].release_id if records else None,
            content_root=bytes((content,)) * 32,
            manifest_digest=b"\x02" * 32,
            version=Version(f"1.{seq}.0"),
            branch="main",
            publisher=b"\x03" * 20,
            published_at=NOW,
            seq=seq,
            manifest_hash=HashAlgorithm.BLAKE3_256,
        )
        records.append(record)
    return records[::-1]


def test_a_later_block_is_accepted():
    head = advance(SEEN, later(), STRICT, NOW)
    assert (head.number, head.hash, head.time) == (1001, b"\x05" * 32, NOW - 48)


def test_the_same_block_is_accepted():
    assert advance(SEEN, BLOCK, STRICT, NOW) == SEEN


@pytest.mark.parametrize(
    "change", [{"chain_id": 2}, {"genesis": b"\x09" * 32}, {"contract": b"\x09" * 20}], ids=["1", "2", "3"]
)
def test_another_chain_or_contract_is_refused(change):
    with pytest.raises(VerificationError, match="another"):
        advance(SEEN, later(**change), STRICT, NOW)


def test_rollback_to_a_lower_block_is_refused():
    with pytest.raises(VerificationError, match="rollback"):
        advance(SEEN, later(-1, -12), STRICT, NOW)
    with pytest.raises(VerificationError, match="rollback"):
        advance(SEEN, later(-11, -132), LOOSE, NOW)


def test_rollback_in_small_steps_is_refused():
    head = SEEN
    for _ in range(3):
        head = advance(head, later(-10, -120), LOOSE, NOW)
        assert head.number == BLOCK.number
    with pytest.raises(VerificationError, match="rollback"):
        advance(head, later(-11, -132), LOOSE, NOW)


def test_fast_forward_in_numbers_is_refused():
    assert advance(SEEN, later(1200, 12), STRICT, NOW)
    with pytest.raises(VerificationError, match="more blocks than time"):
        advance(SEEN, later(1301, 12), STRICT, NOW)
    with pytest.raises(VerificationError, match="more blocks than time"):
        advance(SEEN, later(2**63, 12), STRICT, NOW)
    with pytest.raises(VerificationError, match="earlier time"):
        advance(SEEN, later(5, -1), STRICT, NOW)


def test_a_branch_that_replaces_the_seen_block_may_be_longer_and_earlier():
    assert advance(SEEN, later(5, -1), LOOSE, NOW).time == BLOCK.time - 1
    assert advance(SEEN, later(100, -1), LOOSE, NOW)
    with pytest.raises(VerificationError, match="more blocks than time"):
        advance(SEEN, later(101, -1), LOOSE, NOW)


def test_fast_forward_in_time_is_refused():
    with pytest.raises(VerificationError, match="future"):
        advance(SEEN, later(1, 60 + 901), STRICT, NOW)
    with pytest.raises(VerificationError, match="future"):
        first(replace(BLOCK, time=NOW + 901), STRICT, NOW)
    assert advance(SEEN, later(1, 60 + 901), replace(STRICT, max_ahead=None), NOW)


def test_freeze_is_unreachable():
    with pytest.raises(UnreachableError, match="freeze"):
        advance(SEEN, BLOCK, STRICT, NOW + 3600)
    with pytest.raises(UnreachableError, match="freeze"):
        first(BLOCK, STRICT, NOW + 3600)
    assert advance(SEEN, BLOCK, replace(STRICT, max_age=None), NOW + 10**9)


def test_clock_jump_back_is_told_to_the_user():
    with pytest.raises(VerificationError, match="clock"):
        advance(SEEN, later(), STRICT, NOW - 86_400)


def test_clock_jump_ahead_is_told_to_the_user():
    with pytest.raises(UnreachableError, match="clock"):
        advance(SEEN, later(), STRICT, NOW + 86_400)


def test_reorg_of_the_same_number_is_refused_where_blocks_are_final():
    other = replace(BLOCK, hash=b"\x09" * 32)
    with pytest.raises(VerificationError, match="reorg"):
        advance(SEEN, other, STRICT, NOW)
    assert advance(SEEN, other, LOOSE, NOW).hash == other.hash


def test_reorg_under_the_next_block_is_refused_where_blocks_are_final():
    child = later(parent_hash=b"\x09" * 32)
    with pytest.raises(VerificationError, match="reorg"):
        advance(SEEN, child, STRICT, NOW)
    assert advance(SEEN, child, LOOSE, NOW)


def test_reorg_deep_below_is_refused_if_the_endpoint_shows_it():
    assert advance(SEEN, later(50, 600, hash_at_seen=BLOCK.hash), STRICT, NOW + 600)
    with pytest.raises(VerificationError, match="reorg"):
        advance(SEEN, later(50, 600, hash_at_seen=b"\x09" * 32), STRICT, NOW + 600)


def test_branches_advance_along_their_lineage():
    head = advance_branch(SEEN, MODEL, "main", lineage(2)[:1])
    assert head.branch(MODEL, "main").seq == 2
    longer = lineage(5)
    head = advance_branch(head, MODEL, "main", longer[:4])
    assert head.branch(MODEL, "main").release == longer[0].release_id
    assert advance_branch(head, MODEL, "main", longer[:1]) == head
    assert head.branch(MODEL, "next") is None and len(head.branches) == 1


KNOWN = advance_branch(SEEN, MODEL, "main", lineage(3)[:1])


def test_rollback_of_a_branch_is_refused():
    with pytest.raises(VerificationError, match="rollback"):
        advance_branch(KNOWN, MODEL, "main", lineage(2))
    with pytest.raises(VerificationError, match="rollback: a branch is gone"):
        advance_branch(KNOWN, MODEL, "main", [])
    assert advance_branch(SEEN, MODEL, "main", []) == SEEN


def test_a_head_with_the_same_seq_and_another_id_is_refused():
    with pytest.raises(VerificationError, match="does not descend"):
        advance_branch(KNOWN, MODEL, "main", lineage(3, content=9)[:1])


def test_a_head_that_does_not_descend_from_the_one_seen_is_refused():
    with pytest.raises(VerificationError, match="does not descend"):
        advance_branch(KNOWN, MODEL, "main", lineage(5, content=9)[:3])


@pytest.mark.parametrize("cut", [slice(0, 1), slice(0, 2), slice(0, 4), slice(1, 4)])
def test_a_lineage_of_another_length_is_refused(cut):
    with pytest.raises(VerificationError):
        advance_branch(KNOWN, MODEL, "main", lineage(5)[cut])


def test_a_lineage_with_a_gap_is_refused():
    good, bad = lineage(5), lineage(5, content=9)
    with pytest.raises(VerificationError, match="gap"):
        advance_branch(KNOWN, MODEL, "main", [good[0], bad[1], good[2]])


def test_wrong_model_under_the_right_name_is_refused():
    with pytest.raises(VerificationError, match="another branch"):
        advance_branch(SEEN, b"\x09" * 32, "main", lineage(1))
    with pytest.raises(VerificationError, match="another branch"):
        advance_branch(SEEN, MODEL, "next", lineage(1))


def test_the_state_survives_its_text():
    assert TrustedHead.from_json(KNOWN.to_json()) == KNOWN
    assert TrustedHead.from_json(SEEN.to_json()) == SEEN


TEXT = KNOWN.to_json()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "[" * 1_000_000,
        '{"a":' * 500_000,
        TEXT.strip(),
        TEXT + " ",
        " " * 9_000_000 + TEXT,
        TEXT.replace("trusted-head/1", "trusted-head/2"),
        TEXT.replace('"number":1000', '"number":1000.0'),
        TEXT.replace('"number":1000', '"number":-1'),
        TEXT.replace('"number":1000', '"number":true'),
        TEXT.replace('"number":1000', '"number":9223372036854775808'),
        TEXT.replace('"number":1000', '"number":1000,"number":1000'),
        TEXT.replace('"branch":"main"', '"branch":"Main"'),
        TEXT.replace('"seq":3', '"seq":"3"'),
        TEXT.replace("0303", "03 03", 1),
        TEXT.replace('"time"', '"extra":1,"time"'),
    ],
)
def test_a_state_in_another_text_is_refused(text):
    with pytest.raises(FormatError):
        TrustedHead.from_json(text)


def test_a_state_with_branches_out_of_order_is_refused():
    both = KNOWN.branches + KNOWN.branches
    with pytest.raises(FormatError):
        TrustedHead.from_json(replace(KNOWN, branches=both).to_json())


@given(st.lists(st.tuples(st.integers(-20, 40), st.integers(-200, 400)), max_size=30))
def test_the_number_never_falls(steps):
    head, now = SEEN, NOW
    for blocks, seconds in steps:
        before = head
        try:
            head = advance(head, later(blocks, seconds), LOOSE, now + 400)
        except (VerificationError, UnreachableError):
            continue
        assert head.number >= before.number
