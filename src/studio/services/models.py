"""Models as commands and pages see them: find one, look at it, export it. A model is a folder; nothing is loaded to
list it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from studio.core.errors import ConflictError, NotFoundError, UsageError
from studio.core.fsio import read_json
from studio.core.paths import Home
from studio.services.pipelines import PipelineService

CONFIG = "config.json"


class ModelService:
    """The models that pipelines of one home made, and any folder that holds one."""

    def __init__(self, home: Home, pipelines: PipelineService) -> None:
        self._home = home
        self._pipelines = pipelines

    def resolve(self, text: str) -> Path:
        """A model's folder from a path, a run's id or its beginning, or `latest`. NotFoundError, UsageError."""
        if text != "latest" and (os.sep in text or Path(text).exists()):
            return _model_folder(Path(text))
        if text == "latest":
            return self._latest()
        run_id = self._pipelines.resolve(text)
        model = self._model_of(run_id)
        if model is None:
            raise NotFoundError(f"run {run_id[:8]} has no model yet", remedy=f"studio pipeline status {run_id[:8]}")
        return model

    def list(self) -> list[dict[str, Any]]:
        """One row per run that has a model, newest first."""
        rows = []
        for run in self._pipelines.list_runs():
            model = self._model_of(run["id"])
            if model is not None:
                rows.append({"id": run["id"], "name": run["name"], "phase": run["phase"], "val_loss": run["val_loss"],
                             "path": str(model)})  # fmt: skip
        return rows

    def show(self, text: str) -> dict[str, Any]:
        """Architecture, training figures, files and export verdict of one model."""
        folder = self.resolve(text)
        manifest = read_json(folder / "manifest.json") if (folder / "manifest.json").exists() else {}
        parity = folder / "onnx" / "parity.json"
        return {
            "path": str(folder),
            "config": read_json(folder / CONFIG),
            "manifest": {key: value for key, value in manifest.items() if key != "files"},
            "files": {
                path.relative_to(folder).as_posix(): path.stat().st_size
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            },
            "parity": read_json(parity) if parity.exists() else None,
        }

    def export(self, text: str, target: Path | None = None, *, int8: bool = True) -> Path:
        """The model's verified ONNX export, made if there is none; copied to `target` when given. ParityError."""
        folder = self.resolve(text)
        if target is not None and target.exists():
            raise ConflictError("this already exists", where=str(target), remedy="choose another folder")
        from studio.inference.exporting import export_verified

        export_verified(folder, int8=int8)
        if target is None:
            return folder / "onnx"
        shutil.copytree(folder / "onnx", target)
        return target

    def _latest(self) -> Path:
        for run in self._pipelines.list_runs():
            model = self._model_of(run["id"])
            if model is not None:
                return model
        raise NotFoundError("there is no model yet", where=str(self._home.root), remedy="studio pipeline run --wait")

    def _model_of(self, run_id: str) -> Path | None:
        report = self._pipelines.directory(run_id) / "report.json"
        model = read_json(report).get("model") if report.exists() else None
        return Path(model) if model and (Path(model) / CONFIG).exists() else None


def _model_folder(path: Path) -> Path:
    for folder in (path, path / "model", path / "best_model"):
        if (folder / CONFIG).is_file():
            return folder.resolve()
    if path.is_dir() and (path / "parity.json").exists():
        return path.resolve()
    if path.exists():
        raise UsageError("this folder holds no model", where=str(path), remedy="name a folder with config.json")
    raise NotFoundError("no such model", where=str(path), remedy="studio model list")
