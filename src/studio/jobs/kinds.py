"""The kinds of job a worker knows, by import path: nothing heavy loads until a job of that kind runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from studio.core.errors import UsageError
from studio.core.events import Emit
from studio.core.stopping import StopFlag
from studio.jobs.spec import JobSpec

JobFunction = Callable[[JobSpec, Path, Emit, StopFlag], Mapping[str, Any]]
"""(spec, job directory, emit, stop) -> JSON outcome; raises a StudioError to fail."""

KINDS: dict[str, str] = {
    "pipeline": "studio.pipeline.entry:run_pipeline_job",
    "train": "studio.pipeline.single:run_train_job",
}


def resolve(kind: str) -> JobFunction:
    """UsageError for an unknown kind."""
    if kind not in KINDS:
        raise UsageError(f"unknown kind of job '{kind}'", where="job", remedy=f"use one of: {', '.join(sorted(KINDS))}")
    module, _, name = KINDS[kind].partition(":")
    return cast(JobFunction, getattr(import_module(module), name))
