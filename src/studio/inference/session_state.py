"""The lifecycle of an inference session (spec 001), apart from the session itself."""

from enum import StrEnum

from studio.core.states import TransitionTable


class InferenceState(StrEnum):
    """Spec 001, inference session lifecycle."""

    CREATED = "Created"
    MODEL_LOADED = "Model Loaded"
    READY = "Ready"
    PROCESSING = "Processing"
    STREAMING = "Streaming"
    COMPLETE = "Complete"
    ERROR = "Error"


INFERENCE_STATES: TransitionTable[InferenceState] = TransitionTable(
    "inference session",
    InferenceState.CREATED,
    {
        InferenceState.CREATED: [InferenceState.MODEL_LOADED, InferenceState.ERROR],
        InferenceState.MODEL_LOADED: [InferenceState.READY, InferenceState.ERROR],
        InferenceState.READY: [InferenceState.PROCESSING, InferenceState.ERROR],
        InferenceState.PROCESSING: [InferenceState.STREAMING, InferenceState.COMPLETE, InferenceState.ERROR],
        InferenceState.STREAMING: [InferenceState.COMPLETE, InferenceState.ERROR],
        InferenceState.COMPLETE: [InferenceState.READY],
        InferenceState.ERROR: [InferenceState.READY],
    },
)
