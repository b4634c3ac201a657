"""What monitoring reads, in Prometheus' text form. Labels come from our own tables, never from clients."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from modelreg_verifier.serving.statistics import Spent

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_NS = 1e9


class Metrics:
    """The metrics of one server.

    Args:
        waiting: how many requests wait for a worker.
        pending_bytes: bytes of bodies in memory.
        connections: open connections.
        room: bytes that are kept of openings, and how many may be; None for a server without receipts.
    """

    def __init__(
        self,
        *,
        waiting: Callable[[], int],
        pending_bytes: Callable[[], int],
        connections: Callable[[], int],
        room: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        labels = ("model", "version")
        self._requests = Counter(
            "modelreg_requests", "Requests by answer.", (*labels, "route", "status"), registry=self._registry
        )
        self._phases = {
            phase: Histogram(
                f"modelreg_{phase}_seconds", text, labels, registry=self._registry, buckets=_SECONDS
            )
            for phase, text in (
                ("request", "From the whole body to the answer."),
                ("queue", "Waiting for a worker."),
                ("run", "In the runtime."),
            )
        }
        gauges: list[tuple[str, str, Callable[[], int]]] = [
            ("modelreg_waiting_requests", "Requests that wait for a worker.", waiting),
            ("modelreg_pending_bytes", "Bytes of bodies in memory.", pending_bytes),
            ("modelreg_connections", "Open connections.", connections),
        ]
        if room is not None:
            gauges += [
                ("modelreg_openings_bytes", "Bytes that are kept of openings.", lambda: room()[0]),
                ("modelreg_openings_limit_bytes", "How many may be.", lambda: room()[1]),
            ]
        for name, text, value in gauges:
            Gauge(name, text, registry=self._registry).set_function(value)

    def count(self, route: str, status: int, model: str = "", version: str = "") -> None:
        """Count an answer."""
        self._requests.labels(model, version, route, str(status)).inc()

    def observe(self, model: str, version: str, spent: Spent) -> None:
        """Note what an inference took."""
        for phase, value in (("request", spent.total), ("queue", spent.queue), ("run", spent.compute_infer)):
            self._phases[phase].labels(model, version).observe(value / _NS)

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)
