"""A runtime in another interpreter, which traces for a calibration: talks to `calibrate_worker`."""

import json
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Timer
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from numpy.typing import NDArray

from modelreg.errors import FormatError, InputError, UnreachableError
from modelreg_verifier import calibrate_worker
from modelreg_verifier.runtime import Arrays, Settings

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Node", "node_in"]

_SAID_MAX = 400


class Node:
    """A graph that is ready in another process; `version` is that of its onnxruntime."""

    def __init__(self, process: "subprocess.Popen[bytes]", said: IO[bytes], seconds: float) -> None:
        self._process, self._said, self._seconds = process, said, seconds
        self.version = ""

    def start(self, graph: bytes, settings: Settings) -> None:
        """Make the session. Raises as `run`."""
        head = json.dumps({"optimization": settings.optimization, "threads": settings.threads})
        self._send(head.encode())
        answer = self._exchange(graph)
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
        answer = self._exchange(calibrate_worker.pack(inputs))
        try:
            return calibrate_worker.unpack(answer)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
            raise FormatError("answer of an interpreter", expected="tensors") from None

    def _send(self, message: bytes) -> None:
        try:
            calibrate_worker.write_message(cast("BinaryIO", self._process.stdin), message)
        except OSError:
            raise self._ended() from None

    def _exchange(self, message: bytes) -> bytes:
        late = Event()
        timer = Timer(self._seconds, self._give_up, [late])
        timer.start()
        try:
            self._send(message)
            answer = calibrate_worker.read_message(cast("BinaryIO", self._process.stdout))
            if answer is None:
                raise self._ended()
        except (InputError, ValueError) as error:
            if late.is_set():
                expected = f"an answer in {self._seconds:g} s"
                raise UnreachableError("an interpreter hangs", expected=expected) from None
            if isinstance(error, InputError):
                raise
            raise FormatError("answer of an interpreter", found=str(error)) from None
        finally:
            timer.cancel()
        return answer

    def _give_up(self, late: Event) -> None:
        late.set()
        self._process.kill()

    def _ended(self) -> InputError:
        self._process.wait()
        self._said.seek(0)
        said = self._said.read()[-_SAID_MAX:].decode(errors="replace").strip().splitlines()
        return InputError("an interpreter gave up", found=ascii("".join(said[-1:]))[:200])


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
    script = str(Path(calibrate_worker.__file__))
    with TemporaryFile() as said:
        try:
            # -I: neither this directory nor this environment's packages are the other one's.
            process = subprocess.Popen(
                [str(python), "-I", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said
            )
        except OSError as error:
            raise InputError(f"cannot run {python}", found=error.strerror) from None
        try:
            node = Node(process, said, seconds)
            node.start(model.SerializeToString(), settings)
            yield node
        finally:
            process.kill()
            process.communicate()
