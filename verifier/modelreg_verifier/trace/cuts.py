"""Where to cut a program. Follows docs/spec/trace.md, section 3, which binds no verifier."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelreg.format.trace_plan import MAX_CUT_TENSORS, MAX_CUTS
from modelreg_verifier.trace.operators import FLAT, HEAVY, MIXES, MOVES, NORMS
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import Arrays, Session, Settings, with_outputs

__all__ = ["Limits", "choose_cuts"]

_INTEGERS = frozenset({"bool", "int32", "int64"})
_MIXING = HEAVY | {"Softmax"}
_LIGHT_WEIGHT = 0.02
_SMALL_INTEGERS = 1024
_TENSOR_COST = 4096
_SHOWN_BYTES = 16  # four floats
_CUTS_MIN, _HEAVY_PER_CUT = 4, 8
_REACH = 0.75
_APART = 0.3
_UNFUSED, _NORMED, _FUSED = 1.5, 1.0, 8.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be traced: cuts, tensors in one, and bytes in one for an element of a batch."""

    cuts: int = 8
    tensors: int = MAX_CUT_TENSORS
    cut_bytes: int = 2 << 20


def choose_cuts(
    program: Program, sample: Arrays, limits: Limits | None = None
) -> tuple[tuple[str, ...], ...]:
    """Choose cuts for a program, by the sizes that its tensors have with one sample of batch 1.

    Raises:
        InputError: the runtime refuses the graph or the sample.
    """
    limits = limits or Limits()
    search = _Search(program, sample, limits)
    chosen = search.rounded() or _spread(search)
    return tuple(tuple(sorted(place.names, key=str.encode)) for place in chosen)


def _spread(search: "_Search") -> "list[_Place]":
    chosen: list[_Place] = []
    for step in range(1, search.count):
        best = search.best(step / search.count, _last(chosen))
        if best is not None:
            chosen.append(best)
    # The end shows most: where there is no room for it behind the cut before, it stands there instead.
    for kept in (chosen, chosen[:-1]):
        end = search.end(_last(kept))
        if end is not None:
            return [*kept, end]
    best = search.best(1.0, _last(chosen))
    return chosen if best is None else [*chosen, best]


def _last(chosen: "list[_Place]") -> "_Place | None":
    return chosen[-1] if chosen else None


@dataclass(frozen=True, slots=True)
class _Place:
    """A place where the graph can be cut, behind node `node`; `share` of the heavy work is done there."""

    node: int
    share: float
    names: frozenset[str]

    def adds(self, before: "_Place | None") -> frozenset[str]:
        """The names that are not in the cut before."""
        return self.names - before.names if before else self.names


