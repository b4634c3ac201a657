"""A runtime in another interpreter, which traces for a calibration: talks to `calibrate_worker`."""

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from modelreg.errors import FormatError, InputError
from modelreg_verifier.trace import calibrate_worker
from modelreg_verifier.trace.runtime import Arrays, Settings
from modelreg_verifier.trace.worker_process import WorkerProcess

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Node", "node_in"]


class Node:
    """A graph that is ready in another process; `version` is that of its onnxruntime."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process
        self.version = ""

    def start(self, graph: bytes, settings: Settings) -> None:
        """Make the session. Raises as `run`."""
        head = json.dumps({"optimization": settings.optimization, "threads": settings.threads})
        self._process.send(head.encode())
        answer = self._process.exchange(graph)
        try:
            self.version = str(json.loads(answer)["version"])
        except (ValueError, KeyError, TypeError):
            raise FormatError("answer of an interpreter", expected="its runtime's version") from None

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """All outputs by name.

        Raises:
            InputError: inputs that are not numbers; the runtime refuses them or the graph.
            UnreachableError: no answer came in time.
            FormatError: the answer has another form.
        """
        if any(array.dtype.kind not in "biuf" for array in inputs.values()):
            raise InputError("inputs of a calibration", expected="numbers and truths")
        answer = self._process.exchange(calibrate_worker.pack(inputs))
        try:
            return calibrate_worker.unpack(answer)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
            raise FormatError("answer of an interpreter", expected="tensors") from None


@contextmanager
def node_in(python: Path, model: "ModelProto", settings: Settings, seconds: float = 600.0) -> Iterator[Node]:
    """Run a graph in another interpreter, which ends with the block.

    Args:
        python: an interpreter that has onnxruntime and numpy; it is the operator's own, and trusted.
        model: all its outputs are given back.
        settings: how it is run.
        seconds: the most that one answer may take.

    Raises:
        InputError: there is no such interpreter, or its runtime refuses the graph.
        UnreachableError: no answer came in time.
    """
    # -I: neither this directory nor this environment's packages are the other one's.
    process = WorkerProcess([str(python), "-I", str(Path(calibrate_worker.__file__))], seconds)
    try:
        node = Node(process)
        node.start(model.SerializeToString(), settings)
        yield node
    finally:
        process.end()
