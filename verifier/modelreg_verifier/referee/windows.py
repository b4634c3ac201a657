"""The windows over which convolutions and poolings go (ONNX's Conv, MaxPool and AveragePool)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from modelreg_verifier.referee.expected import Array, Call, UndecidableError, room

__all__ = ["Windows"]


@dataclass(frozen=True, slots=True)
class Windows:
    """Kernel, strides, dilations, pads before and behind, and the size of the result, for each axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    behind: tuple[int, ...]
    size: tuple[int, ...]

    @classmethod
    def of(cls, call: Call, dims: Sequence[int], kernel: Sequence[int]) -> "Windows":
        """As the attributes of a call say, over an input whose axes behind channels have these dims.

        Raises:
            UndecidableError: attributes that do not fit the dims.
        """
        rank = len(dims)
        strides, dilations = (tuple(call.get(name, [1] * rank)) for name in ("strides", "dilations"))
        ones = (tuple(kernel), strides, dilations)
        if any(len(row) != rank or min(row, default=1) < 1 for row in ones):
            raise UndecidableError("windows that do not fit the tensor")
        spans = [step * (width - 1) + 1 for step, width in zip(dilations, kernel, strict=True)]
        before, behind = _pads(call, dims, spans, strides)
        size = []
        for dim, left, right, span, stride in zip(dims, before, behind, spans, strides, strict=True):
            size.append(_count(dim, left, right, span, stride, ceil=bool(call.get("ceil_mode", 0))))
        return cls(tuple(kernel), strides, dilations, before, behind, room(size))

    def over(self, x: Array, fill: float) -> Iterator[tuple[tuple[int, ...], Array]]:
        """For each place in the kernel, what of `x` stands there in each window.

        Args:
            x: with batch and channels before the axes of the windows.
            fill: stands where it is padded.
        """
        ends = [
            max(left + dim + right, stride * (count - 1) + step * (width - 1) + 1) - left - dim
            for left, dim, right, stride, count, step, width in zip(
                self.before, x.shape[2:], self.behind, self.strides, self.size,
                self.dilations, self.kernel, strict=True,
            )
        ]  # fmt: skip
        pads = [(0, 0), (0, 0), *zip(self.before, ends, strict=True)]
        room([dim + sum(pad) for dim, pad in zip(x.shape, pads, strict=True)])
        padded = np.pad(x, pads, constant_values=fill)
        for place in product(*map(range, self.kernel)):
            cuts = [
                slice(at * step, at * step + stride * (count - 1) + 1, stride)
                for at, step, stride, count in zip(
                    place, self.dilations, self.strides, self.size, strict=True
                )
            ]
            yield place, padded[(slice(None), slice(None), *cuts)]


def _pads(
    call: Call, dims: Sequence[int], spans: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rank, kind = len(dims), call.text("auto_pad", "NOTSET")
    if kind in ("NOTSET", "VALID"):
        pads = tuple(call.get("pads", [0] * 2 * rank)) if kind == "NOTSET" else (0,) * 2 * rank
        if len(pads) != 2 * rank or min(pads, default=0) < 0:
            raise UndecidableError("pads that do not fit the tensor")
        return pads[:rank], pads[rank:]
    totals = [
        max((-(-dim // stride) - 1) * stride + span - dim, 0)
        for dim, span, stride in zip(dims, spans, strides, strict=True)
    ]
    small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
    if kind == "SAME_UPPER":
        return small, large
    if kind == "SAME_LOWER":
        return large, small
    raise UndecidableError(f"auto_pad {kind!a}")


def _count(dim: int, before: int, behind: int, span: int, stride: int, *, ceil: bool) -> int:
    free = dim + before + behind - span
    if free < 0:
        raise UndecidableError("a window larger than the tensor")
    if not ceil:
        return free // stride + 1
    count = -(-free // stride) + 1
    # A window that would begin in the padding behind is none.
    return count - 1 if (count - 1) * stride >= dim + before else count
