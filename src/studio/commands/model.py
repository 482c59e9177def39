"""`studio model list|show|export`: the models that runs left."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.commands.output import Commands, group, show, table, verb

if TYPE_CHECKING:
    from studio.services.models import ModelService

MODEL_HELP = "a folder, a run id or its beginning, or latest"


def add_parser(commands: Commands) -> None:
    actions = group(commands, "model", summary="find, look at and export models", example="studio model list")
    verb(actions, "list", summary="list the models, newest first", example="studio model list", run=_list)
    shown = verb(actions, "show", summary="show one model", example="studio model show latest", run=_show)
    shown.add_argument("model", nargs="?", default="latest", help=MODEL_HELP)
    export = verb(
        actions,
        "export",
        summary="write a model as ONNX, checked against the trainer",
        example="studio model export latest exported/",
        run=_export,
    )
    export.add_argument("model", help=MODEL_HELP)
    export.add_argument("target", nargs="?", type=Path, help="new folder to copy the export to")
    export.add_argument("--no-int8", action="store_true", help="write fp32 only")


def _service() -> ModelService:
    from studio.services.studio import open_studio

    return open_studio().models


def _list(arguments: argparse.Namespace) -> int:
    rows = _service().list()
    show(arguments, rows, table(rows, ["id", "name", "phase", "val_loss", "path"]) if rows else ["no models yet"])
    return 0


def _show(arguments: argparse.Namespace) -> int:
    document = _service().show(arguments.model)
    show(arguments, document, _lines(document))
    return 0


def _lines(document: dict[str, Any]) -> list[str]:
    config, manifest, parity = document["config"], document["manifest"], document["parity"]
    lines = [
        f"model {document['path']}",
        f"  {config['num_hidden_layers']} layers x {config['hidden_size']}, vocabulary {config['vocab_size']:,},"
        f" context {config['max_position_embeddings']}",
    ]
    metrics = manifest.get("metrics") or {}
    lines += [f"  {name}: {value:.4g}" for name, value in metrics.items() if isinstance(value, int | float)]
    if parity:
        lines.append(f"  export: {parity['use']}")
    lines += [f"  {name}  {size:,} bytes" for name, size in document["files"].items()]
    return lines


def _export(arguments: argparse.Namespace) -> int:
    folder = _service().export(arguments.model, arguments.target, int8=not arguments.no_int8)
    show(arguments, {"path": str(folder)}, [f"exported: {folder}"])
    return 0
