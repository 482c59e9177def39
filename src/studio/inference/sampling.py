"""Choosing the next token from one row of logits, and noticing stop strings in the text that results.

It knows numbers and strings. It refuses to know models, batches and threads: each stream has its own `Sampler` with its
own random numbers, so that what it draws cannot depend on its neighbours.
"""

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from studio.inference.backends.base import Logits

if TYPE_CHECKING:  # pydantic costs a slim process 18 MB
    from studio.config.generation import GenerationParams

FIRST_REACH = 8.0  # logits below the best one that the first look covers
SLACK = 1.25  # the next look reaches this much further than the last cut


class Sampler:
    """Temperature, top-k, then top-p (the order of transformers), drawn with one uniform number per token.

    Temperature 0 takes the most likely token, the lowest id on a tie. The cut is exact: `_reach` only remembers how
    far below the best logit the last top-k lay, so that usually a few hundred candidates are sorted, not the
    vocabulary.
    """

    def __init__(self, params: "GenerationParams") -> None:
        self.seed = secrets.randbits(63) if params.seed is None else params.seed
        self._temperature, self._top_k, self._top_p = params.temperature, params.top_k, params.top_p
        self._random = np.random.Generator(np.random.PCG64(self.seed))
        self._reach = FIRST_REACH

    @property
    def greedy(self) -> bool:
        """Whether no random number is ever drawn."""
        return self._temperature == 0 or self._top_k == 1

    def pick(self, row: Logits) -> int:
        """One id from the logits (V,)."""
        if self.greedy:
            return int(row.argmax())
        ids = self._candidates(row)
        logits = row[ids].astype(np.float64)
        cumulative = np.cumsum(np.exp((logits - logits[0]) / self._temperature))
        kept = int(np.searchsorted(cumulative, self._top_p * cumulative[-1])) + 1
        kept = min(kept, len(cumulative))
        drawn = np.searchsorted(cumulative[:kept], self._random.random() * cumulative[kept - 1], side="right")
        return int(ids[min(int(drawn), kept - 1)])

    def _candidates(self, row: Logits) -> NDArray[np.intp]:
        """Ids of the `top_k` largest logits, largest first, lower id first on a tie."""
        k = min(self._top_k, len(row))
        best = row.max()
        ids = np.flatnonzero(row > best - self._reach)
        if len(ids) < k:
            ids = np.flatnonzero(row >= np.partition(row, -k)[-k]) if k < len(row) else np.arange(len(row))
        ids = ids[np.argsort(-row[ids], kind="stable")][:k]
        self._reach = max(1e-3, float(best - row[ids[-1]]) * SLACK)
        return ids


class StopScanner:
    """Lets text through until a stop string appears in it, however the text was cut into pieces.

    What could be the beginning of a stop string is held back until it turns out not to be.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """(text to show, whether a stop string was reached); the stop string itself is never shown."""
        if not self._stops:
            return text, False
        text = self._held + text
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self._held = ""
            return text[: min(places)], True
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def flush(self) -> str:
        """What was held back, once nothing more will come."""
        text, self._held = self._held, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if stop.startswith(text[-size:])), 0)
