"""Every lifecycle: the states of each kind of thing and which may follow which.

Specs 000, 001 and 003, and DESIGN §3 for what spec 004 leaves open; states are written as the specs spell them. What a
lower floor judges by itself (tokenizers, checkpoints, inference sessions) has its table there, and it is the one here.
This module knows tables only: `records.repositories` enforces them.
"""

from enum import StrEnum

from studio.core.states import TransitionTable
from studio.inference.session_state import INFERENCE_STATES as INFERENCE_SESSION
from studio.nn.checkpoint_state import LIFECYCLE as CHECKPOINT
from studio.nn.checkpoint_state import CheckpointState
from studio.text.tokenizer_state import TOKENIZER_STATES as TOKENIZER
from studio.text.tokenizer_state import TokenizerState

__all__ = [
    "AB_TEST",
    "CHECKPOINT",
    "DATASET",
    "EXPERIMENT",
    "FINETUNE",
    "INFERENCE_SESSION",
    "MODEL",
    "PIPELINE",
    "PROJECT",
    "TOKENIZER",
    "TRAINING_SESSION",
    "ABTestStatus",
    "CheckpointState",
    "DatasetStatus",
    "ExperimentStatus",
    "FinetuneStatus",
    "ModelStatus",
    "PipelinePhase",
    "ProjectStatus",
    "RunStatus",
    "TokenizerState",
    "TrainingSessionState",
]


class ProjectStatus(StrEnum):
    """Spec 000, Project."""

    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"
    DELETED = "DELETED"


PROJECT: TransitionTable[ProjectStatus] = TransitionTable(
    "project",
    ProjectStatus.ACTIVE,
    {
        ProjectStatus.ACTIVE: [ProjectStatus.ARCHIVED, ProjectStatus.DELETED],
        ProjectStatus.ARCHIVED: [ProjectStatus.ACTIVE, ProjectStatus.DELETED],
        ProjectStatus.DELETED: [],
    },
)


class DatasetStatus(StrEnum):
    """Spec 000, TrainingDataset."""

    PLANNING = "PLANNING"
    RUNNING = "RUNNING"
    ABORTED = "ABORTED"
    FAILED = "FAILED"
    DONE = "DONE"
    DELETED = "DELETED"


DATASET: TransitionTable[DatasetStatus] = TransitionTable(
    "dataset",
    DatasetStatus.PLANNING,
    {
        DatasetStatus.PLANNING: [DatasetStatus.RUNNING, DatasetStatus.DELETED],
        DatasetStatus.RUNNING: [DatasetStatus.DONE, DatasetStatus.FAILED, DatasetStatus.ABORTED],
        DatasetStatus.ABORTED: [DatasetStatus.PLANNING],
        DatasetStatus.FAILED: [DatasetStatus.PLANNING],
        DatasetStatus.DONE: [DatasetStatus.DELETED],
        DatasetStatus.DELETED: [],
    },
)


class FinetuneStatus(StrEnum):
    """Spec 000, Finetune."""

    RUNNING = "RUNNING"
    ABORTED = "ABORTED"
    FAILED = "FAILED"
    DONE = "DONE"
    DELETED = "DELETED"


FINETUNE: TransitionTable[FinetuneStatus] = TransitionTable(
    "finetune",
    FinetuneStatus.RUNNING,
    {
        FinetuneStatus.RUNNING: [FinetuneStatus.DONE, FinetuneStatus.FAILED, FinetuneStatus.ABORTED],
        FinetuneStatus.ABORTED: [FinetuneStatus.RUNNING],
        FinetuneStatus.FAILED: [FinetuneStatus.RUNNING],
        FinetuneStatus.DONE: [FinetuneStatus.DELETED],
        FinetuneStatus.DELETED: [],
    },
)


class TrainingSessionState(StrEnum):
    """Spec 001, Training Session Lifecycle."""

    INITIALIZED = "Initialized"
    TRAINING = "Training"
    CHECKPOINT_SAVED = "Checkpoint Saved"
    COMPLETED = "Completed"
    INTERRUPTED = "Interrupted"
    RESUMED = "Resumed"


_S = TrainingSessionState
TRAINING_SESSION: TransitionTable[TrainingSessionState] = TransitionTable(
    "training session",
    _S.INITIALIZED,
    {
        _S.INITIALIZED: [_S.TRAINING],
        _S.TRAINING: [_S.CHECKPOINT_SAVED, _S.COMPLETED, _S.INTERRUPTED],
        _S.CHECKPOINT_SAVED: [_S.TRAINING, _S.COMPLETED, _S.INTERRUPTED],
        _S.COMPLETED: [],
        _S.INTERRUPTED: [_S.RESUMED],
        _S.RESUMED: [_S.TRAINING],
    },
)


