"""LayerNormalization, BatchNormalization, Softmax. Bounds: docs/spec/dispute.md, section 5."""

import numpy as np

from modelreg_verifier.referee.expected import (
    TINY,
    Call,
    Expected,
    Floats,
    Rounded,
    U,
    UndecidableError,
    gamma,
)

__all__ = ["NORMAL"]

_SQUARE_END = 2.0**60


def _layer(call: Call) -> Expected:
    x, scale = call.floats(0), call.floats(1)
    bias = call.floats(2) if call.optional(2) is not None else np.zeros(())
    axis = int(call.get("axis", -1))
    if call.outputs > 1 or not -x.ndim <= axis < x.ndim or int(call.get("stash_type", 1)) != 1:
        raise UndecidableError("LayerNormalization of another form")
    axes = tuple(range(axis % x.ndim, x.ndim))
    terms = int(np.prod([x.shape[each] for each in axes]))
    if not terms or scale.shape != x.shape[axes[0] :]:
        raise UndecidableError("LayerNormalization of another form")
    epsilon = float(np.float32(call.get("epsilon", 1e-5)))
    mean = x.mean(axis=axes, keepdims=True)
    apart = x - mean
    spread = (apart * apart).mean(axis=axes, keepdims=True) + epsilon
    value = apart / np.sqrt(spread) * scale + bias
    return Rounded(value, _layer_bound(x, mean, spread, scale, bias, axes, terms))


def _layer_bound(
    x: Floats, mean: Floats, spread: Floats, scale: Floats, bias: Floats, axes: tuple[int, ...], terms: int
) -> Floats:
    """Errors of the mean and of the variance, by either formula for it, carried on to the result."""
    grown = gamma(terms + 4)
    sizes, squares = (part.mean(axis=axes, keepdims=True) for part in (np.abs(x), x * x))
    off_mean = grown * sizes
    off_spread = 2 * grown * (squares + spread) + 2 * np.abs(mean) * off_mean + off_mean**2
    share = off_spread / spread
    # Where the variance cancels, or squares overflow, an honest machine can be anywhere.
    lost = (share > 0.5) | (np.abs(x).max(axis=axes, keepdims=True) > _SQUARE_END)
    factor = np.abs(scale) / np.sqrt(spread)
    hard = factor * (off_mean + 4 * U * (np.abs(x) + np.abs(mean)))
    hard = (hard + factor * np.abs(x - mean) * (share + 8 * U)) * (1 + share) + 4 * U * np.abs(bias) + TINY
    return np.asarray(np.where(lost, np.inf, hard))


def _batch(call: Call) -> Expected:
    if call.outputs > 1 or call.get("training_mode", 0) or call.opset < 9:
        raise UndecidableError("BatchNormalization of another form")
    x = call.floats(0)
    dims = (-1, *[1] * (x.ndim - 2))
    if any(call.input(place).shape != x.shape[1:2] for place in range(1, 5)):
        raise UndecidableError("BatchNormalization of another form")
    scale, bias, mean, variance = (call.floats(place).reshape(dims) for place in range(1, 5))
    slope = scale / np.sqrt(variance + float(np.float32(call.get("epsilon", 1e-5))))
    parts = np.abs(x * slope) + np.abs(mean * slope) + np.abs(bias)
    return Rounded((x - mean) * slope + bias, 8 * U * parts + TINY)


def _softmax(call: Call) -> Expected:
    x = call.floats(0)
    axis = int(call.get("axis", 1 if call.opset < 13 else -1))
    if not x.ndim or not -x.ndim <= axis < x.ndim or not x.size:
        raise UndecidableError("Softmax of another form")
    axis %= x.ndim
    # Before opset 13 all axes from this one on are one.
    flat = x.reshape(int(np.prod(x.shape[:axis])), -1) if call.opset < 13 else np.moveaxis(x, axis, -1)
    below = flat - flat.max(axis=-1, keepdims=True)
    powers = np.exp(below)
    value = powers / powers.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        away = np.where(value > 0, np.abs(below), 0.0)  # what is infinitely far below has no share
    bound = value * (gamma(flat.shape[-1] + 2) + (16 + 8 * away) * U) + TINY
    if call.opset < 13:
        return Rounded(value.reshape(x.shape), bound.reshape(x.shape))
    return Rounded(np.moveaxis(value, -1, axis), np.moveaxis(bound, -1, axis))


NORMAL = {"LayerNormalization": _layer, "BatchNormalization": _batch, "Softmax": _softmax}
"""By the operator's name in ONNX; each has one output."""
