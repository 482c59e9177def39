"""What is kept as records: the things that a person names and versions, as frozen pydantic models.

Fields have the names of specs 000, 001, 003 and 004. A record never changes: an update makes a new one, through
`records.repositories`. References are ids of other records, weights and texts are paths and hashes. What grows without
bound (items, results, metric points, messages) is no record.
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from studio.config.model import ModelConfig
from studio.config.text import DataSource
from studio.core.clock import utc_now
from studio.core.errors import NotFoundError
from studio.core.ids import new_id
from studio.records.lifecycles import (
    CheckpointState,
    ModelStatus,
    PipelinePhase,
    ProjectStatus,
    TokenizerState,
    TrainingSessionState,
)
from studio.records.record import Fraction, Id, Moment, Name, Number, Part, Record, Sha256

# People


class Role(StrEnum):
    """What a user may do (DESIGN §3)."""

    ADMIN = "admin"
    EDITOR = "editor"
    VIEWER = "viewer"


class Organization(Record):
    """The owner of everything else; it belongs to itself."""

    name: Name
    """Shown to people."""

    @model_validator(mode="before")
    @classmethod
    def _own_itself(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        own = data.get("id") or new_id()
        return {**data, "id": own, "organization_id": data.get("organization_id") or own}


class User(Record):
    """Somebody who may use this Studio."""

    name: Name
    """Unique in the organization."""
    role: Role = Role.VIEWER
    """What the user may do."""
    email: str = ""
    """Optional; nothing is ever sent to it."""
    password_hash: str = ""
    """Salted hash; "" where only tokens open the door."""
    active: bool = True
    """False: may not log in."""


class ApiKey(Record):
    """A key for programs, kept as its hash only."""

    user_id: Id
    """On whose behalf it acts."""
    name: Name
    """What it is for."""
    prefix: str = Field(max_length=16)
    """The first characters, to recognise the key by."""
    key_hash: Sha256
    """SHA-256 of the key."""
    expires_at: Moment | None = None
    """No use after this."""
    revoked_at: Moment | None = None
    """When it was withdrawn."""


# Projects and texts


class Project(Record):
    """Spec 000."""

    name: Name
    """Shown to people."""
    owner_id: Id
    """000 `owner`: a User."""
    training_dataset_id: Id | None = None
    """000 `training_dataset`: the latest version."""
    finetune_id: Id | None = None
    """000 `finetune`: the latest version."""
    status: ProjectStatus = ProjectStatus.ACTIVE
    """See `lifecycles.PROJECT`."""


class Corpus(Record):
    """Spec 000: a source of texts."""

    name: Name
    """Unique in the organization."""
    s3_path: str = Field(min_length=1)
    """Any fsspec URL or a plain path."""
    language: str = Field(default="und", pattern=r"^[a-z]{3}$")
    """ISO 639-3; und = several or unknown."""
    sha256: Sha256 | None = None
    """Of its content; null until it was read."""
    size_bytes: int = Field(default=0, ge=0)
    """Of all files together."""
    documents: int = Field(default=0, ge=0)
    """How many were read."""


class TokenizerModelType(StrEnum):
    """Spec 003, tokenizer_model_type."""

    UNIGRAM = "unigram"
    BPE = "bpe"
    CHAR = "char"
    WORD = "word"


class Tokenizer(Record):
    """Spec 001: a tokenizer on disk. Vocabulary and merges are in its `tokenizer.json`."""

    name: Name
    """Shown to people."""
    model_type: TokenizerModelType = TokenizerModelType.UNIGRAM
    """Algorithm."""
    vocab_size: int = Field(default=0, ge=0)
    """Tokens, special ones included; 0 until it is trained."""
    special_tokens: dict[str, int] = Field(default_factory=dict)
    """Text to id."""
    path: str = ""
    """Its folder."""
    sha256: Sha256 | None = None
    """Of its content; what checkpoints name as their parent."""
    lossless: bool = True
    """Whether decoding gives any text back exactly."""
    state: TokenizerState = TokenizerState.UNTRAINED
    """See `lifecycles.TOKENIZER`."""

    @model_validator(mode="after")
    def _special_tokens_are_in_the_vocabulary(self) -> Self:
        outside = [text for text, token in self.special_tokens.items() if not 0 <= token < self.vocab_size]
        if outside:
            raise ValueError(f"special tokens without an id below vocab_size: {', '.join(outside)}")
        return self


class Shard(Part):
    """One memory-mapped file of tokens."""

    path: str = Field(min_length=1)
    """Relative to the dataset's folder."""
    tokens: int = Field(ge=0)
    """How many it holds."""
    sha256: Sha256 | None = None
    """Of its bytes."""


