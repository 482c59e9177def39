"""Pipelines as pages, the command line and Python see them: start, follow, resume, cancel, report.

The service starts workers and reads what they leave on disk; it never trains anything itself. A run whose worker is
gone without a result is settled as *interrupted* the first time anybody looks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.core.clock import iso
from studio.core.errors import ConflictError, NotFoundError, UsageError
from studio.core.fsio import read_json
from studio.core.ids import is_id, new_id
from studio.core.paths import Home, safe_child
from studio.jobs.local import DEFAULT_GRACE_S, LocalLauncher
from studio.jobs.spec import JobSpec, JobState, read_result, read_spec
from studio.pipeline.status import (
    ErrorDetails,
    ErrorType,
    Phase,
    PipelineStatus,
    StatusFile,
    new_status,
    phase_transitions,
)

if TYPE_CHECKING:
    from studio.config.pipeline import PipelineConfiguration
    from studio.config.text import DataSource
    from studio.services.bookkeeping import Bookkeeping

STATUS = "status.json"
CONFIG = "config.yaml"


@dataclass(frozen=True, slots=True)
class FoundCheckpoint:
    """Unfinished training that a new run could continue."""

    run_id: str
    step: int
    path: Path


class PipelineService:
    """All pipelines of one home."""

    def __init__(self, home: Home, launcher: LocalLauncher, books: Bookkeeping) -> None:
        self._home = home
        self._launcher = launcher
        self._books = books

    # -- starting ---------------------------------------------------------------------------------------------------

    def start(self, overrides: Sequence[str] = (), *, fresh: bool = False, threads: int | None = None) -> str:
        """Compose, check and start; returns the run id. ConfigError names the key that is wrong."""
        from studio.config.compose import load_pipeline

        return self.start_configured(load_pipeline(list(overrides)), overrides=overrides, fresh=fresh, threads=threads)

    def start_configured(
        self,
        config: PipelineConfiguration,
        *,
        overrides: Sequence[str] = (),
        fresh: bool = False,
        threads: int | None = None,
    ) -> str:
        """Start a run of a configuration made in Python. `fresh` forgets unfinished work of equal inputs."""
        from studio.config.saved import save

        config = with_absolute_paths(config)
        run_id = new_id()
        payload: dict[str, Any] = {
            "config": config.model_dump(mode="json"),
            "overrides": list(overrides),
            "fresh": fresh,
        }
        if config.resume_from_checkpoint:
            payload["continues"] = self._newest_named(config.name)
        spec = JobSpec(run_id, "pipeline", payload, str(self._home.root), threads or default_threads())
        directory = self._home.pipelines / run_id
        directory.mkdir(parents=True)
        save(directory / CONFIG, config)
        StatusFile(directory / STATUS).write(new_status(run_id))
        self._books.pipeline_started(run_id, config.name, payload["config"], directory)
        self._launcher.start(directory, spec)
        return run_id

    def resume(self, text: str = "latest", overrides: Sequence[str] = ()) -> str:
        """Continue a run under its own id. Other hyperparameters are welcome, another vocabulary or architecture is
        not.
        """
        run_id = self.resolve(text)
        directory = self.directory(run_id)
        if self.running(run_id):
            raise ConflictError(f"pipeline {run_id[:8]} is running", remedy="wait for it or cancel it")
        if self.status(run_id).current_phase is Phase.COMPLETE:
            raise ConflictError(f"pipeline {run_id[:8]} is complete", remedy="start a new run: studio pipeline run")
        spec = read_spec(directory)
        if overrides:
            spec = self._with_overrides(run_id, spec, overrides)
        self._launcher.start(directory, spec)
        return run_id

    def cancel(self, text: str, *, grace_s: float = DEFAULT_GRACE_S) -> JobState:
        """Ask the run to stop and keep what it has; after the grace it is killed. Returns how it stands."""
        run_id = self.resolve(text)
        state = self._launcher.cancel(self.directory(run_id), grace_s=grace_s)
        self.status(run_id)
        return state

    # -- looking ----------------------------------------------------------------------------------------------------

    def directory(self, run_id: str) -> Path:
        return safe_child(self._home.pipelines, run_id)

    def running(self, run_id: str) -> bool:
        return self._launcher.state(self.directory(run_id)) is JobState.RUNNING

    def status(self, text: str) -> PipelineStatus:
        """What the run says, after settling it if its worker died."""
        run_id = self.resolve(text)
        directory = self.directory(run_id)
        file = StatusFile(directory / STATUS)
        status = file.read() if file.exists() else new_status(run_id)
        if not status.finished and not self.running(run_id):
            status = file.read() if file.exists() else status
            if not status.finished:
                status = file.write(self._settled(directory, status))
        self._books.pipeline_seen(status, directory)
        return status

    def report(self, text: str) -> dict[str, Any]:
        """Everything worth telling about a run, as JSON; `studio.pipeline.report.render` makes lines of it."""
        from studio.pipeline.report import build

        run_id = self.resolve(text)
        self.status(run_id)
        return build(self.directory(run_id))

    def list_runs(self) -> list[dict[str, Any]]:
        """One row per run, newest first."""
        rows = []
        for run_id in self._ids():
            status = self.status(run_id)
            results = status.validation_results
            rows.append(
                {
                    "id": run_id,
                    "name": self._name(run_id),
                    "phase": status.current_phase.value,
                    "started": iso(status.start_time),
                    "val_loss": results.final_val_loss if results else None,
                    "error": status.error_details.error_message if status.error_details else None,
                }
            )
        return rows

    def resolve(self, text: str) -> str:
        """A run id from a whole id, its beginning, or `latest`. NotFoundError, or UsageError when it is not unique."""
        ids = self._ids()
        if text == "latest":
            if not ids:
                raise NotFoundError(
                    "there are no pipeline runs", where=str(self._home.root), remedy="studio pipeline run"
                )
            return ids[0]
        matches = [run_id for run_id in ids if run_id.startswith(text.lower())]
        if not matches:
            raise NotFoundError(f"no pipeline run '{text}'", where=str(self._home.root), remedy="studio pipeline list")
        if len(matches) > 1:
            raise UsageError(f"'{text}' fits {len(matches)} runs", remedy="give more of the id")
        return matches[0]

    def unfinished_checkpoint(self, overrides: Sequence[str] = ()) -> FoundCheckpoint | None:
        """Training that a stopped run of the same name left unfinished, unless the overrides already say to resume."""
        from studio.config.compose import load_pipeline
        from studio.pipeline.checkpoints import unfinished_training

        config = load_pipeline(list(overrides))
        source = None if config.resume_from_checkpoint else self._newest_named(config.name)
        if source is None or self.running(source):
            return None
        found = unfinished_training(self.directory(source))
        return FoundCheckpoint(source, found[1], found[0]) if found else None

    # -- inside -----------------------------------------------------------------------------------------------------

    def _ids(self) -> list[str]:
        """Newest first, by when the run was made."""
        if not self._home.pipelines.is_dir():
            return []
        folders = [path for path in self._home.pipelines.iterdir() if is_id(path.name)]
        return [path.name for path in sorted(folders, key=_made_at, reverse=True)]

    def _name(self, run_id: str) -> str:
        path = self.directory(run_id) / "spec.json"
        return str(read_json(path)["payload"]["config"]["name"]) if path.exists() else ""

    def _newest_named(self, name: str) -> str | None:
        return next((run_id for run_id in self._ids() if self._name(run_id) == name), None)

    def _with_overrides(self, run_id: str, spec: JobSpec, overrides: Sequence[str]) -> JobSpec:
        from studio.config.compose import load_pipeline
        from studio.config.saved import save

        wanted = [*spec.payload.get("overrides", []), *overrides]
        config = with_absolute_paths(load_pipeline(wanted))
        save(self.directory(run_id) / CONFIG, config)
        payload: Mapping[str, Any] = {
            **spec.payload,
            "config": config.model_dump(mode="json"),
            "overrides": wanted,
            "continues": run_id,
            "fresh": False,
        }
        return JobSpec(run_id, spec.kind, payload, spec.home, spec.threads, spec.organization_id)

    def _settled(self, directory: Path, status: PipelineStatus) -> PipelineStatus:
        """A run that is not running and not finished: its worker was killed, or never got to its first phase."""
        result = read_result(directory)
        if result is not None and result.state is JobState.FAILED:
            kind, message = ErrorType(result.error_type), result.error_message
        else:
            kind, message = (
                ErrorType.INTERRUPTED,
                f"the worker ended without a result. studio pipeline resume {status.pipeline_id[:8]}",
            )
        error = ErrorDetails(
            failed_phase=status.current_phase,
            error_type=kind,
            error_message=message,
            stderr_output=_tail(directory / "stderr.log"),
        )
        return status.failed(error, phase_transitions())


def with_absolute_paths(config: PipelineConfiguration) -> PipelineConfiguration:
    """Relative paths are the caller's: a run that is resumed from another folder must still find them."""
    corpus = config.corpus.model_copy(
        update={
            "path": _absolute(config.corpus.path),
            "sources": tuple(_absolute_source(source) for source in config.corpus.sources),
        }
    )
    changes: dict[str, Any] = {"corpus": corpus, "output_directory": _absolute(config.output_directory)}
    if config.sft_data is not None:
        changes["sft_data"] = _absolute_source(config.sft_data)
    return config.model_copy(update=changes)


def _absolute_source(source: DataSource) -> DataSource:
    return source.model_copy(update={"path": _absolute(source.path)}) if source.path else source


def _absolute(path: str | None) -> str | None:
    return (
        path if path is None or path.startswith(("http://", "https://")) else os.path.abspath(os.path.expanduser(path))
    )


def default_threads() -> int:
    """OMP_NUM_THREADS when somebody set it, else the cores that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _made_at(directory: Path) -> tuple[float, str]:
    path = directory / STATUS
    if not path.exists():
        return directory.stat().st_mtime, directory.name
    return StatusFile(path).read().start_time.timestamp(), directory.name


def _tail(path: Path) -> str:
    from studio.pipeline.status import last_lines

    return last_lines(path.read_text(encoding="utf-8", errors="replace")) if path.exists() else ""
