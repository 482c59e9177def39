"""What happened, as lines of JSON that one process appends and another follows.

An event is `{"time", "kind", ...}`. The log knows no kinds: who emits and who reads agree on them.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from studio.core.clock import iso
from studio.core.fsio import write_all

Emit = Callable[..., None]
"""`emit(kind, **fields)`: how a library function tells what it does, without knowing who listens."""

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS


def silent(kind: str, /, **fields: object) -> None:
    """The `Emit` that nobody listens to."""


class EventLog:
    """Appends events to `path`. Use its `emit` wherever an `Emit` is asked for.

    Each event is one `write` on an O_APPEND descriptor, so lines of several writers never interleave, and after a kill
    at most the last line is torn. A NaN becomes null: an event reports, it does not validate.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        # a writer before us may have been killed inside a line: ours then begins with the end of that one
        self._torn = _ends_torn(self._descriptor)

    def emit(self, kind: str, /, **fields: object) -> None:
        """Append `{"time": now, "kind": kind, **fields}`; what JSON cannot hold is written as its text.

        OSError when the disk is full; the event is lost then, the ones after it are not.
        """
        line = orjson.dumps({"time": iso(), "kind": kind, **fields}, default=str, option=_OPTIONS)
        if self._torn:
            line = b"\n" + line
        self._torn = True
        write_all(self._descriptor, line)
        self._torn = False

    def close(self) -> None:
        """Close the file; emitting afterwards is a bug."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def read_events(path: Path, offset: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (next offset, event) from byte `offset` on; remember the offset to follow the file later.

    A last line that is still being written is left for the next call, a torn line in the middle is passed over, and a
    file that does not exist yet has no events.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            event = _parsed(line)
            if event is not None:
                yield offset, event


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) and "kind" in event else None


def _ends_torn(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
