"""Operators that make shapes, or move elements to other places; all are exact."""

from collections.abc import Sequence

import numpy as np

from modelreg_verifier.referee.expected import (
    Array,
    Call,
    Exact,
    Expected,
    Rounded,
    UndecidableError,
    as_floats,
    gamma,
    room,
)

__all__ = ["SHAPES"]


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise UndecidableError("an axis that the tensor lacks")
    return axis % rank


def _reshape(call: Call) -> Expected:
    x, dims = call.input(0), call.integers(1)
    if not call.get("allowzero", 0):
        if any(dim == 0 and place >= x.ndim for place, dim in enumerate(dims)):
            raise UndecidableError("a dim that the tensor lacks")
        dims = [x.shape[place] if dim == 0 else dim for place, dim in enumerate(dims)]
    try:
        return Exact(x.reshape(dims))
    except ValueError:
        raise UndecidableError("shapes that do not fit") from None


def _axes(call: Call, rank: int) -> list[int]:
    given = call.get("axes", []) if call.opset < 13 else call.integers(1)
    axes = [_axis(int(axis), rank) for axis in given]
    if len(set(axes)) != len(axes):
        raise UndecidableError("an axis that comes twice")
    return axes


def _unsqueeze(call: Call) -> Expected:
    x = call.input(0)
    given = call.get("axes", []) if call.opset < 13 else call.integers(1)
    return Exact(np.expand_dims(x, tuple(_axes(call, x.ndim + len(given)))))


def _squeeze(call: Call) -> Expected:
    x = call.input(0)
    given = "axes" in call.attributes if call.opset < 13 else call.optional(1) is not None
    axes = _axes(call, x.ndim) if given else [place for place, dim in enumerate(x.shape) if dim == 1]
    if any(x.shape[axis] != 1 for axis in axes):
        raise UndecidableError("an axis that is no single element")
    return Exact(np.squeeze(x, tuple(axes)))


def _flatten(call: Call) -> Expected:
    x, axis = call.input(0), int(call.get("axis", 1))
    place = axis + x.ndim if axis < 0 else axis
    return Exact(x.reshape(int(np.prod(x.shape[:place])), -1))


def _transpose(call: Call) -> Expected:
    x = call.input(0)
    order = call.get("perm", range(x.ndim)[::-1])
    if sorted(order) != list(range(x.ndim)):
        raise UndecidableError("an order of other axes")
    return Exact(x.transpose(order))


def _shape(call: Call) -> Expected:
    dims = call.input(0).shape
    return Exact(np.array(dims[call.get("start", 0) : call.get("end", len(dims))], np.int64))


def _size(call: Call) -> Expected:
    return Exact(np.array(call.input(0).size, np.int64))


def _identity(call: Call) -> Expected:
    return Exact(call.input(0))


def _expand(call: Call) -> Expected:
    x = call.input(0)
    try:
        dims = np.broadcast_shapes(x.shape, room(call.integers(1)))
    except ValueError:
        raise UndecidableError("shapes that do not fit") from None
    return Exact(np.broadcast_to(x, room(dims)))


def _concat(call: Call) -> Expected:
    arrays = [call.input(place) for place in range(len(call.inputs))]
    axis = _axis(int(call.get("axis", 0)), arrays[0].ndim)
    if len({(a.ndim, a.shape[:axis], a.shape[axis + 1 :], a.dtype) for a in arrays}) != 1:
        raise UndecidableError("shapes that do not fit")
    room((sum(a.size for a in arrays),))
    return Exact(np.concatenate(arrays, axis))


