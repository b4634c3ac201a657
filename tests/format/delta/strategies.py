"""Chunks and bases that weights could be, and that they could not."""

import numpy as np
from hypothesis import strategies as st

from modelreg.format.delta import WordType

WORDS = st.sampled_from(list(WordType))
LENGTHS = st.one_of(st.integers(0, 40), st.integers(0, 6000))


def specials(word):
    """Zeros, infinities, NaNs, subnormal and extreme patterns of a word."""
    top = 1 << (8 * word.width - 1)
    infinity = ((1 << word.exponent_bits) - 1) << word.mantissa_bits if word.exponent_bits else 7
    return [
        0,
        1,
        2,
        top - 1,
        top,
        top + 1,
        2 * top - 1,
        infinity,
        infinity | top,
        infinity | 1,
        infinity | top | 3,
    ]


def fill(kind, rng, word, count):
    """Words of a kind, as unsigned integers."""
    dtype = f"<u{word.width}"
    if kind == "random":
        return rng.integers(0, 256, count * word.width, dtype=np.uint8).view(dtype)
    if kind == "special":
        return rng.choice(np.array(specials(word), np.uint64), count).astype(dtype)
    if kind == "constant":
        return np.full(count, rng.integers(0, 1 << (8 * word.width - 1)), np.uint64).astype(dtype)
    if kind == "subnormal":
        return rng.integers(0, 1 << min(word.mantissa_bits, 60), count).astype(np.uint64).astype(dtype)
    bits = 8 * word.width
    return (rng.normal(0, 1 << (bits - 4), count)).astype(np.int64).astype(f"<i{word.width}").view(dtype)


def change(kind, rng, word, words):
    """A child of some words."""
    child = words.copy()
    if kind == "sparse" and len(child):
        child[rng.integers(0, len(child), 1 + len(child) // 300)] ^= 1
    elif kind == "near":
        child += rng.integers(-3, 4, len(child)).astype(child.dtype)
    elif kind == "other":
        child = fill("random", rng, word, len(child))
    elif kind == "coarse":
        child &= np.array((1 << (8 * word.width)) - (1 << (4 * word.width)), np.uint64).astype(child.dtype)
    return child


@st.composite
def pairs(draw):
    """Word type, chunk and base of one length, which need not be whole words."""
    word, length = draw(WORDS), draw(LENGTHS)
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    base = fill(
        draw(st.sampled_from(["random", "special", "constant", "subnormal", "normal"])), rng, word, length
    )
    child = change(draw(st.sampled_from(["same", "sparse", "near", "other", "coarse"])), rng, word, base)
    return word, child.tobytes()[:length], base.tobytes()[:length]
