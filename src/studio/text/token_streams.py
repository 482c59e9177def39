"""Token ids that lie in several memory-mapped shards, seen as one array; and the mixing of weighted sources.

It knows arrays and weights, no files and no text.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]


class TokenStream:
    """Pieces of memory maps, one after another: `len`, slices with step 1, single items, `np.asarray`.

    A slice inside one piece is a view; across pieces it is a copy. Piece i is `arrays[which[i]][starts[i] : starts[i] +
    sizes[i]]`.
    """

    def __init__(self, arrays: Sequence[NDArray[np.integer]], which: Int, starts: Int, sizes: Int) -> None:
        self._arrays, self._which, self._starts, self._sizes = list(arrays), which, starts, sizes
        self._ends = np.cumsum(sizes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of every array alike."""
        return self._arrays[0].dtype if self._arrays else np.dtype(np.uint16)

    @property
    def shape(self) -> tuple[int]:
        """(tokens,)"""
        return (len(self),)

    @property
    def boundaries(self) -> Int:
        """Where each piece starts, and at last the end: (pieces + 1,)."""
        return np.concatenate([np.zeros(1, dtype=np.int64), self._ends])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, key: int | slice) -> Any:
        if not isinstance(key, slice):
            index = range(len(self))[key]
            return self._between(index, index + 1)[0]
        start, stop, step = key.indices(len(self))
        assert step == 1, "a token stream is read forwards, without gaps"
        return self._between(start, max(start, stop))

    def _between(self, start: int, stop: int) -> NDArray[np.integer]:
        pieces = []
        piece = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            end = min(stop, int(self._ends[piece]))
            local = int(self._starts[piece]) + start - (int(self._ends[piece]) - int(self._sizes[piece]))
            pieces.append(self._arrays[int(self._which[piece])][local : local + end - start])
            start, piece = end, piece + 1
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty(0, dtype=self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.integer]:
        whole = self._between(0, len(self))
        return whole.astype(dtype) if dtype is not None else whole


def mixture(sources: Int, sizes: Int, weights: Sequence[float], *, seed: int) -> Int:
    """Which documents an epoch of weighted sources holds, and in which order: document numbers, some of them
    repeatedly.

    `sources` and `sizes` give each document's source number and tokens, `weights[s]` the share of the tokens that
    source `s` shall have (relative to the sum over sources that have tokens). When all weights are equal there is
    nothing to mix: every document once, in its order. Otherwise every document comes at least once, documents of a
    source that needs more are repeated (each as often as the others, give or take one), and all are shuffled by `seed`.
    """
    everything = np.arange(len(sizes), dtype=np.int64)
    tokens = np.bincount(sources, weights=sizes, minlength=len(weights))
    present = np.flatnonzero(tokens)
    shares = np.asarray(weights, dtype=np.float64)[present]
    if len(present) < 2 or np.all(shares == shares[0]):
        return everything
    rng = np.random.default_rng((seed, len(sizes)))
    needed = shares * np.max(tokens[present] / shares)
    chosen = [
        _repeated(rng.permutation(everything[sources == source]), sizes, float(wanted))
        for source, wanted in zip(present, needed, strict=True)
    ]
    return rng.permutation(np.concatenate(chosen))


def _repeated(documents: Int, sizes: Int, wanted_tokens: float) -> Int:
    """`documents` over and over until they hold `wanted_tokens`, rounded to the nearest document."""
    once = np.cumsum(sizes[documents])
    times, left = divmod(wanted_tokens, float(once[-1]))
    # the small tolerance keeps a source that needs exactly n rounds from losing its last document to rounding
    part = int(np.searchsorted(once, left + 1e-6 * wanted_tokens, side="right"))
    return np.concatenate([np.tile(documents, int(times)), documents[:part]])
