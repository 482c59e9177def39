"""What a run computes on: chosen once, kept on resume, refused where it is not possible."""

from typing import Any

import pytest
import torch

from studio.config.model import ModelConfig
from studio.config.training import TrainConfig
from studio.core.errors import UsageError
from studio.training import machine
from studio.training.machine import choose_machine
from studio.training.randomness import random_states, restore_random_states, seed_all

MODEL = ModelConfig(vocab_size=8000)


@pytest.fixture(autouse=True)
def _on_a_cpu_with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


def choose(steps: int = 10, before: dict[str, Any] | None = None, **train: Any) -> machine.Machine:
    return choose_machine(TrainConfig(**train), MODEL, total_steps=steps, before=before)


@pytest.mark.parametrize(
    ("train", "wanted"),
    [
        ({}, "bf16-mixed"),
        ({"bf16": False}, "32-true"),
        ({"precision": "fp32"}, "32-true"),
        ({"precision": "bf16"}, "bf16-mixed"),
        ({"bf16": False, "fp16": True}, "32-true"),  # float16 is for accelerators
    ],
)
def test_number_formats(train: dict[str, Any], wanted: str) -> None:
    assert choose(**train).precision == wanted


def test_without_bf16_it_is_float32_unless_bf16_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    assert choose().precision == "32-true"
    with pytest.raises(UsageError, match="precision=bf16: this machine has no bfloat16 arithmetic"):
        choose(precision="bf16")


def test_named_float16_is_refused_on_a_cpu() -> None:
    with pytest.raises(UsageError, match="float16 training needs a CUDA accelerator"):
        choose(precision="fp16")


def test_short_runs_stay_eager_and_long_ones_compile() -> None:
    assert not choose(steps=2).compile
    assert choose(steps=10_000).compile
    assert choose(steps=2, compile="on").compile
    assert not choose(steps=10_000, compile="off").compile


def test_a_resumed_run_keeps_threads_and_mode() -> None:
    before = choose(steps=10_000, threads=3).as_tree()
    again = choose(steps=2, before=before)
    assert (again.threads, again.compile) == (3, True)
    assert choose(before=before, threads=1).threads == 1  # unless told otherwise
    assert not choose(before=before, compile="off").compile


def test_random_states_survive_a_round_trip() -> None:
    import random

    import numpy as np

    seed_all(7)
    torch.rand(3)
    np.random.rand(3)
    np.random.randn(1)
    random.gauss(0, 1)
    states = random_states()
    first = (torch.rand(2).tolist(), np.random.randn(2).tolist(), random.gauss(0, 1))
    restore_random_states(states)
    assert (torch.rand(2).tolist(), np.random.randn(2).tolist(), random.gauss(0, 1)) == first
