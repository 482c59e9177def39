"""003 PipelineConfiguration: fields, defaults, ranges and rules."""

from typing import Any

import pytest

from studio.config.base import parse
from studio.config.model import ModelConfig
from studio.config.pipeline import PipelineConfiguration
from studio.core.errors import ConfigError

FLAT_003 = {
    "corpus_source": "books",
    "corpus_size_mb": 7,
    "tokenizer_vocab_size": 4000,
    "tokenizer_model_type": "bpe",
    "model_architecture": {"num_layers": 3, "d_model": 64, "num_heads": 2, "dim_feedforward": 128},
    "training_hyperparameters": {
        "batch_size": 16,
        "learning_rate": 0.001,
        "num_epochs": 5,
        "max_sequence_length": 64,
    },
    "output_directory": "./data/",
    "resume_from_checkpoint": True,
    "skip_phases": ["corpus_download", "tokenizer_training"],
}


def test_every_name_of_003_is_accepted():
    config = parse(PipelineConfiguration, FLAT_003)
    assert (config.corpus.path, config.corpus.size_mb) == ("books", 7)
    assert (config.tokenizer.vocab_size, config.tokenizer.model_type) == (4000, "bpe")
    assert (config.model.n_layer, config.model.n_embd, config.model.n_head) == (3, 64, 2)
    assert (config.model.intermediate_size, config.model.sequence_len) == (128, 64)
    assert (config.pretrain.batch_size, config.pretrain.optim.learning_rate) == (16, 0.001)
    assert (config.pretrain.num_epochs, config.output_directory) == (5, "./data/")
    assert config.resume_from_checkpoint
    assert config.skip_phases == {"corpus_download", "tokenizer_training"}


def test_defaults_of_003():
    config = PipelineConfiguration()
    assert (config.tokenizer.vocab_size, config.tokenizer.model_type) == (8000, "unigram")
    model = config.model
    assert (model.n_layer, model.n_embd, model.n_head, model.intermediate_size) == (2, 128, 4, 256)
    assert (config.pretrain.batch_size, config.pretrain.optim.learning_rate) == (32, 3e-4)
    assert (config.pretrain.num_epochs, model.sequence_len) == (20, 128)
    assert (config.resume_from_checkpoint, config.skip_phases) == (False, frozenset())


def test_the_default_corpus_is_the_starter_world_and_the_default_output_the_home():
    config = PipelineConfiguration()
    assert config.corpus.is_starter
    assert config.output_directory is None


def test_defaults_hold_beside_what_is_given():
    config = parse(PipelineConfiguration, {"training_hyperparameters": {"batch_size": 16}, "midtrain": {}})
    assert (config.pretrain.num_epochs, config.pretrain.optim.learning_rate) == (20, 3e-4)
    assert config.midtrain is not None
    assert (config.midtrain.stage, config.midtrain.batch_size) == ("midtrain", 32)
    assert [stage.stage for stage in config.stages] == ["pretrain", "midtrain"]


@pytest.mark.parametrize(
    ("key", "lowest", "highest"),
    [
        ("corpus_size_mb", 1, None),
        ("tokenizer_vocab_size", 1000, 32000),
        ("model_architecture.num_layers", 1, 12),
        ("model_architecture.d_model", 64, 512),
        ("model_architecture.num_heads", 1, 16),
        ("model_architecture.dim_feedforward", 128, 2048),
        ("training_hyperparameters.batch_size", 1, 128),
        ("training_hyperparameters.learning_rate", 1e-5, 1e-2),
        ("training_hyperparameters.num_epochs", 1, 100),
        ("training_hyperparameters.max_sequence_length", 32, 2048),
    ],
)
def test_ranges_of_003(key: str, lowest: float, highest: float | None):
    first, _, second = key.partition(".")

    def configured(value: float) -> PipelineConfiguration:
        return parse(PipelineConfiguration, {first: {second: value} if second else value})

    step = 1e-6 if isinstance(lowest, float) else 1
    for allowed in filter(None, (lowest, highest)):
        assert configured(allowed)
    for refused in (lowest - step, *([highest + step] if highest else [])):
        with pytest.raises(ConfigError) as caught:
            configured(refused)
        assert caught.value.key


def test_003s_ranges_bind_the_pipeline_only():
    assert ModelConfig(vocab_size=100_000, n_layer=24, n_embd=1024, n_head=16, intermediate_size=4096).n_layer == 24


def test_heads_divide_the_width():
    with pytest.raises(ConfigError, match="n_embd 100 must be divisible by n_head 3"):
        parse(PipelineConfiguration, {"model_architecture": {"d_model": 100, "num_heads": 3}})


@pytest.mark.parametrize("phase", ["corpus_download", "tokenizer_training"])
def test_phases_that_may_be_skipped(phase: str):
    assert parse(PipelineConfiguration, {"skip_phases": [phase]}).skip_phases == {phase}


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"skip_phases": ["validation"]}, "skip_phases.0"),
        ({"pretrain": {"stage": "sft"}}, "pretrain.stage"),
        ({"sft": {"sequence_len": 500}}, "sft.sequence_len"),
        ({"corpus_source": "books", "sft": {}}, "sft_data"),
        ({"model_architecture": {"num_layerz": 2}}, "model.num_layerz"),
        ({"training_hyperparameters": 3}, "training_hyperparameters"),
        ({"training_hyperparameters": {"momentum": 3}}, "training_hyperparameters"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_refusals_name_their_key(given: dict[str, Any], key: str):
    with pytest.raises(ConfigError) as caught:
        parse(PipelineConfiguration, given)
    assert caught.value.key == key


def test_the_runs_seed_reaches_every_part_without_one():
    config = parse(PipelineConfiguration, {"seed": 7, "sft": {"seed": 8}})
    assert {config.pretrain.seed, config.data.seed, config.tokenizer.seed, config.validation.seed} == {7}
    assert config.sft is not None
    assert config.sft.seed == 8


def test_saved_and_read_again_it_is_the_same():
    config = parse(PipelineConfiguration, FLAT_003 | {"midtrain": {"fp16": True}, "seed": 3})
    assert parse(PipelineConfiguration, config.model_dump(mode="json")) == config
