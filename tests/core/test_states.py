"""Transition tables judge every pair of states."""

from enum import StrEnum

import pytest

from studio.core.errors import TransitionError
from studio.core.states import TransitionTable


class Light(StrEnum):
    RED = "red"
    GREEN = "green"
    OFF = "off"


TABLE: TransitionTable[Light] = TransitionTable(
    "light", Light.RED, {Light.RED: [Light.GREEN, Light.OFF], Light.GREEN: [Light.RED], Light.OFF: []}
)


def test_legal_moves() -> None:
    assert TABLE.initial == "red"
    assert TABLE.states == ("red", "green", "off")
    assert TABLE.allowed(Light.RED) == ("green", "off")
    assert TABLE.check(Light.RED, Light.GREEN) is Light.GREEN


def test_plain_text_becomes_the_member() -> None:
    assert TABLE.check("red", "green") is Light.GREEN  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("current", "wanted", "text"),
    [
        (Light.RED, Light.RED, "light is red, it cannot become red; allowed: green, off"),
        (Light.GREEN, Light.OFF, "light is green, it cannot become off; allowed: red"),
        (Light.OFF, Light.RED, "light is off, it cannot become red; allowed: none"),
        (Light.RED, "blue", "light is red, it cannot become blue; allowed: green, off"),
        ("blue", Light.RED, "light has no state blue; states: red, green, off"),
    ],
)
def test_illegal_moves_name_what_is_allowed(current: Light, wanted: Light, text: str) -> None:
    with pytest.raises(TransitionError) as caught:
        TABLE.check(current, wanted)
    assert str(caught.value) == text


def test_a_table_with_a_forgotten_row_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="off"):
        TransitionTable("light", Light.RED, {Light.RED: [Light.OFF]})
