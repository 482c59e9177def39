"""Configurations in files: the resolved one that every run keeps, and the YAML that a person writes.

Reads with a plain YAML loader (no interpolation, no objects) and brings older versions up. It refuses to know Hydra.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml

from studio.config.base import Frozen, parse
from studio.config.migrations import migrate
from studio.core.errors import ConfigError
from studio.core.fsio import atomic_write_text

T = TypeVar("T", bound=Frozen)


def save(path: Path, config: Frozen) -> None:
    """Every value of `config` as YAML, written atomically."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    atomic_write_text(path, text)


def load_saved(path: Path, cls: type[T]) -> T:
    """A configuration that `save` wrote, in this or an older version. ConfigError names file and key."""
    return parse(cls, migrate(read_yaml(path), where=path.name), where=path.name)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. ConfigError when it cannot be read, is not YAML, or is something else."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 (byte {error.start})", where=str(path)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"is not YAML{place}", where=str(path)) from None
    except RecursionError:
        raise ConfigError("is nested too deeply", where=str(path)) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"must be a mapping of keys to values, got {type(data).__name__}", where=str(path))
    return {str(key): value for key, value in data.items()}
