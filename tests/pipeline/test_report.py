"""The report of runs that are under way or have failed; that of a finished one is shown in test_run.py."""

from __future__ import annotations

from pathlib import Path

from studio.core.events import EventLog
from studio.core.fsio import atomic_write_json
from studio.pipeline import report
from studio.pipeline.status import (
    ErrorDetails,
    ErrorType,
    Phase,
    PipelineStatus,
    StatusFile,
    new_status,
    phase_transitions,
)


def lines(run_dir: Path, status: PipelineStatus) -> str:
    StatusFile(run_dir / "status.json").write(status)
    return "\n".join(report.render(report.build(run_dir)))


def test_a_run_that_trains_tells_its_step(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.jsonl") as log:
        log.emit("metrics", global_step=1, loss=9.0)
        log.emit("job_start")
        log.emit("metrics", global_step=40, total_steps=1200, loss=3.25)
    status = new_status("12345678-run").timed(Phase.CORPUS_DOWNLOAD, 2.5)
    text = lines(tmp_path, status)
    assert "now: step 40 of 1,200, loss 3.250" in text
    assert "next: studio pipeline status 12345678" in text
    with EventLog(tmp_path / "events.jsonl") as log:
        log.emit("stage_end", stage="pretrain")
    assert "now:" not in lines(tmp_path, status)


def test_a_failed_run_tells_why_and_what_next(tmp_path: Path) -> None:
    error = ErrorDetails(failed_phase=Phase.CORPUS_DOWNLOAD, error_type=ErrorType.NETWORK, error_message="no answer")
    status = new_status("12345678-run").entered(Phase.CORPUS_DOWNLOAD, phase_transitions())
    text = lines(tmp_path, status.failed(error, phase_transitions()))
    assert "failed in corpus_download (network): no answer" in text
    assert "next: studio pipeline resume 12345678" in text


def test_kinds_of_questions_stand_apart(tmp_path: Path) -> None:
    def row(right: int, total: int) -> dict[str, float]:
        return {"correct": right, "total": total, "share": right / total}

    after = {"eng": {**row(3, 4), "kinds": {"story": row(1, 2), "fact": row(2, 2)}}}
    before = {"eng": {**row(0, 4), "kinds": {"story": row(0, 2), "fact": row(0, 2)}}}
    atomic_write_json(tmp_path / "report.json", {"scores": {"before": before, "after": after}})
    rows = [line.split() for line in lines(tmp_path, new_status("run")).splitlines()]
    assert ["story", "0%", "of", "2", "50%", "of", "2"] in rows
    assert ["fact", "0%", "of", "2", "100%", "of", "2"] in rows
    assert ["all", "0%", "of", "4", "75%", "of", "4"] in rows
