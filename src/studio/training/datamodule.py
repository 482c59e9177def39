"""Batches: rows of a token dataset as tensors, where batch *i* is a pure function of (seed, i).

It knows the dataset on disk and the shape of a batch. It refuses to know models and losses. There are no loader
workers: filling a batch costs a tenth of a millisecond, and a position is then all there is to save.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from studio.config.training import TrainConfig
from studio.core.errors import DataError
from studio.text.token_dataset import TokenDataset
from studio.training.packing import IGNORE, ConversationRows, Filled, RowOrder, Rows, TextRows, batches, evenly


class Batch(NamedTuple):
    """One micro batch."""

    ids: Tensor
    """(B, T) int64"""
    targets: Tensor
    """(B, T) int64, -100 where nothing is trained"""
    segments: Tensor | None
    """(B, T) int64 document numbers, or None"""
    weight: float
    """What the mean loss counts within its optimizer step, so that every trained token of the step counts the same."""
    tokens: int
    """Trained tokens."""
    text_bytes: int
    """Bytes of text that they stand for."""


@dataclass(frozen=True, slots=True)
class BatchShape:
    """Rows per micro batch, micro batches per optimizer step, tokens per row."""

    rows: int
    accumulate: int
    length: int

    @property
    def rows_per_step(self) -> int:
        """Rows that one optimizer step sees."""
        return self.rows * self.accumulate


class TokenDataModule(LightningDataModule):
    """Training and validation batches of one token dataset."""

    def __init__(
        self, data_dir: Path, train: TrainConfig, shape: BatchShape, byte_lengths: NDArray[np.integer], *, seed: int
    ) -> None:
        super().__init__()
        self.dataset = TokenDataset.open(data_dir)
        self.shape, self._bytes = shape, byte_lengths
        self._train, self._seed = train, seed
        self.rows = self._rows("train")
        self.order = RowOrder(len(self.rows), rows_per_step=shape.rows_per_step, seed=seed)
        self.validation_rows = self._rows("validation") if self._length_of("validation") > 1 else None
        self._start = 0

    def _length_of(self, split: str) -> int:
        return len(self.dataset.tokens(split))

    def _rows(self, split: str) -> Rows:
        tokens = self.dataset.tokens(split)
        if len(tokens) < 2:
            raise DataError(
                f"no {split} tokens in this dataset", where=str(self.dataset.path), remedy="Give it more text."
            )
        specials = {"bos_id": self.dataset.bos_id, "pad_id": self.dataset.pad_id}
        mask = self.dataset.mask(split)
        if mask is not None:
            wanted = mask if self._train.stage == "sft" else None
            return ConversationRows(tokens, wanted, self.shape.length, seed=self._seed, **specials)
        return TextRows(
            tokens,
            self.shape.length,
            seed=self._seed,
            separate=self._train.mask_documents,
            shift=split == "train",
            **specials,
        )

    def train_dataloader(self) -> "StepStream":
        """An endless stream from the position on that was restored."""
        return StepStream(self, self._start)

    def step_batches(self, step: int) -> list[Batch]:
        """The micro batches of optimizer step 0, 1, 2, ..."""
        indices, epochs = self.order.rows_of(step)
        filled = self.rows.fill(indices, epochs)
        total = int((filled.targets != IGNORE).sum())
        parts = [slice(at, at + self.shape.rows) for at in range(0, len(indices), self.shape.rows)]
        return [self._batch(_part(filled, part), total) for part in parts]

    def _batch(self, filled: Filled, step_tokens: int) -> Batch:
        trained = filled.targets[filled.targets != IGNORE]
        return Batch(
            torch.from_numpy(np.ascontiguousarray(filled.ids)),
            torch.from_numpy(np.ascontiguousarray(filled.targets)),
            None if filled.segments is None else torch.from_numpy(np.ascontiguousarray(filled.segments)),
            weight=len(trained) * self.shape.accumulate / max(1, step_tokens),
            tokens=len(trained),
            text_bytes=int(self._bytes[trained].sum()),
        )

    def validation_batches(self, limit: int | None) -> Iterator[Batch]:
        """The validation rows in batches of the training shape; `limit` batches, evenly spread, when not None."""
        if self.validation_rows is None:
            return
        cap = None if limit is None else limit * self.shape.rows
        indices = evenly(len(self.validation_rows), cap)
        for filled in batches(self.validation_rows, indices, self.shape.rows):
            yield self._batch(filled, 0)

    def state_dict(self) -> dict[str, Any]:
        """The position and what it refers to."""
        assert self.trainer is not None
        return {
            "optimizer_steps": self.trainer.global_step,
            "rows_per_step": self.shape.rows_per_step,
            "rows": len(self.rows),
            "seed": self._seed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the optimizer step that was last done."""
        self._start = int(state["optimizer_steps"])


def _part(filled: Filled, part: slice) -> Filled:
    segments = None if filled.segments is None else filled.segments[part]
    return Filled(filled.ids[part], filled.targets[part], segments)


class StepStream:
    """What Lightning iterates over: micro batch after micro batch, from optimizer step `start` on, for ever.

    No DataLoader: that would draw from torch's generator when it starts, and a resumed run starts once more.
    """

    def __init__(self, data: TokenDataModule, start: int) -> None:
        self._data, self._start = data, start

    def __iter__(self) -> Iterator[Batch]:
        step = self._start
        while True:
            yield from self._data.step_batches(step)
            step += 1
