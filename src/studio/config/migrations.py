"""Saved configurations of older versions, brought up to the present one step at a time.

`MIGRATIONS` is append-only: step N turns version N into version N + 1. It knows plain mappings, no types and no files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from studio.core.errors import ConfigError

Saved = dict[str, Any]


def _1_val_fraction_renamed(saved: Saved) -> Saved:
    """`data.val_fraction` became `data.validation_fraction`, the name that messages and documents use."""
    data = saved.get("data")
    if isinstance(data, dict) and "val_fraction" in data:
        data = dict(data)
        data["validation_fraction"] = data.pop("val_fraction")
        saved["data"] = data
    return saved


MIGRATIONS: tuple[Callable[[Saved], Saved], ...] = (_1_val_fraction_renamed,)

CURRENT_VERSION = len(MIGRATIONS) + 1


def migrate(saved: Saved, *, where: str = "config") -> Saved:
    """`saved` in the present form. ConfigError when it is newer than this program, or its version is no number."""
    version = saved.get("config_version", CURRENT_VERSION)
    if type(version) is not int or version < 1:
        what = f"config_version must be a whole number from 1, got {version!r}"
        raise ConfigError(what, where=where, key="config_version")
    if version > CURRENT_VERSION:
        raise ConfigError(
            f"config_version {version} is newer than {CURRENT_VERSION}, the newest this program knows",
            where=where,
            remedy="Update Studio, or write the configuration anew",
            key="config_version",
        )
    result = dict(saved)
    for step in MIGRATIONS[version - 1 :]:
        result = step(result)
    result["config_version"] = CURRENT_VERSION
    return result