class _Search:
    """The places of one program, and what cutting there costs."""

    def __init__(self, program: Program, sample: Arrays, limits: Limits) -> None:
        self._program = program
        self._limits = limits
        self._settled = _survivors(program)
        narrow = list(program.frontiers(limits.tensors))
        self._bytes = _sizes(program, frozenset[str]().union(*(names for _, names in narrow)), sample)
        self._wide = [
            _Place(number, self._shares[number], names)
            for number, names in narrow
            if names <= self._bytes.keys()
        ]
        places = [place for place in self._wide if self._fits(place)]
        self._places = [place for place in places if not self._hides(place)]

    @cached_property
    def count(self) -> int:
        """How many cuts to spread: where few operators are heavy, another one costs more than it shows."""
        heavy = sum(node.op_type in HEAVY for node in self._program.model.graph.node)
        return min(self._limits.cuts, max(_CUTS_MIN, heavy // _HEAVY_PER_CUT))

    @cached_property
    def _shares(self) -> list[float]:
        weights = [1.0 if node.op_type in HEAVY else _LIGHT_WEIGHT for node in self._program.model.graph.node]
        done = np.cumsum(weights)
        return [float(share) for share in done / done[-1]]

    @cached_property
    def _flat(self) -> frozenset[str]:
        """Tensors that come straight, or re-arranged, from an operator that saturates or flattens."""
        found: set[str] = set()
        for number, node in enumerate(self._program.model.graph.node):
            source = self._program.reads[number] if node.op_type in MIXES else node.input[:1]
            moved = node.op_type in MOVES | MIXES and any(name in found for name in source)
            if node.op_type in FLAT or moved:
                found.update(node.output)
        return frozenset(found)

    def _hides(self, place: _Place) -> bool:
        """Whether what a heavy operator made last before the place is in a flat tensor only, or in none.

        A flat tensor that was made before, and waits for a join, hides nothing of that. A few numbers show
        nothing: they are near zero now and then, where honest machines differ by any ratio.
        """
        heavy = self._heavy_before[place.node]
        flattened = any(self._program.maker[name] > heavy for name in place.names & self._flat)
        shown = (self._bytes[name] for name in place.names if self._newest[name] == heavy)
        return flattened or max(shown, default=0) < _SHOWN_BYTES

    @cached_property
    def _newest(self) -> Mapping[str, int]:
        """The last heavy operator on which each tensor depends; -1 for none."""
        found: dict[str, int] = {}
        for number, node in enumerate(self._program.model.graph.node):
            heavy = max((found.get(name, -1) for name in self._program.reads[number]), default=-1)
            found |= dict.fromkeys(node.output, number if node.op_type in HEAVY else heavy)
        return found

    @cached_property
    def _heavy_before(self) -> list[int]:
        nodes = self._program.model.graph.node
        own = (number if node.op_type in HEAVY else -1 for number, node in enumerate(nodes))
        return list(accumulate(own, max))

    def _fits(self, place: _Place) -> bool:
        return sum(self._bytes[name] for name in place.names) <= self._limits.cut_bytes

    def rounded(self) -> list[_Place]:
        """A cheap place between each two layers of rounded activations; none in most programs.

        A difference in the last bit can become one of a whole step where it is rounded, and an operator that
        mixes spreads that: so a segment should not have another rounding behind it, even if a cut has more
        bytes than it should.
        """
        layers = self._roundings()
        chosen: list[_Place] = []
        for first, last in pairwise([*layers, (len(self._shares), 0)]):
            near = self._between(first[1], self._next_mixing(first[1])) or self._between(first[1], last[0])
            before = _last(chosen)
            best = min(near, key=lambda place: self._cost(place.adds(before)), default=None)
            if best and (before is None or best.names != before.names):
                chosen.append(best)
        return chosen[:MAX_CUTS]

    def _between(self, first: int, end: int) -> list[_Place]:
        """Those that fit, else all."""
        found = [place for place in self._wide if first <= place.node < end]
        return list(filter(self._fits, found)) or found

    def _next_mixing(self, number: int) -> int:
        nodes = self._program.model.graph.node
        behind = (later for later in range(number + 1, len(nodes)) if nodes[later].op_type in _MIXING)
        return next(behind, len(nodes))

    def _roundings(self) -> list[tuple[int, int]]:
        """For each layer of roundings its first node, and the last one of it and the layers before.

        A rounding is a layer below another one if an operator that mixes is on a path between them.
        """
        depths = dict.fromkeys(self._program.inputs, 1)  # odd behind what mixes, even behind a rounding
        spans: dict[int, tuple[int, int]] = {}
        for number, node in enumerate(self._program.model.graph.node):
            depth = max((depths.get(name, 0) for name in self._program.reads[number]), default=0)
            if any(name in self._program.quantized for name in node.output):
                depth += depth % 2
                first, _ = spans.get(depth, (number, number))
                spans[depth] = (first, number)
            elif node.op_type in _MIXING:
                depth |= 1
            depths.update(dict.fromkeys(node.output, depth))
        ordered = [spans[depth] for depth in sorted(spans)]
        ends = accumulate((last for _, last in ordered), max)
        return [(first, end) for (first, _), end in zip(ordered, ends, strict=True)]

    def best(self, target: float, before: _Place | None) -> _Place | None:
        """The cheapest place near the share `target`, behind the place `before`."""
        reach = _REACH / self.count
        return min(
            self._near(target, before),
            key=lambda place: self._cost(place.adds(before)) * (1 + abs(place.share - target) / reach),
            default=None,
        )

    def end(self, before: _Place | None) -> _Place | None:
        """The cheapest place that shows all heads of a graph, which sigmoids and joins behind them hide."""
        last = self._heavy_before[-1]
        behind = (place for place in self._near(1.0, before) if place.node >= last)
        open_places = [place for place in behind if not place.adds(before) & self._flat]
        return min(open_places, key=lambda place: self._cost(place.adds(before)), default=None)

    def _near(self, target: float, before: _Place | None) -> list[_Place]:
        reach, least = _REACH / self.count, before.share + _APART / self.count if before else 0.0
        near = (place for place in self._places if abs(place.share - target) <= reach)
        return [place for place in near if place.share >= least and place.adds(before)]

    def _cost(self, names: frozenset[str]) -> float:
        """Bytes to keep and hash, dearer where the runtime cannot fuse what it would fuse untraced."""
        return sum((self._bytes[name] + _TENSOR_COST) * self._factor(name) for name in names)

    def _factor(self, name: str) -> float:
        if name not in self._settled:
            return _FUSED
        node = self._program.model.graph.node[self._program.maker[name]]
        return _NORMED if node.op_type in NORMS else _UNFUSED


def _sizes(program: Program, names: frozenset[str], sample: Arrays) -> Mapping[str, int]:
    """Bytes of each tensor that can stand in a cut: floats, or the few integers that shapes are made of."""
    session = Session(with_outputs(program.model, sorted(names)), Settings("disabled"))
    made = session.run(sample)
    return {
        name: array.nbytes
        for name, array in made.items()
        if name in names and (name in program.quantized or _can_be_cut(array))
    }


def _can_be_cut(array: NDArray[Any]) -> bool:
    few = array.dtype.name in _INTEGERS and array.nbytes <= _SMALL_INTEGERS
    return few or array.dtype.kind == "f"


def _survivors(program: Program) -> frozenset[str]:
    """The tensors that are still there when the runtime has fused what it can, before layouts change."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 4
        onnxruntime.InferenceSession(
            program.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        graph = onnx.load(path).graph
    return frozenset(name for node in graph.node for name in node.output)
