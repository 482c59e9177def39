"""The seam between the engine and whatever computes logits.

A backend owns a key/value cache of `max_batch` slots and nothing else: it knows no text, no sampling and no users. It
is called by one thread at a time (the engine's). Slots 0..n-1 decode together, each at its own length.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Ints = NDArray[np.int64]


class Backend(Protocol):
    """What an engine needs; implemented by `backends.onnx` and `backends.torch`."""

    name: str
    vocab_size: int
    context_len: int
    max_batch: int

    def prefill(self, slot: int, ids: Sequence[int], start: int) -> Logits:
        """Put `ids` into `slot` at positions `start`..; logits (V,) after the last of them. May be called in pieces."""
        ...

    def decode(self, ids: Ints, lengths: Ints) -> Logits:
        """One token for each of slots 0..n-1, whose caches hold `lengths` tokens; logits (n, V).

        The array may be reused by the next call.
        """
        ...

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` cached tokens of a slot to another."""
        ...

    def score(self, ids: Sequence[int]) -> Logits:
        """Logits (T, V) at every position of one sequence; uses slot 0, so never while streams run."""
        ...

    def close(self) -> None:
        """Free what is held; calling it twice is harmless."""
        ...


def greedy(backend: Backend, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """The `tokens` most likely ids after each prompt, through the cache, `max_batch` prompts at a time."""
    results: list[list[int]] = []
    for first in range(0, len(prompts), backend.max_batch):
        batch = prompts[first : first + backend.max_batch]
        made = [[int(backend.prefill(slot, prompt, 0).argmax())] for slot, prompt in enumerate(batch)]
        lengths = np.array([len(prompt) for prompt in batch])
        for step in range(tokens - 1):
            logits = backend.decode(np.array([ids[-1] for ids in made]), lengths + step)
            for ids, token in zip(made, logits.argmax(axis=1).tolist(), strict=True):
                ids.append(token)
        results += made
    return results
