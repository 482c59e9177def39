"""Structured logs: one JSON object per line with the fields of spec 002 §6, secrets masked.

Context goes in by `log.info("..", extra={"context": {...}})`; request and trace ids come from `bind`. This module
knows nothing of who logs, and Python's own logging does the routing.
"""

import contextlib
import logging
import re
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import orjson

from studio.core.clock import iso

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_ROOT = "studio"
_MASK = "***"
_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)

_SECRET_NAME = r"(?:password|passwd|secret|api[_-]?key|access[_-]?key|authorization|token|cookie)"
_SECRET_KEY = re.compile(rf"(?:^|[_-]){_SECRET_NAME}$", re.IGNORECASE)
_SECRET_TEXT = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), r"\1 " + _MASK),
    (re.compile(r"\b(?:sk|hf|ghp|gho|xox[abp])[-_][\w-]{10,}"), _MASK),
    (re.compile(rf"(?i)({_SECRET_NAME}[\"']?\s*[=:]\s*[\"']?)(?!bearer|basic)[^\s\"'&,;]+"), r"\1" + _MASK),
    (re.compile(r"(\w+://[^/\s:@]+:)[^/\s@]+@"), r"\1" + _MASK + "@"),
)


def mask(value: Any, key: str = "") -> Any:
    """`value` with every secret in it replaced by ***: by the name of its key, or by its look inside a text."""
    if isinstance(value, dict):
        return {name: mask(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [mask(inner, key) for inner in value]
    if not isinstance(value, str):
        return value
    if _SECRET_KEY.search(key):
        return _MASK
    for pattern, replacement in _SECRET_TEXT:
        value = pattern.sub(replacement, value)
    return value


class JsonFormatter(logging.Formatter):
    """A record as the JSON line of 002 §6.1; an exception goes into the context as text."""

    def format(self, record: logging.LogRecord) -> str:
        context = dict(getattr(record, "context", None) or {})
        if record.exc_info:
            context["exception"] = self.formatException(record.exc_info)
        line = {
            "timestamp": iso(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": record.name,
            "message": mask(record.getMessage()),
            "request_id": _request_id.get(),
            "trace_id": _trace_id.get(),
            "context": mask(context),
        }
        return orjson.dumps(line, default=str, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS).decode()


def configure(target: TextIO | Path, level: str = "INFO") -> logging.Handler:
    """Send our logs from `level` up to `target` (a stream, or a file to append to), in place of the one before.

    Returns the handler, so that a caller may close it. ValueError on an unknown level.
    """
    if level.upper() not in LEVELS:
        raise ValueError(f"{level!r} is no log level; levels: {', '.join(LEVELS)}")
    handler: logging.Handler
    if isinstance(target, Path):
        target.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(target, encoding="utf-8")
    else:
        handler = logging.StreamHandler(target)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger(_ROOT)
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    root.propagate = False
    return handler


def get_logger(name: str) -> logging.Logger:
    """The logger `name`, below "studio" (where `configure` listens) whatever the caller writes."""
    return logging.getLogger(name if name == _ROOT or name.startswith(f"{_ROOT}.") else f"{_ROOT}.{name}")


@contextlib.contextmanager
def bind(*, request_id: str | None = None, trace_id: str | None = None) -> Iterator[None]:
    """Every log line written inside the block, by this task or thread, carries these ids; None keeps the outer one."""
    tokens = [
        (var, var.set(value)) for var, value in ((_request_id, request_id), (_trace_id, trace_id)) if value is not None
    ]
    try:
        yield
    finally:
        for var, token in reversed(tokens):
            var.reset(token)
