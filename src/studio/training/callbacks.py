"""What happens between two optimizer steps: log, save, then evaluate, sample, close the epoch, and stop if asked.

One callback, because the order is the point: a checkpoint is durable before anything else that may fail or take long is
tried, and a run that is killed in between finishes it after the resume. It knows Lightning's hooks and this order; what
each part does it leaves to the parts.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from studio.config.training import TrainConfig
from studio.core.errors import DiskSpaceError
from studio.core.events import Emit
from studio.core.stopping import StopFlag
from studio.nn import checkpoint as checkpoints
from studio.training.checkpoint_io import RNG_KEY, SaveRequest
from studio.training.datamodule import TokenDataModule
from studio.training.evaluation import ensure_finite, evaluate
from studio.training.journal import Journal
from studio.training.metrics import EpochMetrics, Tally, TrainingMetrics, bits_per_byte
from studio.training.modules import LanguageModule
from studio.training.patience import abandon_when_stopped
from studio.training.progress import Best, Progress
from studio.training.randomness import random_states, restore_random_states, torch_states
from studio.training.stopwatch import StopWatch

Sampler = Callable[[LanguageModule, StopFlag], list[list[str]]]
"""Answers to the configured prompts, as [[input, output], ...]."""


@dataclass(slots=True)
class RunPlan:
    """What the callback needs to know of a run."""

    train: TrainConfig
    total_steps: int
    checkpoint_dir: Path
    metrics_path: Path
    """training_metrics.json"""
    run_id: str
    facts: dict[str, Any] = field(default_factory=dict)
    """Further entries of trainer_state.json: `train`, `machine`, and 003's `training_config`."""