class PipelinePhase(StrEnum):
    """Spec 003, PipelineStatus.current_phase."""

    PREREQUISITE_CHECK = "prerequisite_check"
    CORPUS_DOWNLOAD = "corpus_download"
    TOKENIZER_TRAINING = "tokenizer_training"
    MODEL_TRAINING = "model_training"
    VALIDATION = "validation"
    COMPLETE = "complete"
    FAILED = "failed"


_P = PipelinePhase
PIPELINE: TransitionTable[PipelinePhase] = TransitionTable(
    "pipeline",
    _P.PREREQUISITE_CHECK,
    {
        _P.PREREQUISITE_CHECK: [_P.CORPUS_DOWNLOAD, _P.FAILED],
        _P.CORPUS_DOWNLOAD: [_P.TOKENIZER_TRAINING, _P.FAILED],
        _P.TOKENIZER_TRAINING: [_P.MODEL_TRAINING, _P.FAILED],
        _P.MODEL_TRAINING: [_P.VALIDATION, _P.FAILED],
        _P.VALIDATION: [_P.COMPLETE, _P.FAILED],
        _P.COMPLETE: [],
        # a resumed run goes through its phases again and finds what is done
        _P.FAILED: [_P.PREREQUISITE_CHECK],
    },
)


class RunStatus(StrEnum):
    """Spec 004, EvaluationRun and ExperimentRun."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def _run_table(kind: str) -> TransitionTable[RunStatus]:
    return TransitionTable(
        kind,
        RunStatus.PENDING,
        {
            RunStatus.PENDING: [RunStatus.RUNNING, RunStatus.CANCELLED],
            RunStatus.RUNNING: [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED],
            RunStatus.COMPLETED: [],
            RunStatus.FAILED: [RunStatus.PENDING],
            RunStatus.CANCELLED: [RunStatus.PENDING],
        },
    )


EVALUATION_RUN = _run_table("evaluation run")
EXPERIMENT_RUN = _run_table("experiment run")


class ABTestStatus(StrEnum):
    """Spec 004, ABTest."""

    DRAFT = "draft"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


AB_TEST: TransitionTable[ABTestStatus] = TransitionTable(
    "A/B test",
    ABTestStatus.DRAFT,
    {
        ABTestStatus.DRAFT: [ABTestStatus.RUNNING],
        ABTestStatus.RUNNING: [ABTestStatus.COMPLETED, ABTestStatus.FAILED, ABTestStatus.CANCELLED],
        ABTestStatus.COMPLETED: [],
        ABTestStatus.FAILED: [ABTestStatus.DRAFT],
        ABTestStatus.CANCELLED: [ABTestStatus.DRAFT],
    },
)


class ExperimentStatus(StrEnum):
    """Spec 004, Experiment."""

    DRAFT = "draft"
    ACTIVE = "active"
    PAUSED = "paused"
    ARCHIVED = "archived"


EXPERIMENT: TransitionTable[ExperimentStatus] = TransitionTable(
    "experiment",
    ExperimentStatus.DRAFT,
    {
        ExperimentStatus.DRAFT: [ExperimentStatus.ACTIVE],
        ExperimentStatus.ACTIVE: [ExperimentStatus.PAUSED, ExperimentStatus.ARCHIVED],
        ExperimentStatus.PAUSED: [ExperimentStatus.ACTIVE, ExperimentStatus.ARCHIVED],
        ExperimentStatus.ARCHIVED: [ExperimentStatus.ACTIVE],
    },
)


class ModelStatus(StrEnum):
    """Spec 004, Model."""

    ACTIVE = "active"
    DEPRECATED = "deprecated"
    EXPERIMENTAL = "experimental"
    ARCHIVED = "archived"


MODEL: TransitionTable[ModelStatus] = TransitionTable(
    "model",
    ModelStatus.ACTIVE,
    {
        ModelStatus.EXPERIMENTAL: [ModelStatus.ACTIVE, ModelStatus.ARCHIVED],
        ModelStatus.ACTIVE: [ModelStatus.DEPRECATED, ModelStatus.ARCHIVED],
        ModelStatus.DEPRECATED: [ModelStatus.ACTIVE, ModelStatus.ARCHIVED],
        ModelStatus.ARCHIVED: [ModelStatus.ACTIVE],
    },
)
