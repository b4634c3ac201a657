"""Paths in a release against vectors and a reference that checks pair by pair."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelreg.errors import FormatError
from modelreg.format.paths import MAX_COMPONENTS, check_path, check_paths
from tests.format.fuzzing import fuzz_in_subprocess
from tests.reference.paths import (
    SETS,
    VECTORS,
    reference_accepts,
    reference_accepts_set,
    refused,
    render,
    valid,
)

REFUSED = dict(refused())
DEVICES = [name for name in REFUSED if name.startswith("device")]
TRAVERSALS = [name for name in REFUSED if name.startswith(("parent", "here", "backslash", "empty_comp"))]
ABSOLUTE = [name for name in REFUSED if name.startswith(("absolute", "drive"))]
COLLIDING = [name for name in SETS if name.startswith("case_colliding")]


def accepts(path):
    try:
        return check_path(path) == path
    except FormatError:
        return False


def accepts_set(paths):
    try:
        check_paths(paths)
    except FormatError:
        return False
    return True


def test_vectors_are_what_the_reference_writes():
    assert VECTORS.read_text() == render()


@pytest.mark.parametrize(
    "vector", json.loads(VECTORS.read_text())["paths"], ids=lambda vector: vector["name"]
)
def test_path_vector(vector):
    assert accepts(vector["path"]) == vector["ok"] == (vector["name"] not in REFUSED)


@pytest.mark.parametrize("vector", json.loads(VECTORS.read_text())["sets"], ids=lambda vector: vector["name"])
def test_set_vector(vector):
    assert accepts_set(vector["paths"]) == vector["ok"]
    assert accepts_set(vector["paths"][::-1]) == vector["ok"]


@pytest.mark.parametrize("name", TRAVERSALS)
def test_path_traversal_is_refused(name):
    rule = "backslash" if name.startswith("backslash") else "stays inside"
    with pytest.raises(FormatError, match=rule):
        check_path(REFUSED[name])


@pytest.mark.parametrize("name", ABSOLUTE)
def test_absolute_paths_are_refused(name):
    with pytest.raises(FormatError):
        check_path(REFUSED[name])


@pytest.mark.parametrize("name", DEVICES)
def test_device_names_are_refused(name):
    with pytest.raises(FormatError, match="device"):
        check_path(REFUSED[name])


@pytest.mark.parametrize("name", COLLIDING)
def test_case_colliding_names_are_refused(name):
    with pytest.raises(FormatError, match="differ only by case"):
        check_paths(SETS[name])


@pytest.mark.parametrize("name", REFUSED)
def test_messages_can_be_printed_whatever_the_path(name):
    with pytest.raises(FormatError) as caught:
        check_path(REFUSED[name])
    assert str(caught.value).isascii() and str(caught.value).isprintable()


ALPHABET = st.sampled_from(
    [*"abAB/.\\: ~$0139", "é", "e\u0301", "ß", "ss", "..", "nul", "COM", "\u200b", "\n", "¹", "İ"]
)
PATHS = st.lists(ALPHABET, max_size=12).map("".join)


@settings(max_examples=500, deadline=None)
@given(PATHS | st.text(max_size=20))
def test_one_path_agrees_with_the_reference(path):
    assert accepts(path) == reference_accepts(path)


NAMES = st.lists(st.sampled_from(["a", "A", "b", "ß", "ss", "SS", "é", "É"]), min_size=1, max_size=3).map(
    "/".join
)


@settings(max_examples=300, deadline=None)
@given(st.lists(NAMES, max_size=6))
def test_sets_agree_with_the_reference(paths):
    assert accepts_set(paths) == reference_accepts_set(paths)


def test_accepted_paths_stay_inside_their_directory():
    for path in valid():
        parts = path.split("/")
        assert not path.startswith("/") and ".." not in parts and "" not in parts


def test_many_deep_paths_take_little_time():
    deep = "/".join(["d" * 14] * (MAX_COMPONENTS - 1))
    started = time.process_time()
    check_paths(f"{deep}/{number}" for number in range(10_000))
    with pytest.raises(FormatError):
        check_path("e\u0301" * 10_000_000)
    assert time.process_time() - started < 10


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_fuzz_campaign():
    fuzz_in_subprocess("paths")
