"""Running graphs with bounds of time and memory, in a process of their own: docs/spec/audit.md, section 4."""

import json
import sys
import zipfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from modelreg.errors import FormatError, InputError, ModelregError
from modelreg_verifier.trace import bounded_worker
from modelreg_verifier.trace.bounded_worker import HEAD, pack_tensors, unpack_tensors
from modelreg_verifier.trace.runtime import Arrays, Settings
from modelreg_verifier.trace.worker_process import WorkerProcess

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["BoundedSessions", "Bounds"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most seconds that a graph may take, and bytes of address space that all may have together.

    Where the system has no such limit of memory, time alone is bounded.
    """

    seconds: float = 120.0
    memory: int = 8 << 30


class BoundedSessions:
    """Makes sessions in another process, which is started anew when it had to be killed."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._process: WorkerProcess | None = None
        self.started = 0
        """How many processes there were: a session lives in one of them."""

    def session(self, model: "ModelProto", settings: Settings) -> "_BoundedSession":
        """Prepare a graph.

        Raises:
            InputError: the runtime refuses it, or needs more memory.
            UnreachableError: it takes too long.
        """
        return _BoundedSession(self, model.SerializeToString(), settings)

    def alive(self, process: int) -> bool:
        """Whether the process of that number still runs, as far as is known."""
        return self._process is not None and process == self.started

    def ask(self, message: bytes) -> bytes:
        """Send a message, and give its answer. Raises as `session`."""
        process = self._process or self._start()
        try:
            answer = process.exchange(message)
            if answer[:1] != b"a":
                text = ascii(answer[1:].decode(errors="replace"))[:300]
                raise InputError("the runtime refuses", found=text)
        except ModelregError:
            # A session that failed can go on failing: no receipt may shield the next one so.
            process.end()
            self._process = None
            raise
        return answer[1:]

    def _start(self) -> WorkerProcess:
        # -I: the directory in which an auditor stands is none of its own packages.
        process = WorkerProcess([sys.executable, "-I", "-m", bounded_worker.__name__], self._bounds.seconds)
        process.send(str(self._bounds.memory).encode())
        self._process = process
        self.started += 1
        return process


class _BoundedSession:
    """A graph in the process of `BoundedSessions`; it is sent again where that was started anew."""

    def __init__(self, sessions: BoundedSessions, graph: bytes, settings: Settings) -> None:
        self._sessions = sessions
        head = json.dumps(asdict(settings)).encode()
        self._message = HEAD.pack(b"g", len(head)) + head + graph
        self.types: dict[str, int] = {}
        self._load()

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """All outputs by name. Raises as `BoundedSessions.session`."""
        if not self._sessions.alive(self._process):
            self._load()
        try:
            message = HEAD.pack(b"r", self._number) + pack_tensors(inputs)
        except UnicodeError:
            raise InputError("the runtime refuses the inputs", found="BYTES that are not UTF-8") from None
        answer = self._sessions.ask(message)
        try:
            return unpack_tensors(answer)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
            raise FormatError("answer of an interpreter", expected="tensors") from None

    def _load(self) -> None:
        answer = json.loads(self._sessions.ask(self._message))
        self.types = {str(name): int(kind) for name, kind in answer["types"]}
        self._number, self._process = int(answer["number"]), self._sessions.started
