"""Learning-rate schedules: a step number in, a factor of the configured rate out. They know no optimizer.

Warm-up goes linearly from 1/warm-up to 1, so that no step is spent at rate 0. After it: `cosine` and `linear` fall to
`min_lr_ratio` at the last step, `constant` stays, `wsd` stays and falls linearly over the last `decay_ratio` of all
steps (Hu et al. 2024, arXiv:2404.06395).
"""

import math
from collections.abc import Callable

from studio.config.training import TrainConfig


def warmup_steps(cfg: TrainConfig, total_steps: int) -> int:
    """Steps of warm-up: the explicit number beats the ratio; never more than the run has."""
    wanted = cfg.warmup_steps if cfg.warmup_steps is not None else round(cfg.warmup_ratio * total_steps)
    return min(wanted, total_steps)


def lr_lambda(cfg: TrainConfig, total_steps: int) -> Callable[[int], float]:
    """The factor for optimizer step 0, 1, 2, ...; beyond `total_steps` it stays at the last value."""
    if total_steps < 1:
        raise ValueError(f"a schedule needs at least one step, got {total_steps}")
    warm = warmup_steps(cfg, total_steps)
    decay_from = round((1.0 - cfg.decay_ratio) * total_steps) if cfg.lr_scheduler_type == "wsd" else warm
    start = max(warm, decay_from)
    shape = _SHAPES[cfg.lr_scheduler_type]

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        progress = (step - start) / max(1, total_steps - start)
        return cfg.min_lr_ratio + (1.0 - cfg.min_lr_ratio) * shape(min(1.0, max(0.0, progress)))

    return factor


_SHAPES: dict[str, Callable[[float], float]] = {
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1.0 - progress,
    "wsd": lambda progress: 1.0 - progress,
    "constant": lambda progress: 1.0,
}
