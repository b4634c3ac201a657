"""Names, versions, labels and references: docs/spec/names.md."""

import string
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError, InputError
from modelreg.format.digest import keccak256
from modelreg.format.names import (
    AtBranch,
    AtChannel,
    AtRelease,
    AtVersion,
    ModelName,
    ReleaseId,
    Version,
    check_branch,
    check_channel,
    check_namespace,
    label_from_word,
    label_word,
    parse_reference,
)

# The ordered example of semver.org, section 11, with a few more steps.
ORDERED = [
    "1.0.0-0",
    "1.0.0-2",
    "1.0.0-11",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1",
    "1.2.0",
    "1.10.0",
    "2.0.0",
]


def test_versions_follow_the_precedence_of_semver():
    versions = [Version.parse(text) for text in ORDERED]
    assert sorted(map(Version.parse, sorted(ORDERED, key=len))) == versions
    assert all(a < b and not b < a for a, b in pairwise(versions))


def test_build_metadata_has_no_precedence_but_makes_another_label():
    one, other = Version.parse("1.0.0+a"), Version.parse("1.0.0+b")
    assert not one < other and not other < one and one != other


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "1.2", "1.2.3.4", "v1.2.3", "01.2.3", "1.02.3", "1.2.03", "1.2.3-", "1.2.3-01", "1.2.3-a..b",
        "1.2.3+", "1.2.3+a+b", " 1.2.3", "1.2.3\n", "1.2.3-é", "1.2.3-" + "a" * 27, "1.2.3-a_b", "٣.1.1",
    ],
)  # fmt: skip
def test_what_is_no_version_is_refused(text):
    with pytest.raises(InputError, match="not a version"):
        Version.parse(text)


@pytest.mark.parametrize(
    "text", ["0.0.0", "1.2.3-0a", "1.2.3--", "1.2.3+001", "1.2.3-a.b+c-d", "1.2.3-" + "a" * 26]
)
def test_what_is_a_version_prints_as_it_was(text):
    assert str(Version.parse(text)) == text


def test_a_model_has_the_id_of_its_printed_name():
    model = ModelName.parse("acme/MiniLM-v2.1_q")
    assert str(model) == "acme/MiniLM-v2.1_q"
    assert model.id == keccak256(b"acme/MiniLM-v2.1_q")


@pytest.mark.parametrize(
    "text",
    [
        "", "acme", "acme/", "/m", "Acme/m", "acme/m/x", "-a/m", "a-/m", "a/-m", "a/m.", "a/a..b", "a/m\n",
        "a/ m",
        "a" * 33 + "/m", "a/" + "m" * 97, "a_b/m", "a/é", "\u0430/m", "a/../m", "a\0/m",
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused(text):
    with pytest.raises(InputError):
        ModelName.parse(text)


def test_longest_names_are_taken():
    assert ModelName.parse("a" * 32 + "/" + "m" * 96)
    assert check_namespace("a") and check_branch("a" * 32) and check_channel("stable")


@pytest.mark.parametrize("text", ["", "Main", ".a", "a.", "a/b", "a" * 33, "a:b", "a@b", "a b"])
def test_what_is_no_branch_is_refused(text):
    with pytest.raises(InputError):
        check_branch(text)


def test_a_channel_never_reads_as_a_version():
    assert check_channel("1.2") == "1.2"
    with pytest.raises(InputError, match="not a channel"):
        check_channel("1.2.3-rc.1")


@given(st.text(alphabet=string.printable.replace("\0", ""), min_size=1, max_size=32).filter(str.isascii))
def test_labels_survive_the_ledger(text):
    assert label_from_word(label_word(text)) == text


@pytest.mark.parametrize(
    "word",
    [
        bytes(32),
        b"a" + bytes(30),
        b"a\0b".ljust(32, b"\0"),
        b"\0a".ljust(32, b"\0"),
        b"\xc3\xa9".ljust(32, b"\0"),
    ],
)
def test_a_word_that_is_no_label_is_refused(word):
    with pytest.raises(FormatError):
        label_from_word(word)


@pytest.mark.parametrize("text", ["", "a" * 33, "é", "a\0"])
def test_a_text_that_fits_no_label_is_refused(text):
    with pytest.raises(InputError):
        label_word(text)


MODEL = ModelName("acme", "minilm")


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("acme/minilm", AtBranch(MODEL, "main")),
        ("acme/minilm@branch:next", AtBranch(MODEL, "next")),
        ("acme/minilm@1.2.0-rc.1+cpu", AtVersion(MODEL, Version("1.2.0-rc.1+cpu"))),
        ("acme/minilm@stable", AtChannel(MODEL, "stable")),
        ("acme/minilm@1.2", AtChannel(MODEL, "1.2")),
        ("0x" + "0a" * 32, AtRelease(ReleaseId(b"\x0a" * 32))),
        ("0xacme/m", AtBranch(ModelName("0xacme", "m"))),
    ],
)
def test_references(text, reference):
    assert parse_reference(text) == reference
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    [
        "", "acme", "acme/minilm@", "acme/minilm@Stable", "acme/minilm@branch:", "acme/minilm@branch:1:2",
        "acme/minilm@@a", "0x12", "0x" + "0A" * 32, "0x" + "00" * 32, "@stable", "acme/minilm@01.2.3+",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(InputError) as caught:
        parse_reference(text)
    assert caught.value.expected


def test_a_wrong_reference_is_told_the_forms():
    with pytest.raises(InputError, match=r"namespace/name@VERSION"):
        parse_reference("minilm")
