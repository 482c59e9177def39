"""The one file of records on disk: how it is read, written, locked, restored and brought up to date.

A write is rendered first, goes to a temporary file, is synced, renamed over the old file and the folder is synced; the
old file becomes the newest backup. Only the holder of the lock writes; it is an flock, so it ends with its holder. A
file that is not a whole store is never overwritten: it is kept aside and the newest good backup takes its place, or it
is refused. Knows images and bytes, not TinyDB and no entities.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from studio.core.errors import DiskSpaceError, IncompatibleError, StoreError
from studio.core.fsio import file_lock, sync_directory, write_synced
from studio.core.logs import get_logger
from studio.records import backups
from studio.records.image import HEADER_BYTES, BrokenFile, Image, TableImage, parse, stamp_of
from studio.records.migrations import Migration, migrate

_log = get_logger("studio.records.store_file")
_MODE = 0o600  # it holds hashed keys and what users call their things


class StoreFile:
    """Reads and writes images of the file at `path`, safely against other threads, other processes and kills."""

    def __init__(
        self, path: Path, *, keep_backups: int, migrations: Sequence[Migration], lock_timeout_s: float
    ) -> None:
        self.path = path
        self._keep_backups = keep_backups
        self._migrations = migrations
        self._lock_timeout_s = lock_timeout_s
        self._lock_path = path.with_name(f"{path.name}.lock")
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._threads = threading.RLock()
        self._held = threading.local()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only writer among all threads and processes; re-entrant. ConflictError after the time-out."""
        if getattr(self._held, "yes", False):
            yield
            return
        with self._threads, contextlib.ExitStack() as stack:
            try:
                stack.enter_context(file_lock(self._lock_path, timeout_s=self._lock_timeout_s))
            except OSError as error:
                raise self._unusable(error, "locked") from error
            self._held.yes = True
            try:
                yield
            finally:
                self._held.yes = False

    def current(self, known: Image) -> Image:
        """The state on disk: `known` itself when its stamp still stands there, else read anew (only what differs).

        Restores and migrates where needed. StoreError or IncompatibleError when the file is none that we may use.
        """
        if known.stamp and self._mark() == (known.stamp, known.seen):
            return known
        try:
            image = self._load(known)
        except (BrokenFile, FileNotFoundError):
            image = self._recover(known)
        return image if image.schema == len(self._migrations) else self._migrate(image)

    def commit(self, image: Image) -> Image:
        """Put `image` in the place of the present state, which becomes backup 1; `image` as it lies there.

        Hold the lock. When this raises (DiskSpaceError, StoreError), the file holds the old state or already the new
        one, never a mixture.
        """
        return self._replace(image, keep_backup=True)

    def _replace(self, image: Image, *, keep_backup: bool) -> Image:
        data = image.render()
        try:
            self._temporary.unlink(missing_ok=True)  # a killed writer's; we hold the lock, so nobody is writing it
            write_synced(self._temporary, data, mode=_MODE)
            written = replace(image, seen=_seen(self._temporary))
            if keep_backup:
                backups.prepare(self.path, self._keep_backups)
            os.replace(self._temporary, self.path)
            sync_directory(self.path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)
            raise self._unusable(error, "written") from error
        try:
            backups.settle(self.path, self._keep_backups)
        except OSError as error:  # the write itself is done and safe; the next one settles
            _log.warning("a backup could not be renamed: %s", error, extra={"context": {"file": str(self.path)}})
        return written

    def _unusable(self, error: OSError, done: str) -> StoreError | DiskSpaceError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskSpaceError("the disk is full", where=str(self.path), remedy="Free some space and try again.")
        return StoreError(
            f"the record file cannot be {done}: {error.strerror or error}",
            where=str(self.path),
            remedy="Check the disk and the permissions of the folder.",
        )

    def _mark(self) -> tuple[str, tuple[int, int]]:
        """Stamp, size and time of the file: what tells, without reading it, whether it is the one we know, and whole.

        Our own writes differ by their stamp; size and time tell of anybody else's.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                return stamp_of(file.read(HEADER_BYTES)), _seen(file.fileno())
        except FileNotFoundError:
            return "", (0, 0)
        except OSError as error:
            raise self._unusable(error, "read") from error

    def _load(self, known: Image) -> Image:
        """What the file holds; FileNotFoundError, or a refusal that names the file."""
        try:
            with self.path.open("rb") as file:
                seen = _seen(file.fileno())
                return replace(parse(file.read(), known), seen=seen)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._unusable(error, "read") from error
        except (StoreError, IncompatibleError) as error:
            remedy = error.remedy or "Move it away or put a backup in its place; nothing was changed."
            raise type(error)(error.what, where=str(self.path), remedy=remedy) from error

    def _recover(self, known: Image) -> Image:
        """A state for a file that is missing or broken: the newest good backup, an empty store, or the refusal."""
        if not self.path.exists() and not backups.any_left(self.path, self._keep_backups):
            return self._empty()
        with self.locked():
            broken: BrokenFile | None = None
            try:
                return self._load(known)  # another process may have been quicker
            except FileNotFoundError:
                pass
            except BrokenFile as error:
                broken = error
            with contextlib.suppress(OSError):
                backups.settle(self.path, self._keep_backups)  # a killed writer's may be the newest
            found = self._newest_backup()
            if found is not None and found[1].revision < known.revision:
                found = None, known  # this process knows a later state than any backup
            if found is not None:
                return self._restore(*found, broken)
            if broken is not None:
                raise broken
            return self._empty()

    def _empty(self) -> Image:
        return Image(schema=len(self._migrations))

    def _newest_backup(self) -> tuple[Path | None, Image] | None:
        for place in backups.existing(self.path, self._keep_backups):
            with contextlib.suppress(StoreError, IncompatibleError, OSError):
                return place, parse(place.read_bytes())
        return None

    def _restore(self, place: Path | None, image: Image, broken: BrokenFile | None) -> Image:
        """Write a good state over none or a broken one, which is kept aside; `place` None: it came from memory."""
        kept = backups.keep_aside(self.path, "broken") if broken is not None else None
        restored = self._replace(image.successor(image.tables), keep_backup=False)
        _log.error(
            "the record file was %s and has been restored from %s",
            "missing" if broken is None else f"broken ({broken.what})",
            "memory" if place is None else "a backup; the newest changes may be missing",
            extra={
                "context": {"file": str(self.path), "backup": str(place or ""), "original_kept_as": str(kept or "")}
            },
        )
        return restored

    def _migrate(self, image: Image) -> Image:
        """`image` in the newest schema, also on disk; the file of the old one is kept aside."""
        if image.schema > len(self._migrations):
            raise IncompatibleError(
                f"the records have schema {image.schema}, this version knows {len(self._migrations)}",
                where=str(self.path),
                remedy="Use a newer Studio.",
            )
        with self.locked():
            image = self._load(image)
            if image.schema == len(self._migrations):
                return image  # another process has done it
            tables = {name: image.table_copy(name) for name in image.tables}
            schema = migrate(tables, image.schema, self._migrations)
            images: dict[str, TableImage] = {name: TableImage() for name in tables}
            for name, records in tables.items():
                for record_id, record in records.items():
                    images[name].put(name, record_id, record)
            backups.keep_aside(self.path, f"schema-{image.schema}")
            return self.commit(image.successor(images, schema=schema))


def _seen(file: int | Path) -> tuple[int, int]:
    state = os.stat(file)
    return state.st_size, state.st_mtime_ns
