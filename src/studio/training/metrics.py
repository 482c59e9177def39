"""What a run tells about itself: 003's epoch history and verdicts, throughput, and the lines of metrics.jsonl.

It knows numbers and files of JSON. It refuses to know models, torch and Lightning, so that a report reads a run's
figures without loading any of them. Losses are mean nats per token.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from studio.core.errors import DataError
from studio.core.fsio import atomic_write_bytes, atomic_write_json, dump_json, iter_jsonl, read_json
from studio.core.ids import new_id

CONVERGENCE_VARIANCE = 1e-3
"""Variance of the last three validation losses below which a run has converged (003, DESIGN §3)."""
CONVERGENCE_LOSSES = 3
OVERFITTING_GAP = 0.5
"""Validation loss minus training loss above which a run overfits (003)."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EpochMetrics(_Record):
    """One epoch (003). The last one of a run may be a part of an epoch."""

    epoch_number: int = Field(ge=1)
    train_loss: float | None
    """Mean over the epoch's trained tokens."""
    validation_loss: float | None
    """At the end of the epoch; None when the run has no validation data."""
    learning_rate: float
    elapsed_seconds: float = Field(ge=0)
    """Time for the epoch, evaluations and saves included, waiting between kill and resume excluded."""
    sample_outputs: list[str] = []
    gradient_norm: float | None
    """Mean over the epoch's optimizer steps, before clipping."""


class FinalMetrics(_Record):
    """Verdicts over a run (003)."""

    total_training_time: float
    """Seconds, the sum over the epochs."""
    best_epoch: int | None
    convergence_achieved: bool
    overfitting_detected: bool


class TrainingMetrics(_Record):
    """003's TrainingMetrics; `training_metrics.json`."""

    run_id: str = Field(default_factory=new_id)
    """The pipeline's id when a pipeline runs it."""
    epoch_history: list[EpochMetrics] = []
    final_metrics: FinalMetrics | None = None

    def closed(self) -> "TrainingMetrics":
        """With `final_metrics` computed from the history."""
        return self.model_copy(update={"final_metrics": judge(self.epoch_history)})

    def write(self, path: Path) -> None:
        """Write as JSON, atomically."""
        atomic_write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> "TrainingMetrics":
        """What `write` wrote; NotFoundError, DataError."""
        try:
            return cls.model_validate(read_json(path))
        except ValueError as error:
            raise DataError("not a file of training metrics", where=str(path)) from error


def judge(history: Sequence[EpochMetrics]) -> FinalMetrics:
    """The verdicts: best epoch, converged (variance of the last 3 validation losses), overfitting (gap at the end)."""
    judged = [(e.validation_loss, e.epoch_number) for e in history if e.validation_loss is not None]
    losses = [loss for loss, _ in judged]
    last = history[-1] if history else None
    gap = 0.0
    if last is not None and last.validation_loss is not None and last.train_loss is not None:
        gap = last.validation_loss - last.train_loss
    return FinalMetrics(
        total_training_time=sum(epoch.elapsed_seconds for epoch in history),
        best_epoch=min(judged)[1] if judged else None,
        convergence_achieved=converged(losses),
        overfitting_detected=gap > OVERFITTING_GAP,
    )


def converged(losses: Sequence[float]) -> bool:
    """Whether the last three losses vary by less than the threshold (population variance)."""
    tail = losses[-CONVERGENCE_LOSSES:]
    if len(tail) < CONVERGENCE_LOSSES:
        return False
    mean = sum(tail) / len(tail)
    return sum((loss - mean) ** 2 for loss in tail) / len(tail) < CONVERGENCE_VARIANCE


def perplexity(loss: float) -> float:
    """exp(loss), the largest finite number where it would overflow."""
    return math.exp(min(loss, 700.0))


def bits_per_byte(nats: float, text_bytes: int) -> float | None:
    """Bits that the model needs for one byte of text; None when no text was counted."""
    return nats / (math.log(2) * text_bytes) if text_bytes > 0 else None


@dataclass(slots=True)
class Tally:
    """Sums over a stretch of training or evaluation, from which every mean is computed."""

    nats: float = 0.0
    """Sum of the losses of all trained tokens."""
    tokens: int = 0
    """Trained tokens."""
    text_bytes: int = 0
    """Bytes of the text that those tokens stand for."""
    grad_norms: float = 0.0
    steps: int = 0

    @property
    def loss(self) -> float | None:
        """Mean nats per token."""
        return self.nats / self.tokens if self.tokens else None

    @property
    def grad_norm(self) -> float | None:
        """Mean gradient norm per optimizer step; None when one of them overflowed."""
        return self.grad_norms / self.steps if self.steps and math.isfinite(self.grad_norms) else None

    def add(self, other: "Tally") -> None:
        """Count `other` as well."""
        self.nats += other.nats
        self.tokens += other.tokens
        self.text_bytes += other.text_bytes
        self.grad_norms += other.grad_norms
        self.steps += other.steps


def rewind(path: Path, step: int) -> None:
    """Drop the lines of metrics.jsonl that a resumed run will write again.

    Lines after `step` go; so do evaluations, samples and epochs at `step`, which follow the save.
    """
    if not path.exists():
        return
    kept = [row for row in _whole_rows(path) if _is_before(row, step)]
    atomic_write_bytes(path, b"".join(dump_json(row) + b"\n" for row in kept))


def _is_before(row: dict[str, Any], step: int) -> bool:
    at = int(row.get("global_step", row.get("at_step", 0)))
    return at < step or (at == step and row.get("kind") == "metrics")


def _whole_rows(path: Path) -> list[dict[str, Any]]:
    # a killed writer may have left the last line torn: it is one that will be written again
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) != len(data):
        os.truncate(path, len(whole))
    return [row for _, row in iter_jsonl(path)]
