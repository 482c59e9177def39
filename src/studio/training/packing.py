"""Rows of fixed length made from token streams, and the order in which a run sees them.

It knows arrays of token ids, masks and seeds, and no files, no torch and no models. Everything is a pure function of
the arrays, the seed and a position, so that a resumed run goes on with exactly the rows that the killed one would have
seen.

* `TextRows` cuts running text into windows; each epoch shifts the windows, so that a token meets other neighbours.
* `ConversationRows` lays whole conversations side by side; each is a segment of its own, and only masked tokens count.
* `RowOrder` says which rows an optimizer step takes: every row once an epoch, in an order drawn from (seed, epoch).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

IGNORE = -100
Int = NDArray[np.int64]


class Filled(NamedTuple):
    """A batch as arrays, each (B, T)."""

    ids: Int
    targets: Int
    """The next token, or IGNORE where none is trained."""
    segments: Int | None
    """The document of each token, when documents may not see each other."""


class Rows(Protocol):
    """Numbered rows that can be filled into a batch."""

    def __len__(self) -> int: ...

    def fill(self, indices: Int, epochs: Int) -> Filled:
        """The rows `indices` as they look in `epochs` (same length)."""
        ...


class TextRows:
    """Windows of `length` tokens over one stream. The last window is padded when the stream is shorter than one."""

    def __init__(
        self,
        tokens: NDArray[np.integer],
        length: int,
        *,
        seed: int,
        bos_id: int,
        pad_id: int,
        separate: bool,
        shift: bool,
    ) -> None:
        self._tokens, self._length, self._seed = tokens, length, seed
        self._bos, self._pad, self._separate = bos_id, pad_id, separate
        usable = len(tokens) - 1
        # with shifting, every window must exist at the largest shift as well
        self._shifts = shift and usable >= 2 * length
        self._count = (usable - length + 1) // length if self._shifts else -(-usable // length)
        self._count = max(1, self._count)

    def __len__(self) -> int:
        return self._count

    def shift(self, epoch: int) -> int:
        """Where the windows of `epoch` start: 0 in the first, then anywhere below `length`."""
        if epoch == 0 or not self._shifts:
            return 0
        return int(np.random.default_rng((self._seed, 1, epoch)).integers(self._length))

    def fill(self, indices: Int, epochs: Int) -> Filled:
        """See `Rows`."""
        length = self._length
        window = np.full((len(indices), length + 1), self._pad, dtype=np.int64)
        shifts = {int(epoch): self.shift(int(epoch)) for epoch in np.unique(epochs)}
        real = np.full(len(indices), length + 1)
        for row, (index, epoch) in enumerate(zip(indices, epochs, strict=True)):
            start = int(index) * length + shifts[int(epoch)]
            piece = self._tokens[start : start + length + 1]
            window[row, : len(piece)] = piece
            real[row] = len(piece)
        targets = window[:, 1:].copy()
        if (real <= length).any():
            targets[np.arange(length)[None, :] >= (real - 1)[:, None]] = IGNORE
        ids = window[:, :-1]
        segments = None
        if self._separate:
            segments = np.cumsum(ids == self._bos, axis=1)
            # what follows a document is the start of another: nothing to learn from it
            targets[targets == self._bos] = IGNORE
        return Filled(ids, targets, segments)


@dataclass(frozen=True, slots=True)
class PackingReport:
    """What packing did to the conversations."""

    conversations: int
    truncated: int
    """Longer than a row: only the beginning is used."""
    dropped: int
    """Nothing to learn within the first row's length."""
    rows: int
    filled: float
    """Share of the positions that hold a token."""


