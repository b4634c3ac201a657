"""The part of a request that a worker thread does: parse, run, encode."""

import time

from modelreg_verifier.serving.engine import Computed, Stop
from modelreg_verifier.serving.models import Served
from modelreg_verifier.serving.protocol import Answer, InferRequest, parse_request
from modelreg_verifier.serving.statistics import Spent

__all__ = ["Job"]


class Job:
    """One inference.

    Args:
        served: the model.
        body: the request's body.
        header: its `Inference-Header-Content-Length`, if it has one.

    Attributes:
        stop: ends it early.
        spent: what it took so far.
    """

    def __init__(self, served: Served, body: memoryview, header: int | None) -> None:
        self._served = served
        self._body, self._header = body, header
        self._at = time.perf_counter_ns()
        self.stop = Stop()
        self.spent = Spent()

    def run(self) -> tuple[InferRequest, Computed, Answer]:
        """Do it.

        Raises:
            FormatError: the request breaks a rule, or asks for what the model or JSON has not.
            ModelFailedError, UnreachableError: the model failed, or was stopped.
        """
        engine = self._served.engine
        self.spent.queue = self._lap()
        request = parse_request(self._body, self._header)
        engine.check(request.inputs)
        wanted = request.wanted(tuple(port.name for port in engine.outputs))
        feed = engine.feed(request.inputs)
        self.spent.compute_input = self._lap()
        computed = engine.run(feed, self.stop)
        self.spent.compute_infer = self._lap()
        answer = Answer(wanted, computed.outputs)
        self.spent.compute_output = self._lap()
        return request, computed, answer

    def _lap(self) -> int:
        now = time.perf_counter_ns()
        passed, self._at = now - self._at, now
        self.spent.total += passed
        return passed
