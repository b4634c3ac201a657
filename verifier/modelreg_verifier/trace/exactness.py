"""Which tensors of a segment every honest machine makes alike. Specified in docs/spec/audit.md, section 5."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from modelreg_verifier.trace.operators import CHOOSING, EXACT, STANDARD_DOMAINS
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.segments import Segment

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["is_exact", "is_unsteady"]

_FLOATS = frozenset({1, 10, 11, 16})


def is_exact(program: Program, segment: Segment, name: str, floats: Collection[str]) -> bool:
    """Whether a tensor follows from integers, truths and strings by operators that keep to them.

    Args:
        program: of the plan.
        segment: the one that makes the tensor.
        name: one of its ends.
        floats: tensors that it can start from whose elements are floats, or quantized.
    """
    made, read = _cone(program, segment, name)
    constants = {value.name for value in program.model.graph.initializer if value.data_type in _FLOATS}
    sparse = {value.values.name for value in program.model.graph.sparse_initializer}
    nodes = [program.model.graph.node[number] for number in made]
    return all(map(_keeps, nodes)) and not read & (constants | sparse | set(floats))


def _keeps(node: "NodeProto") -> bool:
    if node.domain not in STANDARD_DOMAINS:
        return False
    if node.op_type != "Constant":
        return node.op_type in EXACT
    return all(item.name == "value" and item.t.data_type not in _FLOATS for item in node.attribute)


def is_unsteady(program: Program, segment: Segment, name: str) -> bool:
    """Whether an operator that chooses by values, or of another domain, leads to a tensor."""
    nodes = [program.model.graph.node[number] for number in _cone(program, segment, name)[0]]
    return any(node.op_type in CHOOSING or node.domain not in STANDARD_DOMAINS for node in nodes)


def _cone(program: Program, segment: Segment, name: str) -> tuple[set[int], set[str]]:
    """The nodes of a segment that lead to a tensor, and all tensors that these read."""
    inside, rest = set(segment.nodes), [name]
    nodes: set[int] = set()
    read: set[str] = set()
    while rest:
        number = program.maker.get(rest.pop(), -1)
        if number in inside and number not in nodes:
            nodes.add(number)
            fresh = set(program.reads[number]) - set(segment.starts)
            read.update(program.reads[number])
            rest.extend(fresh)
    return nodes, read
