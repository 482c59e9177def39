"""Pipelines as a service, with a launcher that starts nothing: records, dead workers, resume and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from studio.core.errors import ConflictError, NotFoundError, UsageError
from studio.core.fsio import atomic_write_json
from studio.core.paths import Home
from studio.jobs.local import LocalLauncher
from studio.jobs.spec import JobResult, JobSpec, JobState, read_spec, write_result, write_spec
from studio.pipeline.status import (
    WORK_PHASES,
    ErrorType,
    Phase,
    PipelineStatus,
    StatusFile,
    phase_transitions,
)
from studio.services.bookkeeping import Bookkeeping, path_between
from studio.services.models import ModelService
from studio.services.pipelines import PipelineService, default_threads


class Launcher(LocalLauncher):
    """Starts nothing; `alive` says which jobs run."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: set[Path] = set()

    def start(self, job_dir: Path, spec: JobSpec | None = None) -> None:
        if spec is not None:
            write_spec(job_dir, spec)
        self.alive.add(job_dir)

    def _running(self, job_dir: Path) -> bool:
        return job_dir in self.alive


@pytest.fixture
def launcher() -> Launcher:
    return Launcher()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def books(home: Home) -> Bookkeeping:
    return Bookkeeping(home)


@pytest.fixture
def service(home: Home, launcher: Launcher, books: Bookkeeping) -> PipelineService:
    return PipelineService(home, launcher, books)


def advance(service: PipelineService, run_id: str, phases: Sequence[Phase]) -> PipelineStatus:
    file = StatusFile(service.directory(run_id) / "status.json")
    status = file.read()
    for phase in phases:
        status = status.timed(status.current_phase, 1.0).entered(phase, phase_transitions())
    return file.write(status)


def finish(service: PipelineService, launcher: Launcher, run_id: str, model: Path) -> None:
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    atomic_write_json(service.directory(run_id) / "report.json", {"model": str(model)})
    advance(service, run_id, [*WORK_PHASES[1:], Phase.COMPLETE])
    launcher.alive.clear()


def test_a_start_leaves_everything_a_worker_needs(service: PipelineService, books: Bookkeeping) -> None:
    run_id = service.start(["seed=7"], threads=1)
    spec = read_spec(service.directory(run_id))
    assert (spec.kind, spec.job_id, spec.threads) == ("pipeline", run_id, 1)
    assert spec.payload["config"]["seed"] == 7
    assert (service.directory(run_id) / "config.yaml").read_text().count("\nseed: 7\n") == 1
    record = books.records.pipeline_runs.get(run_id, organization_id=books.owner)
    assert (record.name, record.current_phase) == ("starter", Phase.PREREQUISITE_CHECK)


