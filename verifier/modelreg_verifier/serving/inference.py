"""From the body of a request to its answer: admission, a worker, the recorder.

Specified in docs/spec/serve.md, section 3.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from modelreg.errors import FormatError, InputError, ModelregError, UnreachableError
from modelreg_verifier.serving.engine import Computed, ModelFailedError, Stop
from modelreg_verifier.serving.exchange import BodyReader, Refusal, Reply
from modelreg_verifier.serving.job import Job
from modelreg_verifier.serving.limits import Limits
from modelreg_verifier.serving.metrics import Metrics
from modelreg_verifier.serving.models import Served
from modelreg_verifier.serving.protocol import Answer, InferRequest
from modelreg_verifier.serving.recorder import Addition, FullError, Inference, Recorder

__all__ = ["FULL_SECONDS", "Inferences"]

FULL_SECONDS = 600
"""When to ask again a node that has no room to keep what it answers."""

_HEADER = "Inference-Header-Content-Length"
_DIGITS = 10
_NS_PER_US = 1000


class Inferences:
    """Runs inferences in worker threads, no more of them waiting than the limits allow.

    Args:
        workers: how many run at once.
        limits: what clients may take.
        recorder: told of each before it is answered; None to serve without receipts.
    """

    def __init__(self, workers: int, limits: Limits, recorder: Recorder | None) -> None:
        self._workers, self._limits, self._recorder = workers, limits, recorder
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="inference")
        self._admitted = 0
        self._running: set[Stop] = set()
        self.bodies = BodyReader(limits)

    @property
    def waiting(self) -> int:
        """How many wait for a worker."""
        return max(0, self._admitted - self._workers)

    async def answer(
        self, request: web.BaseRequest, served: Served, metrics: Metrics, facts: dict[str, Any]
    ) -> Reply:
        """Answer one request; `facts` takes what its line in the log says besides.

        Raises:
            Refusal: it cannot be answered.
        """
        header = _header_length(request)
        body = await self.bodies.read(request)
        facts["bytes_in"] = len(body)
        try:
            if self.waiting >= self._limits.queue:
                raise Refusal(429, f"{self.waiting} requests wait already", retry_after=1)
            job = Job(served, memoryview(body).toreadonly(), header)
            reply = await self._counted(job, served, metrics)
            facts.update(_microseconds(job))
            return reply
        finally:
            self.bodies.release(body)

    async def close(self) -> None:
        """End what still runs, and the workers."""
        for stop in self._running:
            stop.request()
        await asyncio.to_thread(self._pool.shutdown)

    async def _counted(self, job: Job, served: Served, metrics: Metrics) -> Reply:
        success = False
        try:
            reply = await self._reply(job, served)
            success = True
        finally:
            served.statistics.add(job.spent, success=success)
            metrics.observe(served.name, served.version, job.spent)
        return reply

    async def _reply(self, job: Job, served: Served) -> Reply:
        try:
            asked, answer, addition = await self._run(job, served)
        except (FormatError, InputError, ModelFailedError) as error:
            raise Refusal(400, str(error)) from None
        except UnreachableError as error:
            raise Refusal(503, str(error), retry_after=1) from None
        except MemoryError:
            raise Refusal(503, "out of memory", retry_after=1) from None
        parts, length = answer.parts(served.name, served.version, asked.id, addition.parameters)
        if length is None:
            return Reply(200, parts, headers=addition.headers)
        headers = {**addition.headers, _HEADER: str(length)}
        return Reply(200, parts, "application/octet-stream", headers)

    async def _run(self, job: Job, served: Served) -> tuple[InferRequest, Answer, Addition]:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._limits.run_seconds, job.stop.request)
        self._admitted += 1
        self._running.add(job.stop)
        try:
            return await loop.run_in_executor(self._pool, self._work, job, served)
        finally:
            timer.cancel()
            self._running.discard(job.stop)
            self._admitted -= 1

    def _work(self, job: Job, served: Served) -> tuple[InferRequest, Answer, Addition]:
        """All in one thread: handing over to another one takes longer than signing does."""
        asked, computed, answer = job.run()
        return asked, answer, self._record(served, asked, computed)

    def _record(self, served: Served, asked: InferRequest, computed: Computed) -> Addition:
        if self._recorder is None:
            return Addition()
        try:
            return self._recorder.record(
                Inference(served.loaded, asked.parameters, asked.inputs, computed.outputs, computed.cuts)
            )
        except (FormatError, InputError) as error:
            raise Refusal(400, str(error)) from None
        except FullError as error:
            raise Refusal(503, str(error), retry_after=FULL_SECONDS) from None
        except ModelregError as error:
            raise Refusal(500, f"no receipt could be made: {error}") from None


def _header_length(request: web.BaseRequest) -> int | None:
    values = request.headers.getall(_HEADER, [])
    if not values:
        return None
    if len(values) > 1 or not values[0].isascii() or not values[0].isdigit() or len(values[0]) > _DIGITS:
        raise Refusal(400, f"{_HEADER} must be one number of bytes", close=True)
    return int(values[0])


def _microseconds(job: Job) -> dict[str, int]:
    spent = job.spent
    return {
        "queue_us": spent.queue // _NS_PER_US,
        "run_us": spent.compute_infer // _NS_PER_US,
    }
