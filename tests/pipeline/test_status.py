"""The status entity of 003: every transition, truthful timings, and a file that is always whole."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from pydantic import ValidationError

from studio.core.errors import DataError, NotFoundError, TransitionError
from studio.pipeline.status import (
    SKIPPABLE,
    WORK_PHASES,
    ErrorDetails,
    ErrorType,
    InferenceMetrics,
    Phase,
    StatusFile,
    ValidationResults,
    last_lines,
    new_status,
    phase_transitions,
)

ERROR = ErrorDetails(failed_phase=Phase.VALIDATION, error_type=ErrorType.OOM, error_message="no memory")
NEXT = dict(itertools.pairwise([*WORK_PHASES, Phase.COMPLETE]))


@pytest.mark.parametrize(("current", "wanted"), list(itertools.product(Phase, Phase)))
def test_every_pair_of_phases(current: Phase, wanted: Phase) -> None:
    table = phase_transitions()
    legal = (
        NEXT.get(current) is wanted
        or (current in WORK_PHASES and wanted is Phase.FAILED)
        or (current is Phase.FAILED and wanted is Phase.PREREQUISITE_CHECK)
    )
    if legal:
        assert table.check(current, wanted) is wanted
    else:
        with pytest.raises(TransitionError, match=rf"is {current}, it cannot become {wanted}; allowed: "):
            table.check(current, wanted)


def test_only_configured_phases_may_be_passed_over() -> None:
    assert Phase.TOKENIZER_TRAINING not in phase_transitions().allowed(Phase.PREREQUISITE_CHECK)
    skipping = phase_transitions(SKIPPABLE)
    assert skipping.check(Phase.PREREQUISITE_CHECK, Phase.MODEL_TRAINING) is Phase.MODEL_TRAINING
    with pytest.raises(TransitionError):
        skipping.check(Phase.PREREQUISITE_CHECK, Phase.VALIDATION)


def test_phases_complete_in_order_and_time_adds_up() -> None:
    table = phase_transitions()
    status = new_status("run").timed(Phase.PREREQUISITE_CHECK, 1.5).timed(Phase.PREREQUISITE_CHECK, 0.25)
    for phase in [*WORK_PHASES[1:], Phase.COMPLETE]:
        status = status.entered(phase, table)
    assert status.completed_phases == WORK_PHASES
    assert status.phase_timings == {"prerequisite_check": 1.75}
    assert status.finished


def test_a_failure_keeps_what_was_done_and_a_resume_goes_through_again() -> None:
    table = phase_transitions()
    status = new_status("run").entered(Phase.CORPUS_DOWNLOAD, table).with_artefacts("a", "a", "b").failed(ERROR, table)
    assert (status.current_phase, status.error_details, status.artifacts_created) == (Phase.FAILED, ERROR, ("a", "b"))
    again = status.restarted()
    assert (again.current_phase, again.error_details, again.completed_phases) == (Phase.PREREQUISITE_CHECK, None, ())
    assert again.pipeline_id == status.pipeline_id
    assert again.start_time == status.start_time


def test_the_file_gives_back_every_field(tmp_path: Path) -> None:
    file = StatusFile(tmp_path / "status.json")
    metrics = InferenceMetrics(latency_p95_ms=2, tokens_per_sec=900.5, rss_mb=80, peak_mb=90)
    results = ValidationResults(
        sample_generations=("once", "érase"),
        final_train_loss=1.0,
        final_val_loss=1.1,
        inference_metrics=metrics,
        constitutional_compliance=metrics.within_budget,
    )
    status = new_status("run").changed(validation_results=results, artifacts_created=("x",))
    file.write(status)
    assert file.read() == status


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path) -> None:
    file = StatusFile(tmp_path / "status.json")
    with pytest.raises(NotFoundError):
        file.read()
    file.path.write_text('{"pipeline_id": "x", "mood": "good"}')
    with pytest.raises(DataError):
        file.read()


@pytest.mark.parametrize(("rss", "peak", "within"), [(400, 512, True), (401, 512, False), (400, 513, False)])
def test_the_constitution(rss: int, peak: int, within: bool) -> None:
    assert InferenceMetrics(latency_p95_ms=1, tokens_per_sec=1, rss_mb=rss, peak_mb=peak).within_budget is within


def test_values_are_checked() -> None:
    with pytest.raises(ValidationError):
        new_status("run").changed(current_phase="thinking")
    assert {kind.value for kind in ErrorType} == {
        "disk_space", "network", "oom", "validation_failure", "interrupted", "internal",
    }  # fmt: skip


def test_the_last_fifty_lines() -> None:
    assert last_lines("\n".join(str(i) for i in range(80))).splitlines() == [str(i) for i in range(30, 80)]
