"""What a job is on disk: one directory with `spec.json` in, `events.jsonl` out and `result.json` last.

The directory is all that supervisor and worker share. This module starts and stops nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from studio.core.errors import DataError
from studio.core.fsio import atomic_write_json, read_json

SPEC = "spec.json"
RESULT = "result.json"
EVENTS = "events.jsonl"
LOG = "log.jsonl"
STDERR = "stderr.log"
WORKER = "worker.json"
LOCK = "job.lock"
SPEC_FORMAT = 1


class JobState(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


FINAL = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED})


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One piece of work for a worker process."""

    job_id: str
    kind: str
    """Name in `studio.jobs.kinds`."""
    payload: Mapping[str, Any]
    """JSON that the kind understands."""
    home: str
    """Root of the data, absolute."""
    threads: int
    """Compute threads; part of the job, so that a resume computes the same numbers."""
    organization_id: str | None = None
    format: int = SPEC_FORMAT


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended; written last, so its presence means that the worker got that far."""

    state: JobState
    error_type: str = ""
    error_message: str = ""
    outcome: Mapping[str, Any] = field(default_factory=dict)


def write_spec(job_dir: Path, spec: JobSpec) -> None:
    job_dir.mkdir(parents=True, exist_ok=True)
    atomic_write_json(job_dir / SPEC, asdict(spec))


def read_spec(job_dir: Path) -> JobSpec:
    """DataError when the directory holds no job of this format."""
    path = job_dir / SPEC
    if not path.exists():
        raise DataError("no job here", where=str(job_dir), remedy="start the job again")
    row = read_json(path)
    if not isinstance(row, dict) or row.get("format") != SPEC_FORMAT:
        raise DataError("not a job of this version", where=str(path), remedy="start the job again")
    return JobSpec(**row)


def write_result(job_dir: Path, result: JobResult) -> None:
    atomic_write_json(job_dir / RESULT, asdict(result))


def read_result(job_dir: Path) -> JobResult | None:
    """None while the worker has not finished."""
    path = job_dir / RESULT
    if not path.exists():
        return None
    row = read_json(path)
    return JobResult(**{**row, "state": JobState(row["state"])})
