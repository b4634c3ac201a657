"""The program that a plan names: one ONNX file with some inputs fixed. Specified in docs/spec/trace.md.

All work is in proportion to the size of the file, which may be hostile: nothing of the graph is executed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

from modelreg.errors import FormatError, VerificationError
from modelreg.format.trace_plan import MAX_CUT_TENSORS, FixedInput
from modelreg_verifier.trace.elements import ONNX_TYPES
from modelreg_verifier.trace.operators import QUANTIZERS, STANDARD_DOMAINS
from modelreg_verifier.trace.scalars import Scalars

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

__all__ = ["Program"]

_MAX_NODES = 1 << 17
_GRAPH, _GRAPHS = 5, 10


@dataclass(frozen=True)
class Program:
    """The program graph of a model and its fixed inputs (section 1).

    `model` holds the program graph: its inputs are those that are left, its nodes are numbered in order.
    """

    model: "ModelProto"

    @classmethod
    def of(cls, model: "ModelProto", fixed: Sequence[FixedInput] = ()) -> "Program":
        """Fix inputs, and inline each `If` of the top level that is decided by them.

        Raises:
            VerificationError: a fixed input does not exist or is declared otherwise.
            FormatError: more nodes than 2^17, an `If` of another form, or a name given twice.
        """
        import onnx

        made = onnx.ModelProto()
        made.CopyFrom(model)
        _check_size(made.graph)
        _drop_defaults(made.graph)
        for row in fixed:
            _fix(made.graph, row)
        _inline(made.graph)
        _check_names(made.graph)
        del made.graph.value_info[:]
        return cls(made)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The inputs that are not fixed, in the graph's order."""
        return tuple(value.name for value in self.model.graph.input)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The graph's outputs, in its order."""
        return tuple(value.name for value in self.model.graph.output)

    @cached_property
    def reads(self) -> tuple[tuple[str, ...], ...]:
        """For each node the tensors that it reads, in nested graphs too."""
        return tuple(tuple(dict.fromkeys(_reads(node))) for node in self.model.graph.node)

    @cached_property
    def maker(self) -> dict[str, int]:
        """The number of the node that makes a tensor."""
        nodes = enumerate(self.model.graph.node)
        return {name: number for number, node in nodes for name in node.output if name}

    @cached_property
    def varying(self) -> frozenset[str]:
        """The tensors that depend on an input, without the inputs."""
        inputs, found = set(self.inputs), set[str]()
        for node, reads in zip(self.model.graph.node, self.reads, strict=True):
            if any(name in inputs or name in found for name in reads):
                found.update(name for name in node.output if name)
        return frozenset(found)

    @cached_property
    def quantized(self) -> frozenset[str]:
        """The integer tensors that stand for floats, rounded to steps (section 5)."""
        nodes = self.model.graph.node
        made = (node.output[0] for node in nodes if node.op_type in QUANTIZERS and node.output)
        return frozenset(made) & self.varying - set(self.outputs)

    def frontiers(self, most: int = MAX_CUT_TENSORS) -> Iterator[tuple[int, frozenset[str]]]:
        """Each node and what stands between it and the next, where that is 1 to `most` tensors."""
        last = {name: number for number, reads in enumerate(self.reads) for name in reads}
        live: set[str] = set()
        for number, node in enumerate(self.model.graph.node):
            live.difference_update(name for name in self.reads[number] if last[name] == number)
            live.update(name for name in node.output if name in self.varying and last.get(name, -1) > number)
            if 0 < len(live) <= most:
                yield number, frozenset(live)

    def places(self, cuts: Sequence[Sequence[str]]) -> tuple[int, ...]:
        """The node behind which each cut stands.

        Raises:
            VerificationError: a cut is not complete, names what is not there, or stands before another one
                that it follows in the plan.
        """
        wanted = {frozenset(cut): number for number, cut in enumerate(cuts)}
        found: dict[int, int] = {}
        for place, names in self.frontiers():
            number = wanted.get(names)
            if number is not None:
                found.setdefault(number, place)
        for number in range(len(cuts)):
            if number not in found or (number and found[number] <= found[number - 1]):
                raise VerificationError(
                    f"cut {number} of the plan",
                    expected="all tensors between two nodes, behind the cut before",
                    found=", ".join(ascii(name) for name in cuts[number])[:200],
                )
        return tuple(found[number] for number in range(len(cuts)))


