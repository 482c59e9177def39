"""What a worker calls: a job's spec becomes a configuration, a context and a run.

The seam between jobs and pipelines. It takes JSON and gives JSON, and knows neither processes nor records.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from studio.config.base import parse
from studio.config.pipeline import PipelineConfiguration
from studio.core.errors import (
    DiskSpaceError,
    Interrupted,
    NetworkError,
    OutOfMemory,
    StudioError,
    ValidationFailure,
)
from studio.core.events import Emit
from studio.core.paths import Home
from studio.core.stopping import StopFlag
from studio.pipeline.context import RunContext, Seams, recorded_stages
from studio.pipeline.runner import PhaseFunction, PipelineFailed, PipelineRunner
from studio.pipeline.stages import corpus, prerequisites, tokenizer, training, validation
from studio.pipeline.status import ErrorType, Phase, PipelineStatus

PHASES: dict[Phase, PhaseFunction] = {
    Phase.PREREQUISITE_CHECK: prerequisites.run,
    Phase.CORPUS_DOWNLOAD: corpus.run,
    Phase.TOKENIZER_TRAINING: tokenizer.run,
    Phase.MODEL_TRAINING: training.run,
    Phase.VALIDATION: validation.run,
}

ERRORS: dict[ErrorType, type[StudioError]] = {
    ErrorType.DISK_SPACE: DiskSpaceError,
    ErrorType.NETWORK: NetworkError,
    ErrorType.OOM: OutOfMemory,
    ErrorType.VALIDATION_FAILURE: ValidationFailure,
    ErrorType.INTERRUPTED: Interrupted,
}


class Job(Protocol):
    """What is used of a job's spec."""

    @property
    def job_id(self) -> str: ...

    @property
    def payload(self) -> Mapping[str, Any]: ...

    @property
    def home(self) -> str: ...

    @property
    def threads(self) -> int: ...


def make_context(
    run_id: str,
    config: PipelineConfiguration,
    home: Home,
    *,
    emit: Emit,
    stop: StopFlag,
    seams: Seams | None = None,
    continues: str | None = None,
    fresh: bool = False,
) -> RunContext:
    """A run's context; `continues` names the run whose checkpoints may be taken over."""
    run_dir = home.pipelines / run_id
    run_dir.mkdir(parents=True, exist_ok=True)
    previous = recorded_stages(home.pipelines / continues) if continues else {}
    return RunContext(run_id, config, home, run_dir, emit, stop, seams or Seams(), previous=previous, fresh=fresh)


def run_pipeline(context: RunContext) -> PipelineStatus:
    """All phases; PipelineFailed with the status when one fails."""
    return PipelineRunner(context, PHASES).run()


def run_pipeline_job(spec: Job, job_dir: Path, emit: Emit, stop: StopFlag) -> Mapping[str, Any]:
    """Kind `pipeline`: payload {config, continues?, fresh?} -> {phase, model}."""
    config = parse(PipelineConfiguration, spec.payload["config"], where="config")
    home = Home(Path(spec.home))
    context = make_context(
        spec.job_id,
        config,
        home,
        emit=emit,
        stop=stop,
        continues=spec.payload.get("continues"),
        fresh=bool(spec.payload.get("fresh")),
    )
    context.threads = spec.threads
    try:
        status = run_pipeline(context)
    except PipelineFailed as failed:
        raise plain_error(failed) from failed.cause
    return {"phase": status.current_phase.value, "model": context.report.get("model")}


def plain_error(failed: PipelineFailed) -> StudioError:
    """The cause when it speaks for itself, else an error of the same category."""
    if isinstance(failed.cause, StudioError):
        return failed.cause
    return ERRORS.get(failed.category, StudioError)(str(failed))
