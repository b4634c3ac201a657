"""What two releases do not have in common: renamed files, and words that differ."""

import random
from functools import partial

import numpy as np
import pytest

from modelreg.compare import Difference, compare
from modelreg.store.plaintext import Plaintext
from tests.encode.releases import World, normal, safetensors


@pytest.fixture
def changes(tmp_path):
    """Publishes two releases and gives their differences."""
    world = World.at(tmp_path)

    def between(old, new):
        releases = [world.publish(files).manifest for files in (old, new)]
        read = Plaintext(world.store).range
        before, after = ((manifest, partial(read, manifest)) for manifest in releases)
        return list(compare(*before, *after))

    return between


def noise(seed, size):
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", [3, 3000, 1_500_000])
def test_lone_files_that_have_nothing_in_common_are_not_paired(changes, size):
    assert changes({"a.txt": noise(1, size)}, {"b.txt": noise(2, size)}) == [
        Difference("b.txt", "", "added", size, size),
        Difference("a.txt", "", "removed", size, size),
    ]


def test_lone_models_without_a_common_tensor_are_not_paired(changes):
    old = {"a.safetensors": safetensors([("old", "F32", normal(1, 10, 10))])}
    new = {"b.safetensors": safetensors([("new", "F32", normal(2, 10, 20))])}
    assert {(row.path, row.name, row.change) for row in changes(old, new)} == {
        ("b.safetensors", "new", "added"),
        ("a.safetensors", "old", "removed"),
    }


def test_lone_files_with_a_common_chunk_are_paired(changes):
    data = noise(1, 1_500_000)
    [renamed, *_] = changes({"a.bin": data}, {"b.bin": noise(2, 30_000) + data})
    assert (renamed.change, renamed.was, renamed.path) == ("renamed", "a.bin", "b.bin")


def test_small_lone_files_that_are_mostly_equal_are_paired(changes):
    data = noise(1, 5000)
    rows = changes({"a.txt": data + b"1"}, {"b.txt": data + b"2"})
    assert [(row.change, row.changed) for row in rows] == [("renamed", 0), ("changed", 1)]


def test_lone_models_whose_every_value_changed_are_paired(changes):
    old = {"a.safetensors": safetensors([("w", "F32", normal(1, 300, 300))])}
    new = {"b.safetensors": safetensors([("w", "F32", normal(2, 300, 300))])}
    assert [(row.change, row.changed) for row in changes(old, new)] == [("renamed", 0), ("changed", 90_000)]


def test_empty_files_are_one_renamed(changes):
    assert [row.change for row in changes({"a": b""}, {"b": b""})] == ["renamed"]
    assert {row.change for row in changes({"a": b""}, {"b": b"x"})} == {"added", "removed"}


@pytest.mark.parametrize("dtype", ["F32", "BF16", "I8", "I64"])
def test_words_that_differ_in_any_byte_are_counted_once(changes, dtype):
    width = {"F32": 4, "BF16": 2, "I8": 1, "I64": 8}[dtype]
    words = np.frombuffer(noise(1, 200_000 * width), f"<u{width}").copy()
    other = words.copy()
    places = random.Random(2).sample(range(len(words)), 1000)
    for place in places:
        other[place] ^= random.Random(place).randrange(1, 256) << 8 * (place % width)
    [row] = changes(
        {"m.safetensors": safetensors([("w", dtype, words)])},
        {"m.safetensors": safetensors([("w", dtype, other)])},
    )
    assert (row.name, row.elements, row.changed) == ("w", 200_000, 1000)
