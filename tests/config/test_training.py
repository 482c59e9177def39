"""Rules and error texts of one training stage and its optimizer."""

from typing import Any

import pytest

from studio.config.base import parse
from studio.config.training import OptimizerConfig, TrainConfig
from studio.core.errors import ConfigError


def test_defaults_of_002():
    config = TrainConfig()
    assert (config.num_epochs, config.per_device_batch_size, config.gradient_accumulation_steps) == (3, 4, 4)
    assert (config.optim.optimizer_type, config.optim.learning_rate, config.optim.weight_decay) == ("adamw", 2e-5, 0.01)
    assert (config.warmup_ratio, config.max_grad_norm, config.fp16, config.bf16) == (0.1, 1.0, False, True)
    assert (config.lr_scheduler_type, config.save_steps, config.save_total_limit) == ("cosine", 500, 3)
    assert (config.logging_steps, config.eval_steps) == (10, 500)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model_name": ""}, "Model name required"),
        ({"model_name": "  "}, "Model name required"),
        ({"model_name": "../secret"}, "Invalid model path"),
        ({"learning_rate": 0}, "Learning rate must be positive"),
        ({"optim": {"learning_rate": -1e-3}}, "Learning rate must be positive"),
        ({"optim": {"muon_learning_rate": 0}}, "Learning rate must be positive"),
        ({"batch_size": 0}, "Batch size must be at least 1"),
        ({"per_device_batch_size": 0}, "Batch size must be at least 1"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps: must be greater than or equal to 1"),
        ({"max_steps": 10, "warmup_steps": 11}, "warmup_steps 11 must be at most max_steps 10"),
        ({"num_epochs": 0}, "num_epochs: must be greater than or equal to 1"),
        ({"num_epochs": 101}, "num_epochs: must be less than or equal to 100"),
        ({"num_epochs": 1.5}, "num_epochs: must be a valid integer"),
        ({"weight_decay": -1}, "optim.weight_decay: must be greater than or equal to 0"),
        ({"beta1": 1.0}, "optim.beta1: must be less than 1"),
        ({"beta2": 0.0}, "optim.beta2: must be greater than 0"),
        ({"eps": 0.0}, "optim.eps: must be greater than 0"),
        ({"optim": {"optimizer_type": "lion"}}, "optim.optimizer_type: must be 'muon', 'adamw' or 'sgd', got 'lion'"),
        ({"lr_scheduler_type": "step"}, "lr_scheduler_type: must be 'cosine', 'linear', 'constant' or 'wsd'"),
        ({"batch_size": 32, "per_device_batch_size": 5}, "batch_size 32 must be per_device_batch_size 5"),
        ({"bf16": True, "fp16": True}, "bf16 and fp16 cannot both be true"),
        ({"stage": "dpo"}, "stage: must be 'pretrain', 'midtrain' or 'sft'"),
    ],
)
def test_a_broken_rule_is_named_in_one_line(given: dict[str, Any], said: str):
    with pytest.raises(ConfigError) as caught:
        parse(TrainConfig, given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (16, 4, 4)),
        ({"batch_size": 32}, (32, 32, 1)),
        ({"batch_size": 32, "per_device_batch_size": 8}, (32, 8, 4)),
        ({"batch_size": 32, "gradient_accumulation_steps": 4}, (32, 8, 4)),
        ({"device_batch_size": 8}, (32, 8, 4)),
        ({"gradient_accumulation_steps": 2}, (8, 4, 2)),
        ({"batch_size": 32, "per_device_batch_size": 16, "gradient_accumulation_steps": 2}, (32, 16, 2)),
    ],
)
def test_batch_numbers_follow_from_those_given(given: dict[str, int], expected: tuple[int, int, int]):
    config = TrainConfig.model_validate(given)
    assert (config.batch_size, config.per_device_batch_size, config.gradient_accumulation_steps) == expected
    assert parse(TrainConfig, config.model_dump(mode="json")) == config


@pytest.mark.parametrize(("asked", "got"), [(20, 16), (16, 16), (5, 4), (1, 1), (0, 1), (100, 32)])
def test_a_smaller_device_batch_keeps_the_step(asked: int, got: int):
    config = TrainConfig(batch_size=32).with_device_batch(asked)
    assert (config.batch_size, config.per_device_batch_size) == (32, got)
    assert config.per_device_batch_size * config.gradient_accumulation_steps == 32


def test_flat_names_and_second_names():
    config = TrainConfig.model_validate(
        {
            "learning_rate": 1e-3,
            "weight_decay": 0.1,
            "beta1": 0.8,
            "optim": "adamw_torch",
            "checkpoint_interval": 7,
            "learning_rate_schedule": "warmup_stable_decay",
            "max_sequence_length": 64,
        }
    )
    assert config.optim == OptimizerConfig(optimizer_type="adamw", learning_rate=1e-3, weight_decay=0.1, beta1=0.8)
    assert (config.save_steps, config.lr_scheduler_type, config.sequence_len) == (7, "wsd", 64)


@pytest.mark.parametrize(("name", "stored"), [("muon", "muon"), ("AdamW", "adamw"), ("SGD", "sgd")])
def test_optimizer_types(name: str, stored: str):
    assert OptimizerConfig.model_validate({"optimizer_type": name}).optimizer_type == stored


def test_fp16_alone_turns_bf16_off():
    assert TrainConfig.model_validate({"fp16": True}).bf16 is False
