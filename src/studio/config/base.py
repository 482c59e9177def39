"""The shape of every configuration: frozen, complete, and strict about what it does not know.

`Frozen` is the base class; `parse` turns a plain mapping into one, or into a `ConfigError` of one line that names the
key. It refuses to know Hydra, files and any particular configuration.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from studio.config import aliases
from studio.core.errors import ConfigError

T = TypeVar("T", bound=BaseModel)

SHOWN_VALUE_CHARS = 60


class Frozen(BaseModel):
    """A configuration value: immutable, unknown keys are errors, aliases of other specs are accepted on input."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        coerce_numbers_to_str=True,
        protected_namespaces=(),
        ser_json_inf_nan="constants",
    )

    @model_validator(mode="before")
    @classmethod
    def _translate_aliases(cls, data: Any) -> Any:
        return cls.prepare(cls.canonical(data)) if isinstance(data, Mapping) else data

    @classmethod
    def prepare(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Where an entity derives values from others, after aliases and before types; `data` may be changed."""
        return data

    @classmethod
    def canonical(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """`data` with the aliases of this entity replaced by its own names."""
        return aliases.translate(cls.__name__, data)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: Any) -> Any:
        # pydantic reads true as 1: `num_epochs: true` would train one epoch without a word
        if isinstance(value, bool) and not _accepts_bool(cls.model_fields[info.field_name].annotation):
            raise PydanticCustomError("bool_for_other", "must not be true or false")
        return value


def _accepts_bool(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(_accepts_bool(part) for part in get_args(annotation))


def rule(text: str, holds: Callable[[Any], bool]) -> AfterValidator:
    """A validator whose error is exactly `text` (spec 002 §7.1 fixes some of them)."""

    def check(value: Any) -> Any:
        if value is not None and not holds(value):
            raise PydanticCustomError("rule", "{text}", {"text": text})
        return value

    return AfterValidator(check)


BatchSize = Annotated[
    int, rule("Batch size must be at least 1", lambda size: size >= 1), Field(json_schema_extra={"minimum": 1})
]
LearningRate = Annotated[
    float,
    rule("Learning rate must be positive", lambda rate: rate > 0),
    Field(json_schema_extra={"exclusiveMinimum": 0}),
]


def refuse(text: str, key: str = "") -> PydanticCustomError:
    """The error of a rule between fields: raise it inside a model validator. `key` is the field that it is about."""
    return PydanticCustomError("rule", "{text}", {"text": text, "key": key})


def parse(cls: type[T], data: Mapping[str, Any], *, where: str = "config") -> T:
    """`cls` from a plain mapping. ConfigError (one line, `.key` = dotted key) for the first thing that is wrong."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"must be a mapping of keys to values, got {type(data).__name__}", where=where)
    try:
        return cls.model_validate(dict(data))
    except ValidationError as error:
        raise _first_error(cls, error, where) from None


def _first_error(cls: type[BaseModel], error: ValidationError, where: str) -> ConfigError:
    details = error.errors(include_url=False)
    # an unknown key is the usual cause of a missing one; a default that was not computed is never the cause
    rank = {"extra_forbidden": 0, "missing": 2, "default_factory_not_called": 3}
    first = min(details, key=lambda detail: rank.get(detail["type"], 1))
    inner = first.get("ctx", {}).get("key", "")
    key = ".".join([*(str(part) for part in first["loc"] if not _is_union_branch(part)), *filter(None, [inner])])
    if first["type"] == "extra_forbidden":
        return _unknown_key(cls, key, where)
    if first["type"] == "missing":
        return ConfigError(f"{key} is required", where=where, remedy=f"Give {key}=VALUE", key=key)
    named = _reason(first) if not key or _reason(first).startswith(key) else f"{key}: {_reason(first)}"
    if _is_plain(first["input"]):
        named += f", got {_shown(first['input'])}"
    return ConfigError(named, where=where, key=key)


def _is_union_branch(part: str | int) -> bool:
    return isinstance(part, str) and (part.endswith("]") or part in {"int", "float", "str", "bool"})


def _reason(detail: ErrorDetails) -> str:
    text = detail["msg"].replace("Input should be", "must be")
    return text.partition(", unable to parse")[0]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= SHOWN_VALUE_CHARS else text[:SHOWN_VALUE_CHARS] + "…"


def _unknown_key(cls: type[BaseModel], key: str, where: str) -> ConfigError:
    prefix, _, last = key.rpartition(".")
    owner = owner_of(cls, prefix) if prefix else cls
    names = [*owner.model_fields, *aliases.names(owner.__name__)] if owner else []
    dotted = f"{prefix}." if prefix else ""
    near = difflib.get_close_matches(last, names, n=1, cutoff=0.5)
    if near:
        remedy = f"Did you mean {dotted}{near[0]}?"
    else:
        remedy = f"Known keys: {', '.join(list(owner.model_fields) if owner else [])}"
    return ConfigError(f"unknown key {key}", where=where, remedy=remedy, key=key)


def owner_of(cls: type[BaseModel], dotted: str) -> type[BaseModel] | None:
    """The configuration class that `dotted` leads to inside `cls`, None when it leads to a plain value or nowhere."""
    current: type[BaseModel] | None = cls
    for part in filter(None, dotted.split(".")):
        if current is None:
            return None
        if part.isdigit():
            continue
        field = current.model_fields.get(part)
        current = _model_in(field.annotation) if field else None
    return current


def field_of(cls: type[BaseModel], dotted: str) -> FieldInfo | None:
    """The field that `dotted` names inside `cls`, None when there is none."""
    prefix, _, last = dotted.rpartition(".")
    owner = owner_of(cls, prefix)
    return owner.model_fields.get(last) if owner is not None else None


def takes_only_text(field: FieldInfo) -> bool:
    """Whether a field holds free text (or null): then nothing in the text can mean anything else."""
    annotation = field.annotation
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    bare = {get_args(part)[0] if get_origin(part) is Annotated else part for part in parts}
    return str in bare and bare <= {str, type(None)}


def canonical_tree(cls: type[BaseModel], data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` under canonical names at every depth, so that it can be merged with data that is."""
    result = aliases.translate(cls.__name__, data)
    for name, value in result.items():
        owner = owner_of(cls, name)
        if owner is not None and isinstance(value, Mapping):
            result[name] = canonical_tree(owner, value)
    return result


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