def test_relative_paths_are_the_callers(
    service: PipelineService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_id = service.start(["experiment=bilingual", "corpus.path=books", "output_directory=out"])
    config = read_spec(service.directory(run_id)).payload["config"]
    assert (config["corpus"]["path"], config["output_directory"]) == (str(tmp_path / "books"), str(tmp_path / "out"))


def test_a_record_follows_its_run_and_a_complete_one_registers_its_model(
    service: PipelineService, launcher: Launcher, books: Bookkeeping, tmp_path: Path
) -> None:
    run_id = service.start()
    advance(service, run_id, WORK_PHASES[1:4])
    assert service.status(run_id).current_phase is Phase.MODEL_TRAINING
    record = books.records.pipeline_runs.get(run_id, organization_id=books.owner)
    assert record.current_phase == Phase.MODEL_TRAINING
    assert [phase.value for phase in record.completed_phases] == [phase.value for phase in WORK_PHASES[:3]]
    StatusFile(service.directory(run_id) / "status.json").write(
        StatusFile(service.directory(run_id) / "status.json").read().restarted()
    )
    finish(service, launcher, run_id, tmp_path / "model")
    for _ in range(2):
        service.status(run_id)
    models = books.records.models.list(organization_id=books.owner)
    assert [(model.name, model.path) for model in models] == [("starter", str(tmp_path / "model"))]
    record = books.records.pipeline_runs.get(run_id, organization_id=books.owner)
    assert (record.current_phase, record.model_id) == (Phase.COMPLETE, models[0].id)


def test_a_dead_worker_is_settled_as_interrupted(service: PipelineService, launcher: Launcher) -> None:
    run_id = service.start()
    advance(service, run_id, WORK_PHASES[1:3])
    (service.directory(run_id) / "stderr.log").write_text("Killed\n")
    assert service.status(run_id).current_phase is Phase.TOKENIZER_TRAINING
    launcher.alive.clear()
    status = service.status(run_id)
    assert status.error_details is not None
    assert status.error_details.failed_phase is Phase.TOKENIZER_TRAINING
    assert status.error_details.error_type is ErrorType.INTERRUPTED
    assert status.error_details.stderr_output == "Killed"
    assert f"studio pipeline resume {run_id[:8]}" in status.error_details.error_message


def test_a_worker_that_failed_before_its_first_phase_says_why(service: PipelineService, launcher: Launcher) -> None:
    run_id = service.start()
    write_result(service.directory(run_id), JobResult(JobState.FAILED, "disk_space", "the disk is full"))
    launcher.alive.clear()
    error = service.status(run_id).error_details
    assert error is not None
    assert (error.error_type, error.error_message) == (ErrorType.DISK_SPACE, "the disk is full")


def test_resume_keeps_the_id_and_merges_overrides(service: PipelineService, launcher: Launcher) -> None:
    run_id = service.start(["seed=7"])
    with pytest.raises(ConflictError, match="is running"):
        service.resume(run_id)
    launcher.alive.clear()
    assert service.resume(run_id[:6]) == run_id
    launcher.alive.clear()
    assert service.resume("latest", ["pretrain.optim.learning_rate=0.001"]) == run_id
    payload = read_spec(service.directory(run_id)).payload
    assert payload["continues"] == run_id
    assert payload["config"]["seed"] == 7
    assert payload["config"]["pretrain"]["optim"]["learning_rate"] == 0.001


def test_a_complete_run_is_not_resumed(service: PipelineService, launcher: Launcher, tmp_path: Path) -> None:
    run_id = service.start()
    finish(service, launcher, run_id, tmp_path / "model")
    with pytest.raises(ConflictError, match="is complete"):
        service.resume(run_id)


def test_a_new_run_with_resume_from_checkpoint_names_the_newest_of_its_name(
    service: PipelineService, launcher: Launcher
) -> None:
    first = service.start()
    other = service.start(["experiment=bilingual", "corpus.path=books"])
    launcher.alive.clear()
    run_id = service.start(["resume_from_checkpoint=true"])
    assert read_spec(service.directory(run_id)).payload["continues"] == first
    assert {first, other, run_id} == {row["id"] for row in service.list_runs()}


def test_runs_are_found_by_id_beginning_and_latest(service: PipelineService) -> None:
    with pytest.raises(NotFoundError, match="no pipeline runs"):
        service.resolve("latest")
    ids = [service.start() for _ in range(20)]
    assert service.resolve(ids[3]) == ids[3]
    assert service.resolve("latest") == ids[-1]
    with pytest.raises(NotFoundError):
        service.resolve("zz")
    with pytest.raises(UsageError, match="fits"):
        service.resolve("")


def test_models_are_found_by_path_run_and_latest(
    home: Home, service: PipelineService, launcher: Launcher, tmp_path: Path
) -> None:
    models = ModelService(home, service)
    with pytest.raises(NotFoundError, match="no model yet"):
        models.resolve("latest")
    run_id = service.start()
    with pytest.raises(NotFoundError, match="has no model yet"):
        models.resolve(run_id[:8])
    finish(service, launcher, run_id, tmp_path / "made" / "model")
    for text in ("latest", run_id, run_id[:8], str(tmp_path / "made"), str(tmp_path / "made" / "model")):
        assert models.resolve(text) == tmp_path / "made" / "model"
    with pytest.raises(UsageError, match="holds no model"):
        models.resolve(str(home.pipelines))
    assert [row["id"] for row in models.list()] == [run_id]


def test_the_way_between_two_phases_is_legal() -> None:
    assert path_between(Phase.VALIDATION, Phase.VALIDATION) == []
    assert path_between(Phase.MODEL_TRAINING, Phase.COMPLETE) == [Phase.VALIDATION, Phase.COMPLETE]
    assert path_between(Phase.VALIDATION, Phase.CORPUS_DOWNLOAD) == [
        Phase.FAILED,
        Phase.PREREQUISITE_CHECK,
        Phase.CORPUS_DOWNLOAD,
    ]
    assert path_between(Phase.COMPLETE, Phase.FAILED) == []


@pytest.mark.parametrize(("value", "threads"), [("1", 1), ("3", 3)])
def test_threads_follow_the_environment(value: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert default_threads() == threads
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert default_threads() >= 1
