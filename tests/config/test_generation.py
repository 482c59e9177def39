"""001 GenerationParams with the limits and texts of 002 §7.1."""

from typing import Any

import pytest

from studio.config.base import parse
from studio.config.generation import MAX_PROMPT_CHARS, GenerationParams, check_prompt
from studio.core.errors import ConfigError


def test_defaults_of_002():
    params = GenerationParams()
    assert (params.temperature, params.top_k, params.top_p, params.max_tokens) == (0.7, 50, 0.9, 256)
    assert (params.seed, params.stop) == (None, [])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"temperature": 2.1}, "Temperature out of range"),
        ({"temperature": -0.1}, "Temperature out of range"),
        ({"max_tokens": 0}, "Invalid max_tokens"),
        ({"max_tokens": 4097}, "Invalid max_tokens"),
        ({"top_k": 0}, "top_k: must be greater than or equal to 1"),
        ({"top_p": 0.0}, "top_p: must be greater than 0"),
        ({"top_p": 1.1}, "top_p: must be less than or equal to 1"),
        ({"seed": -1}, "seed: must be greater than or equal to 0"),
        ({"seed": 2**64}, "seed: must be less than"),
        ({"stop": [""]}, "stop.0: String should have at least 1 character"),
        ({"temperature": float("nan")}, "temperature: must be a finite number"),
    ],
)
def test_a_value_out_of_range_is_named(given: dict[str, Any], said: str):
    with pytest.raises(ConfigError) as caught:
        parse(GenerationParams, given)
    assert said in str(caught.value)


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_the_ends_of_the_temperature_range_are_allowed(value: float):
    assert GenerationParams(temperature=value).temperature == value


def test_a_default_that_does_not_fit_is_clamped():
    fitted = GenerationParams().checked_for(vocab_size=30, room=10)
    assert (fitted.top_k, fitted.max_tokens) == (30, 10)


@pytest.mark.parametrize(
    ("given", "text"), [({"max_tokens": 11}, "Invalid max_tokens"), ({"top_k": 31}, "vocabulary size 30")]
)
def test_an_explicit_one_that_does_not_fit_is_an_error(given: dict[str, int], text: str):
    with pytest.raises(ConfigError, match=text):
        GenerationParams.model_validate(given).checked_for(vocab_size=30, room=10)


def test_explicit_can_be_said_for_all_fields():
    with pytest.raises(ConfigError, match="Invalid max_tokens"):
        GenerationParams(top_k=5).checked_for(30, 10, explicit=True)
    assert GenerationParams(max_tokens=11).checked_for(30, 10, explicit=False).top_k == 30


def test_no_room_is_an_error_even_for_defaults():
    with pytest.raises(ConfigError, match="No room is left"):
        GenerationParams().checked_for(30, 0)


def test_prompts_have_a_longest_length():
    assert check_prompt("a" * MAX_PROMPT_CHARS)
    with pytest.raises(ConfigError, match="Prompt too long"):
        check_prompt("a" * (MAX_PROMPT_CHARS + 1))
