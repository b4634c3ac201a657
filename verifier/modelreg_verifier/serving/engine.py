"""One ONNX graph, ready to run. Nothing is read from disk: the bytes are handed in, and were verified.

onnxruntime's exceptions derive from Exception alone, hence the wide `except` here, and nowhere else.
"""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from modelreg.errors import FormatError, InputError, ModelregError, UnreachableError
from modelreg.format import onnx as onnx_format
from modelreg.format.commitments import Tensor
from modelreg_verifier.trace.datatypes import RUNTIME_TYPES, from_array, to_array
from modelreg_verifier.trace.runtime import Settings, runtime_info

__all__ = ["Computed", "Engine", "ExternalValue", "ModelFailedError", "Port", "Stop", "limit_memory"]

_PROVIDER = "CPUExecutionProvider"
_BF16 = 16  # TensorProto.BFLOAT16
_FATAL = 4
# Where newer versions of the runtime are to look for external data: nothing can be there.
_NOWHERE = "/dev/null/none"
_SHOWN = 300


class ModelFailedError(ModelregError):
    """The runtime gave up on an input: it does not fit inside the graph, or takes too much memory."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph; free dims are None."""

    name: str
    datatype: str
    dims: tuple[int | None, ...]

    def check(self, tensor: Tensor) -> None:
        """Raise FormatError for a tensor that does not fit."""
        if tensor.datatype != self.datatype:
            raise FormatError(f"datatype of {self.name}", expected=self.datatype, found=tensor.datatype)
        fits = len(tensor.dims) == len(self.dims) and all(
            wanted in (None, dim) for wanted, dim in zip(self.dims, tensor.dims, strict=True)
        )
        if not fits:
            expected = [-1 if dim is None else dim for dim in self.dims]
            raise FormatError(f"shape of {self.name}", expected=expected, found=list(tensor.dims))


@dataclass(frozen=True, slots=True)
class ExternalValue:
    """An initializer that the ONNX file keeps in another file; `type` is of TensorProto.DataType.

    `array` has the tensor's shape, and for bfloat16 the 16-bit words.
    """

    name: str
    type: int
    array: npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Computed:
    """The outputs of a run, and the tensors at each cut of the trace."""

    outputs: Mapping[str, Tensor]
    cuts: tuple[Mapping[str, Tensor], ...]


class Stop:
    """Ends a run from another thread, between two operators."""

    def __init__(self) -> None:
        self.options = ort.RunOptions()
        self.options.log_severity_level = _FATAL
        self.requested = False

    def request(self) -> None:
        """Have the run end, or not begin."""
        self.requested = True
        self.options.terminate = True


def limit_memory(most: int) -> None:
    """Cap what the tensors of all runs in this process take together, in bytes; once, before any engine."""
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    # Strategy 1 takes as much as is asked for, not the next power of two.
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": most, "arena_extend_strategy": 1}))


