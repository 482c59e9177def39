"""The random generators of a run: their states as a plain tree, and what fixes the course of a run besides them.

It knows torch, numpy and Python's generators, and nothing of what draws from them.
"""

import random
from typing import Any, cast

import numpy as np
import torch


def random_states() -> dict[str, Any]:
    """States of all random generators that training may draw from."""
    name, keys, position, has_gauss, cached = cast(Any, np.random.get_state())
    version, words, gauss = random.getstate()
    return {
        **torch_states(),
        "numpy": [name, torch.tensor(keys.astype("int64")), int(position), int(has_gauss), float(cached)],
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss],
    }


def torch_states() -> dict[str, Any]:
    """The part of them that a training step draws from."""
    cuda = list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), "cuda": cuda}


def seed_all(seed: int) -> None:
    """Seed every generator."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def restore_random_states(states: dict[str, Any]) -> None:
    """The inverse of `random_states`."""
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype("uint32"), position, has_gauss, cached))
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