class TokenDataset(Record):
    """Spec 001's TrainingDataset: texts as tokens, ready for training."""

    name: Name
    """Shown to people."""
    version: int = Field(default=1, ge=1)
    """Counts up per name."""
    sources: tuple[DataSource, ...] = Field(min_length=1)
    """Where the texts came from, with their weights."""
    preprocessing_steps: tuple[str, ...] = ()
    """What was done to them, in order."""
    total_tokens: int = Field(ge=0)
    """Sum over the shards."""
    shards: tuple[Shard, ...] = ()
    """Files, in order."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """Whatever else its manifest says."""
    path: str = ""
    """Its folder."""
    sha256: Sha256 | None = None
    """Of its manifest."""
    tokenizer_id: Id | None = None
    """Which tokenizer made the tokens."""

    @model_validator(mode="after")
    def _total_is_the_sum(self) -> Self:
        total = sum(shard.tokens for shard in self.shards)
        if total != self.total_tokens:
            raise ValueError(f"total_tokens is {self.total_tokens}, the shards hold {total}")
        return self


# Training


class Stage(StrEnum):
    """A step of a model's training (spec 001)."""

    PRETRAIN = "pretrain"
    MIDTRAIN = "midtrain"
    SFT = "sft"


class CheckpointMetadata(Part):
    """Spec 001: what training was like when the checkpoint was taken."""

    global_step: int = Field(default=0, ge=0)
    """Optimizer steps so far."""
    epoch: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Passes over the data so far, with fraction."""
    metrics: dict[str, Number] = Field(default_factory=dict)
    """Last known values: loss, eval_loss, learning_rate ..."""
    parents: dict[str, str] = Field(default_factory=dict)
    """Content hashes of what it was made from."""


class ModelCheckpoint(Record):
    """Spec 001: a saved state of a model. The weights are in its folder."""

    path: str = Field(min_length=1)
    """Its folder, in the layout of 002 §4.1."""
    config: ModelConfig
    """Architecture."""
    metadata: CheckpointMetadata = CheckpointMetadata()
    """Step, losses, parents."""
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    """MAJOR.MINOR.PATCH of spec 003."""
    checksum: int = Field(ge=0, lt=1 << 32)
    """CRC32 over all files."""
    stage: Stage | None = None
    """Which stage produced it."""
    training_session_id: Id | None = None
    """Which session produced it."""
    state: CheckpointState = CheckpointState.CREATED
    """See `lifecycles.CHECKPOINT`."""


class TrainingSession(Record):
    """Spec 001: one training run."""

    name: Name
    """Shown to people."""
    stage: Stage
    """What kind of training."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Resolved training settings."""
    architecture: ModelConfig | None = None
    """Of the model in training."""
    token_dataset_id: Id | None = None
    """What it learns from."""
    tokenizer_id: Id | None = None
    """What the tokens mean."""
    parent_checkpoint_id: Id | None = None
    """What it started from; null: from nothing."""
    best_checkpoint_id: Id | None = None
    """Lowest validation loss so far."""
    last_checkpoint_id: Id | None = None
    """Where a resume goes on."""
    metrics: dict[str, Number] = Field(default_factory=dict)
    """Final values."""
    reason: str = ""
    """Why it was interrupted."""
    started_at: Moment | None = None
    """First step."""
    completed_at: Moment | None = None
    """Last step."""
    state: TrainingSessionState = TrainingSessionState.INITIALIZED
    """See `lifecycles.TRAINING_SESSION`."""


