"""Small real checkpoints and a fake backend, for tests of export, parity and inference."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from studio.config.model import ModelConfig
from studio.config.text import TokenizerConfig
from studio.inference.backends.base import Ints, Logits
from studio.nn.checkpoint import write_checkpoint
from studio.nn.gpt import GPT
from studio.text.tokenizers import Tokenizer, train_tokenizer

SENTENCES = (
    "The red ball is on the table and Ana sees it.",
    "¿Dónde está la pelota roja? La pelota roja está en la mesa.",
    "Tom has three apples, he gives one to Ana; two apples are left.",
    "El niño ve un árbol verde junto al río; mañana será otro día.",
    "12 + 7 = 19 and 3 + 4 = 7, said the teacher.",
)


def small_tokenizer(vocab_size: int = 400, model_type: str = "bpe") -> Tokenizer:
    """A byte-level tokenizer of a few sentences."""
    return train_tokenizer(SENTENCES * 3, TokenizerConfig(model_type=model_type, vocab_size=vocab_size))


def lively_model(config: ModelConfig, seed: int = 0) -> GPT:
    """A model whose every part matters: a fresh one adds nothing to the residual stream."""
    generator = torch.Generator().manual_seed(seed)
    model = GPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * parameter.shape[1] ** -0.5 if parameter.ndim == 2 else 1 + 0.2 * noise)
    return model


def make_checkpoint(folder: Path, *, seed: int = 0, vocab_size: int = 400, **shape: object) -> Path:
    """A checkpoint in `folder`: a lively model and its tokenizer."""
    tokenizer = small_tokenizer(vocab_size)
    tokenizer.save(folder.parent / f"{folder.name}-tokenizer")
    fields: dict[str, object] = {
        "n_head": 4,
        "n_kv_head": 2,
        "n_embd": 64,
        "intermediate_size": 96,
        "sequence_len": 192,
    }
    config = ModelConfig(vocab_size=tokenizer.vocab_size, **(fields | shape))
    write_checkpoint(
        folder,
        model_state=lively_model(config, seed).state_dict(),
        config=config,
        tokenizer_dir=folder.parent / f"{folder.name}-tokenizer",
        trainer_state={"global_step": 1, "epoch": 0.5},
    )
    return folder


class CountingBackend:
    """A fake backend: the next token is the last one plus one, or what `after` says.

    It keeps what each slot was fed, so that a test sees whether the engine kept slots and lengths in step.
    """

    name = "counting"

    def __init__(self, vocab_size: int = 400, context_len: int = 64, max_batch: int = 4) -> None:
        self.vocab_size, self.context_len, self.max_batch = vocab_size, context_len, max_batch
        self.slots: list[list[int]] = [[] for _ in range(max_batch)]
        self.batches: list[int] = []
        self.pieces: list[int] = []
        self.after: dict[int, int] = {}
        self.fail_prefill_on: int | None = None
        self.fail_decode = False
        self.closed = False

    def prefill(self, slot: int, ids: Sequence[int], start: int) -> Logits:
        if self.fail_prefill_on in ids:
            raise RuntimeError("prefill broke")
        self.pieces.append(len(ids))
        self.slots[slot] = self.slots[slot][:start] + list(ids)
        assert len(self.slots[slot]) == start + len(ids)
        return self._row(slot)

    def decode(self, ids: Ints, lengths: Ints) -> Logits:
        if self.fail_decode:
            raise RuntimeError("decode broke")
        self.batches.append(len(ids))
        for slot, (token, length) in enumerate(zip(ids.tolist(), lengths.tolist(), strict=True)):
            self.slots[slot] = [*self.slots[slot][:length], token]
            assert len(self.slots[slot]) == length + 1, "the engine fed a slot with a hole"
        return np.stack([self._row(slot) for slot in range(len(ids))])

    def move(self, source: int, target: int, length: int) -> None:
        self.slots[target] = self.slots[source][:length]

    def score(self, ids: Sequence[int]) -> Logits:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True

    def _row(self, slot: int) -> Logits:
        row = np.zeros(self.vocab_size, np.float32)
        last = self.slots[slot][-1]
        row[self.after.get(last, (last + 1) % self.vocab_size)] = 10
        return row
