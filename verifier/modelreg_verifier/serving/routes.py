"""Which path means what. Specified in docs/spec/serve.md, section 2."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from modelreg_verifier.serving.exchange import Refusal

__all__ = ["Route", "find_route", "plain_path"]

_FIXED = {
    "/v2": ("server", "GET"),
    "/v2/health/live": ("live", "GET"),
    "/v2/health/ready": ("ready", "GET"),
    "/v2/models/stats": ("stats", "GET"),
    "/v2/repository/index": ("index", "POST"),
    "/metrics": ("metrics", "GET"),
}
_MODELS = "/v2/models/"
_TAIL = re.compile(r"(?:/versions/(?P<version>[^/]+))?(?:/(?P<what>ready|config|stats|infer))?")


@dataclass(frozen=True, slots=True)
class Route:
    """What is asked for; `model` and `version` as the client wrote them, where it did."""

    kind: str
    model: str | None = None
    version: str | None = None


def plain_path(target: str) -> str:
    """The path of a request target, without its query and percent-encoding."""
    return unquote(target.partition("?")[0], errors="replace")


def find_route(method: str, path: str, names: Iterable[str]) -> Route:
    """Find what a request is for.

    Args:
        method: of HTTP.
        path: what `plain_path` gave.
        names: the models' names, the longest first.

    Raises:
        Refusal: 404 or 405.
    """
    route, allowed = _route(path, names)
    if method != allowed:
        raise Refusal(405, f"use {allowed}", close=True)
    return route


def _route(path: str, names: Iterable[str]) -> tuple[Route, str]:
    if path in _FIXED:
        kind, method = _FIXED[path]
        return Route(kind), method
    rest = path.removeprefix(_MODELS)
    for name in names if rest != path else ():
        tail = _TAIL.fullmatch(rest.removeprefix(name)) if rest.startswith(name) else None
        if tail is not None:
            kind = {None: "metadata", "ready": "model_ready"}.get(tail["what"], str(tail["what"]))
            return Route(kind, name, tail["version"]), "POST" if kind == "infer" else "GET"
    raise Refusal(404, f"nothing is served at {path[:200]!a}", close=True)
