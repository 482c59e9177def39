"""A whole tiny pipeline: what it leaves behind, what a second run does again, and how checkpoints are continued."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from studio.config.compose import load_pipeline
from studio.core.errors import IncompatibleError, UsageError, ValidationFailure
from studio.core.fsio import read_json
from studio.core.paths import Home
from studio.core.stopping import StopFlag
from studio.inference.opening import open_engine
from studio.nn.checkpoint import verify_checkpoint
from studio.pipeline import report
from studio.pipeline.checkpoints import unfinished_training
from studio.pipeline.stages import prerequisites
from studio.pipeline.stages.prerequisites import memory_estimate, needed_disk_mb, recommendations
from studio.pipeline.stages.validation import repeated_ngrams
from studio.pipeline.status import WORK_PHASES, Phase
from studio.text.tokenizers import Tokenizer
from studio.training.datamodule import BatchShape, TokenDataModule
from studio.training.metrics import TrainingMetrics
from tests.pipeline.tiny import TINY, Ran, run_tiny

CACHED = {"starter", "corpus", "tokenizer", "tokens", "pretrain", "pretrain-model", "sft-tokens", "sft", "sft-model"}


def test_a_run_goes_through_every_phase(finished: Ran) -> None:
    assert finished.status.current_phase is Phase.COMPLETE
    assert finished.status.completed_phases == WORK_PHASES
    assert finished.made() == CACHED


def test_every_artefact_is_there_and_not_empty(finished: Ran) -> None:
    for path in map(Path, finished.status.artifacts_created):
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        assert files
        assert sum(file.stat().st_size for file in files) > 0


def test_the_model_verifies_and_answers(finished: Ran) -> None:
    model = Path(finished.context.report["model"])
    verify_checkpoint(model)
    with open_engine(model) as engine:
        assert engine.backend.name.startswith("onnx")
        assert engine.generate([[engine.tokenizer.bos_id]])[0].completion_tokens > 0


def test_the_results_of_validation(finished: Ran) -> None:
    results = finished.status.validation_results
    assert results is not None
    assert {sample["language"] for sample in finished.context.report["samples"]} == {"eng", "spa"}
    assert len(results.sample_generations) == 2
    assert results.final_train_loss is not None
    assert results.final_val_loss is not None
    assert results.inference_metrics is not None
    assert 0 < results.inference_metrics.rss_mb <= 150
    assert results.constitutional_compliance
    scores = finished.context.report["scores"]
    assert {when: scores[when]["eng"]["total"] for when in scores} == {"before": 8, "after": 8}


def test_training_metrics_belong_to_the_run(finished: Ran) -> None:
    metrics = TrainingMetrics.read(finished.context.run_dir / "training_metrics.json")
    assert metrics.run_id == finished.context.run_id
    assert metrics.epoch_history
    assert metrics.final_metrics is not None


def test_the_report_says_it_all(finished: Ran) -> None:
    text = "\n".join(report.render(report.build(finished.context.run_dir)))
    for words in ("complete", "model_training", "tokens/s", "story", "eng before", "max |Δlogit|", "studio chat"):
        assert words in text


def test_an_equal_run_does_nothing_again(home: Home, finished: Ran) -> None:
    again = run_tiny(home)
    assert again.made() == set()
    assert again.status.current_phase is Phase.COMPLETE
    assert again.context.report["model"] == finished.context.report["model"]


@pytest.mark.parametrize(
    ("changed", "made"),
    [
        ("validation.seed=7", set()),
        ("sft.optim.learning_rate=0.001", {"sft", "sft-model"}),
        ("export.int8=false", {"pretrain-model", "sft-model"}),
    ],
)
def test_only_what_changed_is_done_again(changed: str, made: set[str], home: Home, finished: Ran) -> None:
    assert run_tiny(home, changed).made() == made


def test_a_damaged_artefact_is_made_again_with_the_same_hash(home: Home, finished: Ran) -> None:
    before = finished.context.artefacts["tokens"]
    shard = max(before.path.glob("*.bin"), key=lambda path: path.stat().st_size)
    shard.write_bytes(shard.read_bytes()[:-1] + b"\xff")
    again = run_tiny(home)
    assert again.made() == {"tokens"}
    assert again.context.artefacts["tokens"].output_hash == before.output_hash
    assert any(kind == "warning" and shard.name in row["message"] for kind, row in again.events)


def test_skipping_needs_the_artefacts(home: Home, finished: Ran, tmp_path: Path) -> None:
    skipped = run_tiny(home, "skip_phases=[corpus_download,tokenizer_training]")
    assert skipped.status.current_phase is Phase.COMPLETE
    assert skipped.status.completed_phases == (Phase.PREREQUISITE_CHECK, Phase.MODEL_TRAINING, Phase.VALIDATION)
    empty = run_tiny(Home(tmp_path), "skip_phases=[corpus_download]")
    assert isinstance(empty.error, ValidationFailure)
    assert "skip_phases" in str(empty.error)


def test_other_hyperparameters_continue_from_the_checkpoint(home: Home, finished: Ran) -> None:
    more = run_tiny(home, "pretrain.max_steps=6", continues=finished.context.run_id)
    assert more.error is None, more.status.error_details
    assert "adopted" in more.kinds()
    resumed = [row for kind, row in more.events if kind == "resumed"]
    assert resumed
    assert "checkpoint_step_4" in resumed[0]["path"]
    assert more.context.report["training"]["pretrain"]["steps"] == 6
    assert more.made() == {"pretrain", "pretrain-model", "sft", "sft-model"}


def test_another_tokenizer_of_the_same_size_is_refused_too(home: Home, finished: Ran) -> None:
    refused = run_tiny(home, "tokenizer.max_piece_chars=5", continues=finished.context.run_id)
    assert isinstance(refused.error, IncompatibleError)
    assert "another tokenizer" in str(refused.error)


@pytest.mark.parametrize(
    ("changed", "words"),
    [("tokenizer.vocab_size=1200", "vocab_size 1000, not 1200"), ("model.n_layer=3", "n_layer 2, not 3")],
)
def test_another_vocabulary_or_architecture_is_refused(changed: str, words: str, home: Home, finished: Ran) -> None:
    refused = run_tiny(home, changed, continues=finished.context.run_id)
    assert isinstance(refused.error, IncompatibleError)
    assert words in str(refused.error)
    assert refused.status.error_details is not None
    assert refused.status.error_details.failed_phase is Phase.PREREQUISITE_CHECK


def test_a_stop_in_training_keeps_a_checkpoint_and_a_resume_ends_the_same(
    home: Home, finished: Ran, tmp_path: Path
) -> None:
    ours = Home(tmp_path)
    ours.stages.mkdir()
    for name in ("starter", "corpus", "tokenizer", "tokens"):
        shutil.copytree(home.stages / name, ours.stages / name)
    stop = StopFlag()
    stopped = run_tiny(ours, stop=_at_step(stop, 2), run_id="11111111-1111-4111-8111-111111111111")
    assert stopped.status.error_details is not None
    assert stopped.status.error_details.error_type.value == "interrupted"
    found = unfinished_training(stopped.context.run_dir)
    assert found is not None
    assert found[1] in (2, 3)
    resumed = run_tiny(ours, run_id=stopped.context.run_id)
    assert resumed.error is None
    assert resumed.context.artefacts["pretrain"].output_hash == finished.context.artefacts["pretrain"].output_hash


def _at_step(stop: StopFlag, step: int) -> StopFlag:
    """A flag that is set once it was looked at so often that training is under way."""

    class Counting(StopFlag):
        looks = 0

        def is_set(self) -> bool:
            import sys

            frame = sys._getframe(1)
            if "training" in frame.f_code.co_filename and "pipeline" not in frame.f_code.co_filename:
                self.looks += 1
                if self.looks > step:
                    self.set("SIGTERM")
            return super().is_set()

    return Counting()


def test_the_disk_formula_of_003() -> None:
    assert needed_disk_mb(3, 2_450_000) == pytest.approx(3 + 29.4 + 100)


def test_the_recommendations_of_003() -> None:
    def notes(*overrides: str, size_mb: float = 3) -> str:
        return "\n".join(recommendations(load_pipeline([*TINY, *overrides]), size_mb))

    assert "power of two" in notes()
    assert "power of two" not in notes("tokenizer.vocab_size=1024")
    assert "1 to 100 MB" in notes(size_mb=300)
    assert "is high for batch 128" in notes("pretrain.batch_size=128", "pretrain.optim.learning_rate=0.01")
    assert "pretrain.per_device_batch_size" not in notes()


def test_the_memory_estimate_grows_with_batch_and_length() -> None:
    def needed(*overrides: str) -> float:
        return memory_estimate(load_pipeline([*TINY, *overrides]))["memory_needed_mb"]

    assert needed() < needed("pretrain.batch_size=32") < needed("pretrain.batch_size=32", "model.sequence_len=512")


def test_a_batch_that_cannot_fit_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites, "available_memory_bytes", lambda: 10_000_000)
    assert "pretrain.per_device_batch_size" in "\n".join(recommendations(load_pipeline(TINY), 3))


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused = run_tiny(Home(tmp_path), f"output_directory={tmp_path / 'file'}")
    assert isinstance(refused.error, UsageError)
    assert "cannot write here" in str(refused.error)


def test_steps_are_proportional_to_epochs(finished: Ran) -> None:
    train = load_pipeline(TINY).pretrain
    shape = BatchShape(train.per_device_batch_size, train.gradient_accumulation_steps, 128)
    lengths = Tokenizer.load(finished.context.artefacts["tokenizer"].path).byte_lengths
    data = TokenDataModule(finished.context.artefacts["tokens"].path, train, shape, lengths, seed=1)
    assert data.order.steps_for(60) == pytest.approx(10 * data.order.steps_for(6), rel=0.02)


@pytest.mark.parametrize(
    ("ids", "share"), [([1, 2, 3], 0.0), ([1, 2, 3, 4, 5], 0.0), ([1] * 10, 6 / 7), ([1, 2, 3, 4] * 2, 1 / 5)]
)
def test_repeated_four_grams(ids: list[int], share: float) -> None:
    assert repeated_ngrams(ids) == pytest.approx(share)


def test_the_output_directory_gets_model_and_metrics(home: Home, finished: Ran, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run_tiny(home, f"output_directory={out}")
    assert ran.made() == set()
    verify_checkpoint(out / "best_model")
    assert read_json(out / "training_metrics.json")["run_id"] == ran.context.run_id
    assert (out / "corpus.txt").stat().st_size > 0
    assert (out / "tokenizer" / "tokenizer.json").is_file()


def test_samples_are_taken_on_the_way(finished: Ran) -> None:
    sampled = [row for kind, row in finished.events if kind == "sample"]
    assert sampled
    history = read_json(finished.context.run_dir / "training_metrics.json")["epoch_history"]
    assert len(history[-1]["sample_outputs"]) == 2, "one per language"


def test_a_middle_stage_goes_on_from_the_first(home: Home, finished: Ran) -> None:
    ran = run_tiny(home, "midtrain.max_steps=2", "midtrain.batch_size=8", "sft=null", "sft_data=null")
    assert ran.error is None, ran.status.error_details
    assert list(ran.context.report["training"]) == ["pretrain", "midtrain"]
    assert ran.context.report["model"].endswith("model")
    assert "midtrain-model" in ran.context.report["model"]


def test_a_stage_of_a_pipeline_names_no_model(home: Home) -> None:
    refused = run_tiny(home, "pretrain.model_name=latest")
    assert isinstance(refused.error, UsageError)
    assert "studio train pretrain train.model_name=latest" in str(refused.error)
