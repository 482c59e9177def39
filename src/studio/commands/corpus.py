"""`studio corpus list|show`: what texts hold."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from studio.commands.output import Commands, group, show, table, verb

if TYPE_CHECKING:
    from studio.services.corpora import CorpusService


def add_parser(commands: Commands) -> None:
    actions = group(commands, "corpus", summary="look at texts", example="studio corpus show books/")
    verb(actions, "list", summary="list the cleaned corpora that runs made", example="studio corpus list", run=_list)
    shown = verb(
        actions,
        "show",
        summary="read a file or folder and report languages and problems",
        example="studio corpus show books/",
        run=_show,
    )
    shown.add_argument("corpus", help="a file, a folder, or an id of studio corpus list")


def _service() -> CorpusService:
    from studio.services.studio import open_studio

    return open_studio().corpora


def _list(arguments: argparse.Namespace) -> int:
    rows = _service().list()
    show(arguments, rows, table(rows, ["id", "documents", "bytes", "languages"]) if rows else ["no corpora yet"])
    return 0


def _show(arguments: argparse.Namespace) -> int:
    document = _service().show(arguments.corpus)
    show(arguments, document, _lines(document))
    return 0


def _lines(document: dict[str, Any]) -> list[str]:
    named = {"languages": document["languages"], "encodings": document.get("encodings", {})}
    return [
        f"{document['documents']:,} documents, {document['characters']:,} characters, {document['bytes']:,} bytes",
        *(f"{name}: " + ", ".join(f"{key} {count}" for key, count in counts.items()) for name, counts in named.items()),
        f"duplicates dropped: {document['duplicates_dropped']:,}",
        *document.get("problems", []),
    ]
