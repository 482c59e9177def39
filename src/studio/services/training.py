"""Single training stages as jobs: `studio train pretrain|midtrain|sft`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studio.core.errors import StudioError
from studio.core.fsio import read_json
from studio.core.ids import new_id
from studio.core.paths import Home, safe_child
from studio.jobs.local import LocalLauncher
from studio.jobs.spec import JobSpec, JobState, read_result
from studio.services.models import ModelService
from studio.services.pipelines import default_threads

FOLDER = "trainings"


class TrainingFailed(StudioError):
    """A training job ended without a model."""


class TrainingService:
    """Single stages of one home; each run has a folder below `trainings/`."""

    def __init__(self, home: Home, launcher: LocalLauncher, models: ModelService) -> None:
        self._root = home.root / FOLDER
        self._home = home
        self._launcher = launcher
        self._models = models

    def start(self, stage: str, overrides: Sequence[str] = (), *, threads: int | None = None) -> str:
        """Compose, check and start; the run id. `train.model_name` may be a path, a run id or `latest`."""
        from studio.config.compose import load_train
        from studio.config.saved import save

        run = load_train(stage, list(overrides))
        payload: dict[str, Any] = {"config": run.model_dump(mode="json"), "overrides": list(overrides)}
        if run.train.model_name is not None:
            payload["model"] = str(self._models.resolve(run.train.model_name))
        if run.resume:
            payload["continues"] = self._newest(run.name)
        run_id = new_id()
        folder = self._root / run_id
        folder.mkdir(parents=True)
        save(folder / "config.yaml", run)
        self._launcher.start(
            folder, JobSpec(run_id, "train", payload, str(self._home.root), threads or default_threads())
        )
        return run_id

    def directory(self, run_id: str) -> Path:
        return safe_child(self._root, run_id)

    def running(self, run_id: str) -> bool:
        return self._launcher.state(self.directory(run_id)) is JobState.RUNNING

    def cancel(self, run_id: str) -> JobState:
        return self._launcher.cancel(self.directory(run_id))

    def outcome(self, run_id: str) -> dict[str, Any]:
        """{model, report} of a finished run; TrainingFailed says why there is none."""
        result = read_result(self.directory(run_id))
        if result is None:
            raise TrainingFailed(
                "the worker ended without a result", where=str(self.directory(run_id)), remedy="start it again"
            )
        if result.state is not JobState.DONE:
            raise TrainingFailed(result.error_message or result.state.value)
        return dict(result.outcome)

    def _newest(self, name: str) -> str | None:
        """Folder of the newest run of this name, whose checkpoints may be continued."""
        folders = sorted(self._root.glob("*/spec.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        return next(
            (str(path.parent) for path in folders if read_json(path)["payload"]["config"]["name"] == name), None
        )
