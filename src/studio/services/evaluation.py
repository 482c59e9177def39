"""How many held-out questions of the starter world a model answers exactly: `studio evaluate MODEL starter`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studio.pipeline.stages.conversations import answers, spread
from studio.text.starter.facts import make_world
from studio.text.starter.scoring import score
from studio.text.starter.split import make_cases, make_split

CASES_PER_LANGUAGE = 200


def starter_score(model: Path, *, seed: int = 1337, per_language: int = CASES_PER_LANGUAGE) -> dict[str, Any]:
    """`{language: {correct, total, share, chance, kinds}}` on the world of `seed`; answers are greedy."""
    cases = spread(make_cases(make_split(make_world(seed), seed), seed, CASES_PER_LANGUAGE), per_language)
    return score(cases, answers(model, cases)).to_json()
