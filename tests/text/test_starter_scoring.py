"""Exact match: what counts as right, and the report per language and kind."""

import pytest

from studio.core.errors import UsageError
from studio.text.starter.scoring import chance, is_right, score
from studio.text.starter.split import Case

CASES = [
    Case("a", "eng", "fact", "Where does Mila live?", "Mila lives in Luma."),
    Case("b", "eng", "sum", "What is 1 plus 2?", "1 plus 2 is 3."),
    Case("c", "spa", "sum", "¿Cuánto es 1 más 2?", "1 más 2 son 3."),
]


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("Mila lives in Luma.", True),
        (" Mila lives in Luma \n", True),
        ("mila lives in Luma.", False),
        ("Mila lives in Luma. Mila lives in Luma.", False),
        ("Mila lives in Nerva.", False),
        ("", False),
    ],
)
def test_exact_match(given: str, right: bool) -> None:
    assert is_right(given, "Mila lives in Luma.") is right


def test_composed_and_decomposed_accents_are_one_text() -> None:
    assert is_right("jardi\u0301n", "jard\u00edn")
    assert not is_right("jardin", "jardín")


def test_score_by_language_and_kind() -> None:
    report = score(CASES, ["Mila lives in Luma.", "1 plus 2 is 4.", "1 más 2 son 3."])
    assert (report.overall.correct, report.overall.total) == (2, 3)
    assert report.languages["eng"].share == 0.5
    assert report.kinds["eng", "sum"].correct == 0
    written = report.to_json()
    assert written["spa"]["kinds"]["sum"] == {"correct": 1, "total": 1, "share": 1.0}
    assert written["eng"]["chance"] == 0.5


def test_answers_by_id_and_missing_ones() -> None:
    report = score(CASES, {"c": "1 más 2 son 3"})
    assert report.overall.correct == 1
    with pytest.raises(UsageError):
        score(CASES, ["only one"])


def test_chance_is_the_best_constant_answer() -> None:
    assert chance(["a", "b", "a.", "c"]) == 0.5
    assert chance([]) == 0.0