class StepBoundary(Callback):
    """Runs the parts in their order. `progress` is the run's state."""

    def __init__(self, plan: RunPlan, *, journal: Journal, sampler: Sampler, emit: Emit, stop: StopFlag) -> None:
        self.plan, self._journal, self._sampler = plan, journal, sampler
        self._emit, self._stop = emit, stop
        self.progress = Progress()
        self.last: Path | None = None
        self._restored_rng: dict[str, Any] | None = None
        self._boundary_rng: dict[str, Any] = {}
        self.first_step = ExitStack()
        """Closed when the first step of this process is done, or the run has ended before."""
        self._begun = False
        self._saved_step = -1
        self._watch = StopWatch()

    # Lightning's hooks

    @property
    def state_key(self) -> str:
        """Under which our state lies in the checkpoint."""
        return "progress"

    def state_dict(self) -> dict[str, Any]:
        """The progress, for the checkpoint."""
        return self.progress.as_tree()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The progress, from the checkpoint."""
        self.progress = Progress.from_tree(state_dict)
        self._saved_step = self.progress.global_step

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the generators' states, as they were at the end of the last whole optimizer step."""
        checkpoint[RNG_KEY] = random_states() | self._boundary_rng

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the generators' states until everything that could draw from them is set up."""
        self._restored_rng = checkpoint[RNG_KEY]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish what a killed run had still to do after its last save, then take over its random states."""
        module = _language_module(pl_module)
        if self._restored_rng is not None:
            module.apply_current_settings()
            self.settle(trainer, module)
            restore_random_states(self._restored_rng)
        self._keep_rng(trainer)
        self._watch.restart()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The first step compiles: it may be given up."""
        if not self._begun:
            self._begun = True
            self.first_step.enter_context(abandon_when_stopped(self._stop))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After each micro batch; the last one of an optimizer step ends at a boundary."""
        self.first_step.close()
        module = _language_module(pl_module)
        unfinished = (batch_idx + 1) % trainer.accumulate_grad_batches
        if unfinished == 0:
            self._after_step(trainer, module)
        elif self._stop.is_set():
            module.forget_partial_step(unfinished)
            self._stop_now(trainer, module)

    # the order

    def _after_step(self, trainer: Trainer, module: LanguageModule) -> None:
        self.progress.global_step = trainer.global_step
        self._keep_rng(trainer)
        step = trainer.global_step
        if step % self.plan.train.logging_steps == 0 or step == self.plan.total_steps:
            self._log(trainer, module)
        if self._stop.is_set():
            self._stop_now(trainer, module)
            return
        if self._save_due(trainer):
            self.save(trainer, module)
        self.settle(trainer, module)

    def _keep_rng(self, trainer: Trainer) -> None:
        # only a run that accumulates can be stopped inside an optimizer step, whose draws are then taken back
        if trainer.accumulate_grad_batches > 1:
            self._boundary_rng = torch_states()

    def _stop_now(self, trainer: Trainer, module: LanguageModule) -> None:
        trainer.should_stop = True
        if self.progress.global_step > 0:
            self.save(trainer, module)

    def settle(self, trainer: Trainer, module: LanguageModule) -> None:
        """What follows a save: evaluation, samples, the end of an epoch, early stop. Once per step, resumed or not."""
        step = self.progress.global_step
        if self.progress.settled_step >= step or self._stop.is_set():
            return
        if self._evaluation_due(trainer):
            with self._watch.paused():
                self._evaluate(trainer, module)
        if self._stop.is_set():  # an evaluation that was broken off is done again after the resume
            return
        samples = self._sample(module) if self._samples_due(trainer) else []
        if self._epoch_ends(trainer) or self.progress.stopped_early:
            self._close_epoch(trainer, module, samples)
        self.progress.settled_step = step
        if self.progress.stopped_early:
            trainer.should_stop = True

    # what is due

    def _data(self, trainer: Trainer) -> TokenDataModule:
        data = getattr(trainer, "datamodule", None)
        assert isinstance(data, TokenDataModule)
        return data

    def _epoch_ends(self, trainer: Trainer) -> bool:
        step = self.progress.global_step
        closed = self._data(trainer).order.epochs_closed(step)
        return closed > self.progress.epochs_closed or (step == self.plan.total_steps and step > 0)

    def _evaluation_due(self, trainer: Trainer) -> bool:
        step, train = self.progress.global_step, self.plan.train
        if step == 0 or self._data(trainer).validation_rows is None:
            return False
        regular = step % train.eval_steps == 0 or step == self.plan.total_steps
        return regular or (train.eval_every_epoch and self._epoch_ends(trainer))

    def _samples_due(self, trainer: Trainer) -> bool:
        step, train = self.progress.global_step, self.plan.train
        if step == 0 or not train.sample_prompts:
            return False
        if train.sample_steps is None:
            return self._evaluation_due(trainer) or self._epoch_ends(trainer)
        return step % train.sample_steps == 0 or self._epoch_ends(trainer)

    def _save_due(self, trainer: Trainer) -> bool:
        step, train = self.progress.global_step, self.plan.train
        regular = step % train.save_steps == 0 or step == self.plan.total_steps
        return regular or self._evaluation_due(trainer) or (train.save_every_epoch and self._epoch_ends(trainer))

    # the parts

    def _log(self, trainer: Trainer, module: LanguageModule) -> None:
        self._collect(module)
        progress, data = self.progress, self._data(trainer)
        tally, seconds = progress.window, progress.window_seconds
        step, rows = progress.global_step, progress.window.steps * data.shape.rows_per_step
        row = {
            "loss": tally.loss,
            "learning_rate": module.learning_rate(step),
            "epoch": data.order.epoch_at(step),
            "global_step": step,
            "grad_norm": tally.grad_norm,
            "train_samples_per_second": rows / seconds if seconds > 0 else None,
            "tokens_per_second": rows * data.shape.length / seconds if seconds > 0 else None,
            "bits_per_byte": bits_per_byte(tally.nats, tally.text_bytes),
            "total_steps": self.plan.total_steps,
        }
        progress.last_train_loss = tally.loss
        progress.window, progress.window_seconds = Tally(), 0.0
        self._journal.record("metrics", row)

    def _collect(self, module: LanguageModule) -> None:
        """Bring what the module and the watch have counted into the progress, so that a save holds it."""
        tally = module.take_tally()
        busy, whole = self._watch.restart()
        progress = self.progress
        ensure_finite(tally.nats, "loss", progress.global_step)
        progress.tokens += tally.tokens
        progress.busy_seconds += busy
        progress.window.add(tally)
        progress.window_seconds += busy
        progress.epoch.add(tally)
        progress.epoch_seconds += whole

    def save(self, trainer: Trainer, module: LanguageModule) -> None:
        """Write a checkpoint for the current step, let `last` name it, remove what is beyond the limit."""
        step = self.progress.global_step
        if self._saved_step == step:
            return
        self._collect(module)
        with self._watch.paused():
            train, folder = self.plan.train, self.plan.checkpoint_dir
            path = folder / self._checkpoint_name(trainer)
            try:
                trainer.save_checkpoint(path, weights_only=False, storage_options=self._save_request(trainer, path))
            except DiskSpaceError as error:
                raise self._nothing_lost(error) from error
            checkpoints.point(folder, "last", path, global_step=step)
            self.last, self._saved_step = path, step
            if train.save_total_limit is not None:
                checkpoints.prune(folder, train.save_total_limit)
        self._emit("checkpoint", path=str(path), global_step=step)

    def _nothing_lost(self, error: DiskSpaceError) -> DiskSpaceError:
        kept = f"{self.last.name} is still the last one" if self.last is not None else "there is no checkpoint yet"
        return DiskSpaceError(f"{error.what}; {kept}", where=error.where, remedy="Free some space and resume.")

    def _checkpoint_name(self, trainer: Trainer) -> str:
        closed = self._data(trainer).order.epochs_closed(self.progress.global_step)
        if self.plan.train.save_every_epoch and closed > self.progress.epochs_closed:
            return f"checkpoint_epoch_{closed}"
        return f"checkpoint_step_{self.progress.global_step}"

    def _save_request(self, trainer: Trainer, path: Path) -> SaveRequest:
        progress, data = self.progress, self._data(trainer)
        best = progress.best
        state = {
            "global_step": progress.global_step,
            "epoch": data.order.epoch_at(progress.global_step),
            "max_steps": self.plan.total_steps,
            "num_train_epochs": self.plan.train.num_epochs,
            "train_batch_size": data.shape.rows,
            "num_input_tokens_seen": progress.tokens,
            "best_metric": best.eval_loss if best else None,
            "best_global_step": best.global_step if best else None,
            "best_model_checkpoint": best.checkpoint if best else None,
            "is_world_process_zero": True,
            "log_history": self._journal.recent(),
            "loss_history": progress.loss_history(),
            "epoch_history": [epoch.model_dump(mode="json") for epoch in progress.history],
            "checkpoint_path": path.name,
            "run_id": self.plan.run_id,
            **self.plan.facts,
        }
        metrics = dict(progress.evaluation)
        if progress.last_train_loss is not None:
            metrics["loss"] = progress.last_train_loss
        return SaveRequest(state, metrics)

    def _evaluate(self, trainer: Trainer, module: LanguageModule) -> None:
        figures = evaluate(module, self._data(trainer), self.plan.train.eval_batches, self._stop)
        if figures is None:
            return
        step = self.progress.global_step
        ensure_finite(figures["eval_loss"] or 0.0, "validation loss", step)
        self.progress.evaluation = {key: value for key, value in figures.items() if value is not None}
        where = {"global_step": step, "epoch": self._data(trainer).order.epoch_at(step)}
        self._journal.record("eval", {**figures, **where})
        self._judge(self.progress.evaluation["eval_loss"])

    def _judge(self, loss: float) -> None:
        progress, train = self.progress, self.plan.train
        if progress.best is None or loss < progress.best.eval_loss - train.early_stop_min_delta:
            assert self.last is not None
            progress.best = Best(loss, progress.global_step, self.last.name)
            progress.evaluations_without_gain = 0
            facts = {"metric": "eval_loss", "value": loss, "global_step": progress.global_step}
            checkpoints.point(self.plan.checkpoint_dir, "best", self.last, **facts)
        else:
            progress.evaluations_without_gain += 1
        patience = train.early_stop_patience
        progress.stopped_early = patience is not None and progress.evaluations_without_gain >= patience

    def _sample(self, module: LanguageModule) -> list[str]:
        with self._watch.paused():
            items = self._sampler(module, self._stop)
        self._journal.record("sample", {"at_step": self.progress.global_step, "items": items})
        return [output for _, output in items]

    def _close_epoch(self, trainer: Trainer, module: LanguageModule, samples: list[str]) -> None:
        self._collect(module)
        progress, step = self.progress, self.progress.global_step
        closed = self._data(trainer).order.epochs_closed(step)
        number = closed if closed > progress.epochs_closed else progress.epochs_closed + 1  # or a part of the next
        progress.epochs_closed = closed
        epoch = EpochMetrics(
            epoch_number=number,
            train_loss=progress.epoch.loss,
            validation_loss=progress.evaluation.get("eval_loss"),
            learning_rate=module.learning_rate(step),
            elapsed_seconds=progress.epoch_seconds,
            sample_outputs=samples,
            gradient_norm=progress.epoch.grad_norm,
        )
        progress.history = [*(past for past in progress.history if past.epoch_number != number), epoch]
        progress.epoch, progress.epoch_seconds = Tally(), 0.0
        self._journal.record("epoch", {**epoch.model_dump(mode="json"), "global_step": step})
        self.metrics().write(self.plan.metrics_path)

    def metrics(self) -> TrainingMetrics:
        """003's TrainingMetrics so far."""
        return TrainingMetrics(run_id=self.plan.run_id, epoch_history=self.progress.history).closed()


def _language_module(module: LightningModule) -> LanguageModule:
    assert isinstance(module, LanguageModule)
    return module
