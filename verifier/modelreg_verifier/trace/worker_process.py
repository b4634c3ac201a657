"""Another process that answers messages in time, or is killed. Messages are those of `calibrate_worker`."""

import subprocess
from collections.abc import Sequence
from tempfile import TemporaryFile
from threading import Event, Timer
from typing import IO, BinaryIO, cast
from weakref import finalize

from modelreg.errors import FormatError, InputError, UnreachableError
from modelreg_verifier.trace import calibrate_worker

__all__ = ["WorkerProcess"]

_SAID_MAX = 400


class WorkerProcess:
    """A process that ends with this object.

    Args:
        command: what is run.
        seconds: the most that one answer may take.

    Raises:
        InputError: there is no such program.
    """

    def __init__(self, command: Sequence[str], seconds: float) -> None:
        self._seconds = seconds
        self._said = TemporaryFile()  # noqa: SIM115 - closed by the finalizer
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said
            )
        except OSError as error:
            self._said.close()
            raise InputError(f"cannot run {command[0]}", found=error.strerror) from None
        self.end = finalize(self, _end, self._process, self._said)
        """Kills the process."""

    def send(self, message: bytes) -> None:
        """Send a message that has no answer. Raises InputError if the process has ended."""
        try:
            calibrate_worker.write_message(cast("BinaryIO", self._process.stdin), message)
        except OSError:
            raise self._ended() from None

    def exchange(self, message: bytes) -> bytes:
        """Send a message and wait for its answer.

        Raises:
            InputError: the process has ended.
            UnreachableError: no answer came in time.
            FormatError: the answer has another form.
        """
        late = Event()
        timer = Timer(self._seconds, self._give_up, [late])
        timer.start()
        try:
            self.send(message)
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


def _end(process: "subprocess.Popen[bytes]", said: IO[bytes]) -> None:
    process.kill()
    process.communicate()
    said.close()
