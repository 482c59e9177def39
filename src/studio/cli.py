"""The command line: `studio …`. Builds the parser, runs the verb, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong use. Nothing heavy loads here: every verb imports what it needs when it runs, so
that `studio --help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import orjson

from studio.core.errors import StudioError

COMMANDS = ("pipeline", "train", "tokenizer", "corpus", "model", "chat", "evaluate", "doctor", "schema")
"""Modules of `studio.commands`; each offers `add_parser(commands)` and imports only argparse to do so."""

EPILOG = """\
examples:
  studio pipeline run --wait                     the starter world: text to a model that answers
  studio chat latest                             talk to the newest model
  studio pipeline status                         how the newest run is going

Data live under STUDIO_HOME (default: outputs). `studio VERB --help` explains each verb.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="studio",
        description="From raw text to a language model you trust, on one machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="VERB", required=True)
    for name in COMMANDS:
        import_module(f"studio.commands.{name}").add_parser(commands)
    return parser


def _parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Overrides may stand before and after options, which argparse alone does not allow."""
    arguments, rest = parser.parse_known_args(argv)
    unknown = [text for text in rest if text.startswith("-")]
    if unknown or (rest and not hasattr(arguments, "overrides")):
        parser.error(f"unknown argument: {(unknown or rest)[0]}")
    if rest:
        arguments.overrides = [*arguments.overrides, *rest]
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        arguments = _parse(build_parser(), sys.argv[1:] if argv is None else argv)
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else 2
    try:
        return int(arguments.run(arguments))
    except StudioError as error:
        return _report(error, as_json=getattr(arguments, "json", False))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _report(error: StudioError, *, as_json: bool) -> int:
    print(f"studio: {error}", file=sys.stderr)
    if as_json:
        body = {"type": error.error_type, "message": str(error)}
        print(orjson.dumps({"error": body}).decode())
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
