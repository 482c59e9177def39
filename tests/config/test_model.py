"""Rules of 001 ModelConfig, the parameter count, and the form transformers reads."""

from typing import Any

import pytest
from pydantic import ValidationError

from studio.config.base import parse
from studio.config.model import LoraConfig, ModelConfig, ModelShape
from studio.core.errors import ConfigError


def test_fields_of_001_are_there_under_their_names():
    config = ModelConfig(
        vocab_size=300, n_layer=1, n_head=4, n_kv_head=2, n_embd=64, sequence_len=32, block_size=16, dropout=0.5
    )
    assert (config.vocab_size, config.n_layer, config.n_head, config.n_kv_head) == (300, 1, 4, 2)
    assert (config.n_embd, config.sequence_len, config.block_size, config.dropout) == (64, 32, 16, 0.5)


def test_null_and_absent_mean_derived():
    for given in ({}, {"n_kv_head": None, "block_size": None, "head_dim": None}):
        config = parse(ModelConfig, {"vocab_size": 9, "n_head": 2, "n_embd": 64, "sequence_len": 50, **given})
        assert (config.n_kv_head, config.block_size, config.head_dim) == (2, 50, 32)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n_embd": 130}, "n_embd 130 must be divisible by n_head 4"),
        ({"n_kv_head": 3}, "n_head 4 must be divisible by n_kv_head 3"),
        ({"n_kv_head": 8}, "n_kv_head 8 cannot exceed n_head 4"),
        ({"sequence_len": 0}, "sequence_len: must be greater than or equal to 1, got 0"),
        ({"block_size": 0}, "block_size: must be greater than or equal to 1, got 0"),
        ({"block_size": 200}, "block_size 200 cannot exceed sequence_len 128"),
        ({"dropout": 1.5}, "dropout: must be less than or equal to 1, got 1.5"),
        ({"dropout": -0.1}, "dropout: must be greater than or equal to 0, got -0.1"),
        ({"head_dim": 31}, "head_dim must be even"),
        ({"vocab_size": 0}, "vocab_size: must be greater than or equal to 1, got 0"),
        ({"n_head": 0}, "n_head: must be greater than or equal to 1, got 0"),
        ({"n_layer": "two"}, "n_layer: must be a valid integer, got 'two'"),
        ({"n_layer": True}, "n_layer: must not be true or false"),
        ({"rope_theta": float("inf")}, "rope_theta: must be a finite number"),
    ],
)
def test_a_broken_rule_is_named_in_one_line(given: dict[str, Any], said: str):
    with pytest.raises(ConfigError) as caught:
        parse(ModelConfig, {"vocab_size": 100, **given})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_aliases_of_the_other_specs():
    config = ModelConfig.model_validate(
        {
            "vocab_size": 9,
            "num_layers": 3,
            "d_model": 64,
            "num_heads": 2,
            "dim_feedforward": 96,
            "max_sequence_length": 40,
        }
    )
    assert (config.n_layer, config.n_embd, config.n_head) == (3, 64, 2)
    assert (config.intermediate_size, config.sequence_len) == (96, 40)


def test_an_alias_and_its_name_may_not_differ():
    with pytest.raises(ConfigError, match="d_model is another name of n_embd, and they differ: 64 and 128"):
        parse(ModelConfig, {"vocab_size": 9, "d_model": 64, "n_embd": 128})


def test_frozen():
    config = ModelConfig(vocab_size=9)
    with pytest.raises(ValidationError, match="frozen"):
        config.n_layer = 3  # type: ignore[misc]


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted_exactly(tied: bool):
    config = ModelConfig(
        vocab_size=50, n_layer=2, n_head=4, n_kv_head=2, n_embd=32, head_dim=8, tie_word_embeddings=tied
    )
    attention = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 2 * 8
    layer = attention + 3 * 32 * config.intermediate_size + 2 * 32
    assert config.parameters == 50 * 32 * (1 if tied else 2) + 2 * layer + 32


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(vocab_size=100),
        ModelConfig(
            vocab_size=77,
            n_head=8,
            n_kv_head=2,
            head_dim=64,
            rope_theta=5e5,
            tie_word_embeddings=False,
            dropout=0.2,
            block_size=64,
        ),
    ],
)
def test_the_hf_form_comes_back(config: ModelConfig):
    assert ModelConfig.from_hf(config.to_hf()) == config
    assert config.to_hf()["rope_parameters"]["rope_theta"] == config.to_hf()["rope_theta"] == config.rope_theta


def test_a_foreign_hf_config_is_refused():
    with pytest.raises(ConfigError, match="model_type is 'llama'"):
        ModelConfig.from_hf({"model_type": "llama"})
    hf = ModelConfig(vocab_size=9).to_hf()
    del hf["hidden_size"]
    hf = ModelConfig(vocab_size=9).to_hf()
    del hf["hidden_size"]
    with pytest.raises(ConfigError, match="hidden_size is missing"):
        ModelConfig.from_hf(hf)


def test_a_broken_hf_config_is_one_line():
    with pytest.raises(ConfigError, match="n_embd 130 must be divisible by n_head 4") as caught:
        ModelConfig.from_hf(ModelConfig(vocab_size=9).to_hf() | {"hidden_size": 130})
    assert "\n" not in str(caught.value)


def test_a_shape_needs_a_vocabulary_to_become_a_model():
    shape = ModelShape(n_layer=3)
    assert shape.with_vocab(500) == ModelConfig(vocab_size=500, n_layer=3)
    assert shape.with_vocab(500).parameters == shape.parameters_with(500)


def test_lora_defaults_of_002():
    lora = LoraConfig()
    assert (lora.r, lora.lora_alpha, lora.lora_dropout, lora.bias, lora.task_type) == (8, 16, 0.05, "none", "CAUSAL_LM")
    assert lora.target_modules == ["q_proj", "k_proj", "v_proj", "o_proj"]