class ConversationRows:
    """Whole conversations packed into rows, largest first, each into the fullest row that still has room.

    `tokens` is one stream in which every conversation starts with `bos_id`; `mask` (same length) marks what is trained,
    None trains everything.
    """

    def __init__(
        self,
        tokens: NDArray[np.integer],
        mask: NDArray[np.integer] | None,
        length: int,
        *,
        seed: int,
        bos_id: int,
        pad_id: int,
    ) -> None:
        self._tokens, self._mask, self._length, self._pad = tokens, mask, length, pad_id
        starts = np.flatnonzero(np.asarray(tokens) == bos_id).astype(np.int64)
        ends = np.append(starts[1:], len(tokens)).astype(np.int64)
        sizes = np.minimum(ends - starts, length + 1)  # n tokens make n - 1 (input, target) pairs
        useful = np.array([self._trained(int(s), int(n)) for s, n in zip(starts, sizes, strict=True)], dtype=np.bool_)
        self._starts, self._sizes = starts[useful], sizes[useful]
        self._rows = pack(self._sizes - 1, length, seed=seed)
        self.report = PackingReport(
            conversations=len(starts),
            truncated=int(((ends - starts) > length + 1).sum()),
            dropped=int((~useful).sum()),
            rows=len(self._rows),
            filled=float((self._sizes - 1).sum() / max(1, len(self._rows) * length)),
        )

    def _trained(self, start: int, size: int) -> bool:
        return size > 1 and (self._mask is None or bool(np.any(self._mask[start + 1 : start + size])))

    def __len__(self) -> int:
        return len(self._rows)

    def fill(self, indices: Int, epochs: Int) -> Filled:
        """See `Rows`; the padding at the end of a row is a segment of its own."""
        shape = (len(indices), self._length)
        ids = np.full(shape, self._pad, dtype=np.int64)
        targets = np.full(shape, IGNORE, dtype=np.int64)
        segments = np.zeros(shape, dtype=np.int64)
        for row, index in enumerate(indices):
            at = 0
            for number, member in enumerate(self._rows[int(index)], start=1):
                start, pairs = int(self._starts[member]), int(self._sizes[member]) - 1
                piece = np.asarray(self._tokens[start : start + pairs + 1], dtype=np.int64)
                ids[row, at : at + pairs] = piece[:-1]
                wanted = piece[1:]
                if self._mask is not None:
                    wanted = np.where(self._mask[start + 1 : start + pairs + 1], wanted, IGNORE)
                targets[row, at : at + pairs] = wanted
                segments[row, at : at + pairs] = number
                at += pairs
        return Filled(ids, targets, segments)


def pack(sizes: Int, length: int, *, seed: int) -> list[list[int]]:
    """Distribute items over rows of `length`: best fit, largest first, equal sizes in an order drawn from `seed`."""
    shuffled = np.random.default_rng((seed, 2)).permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    rows: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(length + 1)]  # rows by the room that is left in them
    occupied = np.zeros(length + 1, dtype=bool)
    for item in order:
        size = int(sizes[item])
        fitting = np.flatnonzero(occupied[size:])
        if len(fitting):
            room = size + int(fitting[0])
            row = by_room[room].pop()
            occupied[room] = bool(by_room[room])
        else:
            room, row = length, len(rows)
            rows.append([])
        rows[row].append(int(item))
        by_room[room - size].append(row)
        occupied[room - size] = True
    return rows


class RowOrder:
    """Which rows the optimizer step `s` takes: `rows_per_step` places of an endless stream of shuffled epochs."""

    def __init__(self, count: int, *, rows_per_step: int, seed: int) -> None:
        self.count, self.rows_per_step, self._seed = count, rows_per_step, seed
        self._known: dict[int, Int] = {}

    def rows_of(self, step: int) -> tuple[Int, Int]:
        """(row numbers, their epochs), each of length `rows_per_step`, for optimizer step 0, 1, 2, ..."""
        places = np.arange(step * self.rows_per_step, (step + 1) * self.rows_per_step)
        epochs = places // self.count
        if epochs[0] == epochs[-1]:
            start = int(places[0]) % self.count
            return self._permutation(int(epochs[0]))[start : start + self.rows_per_step], epochs
        rows = np.empty_like(places)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            rows[chosen] = self._permutation(int(epoch))[places[chosen] % self.count]
        return rows, epochs

    def _permutation(self, epoch: int) -> Int:
        if epoch not in self._known:
            self._known = {old: order for old, order in self._known.items() if old >= epoch - 1}
            self._known[epoch] = np.random.default_rng((self._seed, 0, epoch)).permutation(self.count)
        return self._known[epoch]

    def epoch_at(self, step: int) -> float:
        """Epochs that are done after `step` optimizer steps."""
        return step * self.rows_per_step / self.count

    def steps_for(self, epochs: float) -> int:
        """Optimizer steps until `epochs` epochs are done."""
        return max(1, int(np.ceil(epochs * self.count / self.rows_per_step)))

    def epochs_closed(self, step: int) -> int:
        """Whole epochs that are done after `step` optimizer steps."""
        return step * self.rows_per_step // self.count


def evenly(count: int, limit: int | None) -> Int:
    """At most `limit` of the numbers below `count`, evenly spread: the same subset every time."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.linspace(0, count - 1, limit).round().astype(np.int64)


def batches(rows: Rows, indices: Int, size: int) -> Iterator[Filled]:
    """Batches of exactly `size` rows in the given order; the last is filled up with rows that count for nothing."""
    for start in range(0, len(indices), size):
        chosen = indices[start : start + size]
        padded = np.concatenate([chosen, np.repeat(chosen[-1:], size - len(chosen))])
        filled = rows.fill(padded, np.zeros_like(padded))
        filled.targets[len(chosen) :] = IGNORE
        yield filled
