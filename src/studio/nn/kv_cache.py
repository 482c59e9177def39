"""The static key/value cache: what one decoding step needs to remember, in memory that is allocated once.

It knows slots and lengths. It refuses to know tokens, sampling, or which user a slot belongs to.

* One slot per stream; streams in one cache may have different lengths, so a batch can be filled and drained freely.
* Lengths live on the host: reading them never waits for an accelerator.
* One spare position at the end takes the writes of padding, so that a padded prefill never damages a real entry.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from studio.config.model import ModelConfig


class KVCache:
    """Keys and values of `slots` streams, each at most `capacity` tokens long."""

    def __init__(
        self,
        config: ModelConfig,
        slots: int,
        *,
        capacity: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.capacity = config.sequence_len if capacity is None else capacity
        if not 0 < self.capacity <= config.sequence_len:
            raise ValueError(f"cache capacity {self.capacity} is outside 1..{config.sequence_len} (sequence_len)")
        shape = (config.n_layer, slots, config.n_kv_head, self.capacity + 1, config.head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)  # (L, S, KV, C + 1, head_dim)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.lengths = [0] * slots

    @property
    def slots(self) -> int:
        """Number of streams the cache has room for."""
        return len(self.lengths)

    def reset(self, slots: Sequence[int] | None = None) -> None:
        """Forget the given slots (all when None). Old entries need no clearing: a query never looks past its length."""
        for slot in range(self.slots) if slots is None else slots:
            self.lengths[slot] = 0

    def room(self, slot: int) -> int:
        """Tokens that still fit into `slot`."""
        return self.capacity - self.lengths[slot]

    def plan(self, width: int, new: Sequence[int] | None, slots: Sequence[int] | None) -> "CacheStep":
        """Where the next `width` columns go; see `GPT.decode`. ValueError when a stream has no room."""
        rows = list(range(self.slots)) if slots is None else list(slots)
        counts = [width] * len(rows) if new is None else list(new)
        if len(counts) != len(rows) or any(not 0 <= count <= width for count in counts):
            raise ValueError(f"need one count in 0..{width} for each of {len(rows)} slots, got {counts}")
        for row, count in zip(rows, counts, strict=True):
            if count > self.room(row):
                raise ValueError(f"slot {row} holds {self.lengths[row]} of {self.capacity} tokens, {count} do not fit")
        return CacheStep(self, rows, counts, width, whole=slots is None)


class CacheStep:
    """One forward pass over the cache: positions of the new tokens, and how a layer stores and reads."""

    def __init__(self, cache: KVCache, rows: list[int], counts: list[int], width: int, *, whole: bool) -> None:
        self.cache, self.rows, self.counts, self.whole = cache, rows, counts, whole
        device = cache.keys.device
        start_B1 = torch.tensor([cache.lengths[row] for row in rows], device=device)[:, None]
        column_1T = torch.arange(width, device=device)[None, :]
        real_BT = column_1T < torch.tensor(counts, device=device)[:, None]
        self.positions_BT = torch.where(real_BT, start_B1 + column_1T, cache.capacity)
        self.row_B1 = torch.tensor(rows, device=device)[:, None]
        self.read_until = max(cache.lengths[row] + count for row, count in zip(rows, counts, strict=True)) or 1
        slot_S = torch.arange(self.read_until, device=device)
        self.mask_B1TS = (slot_S[None, None, :] <= self.positions_BT[:, :, None])[:, None]

    def update(self, layer: int, k_BKTH: Tensor, v_BKTH: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new keys and values of `layer`, return all that a query may look at, each (B, KV, S, head_dim)."""
        keys, values = self.cache.keys[layer], self.cache.values[layer]  # (slots, KV, C + 1, head_dim)
        keys[self.row_B1, :, self.positions_BT] = k_BKTH.transpose(1, 2).to(keys.dtype)
        values[self.row_B1, :, self.positions_BT] = v_BKTH.transpose(1, 2).to(values.dtype)
        if not self.whole:
            keys, values = keys[self.rows], values[self.rows]
        return keys[:, :, : self.read_until], values[:, :, : self.read_until]

    def commit(self) -> None:
        """The step is done: the new tokens now count."""
        for row, count in zip(self.rows, self.counts, strict=True):
            self.cache.lengths[row] += count
