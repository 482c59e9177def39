"""The lifecycle of a checkpoint (spec 001), apart from the checkpoint itself: who only judges states loads no torch."""

from enum import StrEnum

from studio.core.states import TransitionTable


class CheckpointState(StrEnum):
    """Spec 001, ModelCheckpoint."""

    CREATED = "Created"
    SAVED = "Saved"
    LOADED = "Loaded"
    VALIDATED = "Validated"


LIFECYCLE: TransitionTable[CheckpointState] = TransitionTable(
    "checkpoint",
    CheckpointState.CREATED,
    {
        CheckpointState.CREATED: [CheckpointState.SAVED],
        CheckpointState.SAVED: [CheckpointState.LOADED],
        CheckpointState.LOADED: [CheckpointState.VALIDATED],
        CheckpointState.VALIDATED: [CheckpointState.SAVED],
    },
)
