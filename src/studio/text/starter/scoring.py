"""Exact-match scores of the held-out cases, per language and kind.

An answer is right when it equals the expected one after Unicode normalisation, with white space at its ends and one
final period aside. Case, accents and every other word count. Knows nothing of models or files' places.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.core.errors import UsageError
from studio.core.fsio import iter_jsonl
from studio.text.starter.split import Case


@dataclass(frozen=True, slots=True)
class Tally:
    """Right answers out of cases."""

    correct: int
    total: int

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.correct / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class StarterScore:
    """Tallies by language and by (language, kind); `chance` is what the best constant answer would get."""

    languages: dict[str, Tally]
    kinds: dict[tuple[str, str], Tally]
    chance: dict[str, float]

    @property
    def overall(self) -> Tally:
        """All languages together."""
        return Tally(sum(t.correct for t in self.languages.values()), sum(t.total for t in self.languages.values()))

    def to_json(self) -> dict[str, Any]:
        """`{language: {"correct", "total", "share", "chance", "kinds": {kind: {...}}}}`."""
        return {
            language: _tally_json(tally)
            | {"chance": self.chance[language]}
            | {"kinds": {kind: _tally_json(t) for (of, kind), t in self.kinds.items() if of == language}}
            for language, tally in self.languages.items()
        }


def read_cases(path: Path) -> list[Case]:
    """The rows of `heldout.jsonl`."""
    return [Case(**row) for _, row in iter_jsonl(path)]


def score(cases: Sequence[Case], answers: Sequence[str] | Mapping[str, str]) -> StarterScore:
    """Compare answers, in the order of the cases or by case id (a missing one is wrong)."""
    if isinstance(answers, Mapping):
        given = [answers.get(case.id, "") for case in cases]
    elif len(answers) == len(cases):
        given = list(answers)
    else:
        raise UsageError(f"{len(answers)} answers for {len(cases)} cases", where="starter score")
    total, correct = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for case, answer in zip(cases, given, strict=True):
        total[case.language, case.kind] += 1
        correct[case.language, case.kind] += is_right(answer, case.answer)
    languages = list(dict.fromkeys(case.language for case in cases))
    return StarterScore(
        {language: _sum(language, correct, total) for language in languages},
        {key: Tally(correct[key], total[key]) for key in total},
        {language: chance(case.answer for case in cases if case.language == language) for language in languages},
    )


def is_right(given: str, expected: str) -> bool:
    """Exact match after the normalisation that the module describes."""
    return normalise(given) == normalise(expected)


def normalise(answer: str) -> str:
    """NFC, no white space at the ends, no final period."""
    return unicodedata.normalize("NFC", answer).strip().removesuffix(".").rstrip()


def chance(expected: Iterable[str]) -> float:
    """The share of cases that the most frequent answer gets right when given to all."""
    counts = Counter(normalise(answer) for answer in expected)
    return max(counts.values(), default=0) / max(1, counts.total())


def _sum(language: str, correct: Counter[tuple[str, str]], total: Counter[tuple[str, str]]) -> Tally:
    keys = [key for key in total if key[0] == language]
    return Tally(sum(correct[key] for key in keys), sum(total[key] for key in keys))


def _tally_json(tally: Tally) -> dict[str, float]:
    return {"correct": tally.correct, "total": tally.total, "share": tally.share}
