"""One JSON Schema document with every entity of the data dictionary under `$defs`."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import BaseModel

from studio.config.schema import ENTITIES, document


def schema() -> dict[str, Any]:
    """All entities: records, configurations, pipeline status and training metrics."""
    return document(entity for entity in _entities() if entity not in ENTITIES)


def _entities() -> list[type[BaseModel]]:
    from studio.config import generation, model, pipeline, run, text, training
    from studio.pipeline import status
    from studio.records import entities
    from studio.training import metrics

    found: dict[str, type[BaseModel]] = {}
    for module in (model, text, training, generation, pipeline, run, status, metrics, entities):
        for name, value in vars(module).items():
            own = inspect.isclass(value) and issubclass(value, BaseModel) and value.__module__ == module.__name__
            if own and not name.startswith("_"):
                found.setdefault(name, value)
    return list(found.values())