def _graphs(attribute: "AttributeProto") -> Sequence["GraphProto"]:
    if attribute.type == _GRAPH:
        return (attribute.g,)
    return attribute.graphs if attribute.type == _GRAPHS else ()


def _nested(node: "NodeProto") -> Iterator["GraphProto"]:
    return chain.from_iterable(map(_graphs, node.attribute))


def _reads(node: "NodeProto") -> Iterator[str]:
    """Protobuf ends the nesting of graphs at about 30."""
    yield from filter(None, node.input)
    for graph in _nested(node):
        own = {value.name for value in chain(graph.input, graph.initializer)}
        own.update(chain.from_iterable(inner.output for inner in graph.node))
        inside = chain(chain.from_iterable(map(_reads, graph.node)), (value.name for value in graph.output))
        yield from (name for name in inside if name not in own)


def _count(graph: "GraphProto") -> int:
    return len(graph.node) + sum(_count(inner) for node in graph.node for inner in _nested(node))


def _check_size(graph: "GraphProto") -> None:
    count = _count(graph)
    if count > _MAX_NODES:
        raise FormatError("nodes of a graph", expected=f"at most {_MAX_NODES}", found=count)


def _drop_defaults(graph: "GraphProto") -> None:
    """An input with an initializer is optional; here it has the initializer's value always."""
    constant = {value.name for value in graph.initializer}
    _keep_inputs(graph, [value for value in graph.input if value.name not in constant])


def _keep_inputs(graph: "GraphProto", kept: Sequence["ValueInfoProto"]) -> None:
    copies = [type(value).FromString(value.SerializeToString()) for value in kept]
    del graph.input[:]
    graph.input.extend(copies)


def _fix(graph: "GraphProto", row: FixedInput) -> None:
    declared = next((value for value in graph.input if value.name == row.name), None)
    kind = declared.type.tensor_type if declared else None
    ones = kind is not None and all(dim.dim_value == 1 for dim in kind.shape.dim)
    if kind is None or kind.elem_type != ONNX_TYPES[row.datatype] or not kind.HasField("shape") or not ones:
        raise VerificationError(
            f"fixed input {row.name!a}",
            expected=f"an input of the graph with one element of {row.datatype}",
            found="none" if kind is None else "one of another type or shape",
        )
    _keep_inputs(graph, [value for value in graph.input if value.name != row.name])
    dims = [1] * len(kind.shape.dim)
    graph.initializer.add(name=row.name, data_type=kind.elem_type, dims=dims, raw_data=row.data)


def _inline(graph: "GraphProto") -> None:
    scalars = Scalars()
    for tensor in graph.initializer:
        scalars.put(tensor.name, tensor)
    nodes: list[NodeProto] = []
    rest = list(reversed(graph.node))
    while rest:
        node = rest.pop()
        truth = scalars.truth(node.input[0]) if _is_if(node) else None
        if truth is None:
            scalars.follow(node)
            nodes.append(node)
        else:
            branch = _branch(node, "then_branch" if truth else "else_branch")
            for tensor in branch.initializer:
                scalars.put(tensor.name, tensor)
            graph.initializer.extend(branch.initializer)
            rest.extend(_ends(node, branch))
            rest.extend(reversed(branch.node))
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _is_if(node: "NodeProto") -> bool:
    return node.op_type == "If" and node.domain in STANDARD_DOMAINS and bool(node.input)


def _branch(node: "NodeProto", name: str) -> "GraphProto":
    branches: list[GraphProto] = [
        item.g for item in node.attribute if item.name == name and item.type == _GRAPH
    ]
    if len(branches) != 1 or len(branches[0].output) != len(node.output) or branches[0].input:
        raise FormatError(
            f"If {node.name[:80]!a}", expected=f"a {name} with its outputs", found="another form"
        )
    return branches[0]


def _ends(node: "NodeProto", branch: "GraphProto") -> Iterator["NodeProto"]:
    """An Identity for each output of a branch, the last one first."""
    pairs = zip(reversed(branch.output), reversed(node.output), strict=True)
    return (
        type(node)(op_type="Identity", input=[inner.name], output=[outer]) for inner, outer in pairs if outer
    )


def _check_names(graph: "GraphProto") -> None:
    made = [name for node in graph.node for name in node.output if name]
    made += [value.name for value in chain(graph.input, graph.initializer)]
    if len(set(made)) != len(made):
        raise FormatError(
            "tensors of the program graph", expected="no name twice", found="one that comes again"
        )
