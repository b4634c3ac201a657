"""The rules for names (docs/spec/contract.md, section 2) against patterns, byte by byte."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.contracts import model
from tests.contracts.abi import ADDRESS, decode_error, encode_call, label
from tests.contracts.evm import ALICE, Evm
from tests.contracts.pair import Pair, publication
from tests.reference.contract import NONE, model_id

ACME = label("acme")
M = model_id(ACME, "m")


@pytest.fixture(scope="module")
def admits():
    """admits(kind, text): whether the contract takes it; nothing is mined."""
    pair = Pair()
    pair.ok(ALICE, "claimNamespace", ACME)
    release = pair.publish(ALICE, "acme", "m", "1.0.0")
    calls = {
        "namespace": lambda text: ("claimNamespace", text),
        "branch": lambda text: ("publish", *publication("acme", "m", "1.0.1", release, text)),
        "version": lambda text: ("publish", *publication("acme", "m", text, release)),
        "channel": lambda text: ("setChannel", M, text, release, NONE, 0),
        "name": lambda text: ("publish", *publication("acme", text, "1.0.0")),
    }
    evm: Evm = pair.machine

    def admits(kind, text):
        ok, output = evm.call_raw(bytes(ALICE), ADDRESS, encode_call(*calls[kind](text)))
        expected = ("BadModelName",) if kind == "name" else ("BadLabel", text)
        assert ok or decode_error(output) == expected
        return ok

    return admits


RULES = {
    "namespace": model.is_namespace,
    "branch": model.is_branch,
    "channel": model.is_channel,
    "version": model.is_version,
}


# The first and last byte of each class, their neighbours outside it, and bytes past ASCII.
EDGES = sorted({*b"\0 +,-./09:@AZ[^_`az{\x7f\x80\xff", *b"\x01\xad\xb0\xda\xe1\xfa"})


@pytest.mark.parametrize("kind", ["namespace", "branch", "channel"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_byte_inside_and_the_edges_of_each_class_at_the_ends(admits, kind, place):
    for byte in range(256) if place == 1 else EDGES:
        raw = bytearray(b"xyz")
        raw[place] = byte
        text = bytes(raw).ljust(32, b"\0")
        if text not in (ACME, label("main")):
            assert admits(kind, text) == RULES[kind](text), text


@pytest.mark.parametrize("place", range(10))
def test_the_edges_of_each_class_in_every_place_of_a_version(admits, place):
    for byte in EDGES:
        raw = bytearray(b"1.2.3-b4+c")
        raw[place] = byte
        text = bytes(raw).ljust(32, b"\0")
        assert admits("version", text) == model.is_version(text), text


@pytest.mark.parametrize("place", [0, 1, 2])
def test_characters_in_every_place_of_a_model_name(admits, place):
    for code in range(128) if place == 1 else [*EDGES, 0x430]:
        text = "xyz"[:place] + chr(code) + "xyz"[place + 1 :]
        assert admits("name", text) == model.is_model_name(text), text


@pytest.mark.parametrize("kind", ["namespace", "branch", "channel"])
@pytest.mark.parametrize("size", [1, 2, 31, 32])
def test_words_of_every_length(admits, kind, size):
    assert admits(kind, label("x" * size))
    assert not admits(kind, label("x" * (size - 1) + "-"))


@pytest.mark.parametrize(
    ("size", "good"), [(0, False), (1, True), (95, True), (96, True), (97, False), (500, False)]
)
def test_model_names_of_every_length(admits, size, good):
    assert admits("name", "x" * size) == good


@pytest.mark.parametrize(
    "name", ["a..b", "..", ".", "a.", ".a", "a/b", "../a", "a\0", "a b", "-a", "a_", "\u0430"]
)
def test_bad_model_names(admits, name):
    assert not admits("name", name)


@pytest.mark.parametrize("name", ["a.b.c", "Llama-3.1-8B_fp16", "0", "a--b", "a-.-b", "a._-b"])
def test_good_model_names(admits, name):
    assert admits("name", name)


GOOD_VERSIONS = [
    "0.0.0",
    "10.20.30",
    "1.0.0-0",
    "1.0.0-alpha.1",
    "1.0.0-0a",
    "1.0.0--",
    "1.0.0-x-y-z.-",
    "1.0.0-01a.0",
    "1.0.0+001",
    "1.0.0+0.00.-",
    "1.0.0-rc.1+exp.sha-5114f85",
    "1.0.0-" + "a" * 26,
    "9" * 28 + ".0.0",
]
BAD_VERSIONS = [
    "",
    "1",
    "1.0",
    "1.0.",
    "1.0.0.",
    "1.0.0.0",
    ".1.0",
    "1..0",
    "01.0.0",
    "1.00.0",
    "1.0.00",
    "v1.0.0",
    "1.0.0-",
    "1.0.0-01",
    "1.0.0-a..b",
    "1.0.0-a.",
    "1.0.0-.a",
    "1.0.0-a.00",
    "1.0.0+",
    "1.0.0+a+b",
    "1.0.0+a..b",
    "1.0.0-a+",
    "1.0-a.0",
    "1-0.0",
    "1.0.0_a",
    "1.0.0 ",
    "-1.0.0",
    "1.0.0-" + "a" * 25 + ".",
    "1.0.0-" + "a" * 25 + "+",
]


@pytest.mark.parametrize("version", GOOD_VERSIONS)
def test_good_versions(admits, version):
    assert model.is_version(label(version))
    assert admits("version", label(version))


@pytest.mark.parametrize("version", BAD_VERSIONS)
def test_bad_versions(admits, version):
    assert not model.is_version(label(version))
    assert not admits("version", label(version))


def words(alphabet: bytes):
    byte = st.sampled_from([alphabet[i : i + 1] for i in range(len(alphabet))])
    return st.lists(byte, max_size=32).map(lambda parts: b"".join(parts).ljust(32, b"\0"))


@settings(max_examples=150, deadline=None)
@given(words(b"0012..--++aZ\0"))
@example(label("1.2.3"))
@example(b"1.2.3\0\0\0-rc".ljust(32, b"\0"))
def test_versions_agree_with_the_pattern_of_semver_org(admits, text):
    assert admits("version", text) == model.is_version(text)


@settings(max_examples=80, deadline=None)
@given(words(b"ab09.-_A\0"), st.sampled_from(["namespace", "branch", "channel"]))
def test_words_agree_with_their_patterns(admits, text, kind):
    assert admits(kind, text) == RULES[kind](text)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.sampled_from(sorted(RULES)))
def test_arbitrary_words_agree_with_their_patterns(admits, text, kind):
    assert admits(kind, text) == RULES[kind](text)


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("aZ09..--__ /"), max_size=100))
def test_model_names_agree_with_their_pattern(admits, name):
    assert admits("name", name) == model.is_model_name(name)