def _split(call: Call) -> list[Expected]:
    x = call.input(0)
    axis = _axis(int(call.get("axis", 0)), x.ndim)
    dim, count = x.shape[axis], call.outputs
    sizes = list(call.get("split", [])) if call.opset < 13 else []
    if call.opset >= 13 and call.optional(1) is not None:
        sizes = call.integers(1)
    if not sizes:
        step = -(-dim // count)
        sizes = [min(step, dim - step * place) for place in range(count)]
    if len(sizes) != count or sum(sizes) != dim or min(sizes) < 0:
        raise UndecidableError("parts that do not fit")
    return [Exact(part) for part in np.split(x, np.cumsum(sizes)[:-1], axis)]


def _slice(call: Call) -> Expected:
    if call.opset < 10:
        raise UndecidableError("Slice before opset 10")
    x, starts, ends = call.input(0), call.integers(1), call.integers(2)
    axes = list(range(len(starts))) if call.optional(3) is None else call.integers(3)
    steps = [1] * len(starts) if call.optional(4) is None else call.integers(4)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise UndecidableError("a slice of another form")
    cuts = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = _axis(axis, x.ndim)
        cuts[place] = _cut(start, end, step, x.shape[place])
    return Exact(x[tuple(cuts)])


def _cut(start: int, end: int, step: int, dim: int) -> slice:
    start, end = (item + dim if item < 0 else item for item in (start, end))
    if step > 0:
        return slice(min(max(start, 0), dim), min(max(end, 0), dim), step)
    if not dim:
        return slice(0, 0)
    start, end = min(max(start, 0), dim - 1), min(max(end, -1), dim - 1)
    return slice(start, end if end >= 0 else None, step)


def _gather(call: Call) -> Expected:
    x, places = call.input(0), call.input(1)
    axis = _axis(int(call.get("axis", 0)), x.ndim)
    dim = x.shape[axis]
    if places.dtype.kind != "i" or ((places < -dim) | (places >= dim)).any():
        raise UndecidableError("places that the tensor lacks")
    room((*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]))
    return Exact(np.take(x, places % max(dim, 1), axis))


def _pad(call: Call) -> Expected:
    if call.opset < 11:
        raise UndecidableError("Pad before opset 11")
    x, pads, mode = call.input(0), call.integers(1), call.text("mode", "constant")
    axes = list(range(x.ndim)) if call.optional(3) is None else call.integers(3)
    if len(pads) != 2 * len(axes) or min(pads, default=0) < 0 or mode not in ("constant", "reflect", "edge"):
        raise UndecidableError("pads of another form")
    widths = [(0, 0)] * x.ndim
    for number, axis in enumerate(axes):
        widths[_axis(axis, x.ndim)] = (pads[number], pads[number + len(axes)])
    if mode == "reflect" and any(max(w) >= dim for w, dim in zip(widths, x.shape, strict=True) if max(w)):
        raise UndecidableError("a reflection longer than the tensor")
    room([dim + sum(width) for dim, width in zip(x.shape, widths, strict=True)])
    if mode != "constant":
        return Exact(np.pad(x, widths, mode="reflect" if mode == "reflect" else "edge"))
    fill = call.optional(2)
    return Exact(np.pad(x, widths, constant_values=x.dtype.type(0) if fill is None else fill.reshape(())))


def _filled(call: Call) -> Expected:
    from onnx import numpy_helper

    given = call.get("value", None)
    value = np.zeros(1, np.float32) if given is None else numpy_helper.to_array(given)
    if value.size != 1:
        raise UndecidableError("ConstantOfShape of another form")
    return Exact(np.full(room(call.integers(0)), value.reshape(())))


def _range(call: Call) -> Expected:
    start, limit, delta = (call.input(place).reshape(()) for place in range(3))
    if not delta:
        raise UndecidableError("Range without a step")
    count = int(np.ceil((float(limit) - float(start)) / float(delta)))
    steps = np.arange(room((max(count, 0),))[0])
    if start.dtype.kind in "iu":
        return Exact(start + steps.astype(start.dtype) * delta)
    first, step = as_floats(start), as_floats(delta)
    return Rounded(first + steps * step, gamma(len(steps) + 2) * (abs(first) + steps * abs(step)))


def _resize(call: Call) -> Expected:
    """Repeats elements a whole number of times; no other form is known here."""
    x, scales = call.input(0), call.optional(2)
    modes = ("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")
    plain = all(call.text(name, "") == wanted for name, wanted in modes) and call.opset >= 11
    if not plain or scales is None or scales.shape != (x.ndim,) or call.optional(3) is not None:
        raise UndecidableError("Resize of another form")
    times = [int(scale) for scale in scales]
    if any(time < 1 or time != scale for time, scale in zip(times, scales, strict=True)):
        raise UndecidableError("Resize by a broken number")
    room([dim * time for dim, time in zip(x.shape, times, strict=True)])
    return Exact(_repeated(x, times))


def _repeated(x: Array, times: Sequence[int]) -> Array:
    for axis, time in enumerate(times):
        x = np.repeat(x, time, axis)
    return x


SHAPES = {
    "Concat": _concat,
    "ConstantOfShape": _filled,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _identity,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""By the operator's name in ONNX; all but Split have one output."""