class PipelineRun(Record):
    """Spec 003's PipelineStatus as a record; its `id` is the `pipeline_id`."""

    name: Name
    """Shown to people."""
    configuration: dict[str, Any] = Field(default_factory=dict)
    """Resolved PipelineConfiguration."""
    start_time: Moment = Field(default_factory=utc_now)
    """When it began."""
    current_phase: PipelinePhase = PipelinePhase.PREREQUISITE_CHECK
    """See `lifecycles.PIPELINE`."""
    completed_phases: tuple[PipelinePhase, ...] = ()
    """In order."""
    phase_timings: dict[str, Number] = Field(default_factory=dict)
    """Seconds per phase."""
    artifacts_created: tuple[str, ...] = ()
    """Paths."""
    error_details: dict[str, Any] | None = None
    """failed_phase, error_type, error_message, stderr_output; null unless it failed."""
    validation_results: dict[str, Any] | None = None
    """Null before the validation phase."""
    directory: str = ""
    """The run's folder."""
    model_id: Id | None = None
    """The model that came out."""


# Models and their scores


class Model(Record):
    """Spec 004: an entry of the model registry."""

    name: Name
    """Short name."""
    display_name: Annotated[str, Field(max_length=200)] = ""
    """For people; "" shows the name."""
    description: str = ""
    """Free text."""
    platform: Annotated[str, Field(max_length=50)] = "local"
    """local, or whose endpoint it is."""
    platform_model_id: Annotated[str, Field(max_length=200)] = ""
    """Its name there; "" becomes the folder of a local model, else the id."""
    version: Annotated[str, Field(max_length=50)] = "1.0.0"
    """MAJOR.MINOR.PATCH."""
    is_latest: bool = True
    """Whether a newer version exists."""
    parent_model_id: Id | None = None
    """004 `parent_model`: what it was made from."""
    default_config: dict[str, Any] = Field(default_factory=dict)
    """temperature, max_tokens ..."""
    supported_configs: tuple[Any, ...] = ()
    """Options it knows."""
    status: ModelStatus = ModelStatus.ACTIVE
    """See `lifecycles.MODEL`."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """Anything else."""
    tags: tuple[str, ...] = ()
    """User-defined."""
    deprecated_at: Moment | None = None
    """When it became deprecated."""
    total_evaluations: int = Field(default=0, ge=0)
    """Cached count."""
    avg_accuracy: Number | None = None
    """Cached mean."""
    avg_latency_ms: Number | None = None
    """Cached mean, milliseconds."""
    avg_cost_per_1k_tokens: Number | None = None
    """Cached mean."""
    path: str = ""
    """Folder of a local model."""

    @model_validator(mode="before")
    @classmethod
    def _is_named_on_its_platform(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or data.get("platform_model_id"):
            return data
        own = data.get("id") or new_id()
        return {**data, "id": own, "platform_model_id": (data.get("path") or own)[-200:]}

    checkpoint_id: Id | None = None
    """The checkpoint it serves."""


_CLOCK_SKEW = timedelta(days=1)


class BenchmarkReport(Record):
    """Spec 001's EvaluationResult: the scores of one checkpoint."""

    model_checkpoint: str = Field(min_length=1)
    """Path of the evaluated checkpoint."""
    benchmark_scores: dict[str, Fraction] = Field(default_factory=dict)
    """Benchmark name to score, 0 to 1."""
    evaluation_date: Moment = Field(default_factory=utc_now)
    """When it was evaluated; not in the future."""
    metrics: dict[str, Number] = Field(default_factory=dict)
    """loss, perplexity ..."""
    config: ModelConfig
    """Architecture of the evaluated model."""
    checkpoint_id: Id | None = None
    """Its record, where there is one."""

    @model_validator(mode="after")
    def _is_not_from_the_future(self) -> Self:
        if self.evaluation_date > utc_now() + _CLOCK_SKEW:
            raise ValueError("evaluation_date lies in the future")
        return self

    @classmethod
    def of(cls, checkpoint: Path, **fields: Any) -> Self:
        """The report on an existing checkpoint; NotFoundError when nothing lies there.

        Only a new report is checked: an old one stays readable when its checkpoint is gone.
        """
        if not checkpoint.exists():
            raise NotFoundError("no such checkpoint", where=str(checkpoint))
        return cls(model_checkpoint=str(checkpoint), **fields)
