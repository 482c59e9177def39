"""Decoding by torch with a static key/value cache: during training from the live model, on accelerators, and where no
verified export exists.

It knows a `GPT` and its cache. It refuses to know files, tokenizers and whether the model is good.
"""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from studio.inference.backends.base import Ints, Logits
from studio.nn.gpt import GPT
from studio.nn.kv_cache import KVCache


class TorchBackend:
    """Slots of a model that stays where it is: device and dtype are those of its weights.

    The model may be in training mode and may change between calls; dropout is off while this computes and the mode is
    put back afterwards.
    """

    def __init__(self, model: GPT, *, max_batch: int = 16) -> None:
        self.name = "torch"
        self.vocab_size, self.context_len = model.config.vocab_size, model.config.sequence_len
        self.max_batch = max_batch
        self._model = model
        weight = model.model.embed_tokens.weight
        self._device = weight.device
        self._cache = KVCache(model.config, max_batch, device=weight.device, dtype=weight.dtype)

    def prefill(self, slot: int, ids: Sequence[int], start: int) -> Logits:
        """See `Backend.prefill`."""
        self._cache.lengths[slot] = start
        last: Logits = self._forward(torch.tensor([list(ids)]), [slot])[0]
        return last

    def decode(self, ids: Ints, lengths: Ints) -> Logits:
        """See `Backend.decode`."""
        count = len(ids)
        self._cache.lengths[:count] = lengths.tolist()
        slots = None if count == self.max_batch else range(count)
        return self._forward(torch.from_numpy(np.asarray(ids, np.int64))[:, None], slots)

    def move(self, source: int, target: int, length: int) -> None:
        """See `Backend.move`."""
        for cache in (self._cache.keys, self._cache.values):  # (L, slots, KV, capacity + 1, head_dim)
            cache[:, target, :, :length] = cache[:, source, :, :length]

    def score(self, ids: Sequence[int]) -> Logits:
        """See `Backend.score`; the plain forward pass, no cache."""
        with self._evaluating(), torch.inference_mode():
            logits_BTV = self._model(torch.tensor([list(ids)], device=self._device))
        return _array(logits_BTV[0])

    def close(self) -> None:
        """See `Backend.close`."""

    def _forward(self, ids_BT: torch.Tensor, slots: Sequence[int] | None) -> Logits:
        with self._evaluating(), torch.inference_mode():
            logits_BV = self._model.decode(ids_BT.to(self._device), self._cache, slots=slots, last_only=True)
        return _array(logits_BV)

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        if not self._model.training:
            yield
            return
        self._model.eval()
        try:
            yield
        finally:
            self._model.train()


def _array(logits: torch.Tensor) -> Logits:
    array: Logits = logits.float().cpu().numpy()
    return array
