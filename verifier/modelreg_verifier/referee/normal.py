"""LayerNormalization, BatchNormalization, Softmax. Bounds: docs/spec/dispute.md, section 5."""

from dataclasses import dataclass
from functools import cached_property

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
from modelreg_verifier.referee.sums import AGAIN, likely

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
    layer = _Layer(x, scale, bias, axes, epsilon)
    grown, sizes = gamma(terms + 4), layer.average(np.abs(x))
    hard = layer.bound(grown * sizes, grown * layer.average(x * x))
    soft = layer.bound(likely(x, axes) / terms, likely(x * x, axes) / terms)

    def again() -> Floats:
        mean, squares = (layer.average(part, in_order=True) for part in (x, x * x))
        return layer.bound(
            *(AGAIN * np.abs(a - b) for a, b in ((mean, layer.mean), (squares, layer.squares)))
        )

    return Rounded(layer.value, hard, soft, again)


@dataclass(frozen=True)
class _Layer:
    """One LayerNormalization: what it makes, and how far errors of two sums carry."""

    x: Floats
    scale: Floats
    bias: Floats
    axes: tuple[int, ...]
    epsilon: float

    @cached_property
    def mean(self) -> Floats:
        return self.average(self.x)

    @cached_property
    def squares(self) -> Floats:
        return self.average(self.x * self.x)

    @cached_property
    def spread(self) -> Floats:
        return self.average((self.x - self.mean) ** 2) + self.epsilon

    @cached_property
    def value(self) -> Floats:
        return (self.x - self.mean) / np.sqrt(self.spread) * self.scale + self.bias

    def average(self, part: Floats, *, in_order: bool = False) -> Floats:
        """The mean over the axes; `in_order` sums in FP32, one after the other."""
        if not in_order:
            return np.asarray(part.mean(axis=self.axes, keepdims=True))
        flat = part.astype(np.float32).reshape(*part.shape[: self.axes[0]], -1)
        total = np.cumsum(flat, axis=-1, dtype=np.float32)[..., -1].astype(np.float64)
        return np.asarray((total / flat.shape[-1]).reshape(self.mean.shape))

    def bound(self, off_mean: Floats, off_squares: Floats) -> Floats:
        """From errors of the means of x and of x squared to those of the result.

        The variance may come of either formula, with or without the mean taken off first.
        """
        off_mean = off_mean + 2 * U * np.abs(self.mean)
        off_spread = 2 * (off_squares + 4 * U * (self.squares + self.spread))
        off_spread = off_spread + 2 * np.abs(self.mean) * off_mean + off_mean**2
        share = off_spread / self.spread
        # Where the variance cancels, or squares overflow, an honest machine can be anywhere.
        lost = (share > 0.5) | (np.abs(self.x).max(axis=self.axes, keepdims=True) > _SQUARE_END)
        factor = np.abs(self.scale) / np.sqrt(self.spread)
        hard = factor * (off_mean + 4 * U * (np.abs(self.x) + np.abs(self.mean)))
        hard = (hard + factor * np.abs(self.x - self.mean) * (share + 16 * U)) * (1 + share)
        return np.asarray(np.where(lost, np.inf, hard + 4 * U * np.abs(self.bias) + TINY))


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
    return Rounded((x - mean) * slope + bias, 16 * U * parts + TINY)


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
    total = powers.sum(axis=-1, keepdims=True)
    value = powers / total
    with np.errstate(invalid="ignore"):
        away = np.where(value > 0, np.abs(below), 0.0)  # what is infinitely far below has no share

    def back(array: Floats) -> Floats:
        return array.reshape(x.shape) if call.opset < 13 else np.moveaxis(array, -1, axis)

    def bound(share: Floats | float) -> Floats:
        return back(value * (share + (16 + 8 * away) * U) + TINY)

    def again() -> Floats:
        in_order = np.cumsum(powers.astype(np.float32), axis=-1, dtype=np.float32)[..., -1:]
        return bound(AGAIN * np.abs(in_order.astype(np.float64) - total) / total)

    hard, soft = bound(gamma(flat.shape[-1] + 2)), bound(likely(powers, (powers.ndim - 1,)) / total)
    return Rounded(back(value), hard, soft, again)


NORMAL = {"LayerNormalization": _layer, "BatchNormalization": _batch, "Softmax": _softmax}
"""By the operator's name in ONNX; each has one output."""
