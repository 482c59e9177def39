"""The data dictionary as one JSON Schema document: every entity under `$defs`, its aliases under `x-aliases`.

Knows the configuration's entities; floors above pass theirs in, so that imports go down only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from studio.config import aliases
from studio.config.generation import GenerationParams
from studio.config.model import LoraConfig, ModelConfig
from studio.config.pipeline import ExportConfig, ModelArchitecture, PipelineConfiguration, ValidationConfig
from studio.config.run import TrainRun
from studio.config.text import CleaningConfig, CorpusConfig, DataConfig, DataSource, DedupConfig, TokenizerConfig
from studio.config.training import OptimizerConfig, TrainConfig

DIALECT = "https://json-schema.org/draft/2020-12/schema"

ENTITIES: tuple[type[BaseModel], ...] = (
    CleaningConfig,
    CorpusConfig,
    DataConfig,
    DataSource,
    DedupConfig,
    ExportConfig,
    GenerationParams,
    LoraConfig,
    ModelArchitecture,
    ModelConfig,
    OptimizerConfig,
    PipelineConfiguration,
    TokenizerConfig,
    TrainConfig,
    TrainRun,
    ValidationConfig,
)


def document(more: Iterable[type[BaseModel]] = ()) -> dict[str, Any]:
    """The schema of the configuration's entities and of `more` (records and wire types of the floors above).

    Raises ValueError when two entities share a name.
    """
    models = [*ENTITIES, *more]
    named = [model.__name__ for model in models]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise ValueError(f"entities with one name: {', '.join(twice)}")
    _, schema = models_json_schema([(model, "validation") for model in models], ref_template="#/$defs/{model}")
    definitions = schema["$defs"]
    for name, definition in definitions.items():
        table = aliases.of(name)
        if table:
            definition["x-aliases"] = dict(sorted(table.items()))
    return {
        "$schema": DIALECT,
        "title": "Studio data dictionary",
        "description": "Every entity with its fields, ranges and defaults; x-aliases are accepted on input.",
        "$defs": dict(sorted(definitions.items())),
    }
