"""003 PipelineConfiguration: everything one run from raw text to a validated model needs.

The defaults written here are 003's (except the corpus, DESIGN §3); 003's ranges bind here and nowhere else.
Importing it loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from studio.config.base import Frozen, refuse
from studio.config.model import ModelShape
from studio.config.text import CleaningConfig, CorpusConfig, DataConfig, DataSource, TokenizerConfig
from studio.config.training import OptimizerConfig, TrainConfig

CONFIG_VERSION: Literal[2] = 2
"""Version of the saved form; `config.migrations` brings older files up."""

SkipPhase = Literal["corpus_download", "tokenizer_training"]

STAGE_DEFAULTS: dict[str, dict[str, Any]] = {
    "pretrain": {
        "num_epochs": 20,
        "optim": {"optimizer_type": "muon", "learning_rate": 3e-4},
        "save_every_epoch": True,
        "eval_every_epoch": True,
    },
    "midtrain": {"num_epochs": 1, "optim": {"optimizer_type": "muon", "learning_rate": 3e-4}},
    "sft": {"num_epochs": 3, "optim": {"optimizer_type": "muon", "learning_rate": 3e-4}},
}
"""003's defaults, as far as a stage does not say otherwise."""

BATCH_NAMES = ("batch_size", "per_device_batch_size", "gradient_accumulation_steps", "device_batch_size")


class ModelArchitecture(ModelShape):
    """003's `model_architecture`: the network without its vocabulary, within 003's ranges."""

    n_layer: int = Field(default=2, ge=1, le=12)
    """Transformer layers, 1 to 12."""
    n_head: int = Field(default=4, ge=1, le=16)
    """Query heads per layer, 1 to 16; divides `n_embd`."""
    n_embd: int = Field(default=128, ge=64, le=512)
    """Width of the residual stream, 64 to 512."""
    sequence_len: int = Field(default=128, ge=32, le=2048)
    """Longest sequence in tokens, 32 to 2048."""
    intermediate_size: int = Field(default=256, ge=128, le=2048)
    """Hidden width of the feed-forward part, 128 to 2048."""


class ExportConfig(Frozen):
    """How the trained model is made ready to serve."""

    onnx: bool = True
    """Write a float32 ONNX model with KV cache."""
    int8: bool = True
    """Write a second ONNX model with 8-bit weights."""
    max_logit_delta: float = Field(default=1e-3, gt=0.0)
    """Largest |difference of logits| to the trainer that the float32 export may have."""
    min_greedy_agreement_int8: float = Field(default=0.98, ge=0.0, le=1.0)
    """Share of greedy tokens of the 8-bit model that must equal the trainer's, 0 to 1; below it, it is not used."""
    parity_prompts: int = Field(default=64, ge=1, le=4096)
    """Prompts that trainer and export are compared on."""


class ValidationConfig(Frozen):
    """What a model must show before its run counts as complete."""

    samples_per_language: int = Field(default=3, ge=1, le=64)
    """Texts generated in each language of the corpus."""
    sample_tokens: int = Field(default=64, ge=8, le=2048)
    """Length of each text, in tokens."""
    temperature: float = Field(default=0.8, ge=0.0, le=2.0)
    """Sampling temperature of these texts, 0 to 2."""
    max_repeated_4gram_ratio: float = Field(default=0.30, ge=0.0, le=1.0)
    """Largest share of repeated 4-grams in them, 0 to 1."""
    max_val_loss: float | None = Field(default=5.0, gt=0.0)
    """Largest final validation loss, in nats per token; null: no limit."""
    max_rss_mb: int = Field(default=400, ge=1)
    """Resident memory of a process that only serves the model, in MB."""
    max_peak_mb: int = Field(default=512, ge=1)
    """Peak memory of that process, in MB."""
    heldout_questions: int = Field(default=200, ge=0)
    """Held-out questions per language, where the corpus has some."""
    min_accuracy: float | None = Field(default=None, ge=0.0, le=1.0)
    """Smallest share of exact answers to them, 0 to 1; null: reported only."""
    seed: int = Field(default=1337, ge=0, lt=2**63)
    """Seed of the samples."""