class Engine:
    """A graph in onnxruntime.

    Args:
        model: an ONNX file.
        external: what it keeps in other files.
        threads: those within one operator.
        cuts: names of outputs that are the tensors of the trace, and no outputs to the client.
        outputs: those to the client nevertheless; none of the trace's unless it is given.

    Raises:
        InputError: the runtime cannot load it, data is missing, or a type is not of the protocol.
        FormatError: it is no ONNX file.
    """

    def __init__(
        self,
        model: bytes,
        external: Sequence[ExternalValue] = (),
        *,
        threads: int,
        cuts: tuple[tuple[str, ...], ...] = (),
        outputs: frozenset[str] = frozenset(),
    ) -> None:
        self.runtime = runtime_info(Settings(threads=threads))
        _require_all(model, external)
        options = _options(threads)
        try:
            self._values = [_value(item.array, item.type) for item in external]
            if external:
                options.add_external_initializers([item.name for item in external], self._values)
            self._session = ort.InferenceSession(model, options, providers=[_PROVIDER])
        except Exception as error:  # noqa: BLE001
            raise InputError("the runtime cannot load the model", found=str(error)[:_SHOWN]) from None
        traced = {name for cut in cuts for name in cut} - outputs
        self.inputs = tuple(map(_port, self._session.get_inputs()))
        self.outputs = tuple(_port(node) for node in self._session.get_outputs() if node.name not in traced)
        self.cuts = cuts
        self._names = [node.name for node in self._session.get_outputs()]
        self._datatypes = {
            node.name: RUNTIME_TYPES.get(node.type, "") for node in self._session.get_outputs()
        }
        datatypes = {port.datatype for port in self.inputs} | set(self._datatypes.values())
        self._words = "BF16" in datatypes
        if self._words and "BYTES" in datatypes:
            raise InputError("cannot serve BF16 and BYTES in one model")  # the runtime's interface cannot

    def check(self, inputs: Mapping[str, Tensor]) -> None:
        """Raise FormatError for inputs that are not those of the graph."""
        names = {port.name for port in self.inputs}
        if inputs.keys() != names:
            raise FormatError("inputs", expected=sorted(names), found=ascii(sorted(inputs))[:_SHOWN])
        for port in self.inputs:
            port.check(inputs[port.name])

    def feed(self, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """The inputs as `run` takes them. Raises FormatError for BYTES that are not UTF-8."""
        arrays = {name: to_array(tensor) for name, tensor in inputs.items()}
        if not self._words:
            return arrays
        return {name: _fed(array, inputs[name].datatype) for name, array in arrays.items()}

    def run(self, feed: dict[str, Any], stop: Stop) -> Computed:
        """Compute all outputs; other threads run meanwhile.

        Raises:
            ModelFailedError: the graph fails on this input.
            UnreachableError: it was stopped.
        """
        if stop.requested:
            raise UnreachableError("the model took too long")
        try:
            found = self._run(feed, stop.options)
        except Exception as error:  # noqa: BLE001
            if stop.requested:
                raise UnreachableError("the model took too long") from None
            raise ModelFailedError("the model failed on this input", found=_reason(error)) from None
        return Computed(
            {port.name: found[port.name] for port in self.outputs},
            tuple({name: found[name] for name in cut} for cut in self.cuts),
        )

    def _run(self, feed: dict[str, Any], options: Any) -> dict[str, Tensor]:
        if self._words:
            values = self._session.run_with_ort_values(self._names, feed, options)
            arrays = map(_words, values)
        else:
            arrays = iter(self._session.run(self._names, feed, options))
        return {
            name: from_array(self._datatypes[name], array)
            for name, array in zip(self._names, arrays, strict=True)
        }


def _require_all(model: bytes, external: Sequence[ExternalValue]) -> None:
    """Data that was not handed in the runtime would look for in the current directory."""
    found = onnx_format.index(lambda offset, length: model[offset : offset + length], len(model))
    if sorted(item.tensor.name for item in found.external) != sorted(item.name for item in external):
        raise InputError("cannot load the model", expected="all external data", found="less")


def _options(threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _FATAL
    for key, value in (
        ("session.use_env_allocators", "1"),
        ("session.intra_op.allow_spinning", "0"),  # threads that spin take the processors from other requests
        ("session.model_external_initializers_file_folder_path", _NOWHERE),
    ):
        options.add_session_config_entry(key, value)
    return options


def _port(node: Any) -> Port:
    datatype = RUNTIME_TYPES.get(node.type)
    if datatype is None:
        raise InputError(f"cannot serve {node.name}", expected="a tensor of the protocol", found=node.type)
    dims = tuple(dim if isinstance(dim, int) and dim >= 0 else None for dim in node.shape)
    return Port(node.name, datatype, dims)


def _value(array: npt.NDArray[Any], kind: int) -> Any:
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, kind)


def _fed(array: npt.NDArray[Any], datatype: str) -> Any:
    if datatype == "BF16":
        return _value(array, _BF16)
    return ort.OrtValue.ortvalue_from_numpy(array)


def _words(value: Any) -> npt.NDArray[Any]:
    """A result as an array; numpy has no bfloat16, so those are copied as 16-bit words."""
    if value.element_type() != _BF16:
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    raw = ctypes.string_at(value.data_ptr(), 2 * int(np.prod(shape, dtype=np.int64)))
    return np.frombuffer(raw, dtype="<u2").reshape(shape)


def _reason(error: Exception) -> str:
    """The runtime's message without its source paths, and on one line."""
    text = " ".join(str(error).split())
    return text.rpartition("Status Message: ")[2][:_SHOWN]
