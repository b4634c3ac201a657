"""Which release of a model each node serves, by its own word. Specified in docs/spec/serve.md, section 6."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from modelreg.errors import FormatError, ModelregError
from modelreg.format.json_depth import require_shallow
from modelreg.format.names import ModelName, Version
from modelreg.ledger.receipt_log_records import Node
from modelreg_verifier.audit.node_client import NodeClient

__all__ = ["NodeStatus", "ask_nodes"]

_AT_ONCE = 16
_ANSWER_BYTES = 1 << 20
_VERSIONS_MAX = 256


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What a node says: the versions that it serves, none if it does not serve the model; or the problem."""

    node: Node
    versions: tuple[Version, ...] = ()
    problem: str | None = None


def ask_nodes(nodes: Iterable[Node], model: ModelName, *, seconds: float) -> list[NodeStatus]:
    """Ask nodes at their endpoints, several at once.

    Args:
        nodes: of the ledger.
        model: which they may serve.
        seconds: how long one may take.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda node: _ask(node, model, seconds), nodes))


def _ask(node: Node, model: ModelName, seconds: float) -> NodeStatus:
    try:
        client = NodeClient(node.endpoint, seconds=seconds)
        raw = client.document(f"/v2/models/{model}", _ANSWER_BYTES)
    except ModelregError as error:
        served_none = error.exit_code == 4
        return NodeStatus(node, problem=None if served_none else str(error))
    try:
        return NodeStatus(node, _versions(raw))
    except ModelregError as error:
        return NodeStatus(node, problem=str(error))


def _versions(raw: bytes) -> tuple[Version, ...]:
    require_shallow(raw, "the node's answer")
    try:
        document: Any = json.loads(raw)
    except ValueError:
        document = None
    listed = document.get("versions") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > _VERSIONS_MAX:
        raise FormatError("the node's answer", expected="a model's metadata with its versions")
    return tuple(Version.parse(text) for text in listed if isinstance(text, str))
