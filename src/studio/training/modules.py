"""The Lightning module: one class for pretraining, mid-training and SFT, which differ in their data and masks only.

It knows the model, its optimizer and its schedule. It refuses to know files, events and when to save.

Losses stay on the device until somebody asks: nothing here waits for an accelerator once per step.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from studio.config.training import TrainConfig
from studio.nn.gpt import GPT
from studio.nn.losses import IGNORE
from studio.training.datamodule import Batch
from studio.training.metrics import Tally
from studio.training.optim import build_optimizer
from studio.training.schedules import lr_lambda

EVAL_TOKENS = 1024
"""Tokens whose logits an evaluation holds at a time."""

LossFn = Callable[..., tuple[Tensor, Tensor]]
BeforeBatch = Callable[[int], None]
"""Called with the number of rows before each micro batch runs; a test injects an out-of-memory here."""


class LanguageModule(LightningModule):
    """Trains `gpt`; `loss_fn` is its loss, compiled or not."""

    def __init__(
        self,
        gpt: GPT,
        train: TrainConfig,
        *,
        total_steps: int,
        loss_fn: LossFn | None = None,
        before_batch: BeforeBatch | None = None,
    ) -> None:
        super().__init__()
        self.gpt = gpt
        self.train_config = train
        self.schedule = lr_lambda(train, total_steps)
        self._loss_fn: LossFn = loss_fn or gpt.loss
        self._before_batch = before_batch
        self._pending: list[tuple[Tensor, int, int]] = []  # loss, tokens, bytes of text
        self._norms: list[Tensor] = []

    def training_step(self, batch: Batch, batch_idx: int = 0) -> Tensor:
        """The loss of one micro batch, weighted by its share of the step's trained tokens."""
        if self._before_batch is not None:
            self._before_batch(batch.ids.shape[0])
        loss, _ = self._loss_fn(batch.ids, batch.targets, batch.segments, self.train_config.z_loss)
        self._pending.append((loss.detach(), batch.tokens, batch.text_bytes))
        return loss * batch.weight

    @torch.no_grad()
    def evaluate_batch(self, batch: Batch) -> tuple[Tally, int]:
        """Sums over one validation batch, and how many tokens the model's first choice got right."""
        hidden_BTD = self.gpt.hidden(batch.ids, batch.segments)
        wanted_N = batch.targets != IGNORE
        nats, right = 0.0, 0
        hidden_ND, targets_N = hidden_BTD[wanted_N], batch.targets[wanted_N]
        for start in range(0, len(targets_N), EVAL_TOKENS):
            targets_C = targets_N[start : start + EVAL_TOKENS]
            logits_CV = self.gpt.lm_head(hidden_ND[start : start + EVAL_TOKENS]).float()
            nats += float(torch.nn.functional.cross_entropy(logits_CV, targets_C, reduction="sum"))
            right += int((logits_CV.argmax(-1) == targets_C).sum())
        return Tally(nats=nats, tokens=batch.tokens, text_bytes=batch.text_bytes), right

    def configure_optimizers(self) -> Any:
        """One optimizer, one schedule that moves every optimizer step."""
        optimizer = build_optimizer(self.gpt, self.train_config.optim)
        self._fresh = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        scheduler = LambdaLR(optimizer, self.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def apply_current_settings(self) -> None:
        """After a resume: this run's hyperparameters, not those of the checkpoint (003: they may differ).

        With unchanged settings every value stays what it was, to the last bit.
        """
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, LambdaLR)
        factor = self.schedule(scheduler.last_epoch)
        for number, (group, fresh) in enumerate(zip(scheduler.optimizer.param_groups, self._fresh, strict=True)):
            group.update(fresh, initial_lr=fresh["lr"], lr=fresh["lr"] * factor)
            scheduler.base_lrs[number] = fresh["lr"]

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip to `max_grad_norm` and keep the norm from before."""
        limit = self.train_config.max_grad_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.gpt.parameters(), limit, foreach=True)
        self._norms.append(norm.detach())

    def learning_rate(self, step: int) -> float:
        """The configured rate after `step` optimizer steps; Muon's own rate moves by the same factor."""
        return self.train_config.optim.learning_rate * self.schedule(step)

    def forget_partial_step(self, micro_batches: int) -> None:
        """Take back the losses of an optimizer step that will not be finished."""
        if micro_batches:
            del self._pending[-micro_batches:]

    def take_tally(self) -> Tally:
        """Sums since the last call. Reads from the device."""
        tally = Tally(steps=len(self._norms), grad_norms=sum(float(norm) for norm in self._norms))
        for loss, tokens, text_bytes in self._pending:
            tally.nats += float(loss) * tokens
            tally.tokens += tokens
            tally.text_bytes += text_bytes
        self._pending.clear()
        self._norms.clear()
        return tally
