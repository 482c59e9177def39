"""`studio schema`: the data dictionary as one JSON Schema document."""

from __future__ import annotations

import argparse

from studio.commands.output import Commands, print_json, verb


def add_parser(commands: Commands) -> None:
    verb(
        commands,
        "schema",
        summary="print the JSON Schema of every entity",
        example="studio schema > schema.json",
        run=_run,
    )


def _run(arguments: argparse.Namespace) -> int:
    from studio.services.schema import schema

    print_json(schema())
    return 0
