"""The data dictionary: valid JSON Schema, every field described, aliases listed, and it says what the types say."""

import jsonschema
import pytest
from pydantic import BaseModel

from studio.config import aliases
from studio.config.base import Frozen
from studio.config.compose import load_pipeline
from studio.config.schema import ENTITIES, document


def test_it_is_a_valid_schema():
    jsonschema.Draft202012Validator.check_schema(document())


def test_every_entity_is_under_defs():
    definitions = document()["$defs"]
    assert {entity.__name__ for entity in ENTITIES} <= set(definitions)


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.__name__)
def test_every_field_is_documented(entity: type[BaseModel]):
    undocumented = [name for name, field in entity.model_fields.items() if not field.description]
    assert undocumented == []


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.__name__)
def test_every_configuration_is_frozen_and_closed(entity: type[BaseModel]):
    assert issubclass(entity, Frozen)
    assert document()["$defs"][entity.__name__]["additionalProperties"] is False


def test_aliases_are_listed_and_lead_somewhere():
    definitions = document()["$defs"]
    assert definitions["ModelConfig"]["x-aliases"]["d_model"] == "n_embd"
    assert definitions["ModelArchitecture"]["x-aliases"] == definitions["ModelConfig"]["x-aliases"]
    for entity, table in aliases.ALIASES.items():
        for canonical in table.values():
            assert canonical.partition(".")[0] in definitions[entity]["properties"], (entity, canonical)


def test_no_alias_hides_a_field():
    for entity in ENTITIES:
        assert not set(aliases.of(entity.__name__)) & set(entity.model_fields)


def test_a_real_configuration_follows_it():
    schema = document()
    schema["$ref"] = "#/$defs/PipelineConfiguration"
    jsonschema.validate(load_pipeline().model_dump(mode="json"), schema)


def test_ranges_with_texts_of_002_are_in_it():
    definitions = document()["$defs"]
    assert definitions["OptimizerConfig"]["properties"]["learning_rate"]["exclusiveMinimum"] == 0
    assert definitions["GenerationParams"]["properties"]["max_tokens"]["maximum"] == 4096


def test_floors_above_add_their_entities():
    class Project(BaseModel):
        name: str

    assert "Project" in document([Project])["$defs"]
    with pytest.raises(ValueError, match="entities with one name: Project"):
        document([Project, Project])
