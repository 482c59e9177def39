"""`studio evaluate MODEL starter`: exact answers to held-out questions, by language and kind."""

from __future__ import annotations

import argparse

from studio.commands.model import MODEL_HELP
from studio.commands.output import Commands, show, table, verb


def add_parser(commands: Commands) -> None:
    parser = verb(
        commands,
        "evaluate",
        summary="ask a model the held-out questions of a suite",
        example="studio evaluate latest starter",
        run=_run,
    )
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument("suite", choices=["starter"], help="starter: the built-in world")
    parser.add_argument("--seed", type=int, default=1337, help="seed of the world that the model was trained on")
    parser.add_argument("--questions", type=int, default=200, help="questions per language, at most 200")


def _run(arguments: argparse.Namespace) -> int:
    from studio.core.errors import UsageError
    from studio.services.evaluation import CASES_PER_LANGUAGE, starter_score
    from studio.services.studio import open_studio

    if not 1 <= arguments.questions <= CASES_PER_LANGUAGE or arguments.seed < 0:
        raise UsageError(f"--questions is 1 to {CASES_PER_LANGUAGE}, --seed 0 or more")
    model = open_studio().models.resolve(arguments.model)
    scores = starter_score(model, seed=arguments.seed, per_language=arguments.questions)
    rows = [
        {"language": language, "kind": kind, "correct": row["correct"], "total": row["total"], "share": row["share"]}
        for language, of_language in scores.items()
        for kind, row in [*of_language["kinds"].items(), ("all", of_language)]
    ]
    show(
        arguments,
        {"model": str(model), "scores": scores},
        table(rows, ["language", "kind", "correct", "total", "share"]),
    )
    return 0