class PipelineConfiguration(Frozen):
    """One run: corpus → tokenizer → pretrain (→ midtrain) (→ sft) → export → validation."""

    name: str = Field(default="pipeline", min_length=1, max_length=100, pattern=r"^[\w][\w.\- ]*$")
    """Name shown in lists and reports."""
    seed: int = Field(default=1337, ge=0, lt=2**63)
    """Seed of the starter world and of every part that has no seed of its own."""
    corpus: CorpusConfig = CorpusConfig(name="starter", sources=(DataSource(source_type="starter"),))
    """Texts to learn from (003 `corpus_source`, `corpus_size_mb`)."""
    starter_scale: float = Field(default=1.0, gt=0.0, le=100.0)
    """Amount of text in the starter world, as a multiple of about 3 MB."""
    cleaning: CleaningConfig = CleaningConfig()
    """What is mended in a text."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """Tokenizer (003 `tokenizer_vocab_size`, `tokenizer_model_type`); 1,000 to 32,000 tokens."""
    model: ModelArchitecture = ModelArchitecture()
    """Network (003 `model_architecture`)."""
    data: DataConfig = DataConfig()
    """How documents become token shards."""
    pretrain: TrainConfig = Field(default_factory=lambda: _stage("pretrain", {}))
    """First stage (003 `training_hyperparameters`)."""
    midtrain: TrainConfig | None = None
    """Second stage on the same text, from the weights of the first; null: none."""
    sft: TrainConfig | None = None
    """Stage on conversations, loss on the assistant's tokens only; null: none."""
    sft_data: DataSource | None = None
    """Conversations of that stage; null: those of the starter world."""
    export: ExportConfig = ExportConfig()
    """How the model is made ready to serve."""
    validation: ValidationConfig = ValidationConfig()
    """What the model must show."""
    output_directory: str | None = Field(default=None, min_length=1)
    """Where artefacts go; null: the home (`STUDIO_HOME`)."""
    resume_from_checkpoint: bool = False
    """Continue from an existing checkpoint without asking."""
    skip_phases: frozenset[SkipPhase] = frozenset()
    """Phases to skip where their artefacts exist: corpus_download, tokenizer_training."""
    retry_oom: bool = True
    """After running out of memory, try again with the batch that fits."""
    config_version: Literal[2] = CONFIG_VERSION
    """Version of this form."""

    @classmethod
    def prepare(cls, data: dict[str, Any]) -> dict[str, Any]:
        """003's defaults under what a stage says itself, and the run's seed where a part has none."""
        corpus = data.get("corpus")
        if isinstance(corpus, Mapping):
            data["corpus"] = _corpus_data(corpus)
        seed = {"seed": data["seed"]} if "seed" in data else {}
        for part in ("data", "tokenizer", "validation"):
            if seed and isinstance(data.get(part, {}), Mapping):
                data[part] = seed | dict(data.get(part, {}))
        for stage in STAGE_DEFAULTS:
            given = data.get(stage, {} if stage == "pretrain" else None)
            if isinstance(given, Mapping):
                data[stage] = _stage_data(stage, seed | dict(given))
        return data

    @model_validator(mode="after")
    def _within_003(self) -> Self:
        _check_range("tokenizer.vocab_size", self.tokenizer.vocab_size, 1000, 32000)
        for name in STAGE_DEFAULTS:
            stage = getattr(self, name)
            if stage is not None:
                _check_stage(name, stage, self.model.sequence_len)
        if self.sft is not None and self.sft_data is None and not self.corpus.is_starter:
            raise refuse("sft_data is required for the sft stage: give sft_data.path=FILE, or sft=null", "sft_data")
        return self

    @property
    def stages(self) -> tuple[TrainConfig, ...]:
        """The training stages in order."""
        return tuple(stage for stage in (self.pretrain, self.midtrain, self.sft) if stage is not None)


def _corpus_data(given: Mapping[str, Any]) -> dict[str, Any]:
    """A corpus of which only the size or the name is given is the default one."""
    own = CorpusConfig.canonical(given)
    if own.keys() & {"path", "sources"}:
        return own
    return {"name": "starter", "sources": [{"source_type": "starter"}]} | own


def _stage_data(stage: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's own values over 003's defaults; the optimizer's fields merge one by one."""
    defaults = STAGE_DEFAULTS[stage]
    own = TrainConfig.canonical(given)
    optim = own.get("optim", {})
    if isinstance(optim, Mapping):
        own["optim"] = {**defaults["optim"], **OptimizerConfig.canonical(optim)}
    batch = {} if any(name in own for name in BATCH_NAMES) else {"batch_size": 32}
    return {"stage": stage, **defaults, **batch, **own}


def _stage(stage: str, given: Mapping[str, Any]) -> TrainConfig:
    return TrainConfig.model_validate(_stage_data(stage, given))


def _check_stage(name: str, stage: TrainConfig, context: int) -> None:
    if stage.stage != name:
        raise refuse(f"{name}.stage must be {name}, got {stage.stage}", f"{name}.stage")
    _check_range(f"{name}.batch_size", stage.batch_size, 1, 128)
    _check_range(f"{name}.optim.learning_rate", stage.optim.learning_rate, 1e-5, 1e-2)
    if stage.sequence_len is not None:
        _check_range(f"{name}.sequence_len", stage.sequence_len, 32, context)


def _check_range(key: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise refuse(f"{key} must be {lowest:g} to {highest:g} in a pipeline, got {value:g}", key)
