"""Earlier states of one file, kept beside it as `{name}.bak-1` (the one before) to `{name}.bak-N` (the oldest).

The newest is renewed at every write, the others move on only when some time lies between them; otherwise N quick writes
would push out every older state. A backup is a hard link to a file that is never written in place: nothing is copied.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

SPACING_S = 600.0
"""Seconds that at least lie between two backups from the second on."""


def backup_path(path: Path, number: int) -> Path:
    """Where backup `number` (1 = newest) of `path` lies."""
    return path.with_name(f"{path.name}.bak-{number}")


def existing(path: Path, keep: int) -> Iterator[Path]:
    """The backups of `path` that exist, newest first."""
    return (place for number in range(1, keep + 1) if (place := backup_path(path, number)).exists())


def any_left(path: Path, keep: int) -> bool:
    """Whether there is any earlier state of `path`, settled or not."""
    return _fresh(path).exists() or any(existing(path, keep))


def prepare(path: Path, keep: int) -> None:
    """Give the present content of `path` a second name, before something is renamed over the first; then `settle`."""
    fresh = _fresh(path)
    settle(path, keep)
    if keep > 0 and path.exists():
        link_or_copy(path, fresh)


def settle(path: Path, keep: int) -> None:
    """Make what `prepare` kept backup 1 and move the others on. Every step is a rename: a kill loses no backup.

    After a kill between the two, the next `prepare` settles; a backup is never another name of the present file, which
    some other program might damage in place.
    """
    fresh = _fresh(path)
    if not fresh.exists():
        return
    if path.exists() and fresh.samefile(path):
        fresh.unlink()  # its writer never came to rename
        return
    if keep > 1 and _first_may_move_on(path):
        for number in range(keep - 1, 0, -1):
            if backup_path(path, number).exists():
                os.replace(backup_path(path, number), backup_path(path, number + 1))
    os.replace(fresh, backup_path(path, 1))


def _fresh(path: Path) -> Path:
    return path.with_name(f".{path.name}.bak-new")


def _first_may_move_on(path: Path) -> bool:
    first, second = backup_path(path, 1), backup_path(path, 2)
    if not first.exists():
        return False
    return not second.exists() or first.stat().st_mtime - second.stat().st_mtime >= SPACING_S


def keep_aside(path: Path, why: str) -> Path:
    """Keep the present content of `path` for good under `{name}.{why}-{time}-xxxx`; the new place."""
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    place = path.with_name(f"{path.name}.{why}-{moment}-{secrets.token_hex(2)}")
    link_or_copy(path, place)
    return place


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file, or a synced copy where the file system knows no hard links."""
    try:
        os.link(source, target)
    except PermissionError:  # what vfat and some network mounts answer
        shutil.copy2(source, target)
