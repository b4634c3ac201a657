"""Tensors that an exporter named anew are found by what they hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelreg import renamed
from modelreg.format import safetensors as format_
from modelreg.format.delta import Encoding
from modelreg.renamed import find_renamed
from tests.encode.releases import World, bf16, normal, safetensors

COUNT = 9


def stored(array, dtype):
    """Small floats as a type stores them; I8 and U8 as quantizers do."""
    if dtype == "F32":
        return array
    if dtype == "BF16":
        return bf16(array)
    steps = np.clip(np.round(array / 0.02 * 40), -127, 127)
    return steps.astype("<i1") if dtype == "I8" else (steps + 128).astype("<u1")


def trained(number, step, rows=48):
    """A tensor of this number, changed by a little at each step."""
    return normal(number, rows, 32) + step * normal(1000 + number, rows, 32, scale=1e-4)


def model(names, dtype, step=0):
    """A file whose tensor number n has the n-th name."""
    return safetensors([(name, dtype, stored(trained(n, step), dtype)) for n, name in enumerate(names)])


def index(raw):
    return format_.index(lambda offset, length: raw[offset : offset + length], len(raw))


def found(child, parent):
    """By the child's name, the parent's."""
    pairs = find_renamed(
        index(child), index(parent), lambda at, n: child[at : at + n], lambda at, n: parent[at : at + n]
    )
    return {name: tensor.name for name, tensor in pairs.items()}


def numbered(first):
    return [f"val_{first + number}" for number in range(COUNT)]


@pytest.mark.parametrize("dtype", ["F32", "BF16", "I8", "U8"])
def test_names_with_other_numbers(dtype):
    old, new = numbered(0), numbered(100)
    assert found(model(new, dtype, step=1), model(old, dtype)) == dict(zip(new, old, strict=True))


@pytest.mark.parametrize("dtype", ["F32", "I8"])
def test_numbers_that_went_to_other_tensors(dtype):
    """val_1 to val_8 are names of both files, each of another tensor."""
    old, new = numbered(0), numbered(1)
    assert found(model(new, dtype, step=1), model(old, dtype)) == dict(zip(new, old, strict=True))


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(COUNT)), st.integers(0, COUNT))
def test_any_order_and_any_part_of_the_names(order, kept):
    """Names from `kept` on are new; tensors whose name is still theirs need no other."""
    old = numbered(0)
    new = [name if n < kept else f"new_{n}" for n, name in enumerate(old)]
    tensors = [(new[n], "F32", trained(n, 1)) for n in order]
    expected = {new[n]: old[n] for n in order if new[n] != old[n]}
    assert found(safetensors(tensors), model(old, "F32")) == expected


def test_reshaped_tensors():
    old = safetensors([("a", "F32", trained(1, 0)), ("b", "F32", trained(2, 0))])
    new = safetensors([("c", "F32", trained(2, 1).reshape(32, 48)), ("d", "F32", trained(1, 1).reshape(-1))])
    assert found(new, old) == {"c": "b", "d": "a"}


def test_tensors_that_have_nothing_to_do_with_each_other():
    new = safetensors([(f"x{n}", "F32", normal(500 + n, 48, 32)) for n in range(COUNT)])
    assert found(new, model(numbered(0), "F32")) == {}


def test_other_types_sizes_and_tiny_tensors():
    old = [("a", "F32", trained(1, 0)), ("t", "F32", normal(3, 16))]
    new = [("b", "BF16", bf16(trained(1, 0))), ("c", "F32", trained(1, 0)[:40]), ("u", "F32", normal(3, 16))]
    assert found(safetensors(new), safetensors(old)) == {}


def test_nothing_is_read_where_all_names_are_known():
    raw = index(model(numbered(0), "F32"))

    def forbidden(*_):
        raise AssertionError

    assert find_renamed(raw, raw, forbidden, forbidden) == {}
    assert find_renamed(raw[1:], raw, forbidden, forbidden) == {}


def test_a_parent_that_cannot_be_read():
    new, old = model(numbered(1), "F32"), model(numbered(0), "F32")
    assert find_renamed(index(new), index(old), lambda at, n: new[at : at + n], lambda *_: None) == {}


def test_too_many_to_compare(monkeypatch):
    new, old = model(numbered(1), "F32", step=1), model(numbered(0), "F32")
    monkeypatch.setattr(renamed, "_MOST_OF_A_KIND", COUNT - 1)
    assert found(new, old) == {}


def test_constant_tensors():
    """Nothing is gained where any tensor is as good as any other."""
    old = safetensors([(f"a{n}", "F32", np.zeros(600, "<f4")) for n in range(3)])
    new = safetensors([(f"b{n}", "F32", np.zeros(600, "<f4")) for n in range(3)])
    assert found(new, old) == {}


@pytest.mark.parametrize("first", [1, 100])
def test_a_child_with_new_names_costs_what_one_with_the_old_names_costs(tmp_path, first):
    world = World.at(tmp_path)

    def file(names, step):
        tensors = [stored(trained(n, step, 3000), "I8") for n in range(COUNT)]
        return safetensors(list(zip(names, ["I8"] * COUNT, tensors, strict=True)))

    parent = world.publish({"m.safetensors": file(numbered(0), 0)})
    same = world.publish({"m.safetensors": file(numbered(0), 9)}, parent)
    other = world.publish({"m.safetensors": file(numbered(first), 9)}, parent)
    assert world.read(other) == {"m.safetensors": file(numbered(first), 9)}
    assert {chunk.encoding for chunk in other.manifest.chunks if chunk.length > 4096} == {Encoding.DIFF}
    assert other.stored_bytes < 1.1 * same.stored_bytes
