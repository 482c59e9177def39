"""What a run does and in which order: logs, saves before it evaluates, samples, stops early, stops when asked."""

import json
import math
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from studio.core.errors import ConfigError, ConflictError, IncompatibleError, Interrupted, UsageError
from studio.core.stopping import StopFlag
from studio.nn import checkpoint as checkpoints
from studio.nn.checkpoint_files import read_tensors
from studio.nn.compiling import MaybeCompiled
from studio.training import run
from studio.training.metrics import TrainingMetrics
from studio.training.resume import TrainingCheckpoint
from studio.training.run import run_training
from tests.training.world import World, build_world

METRICS_002 = {"loss", "learning_rate", "epoch", "global_step", "grad_norm", "train_samples_per_second"}
EVAL_002 = {"eval_loss", "perplexity", "accuracy"}


class Listener:
    """An `Emit` that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, kind: str, /, **fields: Any) -> None:
        self.events.append((kind, fields))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == kind]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def told(world: World) -> tuple[Listener, Any]:
    """One ordinary run with everything in it."""
    listener = Listener()
    config = world.config(sample_prompts=["The cat"], eval_every_epoch=True, save_every_epoch=True)
    return listener, world.run(world.root / "ordinary", config=config, emit=listener)


def weights(outcome: Any) -> dict[str, torch.Tensor]:
    return read_tensors(outcome.last / "model.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_and_tells_002s_metrics(told: tuple[Listener, Any], world: World) -> None:
    listener, outcome = told
    rows = listener.of("metrics")
    assert all(row.keys() >= METRICS_002 for row in rows)
    assert all(row["tokens_per_second"] > 0 and row["bits_per_byte"] > 0 for row in rows)
    assert rows[-1]["loss"] < rows[0]["loss"] - 1
    assert rows[-1]["learning_rate"] == 0.0
    assert [row["global_step"] for row in rows[:3]] == [3, 6, 9]
    for row in listener.of("eval"):
        assert row.keys() >= EVAL_002
        assert row["perplexity"] == pytest.approx(math.exp(row["eval_loss"]))
        assert 0 <= row["accuracy"] <= 1
    assert outcome.steps == rows[-1]["total_steps"]
    assert outcome.tokens_per_second > 0
    assert not outcome.interrupted
    stored = [json.loads(line) for line in (world.root / "ordinary" / "metrics.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in stored] == [
        kind for kind, _ in listener.events if kind in ("metrics", "eval", "sample", "epoch")
    ]


def test_every_evaluation_and_sample_comes_after_a_durable_checkpoint(told: tuple[Listener, Any]) -> None:
    listener, _ = told
    saved = -1
    for kind, fields in listener.events:
        if kind == "checkpoint":
            saved = fields["global_step"]
        elif kind == "eval":
            assert saved == fields["global_step"]


def test_epochs_have_003s_fields_and_checkpoints_their_names(told: tuple[Listener, Any], world: World) -> None:
    listener, outcome = told
    history = outcome.metrics.epoch_history
    assert [epoch.epoch_number for epoch in history] == [1, 2, 3]
    assert all(epoch.validation_loss and epoch.train_loss and epoch.gradient_norm for epoch in history)
    assert all(len(epoch.sample_outputs) == 1 for epoch in history)
    assert outcome.metrics.final_metrics.best_epoch == 3
    assert TrainingMetrics.read(world.root / "ordinary" / "training_metrics.json") == outcome.metrics
    assert outcome.last.name == "checkpoint_epoch_3"
    names = [Path(event["path"]).name for event in listener.of("checkpoint")]
    assert {"checkpoint_epoch_1", "checkpoint_epoch_2", "checkpoint_step_5"} <= set(names)
    state = TrainingCheckpoint.read(outcome.last)
    assert state.epoch == 3
    assert len(state.loss_history["train_losses"]) == len(state.loss_history["val_losses"]) == 2  # before the third
    assert state.model_state().keys() == weights(outcome).keys()
    assert state.optimizer_state()


def test_best_and_last_and_no_more_than_the_limit(world: World, tmp_path: Path) -> None:
    config = world.config(save_steps=1, save_total_limit=3, max_steps=12, eval_steps=4)
    outcome = world.run(tmp_path, config=config)
    assert len(checkpoints.list_checkpoints(tmp_path / "checkpoints")) == 3
    assert outcome.last.name == "checkpoint_step_12"
    pointer = json.loads((tmp_path / "checkpoints" / "best.json").read_text())
    assert outcome.best.name == pointer["checkpoint"]
    assert pointer["metric"] == "eval_loss"


def test_early_stop_keeps_the_best(world: World, tmp_path: Path) -> None:
    rates = {"optimizer_type": "sgd", "learning_rate": 1e-9}  # it cannot get better by much
    config = world.config(
        optim=rates, eval_steps=1, early_stop_patience=2, early_stop_min_delta=0.5, max_steps=20, save_steps=100
    )
    outcome = world.run(tmp_path, config=config)
    assert outcome.stopped_early
    assert not outcome.interrupted
    assert outcome.steps == 3
    assert outcome.best.name == "checkpoint_step_1"
    assert outcome.last.name == "checkpoint_step_3"
    assert len(outcome.metrics.epoch_history) == 1  # the part of an epoch that was done
    again = world.run(tmp_path, config=config, resume=True)
    assert (again.steps, again.stopped_early) == (3, True)


@pytest.mark.parametrize("kind", ["metrics", "checkpoint", "eval"])
def test_a_stop_is_followed_by_a_checkpoint_and_an_exact_resume(world: World, tmp_path: Path, kind: str) -> None:
    config = world.config(max_steps=16)
    whole = world.run(tmp_path / "whole", config=config)
    stop = StopFlag()

    def emit(name: str, /, **fields: Any) -> None:
        if name == kind and fields.get("global_step", 0) >= 9:
            stop.set("SIGTERM")

    outcome = world.run(tmp_path / "run", config=config, stop=stop, emit=emit)
    assert outcome.interrupted
    assert checkpoints.open_checkpoint(outcome.last).metadata.global_step == outcome.steps < 16
    resumed = world.run(tmp_path / "run", config=config, resume=True)
    assert same(weights(resumed), weights(whole))
    history = [epoch.model_dump(exclude={"elapsed_seconds"}) for epoch in resumed.metrics.epoch_history]
    assert history == [epoch.model_dump(exclude={"elapsed_seconds"}) for epoch in whole.metrics.epoch_history]


def test_a_stop_before_the_first_step_leaves_nothing(world: World, tmp_path: Path) -> None:
    stop = StopFlag()
    stop.set("SIGTERM")
    with pytest.raises(Interrupted, match="stopped by SIGTERM before the first step"):
        world.run(tmp_path, stop=stop)
    assert checkpoints.latest(tmp_path / "checkpoints") is None


def test_resuming_a_finished_run_changes_nothing(world: World, tmp_path: Path) -> None:
    config = world.config(max_steps=6)
    first = world.run(tmp_path, config=config)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in first.last.iterdir())
    again = world.run(tmp_path, config=config, resume=True)
    assert again.last == first.last
    assert again.steps == 6
    assert sorted((path.name, path.stat().st_mtime_ns) for path in again.last.iterdir()) == before


def test_a_used_folder_is_not_overwritten(world: World, tmp_path: Path) -> None:
    world.run(tmp_path, config=world.config(max_steps=2))
    with pytest.raises(ConflictError, match="already holds a run's checkpoints"):
        world.run(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vocab_size": 999}, r"its vocabulary has \d+ tokens, not 999"),
        ({"n_layer": 3}, "architecture differs: n_layer is 2, not 3"),
        ({"intermediate_size": 64}, "architecture differs: intermediate_size is 256, not 64"),
    ],
)
@pytest.mark.parametrize("way", ["resume", "init_from"])
def test_another_vocabulary_or_architecture_is_refused(
    world: World, tmp_path: Path, change: dict[str, int], words: str, way: str
) -> None:
    config = world.config(max_steps=2)
    last = world.run(tmp_path / "first", config=config).last
    model = world.model.model_copy(update=change)
    where = {"resume": True} if way == "resume" else {"init_from": last}
    with pytest.raises(IncompatibleError, match=words):
        world.run(tmp_path / ("first" if way == "resume" else "second"), config=config, model=model, **where)


def test_another_tokenizer_of_the_same_size_is_refused(world: World, tmp_path: Path) -> None:
    config = world.config(max_steps=2)
    last = world.run(tmp_path / "first", config=config).last
    job = world.job(tmp_path / "second", config=config, init_from=last)
    other = tmp_path / "tokenizer"
    other.mkdir()
    for path in world.tokenizer_dir.iterdir():
        (other / path.name).write_text(path.read_text())
    document = json.loads((other / "tokenizer.json").read_text())
    (other / "tokenizer.json").write_text(json.dumps(document))  # the same, written otherwise
    with pytest.raises(IncompatibleError, match="another tokenizer"):
        run_training(replace(job, tokenizer_dir=other), emit=Listener(), stop=StopFlag())


def test_hyperparameters_may_change_on_resume(world: World, tmp_path: Path) -> None:
    first = world.run(tmp_path, config=world.config(max_steps=4, lr_scheduler_type="constant", warmup_steps=0))
    rates = {"optimizer_type": "muon", "learning_rate": 7e-4, "muon_learning_rate": 0.001, "weight_decay": 0.2}
    listener = Listener()
    config = world.config(max_steps=8, lr_scheduler_type="constant", warmup_steps=0, optim=rates, logging_steps=1)
    second = world.run(tmp_path, config=config, resume=True, emit=listener)
    assert {row["learning_rate"] for row in listener.of("metrics")} == {7e-4}
    groups = TrainingCheckpoint.read(second.last).optimizer_state()[0]["param_groups"]
    assert {group["name"]: group["lr"] for group in groups}["matrices"] == 0.001
    assert {group["name"]: group["weight_decay"] for group in groups}["matrices"] == 0.2
    versions = [checkpoints.open_checkpoint(path).version for path in (first.last, second.last)]
    assert versions == ["1.0.0", "1.0.1"]


def test_the_effective_batch_alone_decides_the_course(world: World, tmp_path: Path) -> None:
    losses = []
    for rows, passes in ((8, 1), (4, 2), (2, 4)):
        listener = Listener()
        config = world.config(
            per_device_batch_size=rows, gradient_accumulation_steps=passes, max_steps=6, logging_steps=1
        )
        model = world.model.model_copy(update={"dropout": 0.0})
        world.run(tmp_path / str(rows), config=config, model=model, emit=listener)
        losses.append([row["loss"] for row in listener.of("metrics")])
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-3)
    np.testing.assert_allclose(losses[2], losses[0], rtol=2e-3)


def test_the_next_stage_starts_from_the_weights_of_the_one_before(world: World, tmp_path: Path) -> None:
    first = world.run(tmp_path / "pretrain", config=world.config(max_steps=4))
    frozen = {"optimizer_type": "sgd", "learning_rate": 1e-30, "weight_decay": 0.0}
    config = world.config(stage="midtrain", max_steps=1, optim=frozen)
    second = world.run(tmp_path / "midtrain", config=config, init_from=first.last)
    assert same(weights(second), weights(first))
    manifest = checkpoints.verify_checkpoint(second.last)
    assert manifest["parents"]["checkpoint"] == checkpoints.verify_checkpoint(first.last)["hashes"]["weights"]
    assert manifest["version"] == "1.0.1"


def test_the_seed_decides_everything(world: World, tmp_path: Path) -> None:
    first, second, other = (
        world.run(tmp_path / str(number), config=world.config(max_steps=4, seed=seed))
        for number, seed in enumerate((1, 1, 2))
    )
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(other))


def test_evaluating_and_sampling_do_not_change_the_course(world: World, tmp_path: Path) -> None:
    quiet = world.run(tmp_path / "quiet", config=world.config(max_steps=6, eval_steps=100))
    busy = world.run(
        tmp_path / "busy", config=world.config(max_steps=6, eval_steps=1, sample_prompts=["A fox"], sample_steps=2)
    )
    assert same(weights(quiet), weights(busy))


def test_a_validation_cap_takes_the_same_rows_every_time(world: World, tmp_path: Path) -> None:
    listener = Listener()
    frozen = {"optimizer_type": "sgd", "learning_rate": 1e-30, "weight_decay": 0.0}
    config = world.config(max_steps=3, eval_steps=1, eval_batches=1, optim=frozen)
    world.run(tmp_path, config=config, emit=listener)
    assert len({row["eval_loss"] for row in listener.of("eval")}) == 1


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["linear", "constant", "wsd"])
def test_the_other_optimizers_and_schedules_resume_exactly(
    world: World, tmp_path: Path, optimizer: str, schedule: str
) -> None:
    config = world.config(optim={"optimizer_type": optimizer}, lr_scheduler_type=schedule, max_steps=6, save_steps=2)
    whole = world.run(tmp_path / "whole", config=config)
    seen = 0
    stop = StopFlag()

    def before_batch(rows: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 8:  # inside the fourth step
            stop.set("test")

    stopped = world.run(tmp_path / "run", config=config, stop=stop, before_batch=before_batch)
    assert stopped.interrupted
    assert same(weights(world.run(tmp_path / "run", config=config, resume=True)), weights(whole))


def test_wandb_without_wandb_is_refused_in_one_line(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match="wandb is not installed"):
        world.run(tmp_path, config=world.config(wandb=True))


def test_wandb_gets_the_figures_offline(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Run:
        def log(self, row: dict[str, Any], step: int) -> None:
            calls.append((step, row))

        def finish(self) -> None:
            calls.append("finished")

    fake = SimpleNamespace(Settings=lambda **settings: settings, init=lambda **kw: calls.append(kw) or Run())
    monkeypatch.setitem(sys.modules, "wandb", fake)
    world.run(tmp_path, config=world.config(wandb=True, max_steps=3))
    assert calls[0]["settings"]["mode"] == "offline"
    assert calls[1][0] == 3
    assert None not in calls[1][1].values()
    assert calls[-1] == "finished"


def test_a_first_step_that_takes_very_long_is_given_up(world: World, tmp_path: Path) -> None:
    stop = StopFlag()

    config = world.config(max_steps=4)
    last = world.run(tmp_path, config=world.config(max_steps=2)).last
    threading.Timer(1.0, stop.set, ("SIGTERM",)).start()

    def endless(rows: int) -> None:
        time.sleep(30)

    began = time.monotonic()
    outcome = world.run(tmp_path, config=config, resume=True, stop=stop, before_batch=endless)
    assert time.monotonic() - began < 10
    assert outcome.interrupted
    assert outcome.last == last


def test_a_window_longer_than_the_models_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="33 tokens are more than the model's sequence_len 32"):
        world.run(tmp_path, config=world.config(sequence_len=33))


def test_a_compiler_that_fails_leaves_an_eager_run(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BackendCompilerFailed(RuntimeError):
        __module__ = "torch._dynamo.exc"

    def broken(*args: Any) -> Any:
        raise BackendCompilerFailed("g++: fatal error")

    def maybe_compile(fn: Any, mode: str, *, cache_dir: Path | None) -> MaybeCompiled[Any]:
        return MaybeCompiled(fn, False, "off") if mode == "off" else MaybeCompiled(broken, True, "compiled")

    monkeypatch.setattr(run, "maybe_compile", maybe_compile)
    monkeypatch.setattr("studio.training.machine.COMPILE_FROM_FLOP", 0.0)
    listener = Listener()
    assert world.run(tmp_path, config=world.config(max_steps=2, compile="auto"), emit=listener).steps == 2
    assert listener.of("compile_failed") == [{"reason": "g++: fatal error"}]
