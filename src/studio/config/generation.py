"""How text is drawn from a model: 001 GenerationParams with the limits and error texts of 002 §7.1.

Importing this module loads no torch.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from studio.config.base import Frozen, rule
from studio.core.errors import ConfigError

MAX_PROMPT_CHARS = 100_000
MAX_TOKENS_LIMIT = 4096

Temperature = Annotated[
    float,
    rule("Temperature out of range", lambda temperature: 0.0 <= temperature <= 2.0),
    Field(json_schema_extra={"minimum": 0, "maximum": 2}),
]
MaxTokens = Annotated[
    int,
    rule("Invalid max_tokens", lambda tokens: 1 <= tokens <= MAX_TOKENS_LIMIT),
    Field(json_schema_extra={"minimum": 1, "maximum": MAX_TOKENS_LIMIT}),
]


class GenerationParams(Frozen):
    """Sampling settings of one answer. `temperature` 0 is greedy."""

    temperature: Temperature = 0.7
    """Sharpness of the distribution, 0 (greedy) to 2."""
    top_k: int = Field(default=50, ge=1)
    """Only the k most probable tokens may be drawn; 1 to the vocabulary size."""
    top_p: float = Field(default=0.9, gt=0.0, le=1.0)
    """Only the most probable tokens that together reach this probability may be drawn; above 0, up to 1."""
    max_tokens: MaxTokens = 256
    """Longest answer in tokens, 1 to 4096 and at most the room left in the context."""
    seed: int | None = Field(default=None, ge=0, lt=2**64)
    """Makes the draw repeatable; null: another answer each time."""
    stop: list[Annotated[str, Field(min_length=1)]] = Field(default=[], max_length=16)
    """The answer ends before the first of these texts."""

    def checked_for(self, vocab_size: int, room: int, explicit: bool | None = None) -> GenerationParams:
        """These settings for a model of `vocab_size` tokens with `room` tokens of context left.

        A default that does not fit is clamped; an explicit one is a ConfigError (design §3). `explicit` None: a field
        counts as explicit when it was given to the constructor.
        """
        if room < 1:
            remedy = "No room is left in the context"
            raise ConfigError("Invalid max_tokens", where="max_tokens", remedy=remedy, key="max_tokens")
        changes: dict[str, int] = {}
        for name, limit, text in (
            ("top_k", vocab_size, f"top_k must be at most the vocabulary size {vocab_size}"),
            ("max_tokens", room, "Invalid max_tokens"),
        ):
            value = getattr(self, name)
            if value <= limit:
                continue
            if explicit if explicit is not None else name in self.model_fields_set:
                remedy = f"At most {limit} fit here, {value} were asked for"
                raise ConfigError(text, where=name, remedy=remedy, key=name)
            changes[name] = limit
        return self.model_copy(update=changes) if changes else self


def check_prompt(prompt: str) -> str:
    """The prompt, or a ConfigError when it has more than 100,000 characters (002 §7.1)."""
    if len(prompt) > MAX_PROMPT_CHARS:
        remedy = f"{len(prompt)} characters were given, {MAX_PROMPT_CHARS} are allowed"
        raise ConfigError("Prompt too long", where="prompt", remedy=remedy, key="prompt")
    return prompt
