"""An adapter's file makes a merged release cheaper, and changes nothing else."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.adapter import Adapter
from modelreg.errors import InputError, NotFoundError
from modelreg.format.delta import Encoding
from modelreg.format.delta.factoring import Product, multiple_of, quantized
from modelreg.format.delta.lowrank import MAX_FACTOR
from tests.encode.releases import World, bf16, safetensors

ROWS, COLUMNS, RANK = 1100, 400, 6
NAMES = [
    "base_model.model.b.lora_{}.weight",
    "base_model.model.b.lora_{}.default.weight",
    "b.lora_{}.weight",
    "b.lora_{}",
]


def factors(seed=5, dtype="F32", scale=0.001):
    rng = np.random.default_rng(seed)
    left = rng.normal(0, scale, (ROWS, RANK)).astype("<f4")
    right = rng.normal(0, 0.05, (RANK, COLUMNS)).astype("<f4")
    if dtype == "BF16":
        left, right = (bf16(side) for side in (left, right))
    return left, right


def wide(array):
    return (array.astype("<u4") << 16).view("<f4") if array.dtype == "<u2" else array


def merged(narrow, left, right, times):
    """Files before and after the merge."""
    before = np.random.default_rng(6).normal(0, 0.05, (ROWS, COLUMNS)).astype("<f4")
    after = before + np.float32(times) * (wide(left) @ wide(right))
    if narrow:
        return [safetensors([("b.weight", "BF16", bf16(side))]) for side in (before, after)]
    return [safetensors([("b.weight", "F32", side)]) for side in (before, after)]


def written(path, left, right, name=NAMES[0], dtype="F32"):
    path.write_bytes(safetensors([(name.format("A"), dtype, right), (name.format("B"), dtype, left)]))
    return Adapter.read(path)


def sizes(world, before, after, adapter):
    """Bytes that a child takes without and with the hint; both are read back."""
    parent = world.publish({"m.safetensors": before})
    children = [world.publish({"m.safetensors": after}, parent, adapter=hint) for hint in (None, adapter)]
    for child in children:
        assert world.read(child) == {"m.safetensors": after}
    return [child.stored_bytes for child in children]


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("times", [2.0, 0.5, 16 / 6, 1.2345])
def test_a_hint_makes_the_update_smaller(tmp_path, narrow, times):
    left, right = factors(scale=0.02 if narrow else 0.001)
    without, given_ = sizes(
        World.at(tmp_path / "w"), *merged(narrow, left, right, times), written(tmp_path / "a", left, right)
    )
    assert given_ < 0.96 * without


@pytest.mark.parametrize("name", NAMES)
def test_names_of_adapters(tmp_path, name):
    left, right = factors()
    product = written(tmp_path / "a", left, right, name).of("b.weight", (ROWS, COLUMNS))
    assert product is not None
    assert (product.left == left).all()
    assert (product.right == right).all()


def test_factors_of_bfloat16(tmp_path):
    left, right = factors(dtype="BF16")
    product = written(tmp_path / "a", left, right, dtype="BF16").of("b.weight", (ROWS, COLUMNS))
    assert (product.left == wide(left)).all()


def test_an_adapter_of_something_else_changes_nothing(tmp_path):
    left, right = factors()
    other = written(tmp_path / "a", *factors(seed=77))
    without, given_ = sizes(World.at(tmp_path / "w"), *merged(False, left, right, 2.0), other)
    assert given_ == without


def test_shapes_and_names_that_are_not_there(tmp_path):
    adapter = written(tmp_path / "a", *factors())
    assert adapter.of("b.weight", (COLUMNS, ROWS)) is None
    assert adapter.of("c.weight", (ROWS, COLUMNS)) is None


@pytest.mark.parametrize(
    "tensors",
    [
        [],
        [("b.weight", "F32", np.ones((4, 4), "<f4"))],
        [("b.lora_A", "F32", np.ones((2, 4), "<f4"))],
        [("b.lora_A", "F32", np.ones((2, 4), "<f4")), ("b.lora_B", "F32", np.ones((4, 3), "<f4"))],
        [("b.lora_A", "F32", np.full((2, 4), np.nan, "<f4")), ("b.lora_B", "F32", np.ones((4, 2), "<f4"))],
        [("b.lora_A", "F32", np.ones((65, 4), "<f4")), ("b.lora_B", "F32", np.ones((4, 65), "<f4"))],
        [("b.lora_A", "I64", np.ones((2, 4), "<i8")), ("b.lora_B", "I64", np.ones((4, 2), "<i8"))],
    ],
)
def test_files_that_are_no_adapter(tmp_path, tensors):
    path = tmp_path / "a"
    path.write_bytes(safetensors(tensors))
    with pytest.raises(InputError, match="no adapter"):
        Adapter.read(path)


def test_broken_and_missing_files(tmp_path):
    path = tmp_path / "a"
    header = json.dumps({"b.lora_A": {"dtype": "F32", "shape": [1 << 40, 2], "data_offsets": [0, 1 << 43]}})
    for raw in (
        b"",
        b"x" * 100,
        struct.pack("<Q", 1 << 50),
        struct.pack("<Q", len(header)) + header.encode(),
    ):
        path.write_bytes(raw)
        with pytest.raises(InputError, match="no adapter"):
            Adapter.read(path)
    with pytest.raises(NotFoundError):
        Adapter.read(tmp_path / "none")


@given(st.integers(2, 23), st.integers(1, 5), st.integers(0, 1 << 32), st.integers(-40, 40))
def test_integers_stand_for_the_product(bits, rank, seed, size):
    rng = np.random.default_rng(seed)
    product = Product(rng.normal(0, 2.0**size, (9, rank)), rng.normal(0, 3.0, (rank, 11)))
    right, left = quantized(product, bits)
    assert max(np.abs(right.values).max(), np.abs(left).max()) <= min(MAX_FACTOR, 1 << bits)
    made = np.ldexp((left.astype(float) @ right.values), right.scale)
    largest = np.abs(product.left).max(axis=0) @ np.abs(product.right).max(axis=1)
    assert np.abs(made - product.left @ product.right).max() <= 8 * rank * largest * 2.0**-bits


@pytest.mark.parametrize("rank", [33, 64])
def test_adapters_of_high_rank(tmp_path, rank):
    rng = np.random.default_rng(rank)
    left = rng.normal(0, 0.001, (ROWS, rank)).astype("<f4")
    right = rng.normal(0, 0.05, (rank, COLUMNS)).astype("<f4")
    world = World.at(tmp_path / "w")
    without, given_ = sizes(world, *merged(False, left, right, 2.0), written(tmp_path / "a", left, right))
    assert given_ < 0.6 * without


def test_an_adapter_without_elements(tmp_path):
    path = tmp_path / "a"
    header = {
        f"b.lora_{side}": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
        for side, shape in (("A", [0, 1 << 62]), ("B", [1 << 62, 0]))
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(InputError, match="no adapter"):
        Adapter.read(path)


def test_a_multiple_is_measured():
    left, right = (side.astype(float) for side in factors())
    noise = np.random.default_rng(1).normal(0, 1e-5, (ROWS, COLUMNS))
    found = multiple_of(Product(left, right), (16 / 6) * (left @ right) + noise, 1)
    assert np.allclose(found.left, (16 / 6) * left, rtol=1e-12)
    assert multiple_of(Product(left, right), noise, 1) is None
    assert multiple_of(Product(0 * left, right), noise, 1) is None


def test_the_chunks_share_factors(tmp_path):
    left, right = factors()
    world = World.at(tmp_path / "w")
    before, after = merged(False, left, right, 2.0)
    parent = world.publish({"m.safetensors": before})
    child = world.publish({"m.safetensors": after}, parent, adapter=written(tmp_path / "a", left, right))
    rows = [row for row in child.manifest.chunks if row.encoding == Encoding.LOWRANK]
    assert len(rows) == len([row for row in child.manifest.chunks if row.length > 4096]) > 1
    assert len({row.factors for row in rows}) == 1
