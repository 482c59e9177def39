"""The lifecycle of a tokenizer (spec 001), apart from the tokenizer itself."""

from enum import StrEnum

from studio.core.states import TransitionTable


class TokenizerState(StrEnum):
    """Spec 001, Tokenizer, state transitions."""

    UNTRAINED = "Untrained"
    TRAINING = "Training"
    TRAINED = "Trained"
    LOADED = "Loaded"


TOKENIZER_STATES: TransitionTable[TokenizerState] = TransitionTable(
    "tokenizer",
    TokenizerState.UNTRAINED,
    {
        TokenizerState.UNTRAINED: [TokenizerState.TRAINING],
        TokenizerState.TRAINING: [TokenizerState.TRAINED],
        TokenizerState.TRAINED: [TokenizerState.LOADED],
        TokenizerState.LOADED: [],
    },
)
