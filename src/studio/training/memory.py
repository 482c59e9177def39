"""Out of memory: how it looks, which batch would have fitted, and the same training in smaller bites.

It knows a model's loss and batch sizes, and nothing of who runs or retries the training.
"""

import gc
from collections.abc import Callable

import torch

from studio.config.training import TrainConfig
from studio.core.errors import OutOfMemory
from studio.nn.gpt import GPT


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # on the CPU torch raises a plain RuntimeError
    text = str(error)
    return isinstance(error, RuntimeError) and ("DefaultCPUAllocator" in text or "out of memory" in text)


def explain(
    gpt: GPT, train: TrainConfig, length: int, before_batch: Callable[[int], None] | None, error: BaseException
) -> OutOfMemory:
    """The error to raise instead: it names the per-device batch that fits, tried on this very model and machine."""
    fits = largest_fit(gpt, train.per_device_batch_size, length, before_batch)
    tried = f"a batch of {train.per_device_batch_size} rows of {length} tokens does not fit into memory"
    if fits is None:
        remedy = "Not even one row fits: use a smaller model or a shorter sequence_len."
    else:
        smaller = train.with_device_batch(fits)
        remedy = (
            f"Use per_device_batch_size={smaller.per_device_batch_size} "
            f"gradient_accumulation_steps={smaller.gradient_accumulation_steps}: the same training in smaller bites."
        )
        fits = smaller.per_device_batch_size
    return OutOfMemory(f"{tried} ({_first_line(error)})", where="training", remedy=remedy, fits_batch_size=fits)


def largest_fit(gpt: GPT, failed_rows: int, length: int, before_batch: Callable[[int], None] | None) -> int | None:
    """Half of what failed, or a half of that, ...: the first for which a forward and backward pass runs."""
    rows = failed_rows // 2
    while rows >= 1:
        gpt.zero_grad(set_to_none=True)
        gc.collect()
        try:
            if before_batch is not None:
                before_batch(rows)
            device = next(gpt.parameters()).device
            ids_BT = torch.zeros((rows, length), dtype=torch.int64, device=device)
            loss, _ = gpt.loss(ids_BT, ids_BT)
            loss.backward()  # type: ignore[no-untyped-call]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            rows //= 2
            continue
        finally:
            gpt.zero_grad(set_to_none=True)
        return rows
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
