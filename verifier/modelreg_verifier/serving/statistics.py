"""What was asked of a served model, as Triton's statistics extension counts it.

Source: github.com/triton-inference-server/server, docs/protocol/extension_statistics.md. Nothing is batched
here, so each request is an execution.
"""

import threading
import time
from dataclasses import dataclass
from typing import Any

__all__ = ["Spent", "Statistics"]

_PHASES = ("queue", "compute_input", "compute_infer", "compute_output")


@dataclass(slots=True)
class Spent:
    """Nanoseconds that a request took, altogether and by phase."""

    total: int = 0
    queue: int = 0
    compute_input: int = 0
    compute_infer: int = 0
    compute_output: int = 0


class Statistics:
    """Counts of one model and version; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("success", "fail"), 0)
        self._spent = {"success": 0, "fail": 0, **dict.fromkeys(_PHASES, 0)}
        self._last = 0

    def add(self, spent: Spent, *, success: bool) -> None:
        """Count a request; of one that failed only the whole time is added."""
        with self._lock:
            outcome = "success" if success else "fail"
            self._counts[outcome] += 1
            self._spent[outcome] += spent.total
            self._last = time.time_ns() // 1_000_000
            if success:
                for phase in _PHASES:
                    self._spent[phase] += getattr(spent, phase)

    def document(self, model: str, version: str) -> dict[str, Any]:
        """The statistics in Triton's form; times in nanoseconds, `last_inference` in milliseconds."""
        with self._lock:
            done, spent = self._counts["success"], dict(self._spent)
            failed, last = self._counts["fail"], self._last
        phases = {phase: {"count": done, "ns": spent[phase]} for phase in _PHASES}
        none = {"count": 0, "ns": 0}
        batch = {"batch_size": 1} | {phase: phases[phase] for phase in _PHASES if phase != "queue"}
        return {
            "name": model,
            "version": version,
            "last_inference": last,
            "inference_count": done,
            "execution_count": done,
            "inference_stats": {
                "success": {"count": done, "ns": spent["success"]},
                "fail": {"count": failed, "ns": spent["fail"]},
                **phases,
                "cache_hit": none,
                "cache_miss": none,
            },
            "batch_stats": [batch] if done else [],
        }
