"""The four schedules, warm-up, and what beats what."""

from itertools import pairwise
from typing import Any

import pytest

from studio.config.training import TrainConfig
from studio.training.schedules import lr_lambda, warmup_steps


def train(**changes: Any) -> TrainConfig:
    return TrainConfig(stage="pretrain", **changes)


def factors(total: int, **changes: Any) -> list[float]:
    factor = lr_lambda(train(**changes), total)
    return [factor(step) for step in range(total + 1)]


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant", "wsd"])
def test_warm_up_rises_evenly_and_never_wastes_a_step(kind: str) -> None:
    values = factors(100, lr_scheduler_type=kind, warmup_steps=4)
    assert values[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd"])
@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_decay_ends_at_the_floor_and_stays_there(kind: str, floor: float) -> None:
    factor = lr_lambda(train(lr_scheduler_type=kind, min_lr_ratio=floor), 50)
    assert factor(50) == pytest.approx(floor)
    assert factor(500) == pytest.approx(floor)


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd"])
def test_decay_never_rises(kind: str) -> None:
    values = factors(60, lr_scheduler_type=kind, warmup_steps=5)[5:]
    assert all(later <= earlier for earlier, later in pairwise(values))


def test_halfway_cosine_and_linear_are_at_half() -> None:
    for kind in ("cosine", "linear"):
        assert factors(100, lr_scheduler_type=kind, warmup_steps=0)[50] == pytest.approx(0.5)


def test_constant_stays() -> None:
    assert factors(30, lr_scheduler_type="constant", warmup_steps=2)[2:] == [1.0] * 29


def test_wsd_is_stable_until_its_last_part() -> None:
    values = factors(100, lr_scheduler_type="wsd", warmup_steps=10, decay_ratio=0.2)
    assert values[10:81] == [1.0] * 71
    assert values[90] == pytest.approx(0.5)


def test_wsd_with_more_warm_up_and_decay_than_steps_decays_after_the_warm_up() -> None:
    values = factors(10, lr_scheduler_type="wsd", warmup_steps=8, decay_ratio=0.9)
    assert values[7] == 1.0
    assert values[9] == pytest.approx(0.5)


def test_explicit_steps_beat_the_ratio() -> None:
    assert warmup_steps(train(warmup_ratio=0.5, warmup_steps=3), 100) == 3
    assert warmup_steps(train(warmup_ratio=0.5), 100) == 50


def test_warm_up_is_never_longer_than_the_run() -> None:
    assert warmup_steps(train(warmup_steps=50), 10) == 10


def test_a_run_without_steps_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="at least one step, got 0"):
        lr_lambda(train(), 0)
