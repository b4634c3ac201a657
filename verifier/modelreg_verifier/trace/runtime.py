"""Running ONNX graphs in onnxruntime, and this machine's fingerprint. Specified in docs/spec/trace.md."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import InputError
from modelreg.format.runtime_info import OPTIMIZATIONS, RuntimeInfo
from modelreg.format.trace_plan import NumericClass

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Arrays", "MakeRuns", "Runs", "Session", "Settings", "runtime_info", "with_outputs"]

Arrays = Mapping[str, NDArray[Any]]
"""Tensors by name."""

_LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_FATAL = 4
_CPU = "CPUExecutionProvider"
_DEVICES = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "arm64", "arm64": "arm64"}
# As the kernel names them in /proc/cpuinfo, with the names of section 4: what changes a runtime's kernels.
_FEATURES = {
    "amx_bf16": "amx-bf16",
    "amx_int8": "amx-int8",
    "asimddp": "dotprod",
    "asimdhp": "fp16",
    "avx": "avx",
    "avx2": "avx2",
    "avx512_bf16": "avx512-bf16",
    "avx512_vnni": "avx512-vnni",
    "avx512bw": "avx512bw",
    "avx512f": "avx512f",
    "avx_vnni": "avx-vnni",
    "bf16": "bf16",
    "f16c": "f16c",
    "fma": "fma",
    "i8mm": "i8mm",
    "sve": "sve",
    "sve2": "sve2",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How onnxruntime is run; `threads` are those within one operator, operators run one after another."""

    optimization: str = "all"
    threads: int = 1
    provider: str = _CPU

    def __post_init__(self) -> None:
        if self.optimization not in OPTIMIZATIONS or self.threads < 1:
            raise InputError(
                "settings of the runtime",
                expected=f"one of {', '.join(OPTIMIZATIONS)}, and a thread",
                found=f"{self.optimization!a}, {self.threads}",
            )


class Runs(Protocol):
    """A graph that is ready to run, here or elsewhere: what `Session` says."""

    types: dict[str, int]

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """All outputs by name."""


MakeRuns = Callable[["ModelProto", Settings], Runs]
"""Prepares a graph to run; `Session` does."""


class Session:
    """A graph that is ready to run.

    Args:
        model: a graph of less than 2 GiB, or its bytes; all its outputs are given back.
        settings: how to run it.

    Raises:
        InputError: the runtime refuses the graph, or lacks the provider.
    """

    def __init__(self, model: "ModelProto | bytes", settings: Settings) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(
            onnxruntime.GraphOptimizationLevel, _LEVELS[settings.optimization]
        )
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        try:
            graph = model if isinstance(model, bytes) else model.SerializeToString()
            self._session = onnxruntime.InferenceSession(graph, options, providers=[settings.provider])
        except Exception as error:  # noqa: BLE001 - the runtime's errors have no other common root
            raise InputError("the runtime refuses the graph", found=_brief(error)) from None
        self.types: dict[str, int] = {
            value.name: _element_type(value.type) for value in self._session.get_outputs()
        }
        """The element type of each output, as ONNX numbers them; 0 for what is no tensor."""
        self._outputs = list(self.types)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """All outputs by name.

        Raises:
            InputError: the runtime refuses the inputs, or fails on them.
        """
        try:
            given = {name: np.asarray(array) for name, array in inputs.items()}
            made = self._session.run(self._outputs, given)
        except Exception as error:  # noqa: BLE001 - as above
            raise InputError("the runtime refuses the inputs", found=_brief(error)) from None
        return dict(zip(self._outputs, map(np.asarray, made), strict=True))


def _brief(error: Exception) -> str:
    return ascii(str(error).strip().splitlines()[-1:] or type(error).__name__)[:200]


@lru_cache(maxsize=1)
def _element_types() -> dict[str, int]:
    """`tensor(float)` and the like, as the runtime writes them."""
    from onnx import TensorProto

    other = {"FLOAT": "float", "DOUBLE": "double", "FLOAT16": "float16", "BFLOAT16": "bfloat16"}
    names = {name: other.get(name, name.lower()) for name in TensorProto.DataType.keys()}  # noqa: SIM118
    return {f"tensor({name})": TensorProto.DataType.Value(key) for key, name in names.items()}


def _element_type(text: str) -> int:
    return _element_types().get(text, 0)


def with_outputs(model: "ModelProto", names: Sequence[str]) -> "ModelProto":
    """A copy of a graph that gives further tensors back, behind its own outputs."""
    made = type(model)()
    made.CopyFrom(model)
    there = {value.name for value in made.graph.output}
    for name in dict.fromkeys(names):
        if name not in there:
            made.graph.output.add(name=name)
    return made


def runtime_info(settings: Settings, numeric_class: NumericClass = NumericClass.FP32) -> RuntimeInfo:
    """The block of section 4 for this machine and these settings."""
    import onnxruntime

    return RuntimeInfo(
        runtime="onnxruntime",
        version=onnxruntime.__version__,
        provider=settings.provider,
        optimization=settings.optimization,
        threads=settings.threads,
        numeric_class=numeric_class,
        device=_DEVICES.get(platform.machine().lower(), platform.machine().lower() or "unknown"),
        features=_features(),
    )


@lru_cache(maxsize=1)
def _features() -> tuple[str, ...]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ()
    words = next((line for line in lines if line.startswith(("flags", "Features"))), "").split()
    return tuple(sorted({_FEATURES[word] for word in words if word in _FEATURES}))
