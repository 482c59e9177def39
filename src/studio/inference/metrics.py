"""The inference metrics of spec 002 §5.3, counted where they happen.

It counts; how they are written for a scraper is `serving`'s business.
"""

import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from studio.inference.streams import Stream

Status = Literal["ok", "cancelled", "error"]
LATENCY_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class InferenceSnapshot:
    """One reading. Histogram counts are cumulative per upper bound in seconds, as Prometheus wants them."""

    model: str
    inference_requests_total: dict[Status, int]
    inference_latency_seconds: dict[float, int]
    latency_sum_s: float
    tokens_generated_total: int
    tokens_per_second: float  # of the stream that ended last
    active_requests: int
    gpu_memory_used_bytes: dict[str, int] = field(default_factory=dict)  # by device; empty on a CPU


class InferenceMetrics:
    """Counters of one engine; safe from any thread."""

    def __init__(self, model: str) -> None:
        self._lock = threading.Lock()
        self._model = model
        self._requests: Counter[Status] = Counter()
        self._latencies = [0] * len(LATENCY_BOUNDS_S)
        self._latency_sum_s = 0.0
        self._tokens = 0
        self._tokens_per_second = 0.0
        self._active = 0

    def started(self) -> None:
        """A request was queued."""
        with self._lock:
            self._active += 1

    def finished(self, stream: Stream) -> None:
        """A request ended, whatever the reason."""
        seconds = stream.seconds
        with self._lock:
            self._active -= 1
            self._requests[stream.status] += 1
            self._tokens += len(stream.ids)
            self._latency_sum_s += seconds
            self._tokens_per_second = len(stream.ids) / seconds if seconds > 0 else 0.0
            for place, bound in enumerate(LATENCY_BOUNDS_S):
                self._latencies[place] += seconds <= bound

    def snapshot(self) -> InferenceSnapshot:
        """All figures at one moment."""
        with self._lock:
            return InferenceSnapshot(
                model=self._model,
                inference_requests_total=dict(self._requests),
                inference_latency_seconds=dict(zip(LATENCY_BOUNDS_S, self._latencies, strict=True)),
                latency_sum_s=self._latency_sum_s,
                tokens_generated_total=self._tokens,
                tokens_per_second=self._tokens_per_second,
                active_requests=self._active,
                gpu_memory_used_bytes=_gpu_memory(),
            )


def _gpu_memory() -> dict[str, int]:
    torch = sys.modules.get("torch")  # a process that never loaded torch uses no accelerator
    if torch is None or not torch.cuda.is_available():
        return {}
    return {f"cuda:{index}": torch.cuda.memory_allocated(index) for index in range(torch.cuda.device_count())}
