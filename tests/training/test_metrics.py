"""003's verdicts at their borders, and the local files of metrics."""

import json
import math
from pathlib import Path

import pytest

from studio.core.errors import DataError
from studio.training import metrics
from studio.training.journal import Journal
from studio.training.metrics import EpochMetrics, Tally, TrainingMetrics, bits_per_byte, converged, judge, perplexity


def epoch(number: int, train: float, validation: float | None, seconds: float = 2.0) -> EpochMetrics:
    return EpochMetrics(
        epoch_number=number,
        train_loss=train,
        validation_loss=validation,
        learning_rate=0.1,
        elapsed_seconds=seconds,
        gradient_norm=1.0,
    )


@pytest.mark.parametrize(
    ("losses", "wanted"),
    [
        ([], False),
        ([1.0, 1.0], False),
        ([1.0, 1.0, 1.0], True),
        ([9.0, 1.0, 1.01, 1.02], True),
        ([1.0, 1.0, 1.0 + 3 * math.sqrt(1e-3 / 2) + 1e-6], False),  # variance just above 1e-3
        ([1.0, 1.0, 1.0 + 3 * math.sqrt(1e-3 / 2) - 1e-6], True),  # just below
    ],
)
def test_convergence_is_the_variance_of_the_last_three(losses: list[float], wanted: bool) -> None:
    assert converged(losses) is wanted


@pytest.mark.parametrize(("gap", "wanted"), [(0.5, False), (0.51, True), (-1.0, False)])
def test_overfitting_is_a_gap_above_half_a_nat(gap: float, wanted: bool) -> None:
    assert judge([epoch(1, 4.0, 4.0), epoch(2, 3.0, 3.0 + gap)]).overfitting_detected is wanted


def test_verdicts_over_a_history() -> None:
    final = judge([epoch(1, 4, 4.2), epoch(2, 3, 3.1), epoch(3, 2, 3.3)])
    assert final.best_epoch == 2
    assert final.total_training_time == 6.0
    nothing = judge([epoch(1, 4.0, None)])
    assert (nothing.best_epoch, nothing.convergence_achieved, nothing.overfitting_detected) == (None, False, False)


def test_training_metrics_survive_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "training_metrics.json"
    written = TrainingMetrics(epoch_history=[epoch(1, 4.0, 4.2)]).closed()
    written.write(path)
    assert TrainingMetrics.read(path) == written
    path.write_text('{"surprise": 1}')
    with pytest.raises(DataError, match="not a file of training metrics"):
        TrainingMetrics.read(path)


def test_means_come_from_sums() -> None:
    tally = Tally(nats=6.0, tokens=3, text_bytes=12, grad_norms=4.0, steps=2)
    tally.add(Tally(nats=2.0, tokens=1, text_bytes=4, grad_norms=2.0, steps=1))
    assert (tally.loss, tally.grad_norm) == (2.0, 2.0)
    assert Tally().loss is None
    assert Tally().grad_norm is None
    assert Tally(grad_norms=math.inf, steps=1).grad_norm is None


def test_bits_per_byte_and_perplexity() -> None:
    assert bits_per_byte(8 * math.log(2), 4) == pytest.approx(2.0)
    assert bits_per_byte(1.0, 0) is None
    assert perplexity(math.log(5)) == pytest.approx(5.0)
    assert math.isfinite(perplexity(1e6))


def rows_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_resumed_journal_forgets_what_will_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    events: list[str] = []

    def emit(kind: str, /, **fields: object) -> None:
        events.append(kind)

    journal = Journal(path, emit, resume_step=None)
    for step in (1, 2, 3):
        journal.record("metrics", {"global_step": step, "loss": 1.0})
    journal.record("eval", {"global_step": 2, "eval_loss": 1.0})
    journal.record("sample", {"at_step": 2, "items": []})
    journal.close()
    with path.open("a") as file:
        file.write('{"kind": "metrics", "global_st')  # torn by a kill
    resumed = Journal(path, emit, resume_step=2)
    assert [(row["kind"], row["global_step"]) for row in rows_of(path)] == [("metrics", 1), ("metrics", 2)]
    assert [row["global_step"] for row in resumed.recent()] == [1, 2]
    resumed.record("metrics", {"global_step": 3, "loss": 1.0})
    resumed.close()
    assert len(rows_of(path)) == 3
    fresh = Journal(path, emit, resume_step=None)
    fresh.close()
    assert rows_of(path) == []
    assert events == ["metrics"] * 3 + ["eval", "sample", "metrics"]


def test_the_journal_keeps_a_bounded_history_for_checkpoints(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "metrics.jsonl", lambda kind, /, **fields: None, resume_step=None)
    for step in range(150):
        journal.record("metrics", {"global_step": step})
    journal.close()
    assert [row["global_step"] for row in journal.recent()] == list(range(50, 150))
    assert metrics.CONVERGENCE_LOSSES == 3
