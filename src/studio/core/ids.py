"""Identifiers: every record and row is a random UUID (version 4), written in lower case with hyphens."""

import re
import uuid

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")


def new_id() -> str:
    """A fresh UUID4."""
    return str(uuid.uuid4())


def is_id(text: object) -> bool:
    """Whether `text` is a UUID in the canonical spelling that `new_id` gives."""
    return isinstance(text, str) and _CANONICAL.match(text) is not None


def short(identifier: str) -> str:
    """The first eight characters, for people to read; never for looking something up."""
    return identifier[:8]
