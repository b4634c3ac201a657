"""A plan's graph in pieces, each from one cut to the next. Specified in docs/spec/trace.md, section 2."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from modelreg.errors import VerificationError
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import Arrays, MakeRuns, Runs, Session, Settings

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Replay", "Segment", "segment_model", "segments"]


@dataclass(frozen=True, slots=True)
class Segment:
    """The nodes between two cuts.

    `inputs` are the graph inputs that it reads, `starts` the tensors that it takes from the cut before, and
    `ends` what it must lead to: the tensors of its cut that are not in the cut before, and the outputs made
    in it. `nodes` are numbers of nodes, in order.
    """

    inputs: tuple[str, ...]
    starts: tuple[str, ...]
    ends: tuple[str, ...]
    nodes: tuple[int, ...]


def segments(program: Program, cuts: Sequence[Sequence[str]]) -> tuple[Segment, ...]:
    """The segments of a valid plan: one more than it has cuts.

    Raises:
        VerificationError: the cuts are not valid for the program (`Program.places`).
    """
    places = (-1, *program.places(cuts), len(program.reads) - 1)
    stops = [frozenset[str](), *map(frozenset, cuts), frozenset[str]()]
    parts = []
    for number in range(len(places) - 1):
        first, last = places[number], places[number + 1]
        made = [name for name in program.outputs if first < program.maker.get(name, -1) <= last]
        fresh = stops[number + 1] - stops[number]
        ends = sorted(fresh.union(made))
        parts.append(_segment(program, stops[number], tuple(ends)))
    return tuple(parts)


def _segment(program: Program, stop: frozenset[str], ends: tuple[str, ...]) -> Segment:
    """Walk back from the ends to the cut before, the inputs and the constants."""
    inputs, seen, nodes, rest = set(program.inputs), set(ends), set[int](), list(ends)
    while rest:
        number = program.maker.get(rest.pop())
        if number is None or number in nodes:
            continue
        nodes.add(number)
        fresh = set(program.reads[number]) - seen
        seen |= fresh
        rest.extend(fresh - stop)
    return Segment(
        tuple(name for name in program.inputs if name in seen & inputs),
        tuple(sorted((seen & stop) - set(ends))),
        ends,
        tuple(sorted(nodes)),
    )


class Replay:
    """The segments of one plan, ready to run; each has a session of its own, made when it is first needed.

    Args:
        program: the program of the plan.
        cuts: the plan's cuts.
        settings: how to run the segments.
        make: prepares a segment; in this process if nothing else is said.

    Raises:
        VerificationError: the cuts are not valid for the program.
    """

    def __init__(
        self,
        program: Program,
        cuts: Sequence[Sequence[str]],
        settings: Settings,
        make: MakeRuns = Session,
    ) -> None:
        self.segments = segments(program, cuts)
        self._program = program
        self._settings = settings
        self._make = make
        self._types: dict[str, int] = {}
        self._sessions: list[Runs | None] = []

    def run(self, number: int, start: Arrays, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """The ends of segment `number`, from the tensors of the cut before it and the graph's inputs.

        Raises:
            VerificationError: a tensor is missing.
            InputError: the runtime refuses the segment or the tensors, or a cut has what is no tensor.
            UnreachableError: it took too long, if `make` sets a limit.
        """
        segment = self.segments[number]
        given: dict[str, NDArray[Any]] = {}
        for names, tensors in ((segment.starts, start), (segment.inputs, inputs)):
            given |= _take(names, tensors)
        session = self._session(number)
        return session.run(given) if session else {}

    def _session(self, number: int) -> Runs | None:
        """Sessions are made in order, because each tells the types that the next ones begin with."""
        while len(self._sessions) <= number:
            segment = self.segments[len(self._sessions)]
            session: Runs | None = None
            if segment.ends:
                session = self._make(segment_model(self._program, segment, self._types), self._settings)
                self._types |= session.types
            self._sessions.append(session)
        return self._sessions[number]


def _take(names: Sequence[str], tensors: Arrays) -> dict[str, NDArray[Any]]:
    missing = [name for name in names if name not in tensors]
    if missing:
        raise VerificationError("tensors to replay from", expected=", ".join(names)[:200], found=missing[:5])
    return {name: tensors[name] for name in names}


def segment_model(program: Program, segment: Segment, types: Mapping[str, int]) -> "ModelProto":
    """The segment as a graph of its own; `types` has the element types of its starts, in ONNX's numbers."""
    whole = program.model
    made = type(whole)(
        ir_version=whole.ir_version, opset_import=whole.opset_import, functions=whole.functions
    )
    graph = made.graph
    graph.name = "segment"
    graph.node.extend(whole.graph.node[number] for number in segment.nodes)
    used = {name for number in segment.nodes for name in program.reads[number]}
    graph.initializer.extend(value for value in whole.graph.initializer if value.name in used)
    graph.sparse_initializer.extend(
        value for value in whole.graph.sparse_initializer if value.values.name in used
    )
    graph.input.extend(value for value in whole.graph.input if value.name in segment.inputs)
    for name in segment.starts:
        graph.input.add(name=name).type.tensor_type.elem_type = types[name]
    for name in segment.ends:
        graph.output.add(name=name)
    return made
