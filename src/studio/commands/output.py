"""How commands print: one JSON document for scripts, plain aligned text for people. It knows no domain."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Run = Callable[[argparse.Namespace], int]
Commands = Any
"""What `add_subparsers` returns; argparse keeps its type private."""


def verb(commands: Commands, name: str, *, summary: str, example: str, run: Run) -> argparse.ArgumentParser:
    """A sub-command with an example in its help and the `--json` that every verb has."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.set_defaults(run=run)
    return parser


def group(commands: Commands, name: str, *, summary: str, example: str) -> Commands:
    """A verb that has verbs of its own."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser.add_subparsers(metavar="ACTION", required=True)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="configuration, in Hydra's grammar: experiment=bilingual seed=7",
    )


def print_json(document: Any) -> None:
    # not orjson: a schema holds bounds beyond 64 bits
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")


def show(arguments: argparse.Namespace, document: Any, lines: Iterable[str]) -> None:
    """The document when `--json` was asked for, the lines otherwise."""
    if arguments.json:
        print_json(document)
        return
    for line in lines:
        print(line)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Rows as aligned text under the column names; a missing value is a dash."""
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    widths = [
        max(len(name), *(len(line[i]) for line in cells)) if cells else len(name) for i, name in enumerate(columns)
    ]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in [list(columns), *cells]
    ]


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)
