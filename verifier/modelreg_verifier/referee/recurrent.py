"""LSTM, one step after the other, with errors carried along. docs/spec/dispute.md, section 5."""

from collections.abc import Callable
from dataclasses import dataclass

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
    room,
)
from modelreg_verifier.referee.sums import AGAIN, LAMBDA

__all__ = ["RECURRENT"]

_OTHER_FORMS = ("activations", "activation_alpha", "activation_beta", "clip", "input_forget", "layout")
_SIGMOID, _TANH = 24 * U, 16 * U


@dataclass(frozen=True, slots=True)
class _Cell:
    """Weights of input and state, with the gates i, o, f, c in rows; biases; and the first state."""

    x: Floats
    w: Floats
    r: Floats
    biases: Floats
    h: Floats
    c: Floats

    @property
    def terms(self) -> int:
        return int(self.w.shape[1] + self.r.shape[1] + len(self.biases))


@dataclass(frozen=True, slots=True)
class _States:
    """The states behind each step, and the last cell."""

    h: Floats
    c: Floats


def _lstm(call: Call) -> list[Expected]:
    cell = _cell(call)
    room((cell.x.shape[0], cell.x.shape[1], cell.w.shape[0]))
    value = _run(cell, _sum)
    hard = _errors(cell, value, lambda sizes, _s, _z: gamma(cell.terms + 2) * sizes + cell.terms * TINY)
    soft = _errors(
        cell, value,
        lambda _a, squares, z: LAMBDA * U * np.sqrt(cell.terms * (squares + z * z)) + cell.terms * TINY,
    )  # fmt: skip

    def again() -> _States:
        found = _run(cell, _sum_in_order)
        return _States(AGAIN * np.abs(found.h - value.h), AGAIN * np.abs(found.c - value.c))

    return [
        _made(value, hard, soft, again, lambda states: states.h[:, None]),
        _made(value, hard, soft, again, lambda states: states.h[-1:]),
        _made(value, hard, soft, again, lambda states: states.c[None]),
    ]


def _made(
    value: _States,
    hard: _States,
    soft: _States,
    again: Callable[[], _States],
    part: Callable[[_States], Floats],
) -> Rounded:
    return Rounded(part(value), part(hard), part(soft), lambda: part(again()))


def _cell(call: Call) -> _Cell:
    if any(name in call.attributes and call.get(name, 0) for name in _OTHER_FORMS):
        raise UndecidableError("LSTM of another form")
    if (
        call.text("direction", "forward") != "forward"
        or call.optional(4) is not None
        or call.optional(7) is not None
    ):
        raise UndecidableError("LSTM of another form")
    x, w, r = call.floats(0), call.floats(1), call.floats(2)
    if (x.ndim, w.ndim, r.ndim) != (3, 3, 3) or w.shape[0] != 1 or not x.shape[0]:
        raise UndecidableError("LSTM of another form")
    size, batch = r.shape[2], x.shape[1]
    shapes = (w.shape, r.shape) == ((1, 4 * size, x.shape[2]), (1, 4 * size, size))
    bias = np.zeros((0, 4 * size)) if call.optional(3) is None else call.floats(3).reshape(2, 4 * size)
    first = [np.zeros((batch, size)) if call.optional(at) is None else call.floats(at)[0] for at in (5, 6)]
    if not shapes or any(state.shape != (batch, size) for state in first):
        raise UndecidableError("shapes that do not fit")
    return _Cell(x, w[0], r[0], bias, *first)


_Sum = Callable[[_Cell, Floats, Floats], Floats]


def _sum(cell: _Cell, x: Floats, h: Floats) -> Floats:
    return np.asarray(x @ cell.w.T + h @ cell.r.T + cell.biases.sum(axis=0))


def _sum_in_order(cell: _Cell, x: Floats, h: Floats) -> Floats:
    columns = np.concatenate([x, h, np.ones((len(x), len(cell.biases)))], axis=1).astype(np.float32)
    rows = np.concatenate([cell.w.T, cell.r.T, cell.biases]).astype(np.float32)
    total = np.zeros((len(x), rows.shape[1]), np.float32)
    for k in range(len(rows)):
        total += columns[:, k, None] * rows[None, k]
    return total.astype(np.float64)


def _run(cell: _Cell, sums: _Sum) -> _States:
    h, c, states = cell.h, cell.c, []
    for x in cell.x:
        i, o, f, g = _gates(sums(cell, x, h))
        c = f * c + i * g
        h = o * np.tanh(c)
        states.append(h)
    return _States(np.stack(states), c)


def _gates(z: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    i, o, f, g = np.split(z, 4, axis=1)
    return (*(0.5 * (1 + np.tanh(part / 2)) for part in (i, o, f)), np.tanh(g))  # type: ignore[return-value]


_First = Callable[[Floats, Floats, Floats], Floats]


def _errors(cell: _Cell, value: _States, own: _First) -> _States:
    """How far the states can be off.

    Args:
        cell: what is computed.
        value: the states without errors.
        own: the error of a sum by itself, from the sizes of its products, their squares and the sum.
    """
    h, c = cell.h, cell.c
    off_h, off_c = np.zeros_like(h), np.zeros_like(c)
    found = []
    for x, following in zip(cell.x, value.h, strict=True):
        z = _sum(cell, x, h)
        off = own(*_products(cell, x, h), z) + off_h @ np.abs(cell.r).T
        i, o, f, g = _gates(z)
        off_i, off_o, off_f, off_g = np.split(off, 4, axis=1)
        off_i, off_o, off_f = (part / 4 + _SIGMOID for part in (off_i, off_o, off_f))
        off_g = off_g + _TANH
        off_c = _times(f, off_f, np.abs(c), off_c) + _times(i, off_i, np.abs(g), off_g)
        c = f * c + i * g
        off_c = off_c + 3 * U * (np.abs(f * c) + np.abs(i * g))
        off_h = _times(o, off_o, np.abs(np.tanh(c)), off_c + _TANH) + 2 * U * np.abs(following)
        h = following
        found.append(off_h)
    return _States(np.stack(found), off_c)


def _products(cell: _Cell, x: Floats, h: Floats) -> tuple[Floats, Floats]:
    sizes = np.abs(x) @ np.abs(cell.w).T + np.abs(h) @ np.abs(cell.r).T + np.abs(cell.biases).sum(axis=0)
    squares = x**2 @ (cell.w**2).T + h**2 @ (cell.r**2).T + (cell.biases**2).sum(axis=0)
    return sizes, squares


def _times(a: Floats, off_a: Floats, b: Floats, off_b: Floats) -> Floats:
    """How far a product is off."""
    return a * off_b + b * off_a + off_a * off_b


RECURRENT = {"LSTM": _lstm}
"""By the operator's name in ONNX; LSTM has up to three outputs."""
