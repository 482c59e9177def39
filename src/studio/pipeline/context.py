"""What the phases of one run share: the configuration, the folders, what was made so far and who listens.

It carries things from one phase to the next and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.config.pipeline import PipelineConfiguration
from studio.core import fsio
from studio.core.errors import Interrupted, ValidationFailure
from studio.core.events import Emit
from studio.core.paths import Home
from studio.core.stopping import StopFlag
from studio.pipeline.download import DownloadPolicy
from studio.pipeline.stage import Artefact, Stage, StageCache
from studio.pipeline.status import ValidationResults

if TYPE_CHECKING:
    from studio.training.run import TrainingJob, TrainingOutcome

STAGES = "stages.json"
Train = Callable[..., "TrainingOutcome"]


def _run_training(job: TrainingJob, *, emit: Emit, stop: StopFlag) -> TrainingOutcome:
    from studio.training.run import run_training  # torch and lightning: only when a model is trained

    return run_training(job, emit=emit, stop=stop)


@dataclass(frozen=True, slots=True)
class Seams:
    """The outside world as the pipeline sees it; tests put their own here."""

    free_bytes: Callable[[Path], int] = fsio.free_bytes
    policy: DownloadPolicy = field(default_factory=DownloadPolicy)
    train: Train = _run_training


@dataclass(frozen=True, slots=True)
class StageRecord:
    """A stage that a run began: where, and from what."""

    directory: Path
    inputs: Mapping[str, Any]


def record_stage(run_dir: Path, stage: Stage, directory: Path) -> None:
    """Write down that the run uses this stage, before the work on it begins."""
    path = run_dir / STAGES
    rows = fsio.read_json(path) if path.exists() else {}
    rows[stage.name] = {"directory": str(directory), "inputs": dict(stage.inputs)}
    fsio.atomic_write_json(path, rows)


def recorded_stages(run_dir: Path) -> dict[str, StageRecord]:
    """The stages that a run began, by name; none when it never got so far."""
    path = run_dir / STAGES
    rows = fsio.read_json(path) if path.exists() else {}
    return {name: StageRecord(Path(row["directory"]), row["inputs"]) for name, row in rows.items()}


@dataclass
class RunContext:
    """One run in progress."""

    run_id: str
    config: PipelineConfiguration
    home: Home
    run_dir: Path
    emit: Emit
    stop: StopFlag
    seams: Seams = field(default_factory=Seams)
    artefacts: dict[str, Artefact] = field(default_factory=dict)
    """Finished stages by name."""
    paths: list[Path] = field(default_factory=list)
    """Everything made or reused, for `artifacts_created`."""
    report: dict[str, Any] = field(default_factory=dict)
    """Figures for the printed report."""
    validation: ValidationResults | None = None
    reuse_only: bool = False
    """Set while a skipped phase looks for its artefacts: nothing may be built."""
    fresh: bool = False
    """Unfinished training of equal inputs is forgotten rather than continued."""
    threads: int | None = None
    """Compute threads of the job, kept on resume; None = what the machine has."""
    previous: Mapping[str, StageRecord] = field(default_factory=dict)
    """Stages of the run whose checkpoints this one may continue."""

    @property
    def cache(self) -> StageCache:
        return StageCache(self.home.stages)

    def ensure(self, stage: Stage, build: Callable[[Path], Any]) -> Artefact:
        """Find or build a stage and remember it; Interrupted when a stop was asked for."""
        self.check_stop()
        if self.reuse_only and self.cache.find(stage) is None:
            raise ValidationFailure(
                f"skip_phases asks to skip what makes '{stage.name}', but there is none of these inputs",
                where=str(self.cache.directory(stage)),
                remedy="run once without skip_phases",
            )
        record_stage(self.run_dir, stage, self.cache.directory(stage))
        artefact = self.cache.ensure(stage, build, emit=self.emit)
        self.artefacts[stage.name] = artefact
        if artefact.path not in self.paths:
            self.paths.append(artefact.path)
        self.check_stop()
        return artefact

    def check_stop(self) -> None:
        if self.stop.is_set():
            raise Interrupted(
                f"stopped on request ({self.stop.reason})",
                where=f"pipeline {self.run_id}",
                remedy=f"studio pipeline resume {self.run_id}",
            )

    def warn(self, message: str) -> None:
        self.report.setdefault("warnings", []).append(message)
        self.emit("warning", message=message)
