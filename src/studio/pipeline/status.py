"""What a pipeline run says about itself: the entities and transitions of spec 003 §2 and §4.

A status is a value: every change makes a new one, and `StatusFile` writes it atomically. This module knows nothing of
how a phase does its work; of the records it takes only the table of legal transitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from studio.core.clock import utc_now
from studio.core.errors import DataError, NotFoundError
from studio.core.fsio import atomic_write_json, read_json
from studio.core.states import TransitionTable
from studio.records.lifecycles import PIPELINE, PipelinePhase

STDERR_LINES = 50
CONSTITUTION_RSS_MB = 400
CONSTITUTION_PEAK_MB = 512


Phase = PipelinePhase
"""003 `current_phase`."""


class ErrorType(StrEnum):
    """003 `error_type`, with the two that the design adds: interrupted and internal."""

    DISK_SPACE = "disk_space"
    NETWORK = "network"
    OOM = "oom"
    VALIDATION_FAILURE = "validation_failure"
    INTERRUPTED = "interrupted"
    INTERNAL = "internal"


WORK_PHASES: tuple[Phase, ...] = (
    Phase.PREREQUISITE_CHECK,
    Phase.CORPUS_DOWNLOAD,
    Phase.TOKENIZER_TRAINING,
    Phase.MODEL_TRAINING,
    Phase.VALIDATION,
)
SKIPPABLE: frozenset[Phase] = frozenset({Phase.CORPUS_DOWNLOAD, Phase.TOKENIZER_TRAINING})


def phase_transitions(skip: frozenset[Phase] = frozenset()) -> TransitionTable[Phase]:
    """Strictly in order; a phase named in `skip` may be passed over; `failed` goes back to the start only by a
    resume.
    """
    edges = {phase: list(PIPELINE.allowed(phase)) for phase in PIPELINE.states}
    for targets in edges.values():
        for target in targets:
            if target in skip:
                targets.extend(further for further in edges[target] if further not in targets)
    return TransitionTable(PIPELINE.kind, PIPELINE.initial, edges)


class _Entity(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ErrorDetails(_Entity):
    """Why a run failed."""

    failed_phase: Phase
    """Phase that met the error."""
    error_type: ErrorType
    """Category; decides what a person can do about it."""
    error_message: str
    """One line: what, where and what to do."""
    stderr_output: str = ""
    """Last 50 lines of error output."""


class InferenceMetrics(_Entity):
    """Measured in a process of its own that never loads torch."""

    latency_p95_ms: int = Field(ge=0)
    """95th percentile of the time to the next token, in milliseconds, rounded up."""
    tokens_per_sec: float = Field(ge=0)
    """Tokens generated per second, one stream."""
    rss_mb: int = Field(ge=0)
    """Resident memory while generating, in MB, rounded up."""
    peak_mb: int = Field(ge=0)
    """Highest resident memory, in MB, rounded up."""

    @property
    def within_budget(self) -> bool:
        """003 "constitutional" budget of a 1 GB device."""
        return self.rss_mb <= CONSTITUTION_RSS_MB and self.peak_mb <= CONSTITUTION_PEAK_MB


class ValidationResults(_Entity):
    """Post-training quality checks."""

    sample_generations: tuple[str, ...] = ()
    """Texts the trained model wrote, at least one per language of the corpus."""
    final_train_loss: float | None = None
    """Mean loss on the training set in the last epoch, nats per token."""
    final_val_loss: float | None = None
    """Best loss on the held-out documents, nats per token: the loss of the model that is kept."""
    inference_metrics: InferenceMetrics | None = None
    """None until the probe has run."""
    constitutional_compliance: bool = False
    """RSS ≤ 400 MB and peak ≤ 512 MB."""


class PipelineStatus(_Entity):
    """Execution state of one run."""

    pipeline_id: str
    """UUID of the run."""
    start_time: datetime
    """When execution first began (UTC); a resume keeps it."""
    current_phase: Phase = Phase.PREREQUISITE_CHECK
    """Active phase, or complete, or failed."""
    completed_phases: tuple[Phase, ...] = ()
    """Finished phases in order."""
    phase_timings: Mapping[str, float] = Field(default_factory=dict)
    """Seconds spent in each phase, all attempts together."""
    artifacts_created: tuple[str, ...] = ()
    """Paths of what the run made or reused."""
    error_details: ErrorDetails | None = None
    """Set exactly when the phase is failed."""
    validation_results: ValidationResults | None = None
    """Set by the validation phase, also when it fails."""

    @property
    def finished(self) -> bool:
        return self.current_phase in (Phase.COMPLETE, Phase.FAILED)

    def changed(self, **fields: Any) -> PipelineStatus:
        """A checked copy with these fields replaced."""
        return PipelineStatus.model_validate({**dict(self), **fields})

    def entered(self, phase: Phase, table: TransitionTable[Phase]) -> PipelineStatus:
        """The status after the current phase succeeded; TransitionError when `phase` is not next."""
        table.check(self.current_phase, phase)
        done = self.completed_phases
        if self.current_phase in WORK_PHASES and self.current_phase not in done:
            done = (*done, self.current_phase)
        return self.changed(current_phase=phase, completed_phases=done)

    def failed(self, error: ErrorDetails, table: TransitionTable[Phase]) -> PipelineStatus:
        table.check(self.current_phase, Phase.FAILED)
        return self.changed(current_phase=Phase.FAILED, error_details=error)

    def restarted(self) -> PipelineStatus:
        """Where a resumed run begins: phases are gone through again in order, and finished work is found, not
        redone.
        """
        return self.changed(
            current_phase=Phase.PREREQUISITE_CHECK, completed_phases=(), error_details=None, validation_results=None
        )

    def timed(self, phase: Phase, seconds: float) -> PipelineStatus:
        timings = dict(self.phase_timings)
        timings[phase.value] = round(timings.get(phase.value, 0.0) + seconds, 3)
        return self.changed(phase_timings=timings)

    def with_artefacts(self, *paths: Path | str) -> PipelineStatus:
        known = list(self.artifacts_created)
        known.extend(str(path) for path in paths if str(path) not in known)
        return self.changed(artifacts_created=tuple(known))


def new_status(pipeline_id: str) -> PipelineStatus:
    return PipelineStatus(pipeline_id=pipeline_id, start_time=utc_now())


def last_lines(text: str, count: int = STDERR_LINES) -> str:
    return "\n".join(text.rstrip("\n").splitlines()[-count:])


class StatusFile:
    """`status.json` of a run: the whole status, replaced atomically at every change."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return self.path.exists()

    def read(self) -> PipelineStatus:
        """NotFoundError when there is none, DataError when it is not a status."""
        if not self.path.exists():
            raise NotFoundError("no pipeline status here", where=str(self.path), remedy="name another run")
        try:
            return PipelineStatus.model_validate(read_json(self.path))
        except ValueError as error:
            raise DataError(
                f"not a pipeline status ({error.__class__.__name__})", where=str(self.path), remedy="start a new run"
            ) from error

    def write(self, status: PipelineStatus) -> PipelineStatus:
        atomic_write_json(self.path, status.model_dump(mode="json"))
        return status
