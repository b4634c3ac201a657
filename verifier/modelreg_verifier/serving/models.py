"""The models that are served, by name and version. Specified in docs/spec/serve.md, section 1."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from modelreg.errors import NotFoundError
from modelreg.format.names import ReleaseId
from modelreg_verifier.serving.engine import Engine, Port
from modelreg_verifier.serving.recorder import Loaded
from modelreg_verifier.serving.statistics import Statistics

__all__ = ["Served", "ServedModels"]

_PLATFORM = "onnxruntime_onnx"
_STRING = {"BYTES": "STRING"}
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Served:
    """One file of one release, loaded from verified bytes; `content_root` is 32 bytes."""

    name: str
    selector: str
    version: str
    release: ReleaseId
    content_root: bytes
    file: str
    engine: Engine
    statistics: Statistics = field(default_factory=Statistics)
    loaded: Loaded = field(init=False)

    def __post_init__(self) -> None:
        loaded = Loaded(self.release, self.file, self.engine.runtime, self.engine.cuts)
        object.__setattr__(self, "loaded", loaded)

    def config(self) -> dict[str, Any]:
        """The model's configuration in Triton's form."""
        runtime = self.engine.runtime
        facts = {
            "modelreg.release": str(self.release),
            "modelreg.content_root": f"0x{self.content_root.hex()}",
            "modelreg.file": self.file,
            "runtime.version": runtime.version,
            "runtime.provider": runtime.provider,
            "runtime.optimization": runtime.optimization,
            "runtime.threads": str(runtime.threads),
            "runtime.device": runtime.device,
            "runtime.features": " ".join(runtime.features),
        }
        return {
            "name": self.name,
            "platform": _PLATFORM,
            "backend": "onnxruntime",
            "version_policy": {"specific": {"versions": [self.version]}},
            "max_batch_size": 0,
            "input": [_config_port(port) for port in self.engine.inputs],
            "output": [_config_port(port) for port in self.engine.outputs],
            "instance_group": [{"name": self.name, "kind": "KIND_CPU", "count": 1}],
            "default_model_filename": self.file,
            "parameters": {key: {"string_value": value} for key, value in facts.items()},
        }


def _dims(port: Port) -> list[int]:
    return [-1 if dim is None else dim for dim in port.dims]


def _config_port(port: Port) -> dict[str, Any]:
    kind = _STRING.get(port.datatype, port.datatype)
    return {"name": port.name, "data_type": f"TYPE_{kind}", "dims": _dims(port)}


class ServedModels:
    """All that is served. Changes replace the whole table, so that readers see one state or the next.

    Args:
        names: name and selector of every target, in the operator's order; the first of a name is its default.
    """

    def __init__(self, names: Iterable[tuple[str, str]]) -> None:
        self._order = tuple(dict.fromkeys(names))
        self._table: dict[tuple[str, str], Served] = {}

    def put(self, served: Served) -> None:
        """Serve this in place of what its target meant before."""
        self._table = {**self._table, (served.name, served.selector): served}

    def remove(self, name: str, selector: str) -> None:
        """Serve a target no longer."""
        self._table = {key: value for key, value in self._table.items() if key != (name, selector)}

    def __iter__(self) -> Iterator[Served]:
        table = self._table
        return iter([table[key] for key in self._order if key in table])

    @property
    def complete(self) -> bool:
        """Whether every target is served."""
        return len(self._table) == len(self._order)

    def names(self) -> list[str]:
        """The names of all targets, the longest first."""
        return sorted({name for name, _ in self._order}, key=len, reverse=True)

    def find(self, name: str, version: str | None) -> Served:
        """The model of a name and a version or selector; without one the first. Raises NotFoundError."""
        same = [served for served in self if served.name == name]
        for served in same:
            if version in (None, served.selector):
                return served
        for served in same:
            if version == served.version:
                return served
        wanted = f"{name} {version or ''}".strip()
        listed = ", ".join(f"{served.name} {served.version}" for served in self)
        raise NotFoundError(f"model {wanted!a} is not served"[:_SHOWN], expected=listed[:_SHOWN] or None)

    def metadata(self, served: Served) -> dict[str, Any]:
        """A model's metadata in the protocol's form, with all versions of its name."""
        versions = dict.fromkeys(other.version for other in self if other.name == served.name)
        return {
            "name": served.name,
            "versions": list(versions),
            "platform": _PLATFORM,
            "inputs": [_port(port) for port in served.engine.inputs],
            "outputs": [_port(port) for port in served.engine.outputs],
        }

    def index(self) -> list[dict[str, str]]:
        """What is served, as the repository extension lists it."""
        return [
            {"name": served.name, "version": served.version, "state": "READY", "reason": ""}
            for served in self
        ]

    def statistics(self, name: str | None = None, version: str | None = None) -> dict[str, Any]:
        """The statistics of all models, of one name, or of one version. Raises NotFoundError."""
        if name is None:
            chosen = list(self)
        elif version is None:
            chosen = [served for served in self if served.name == self.find(name, None).name]
        else:
            chosen = [self.find(name, version)]
        unique = {(served.name, served.version): served for served in reversed(chosen)}
        found = [served.statistics.document(*key) for key, served in unique.items()]
        return {"model_stats": found[::-1]}


def _port(port: Port) -> dict[str, Any]:
    return {"name": port.name, "datatype": port.datatype, "shape": _dims(port)}
