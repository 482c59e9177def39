"""Files that are either the old or the new ones, never something between.

Design choices: a new file is written beside its target, synced, renamed over it, and the folder is synced, because a
rename is only durable once its folder is. JSON refuses NaN (no other reader accepts it). A folder is staged the same
way, and its writer holds a lock on the folder's inode, so that leftovers of dead writers can be told from work in
progress. This module knows bytes, JSON and folders, not what they mean.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import filelock
import orjson

from studio.core.errors import ConflictError, DataError, DiskSpaceError, NotFoundError

_CHUNK_BYTES = 1 << 20
_STAGING = ".staging-"


def atomic_write_bytes(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Make `path` hold exactly `data`, durably, or leave it as it was.

    Once this returns, the bytes survive a power cut. DiskSpaceError when the disk is full, OSError for other failures;
    either way the old file stands and no temporary one stays (a killed writer's is named `.{name}.tmp-xxxx`).
    """
    temporary = path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")
    try:
        write_synced(temporary, data, mode=mode)
        os.replace(temporary, path)
        sync_directory(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        _raise_if_full(error, path)
        raise


def write_synced(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Create `path` (it must not exist) with `data` and wait until the bytes, not yet the name, are on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """`os.write` until everything is written: a nearly full disk takes a part and reports no error."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _raise_if_full(error: BaseException, path: Path) -> None:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise DiskSpaceError("the disk is full", where=str(path), remedy="Free some space and try again.") from error


def sync_directory(path: Path) -> None:
    """Make the names in a folder durable (a created, renamed or removed file is only safe after this)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """`mkdir -p` whose new folders survive a power cut."""
    missing = []
    place = path
    while not place.exists():
        missing.append(place)
        place = place.parent
    path.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_directory(made.parent)


def atomic_write_text(path: Path, text: str) -> None:
    """`atomic_write_bytes` for UTF-8 text."""
    atomic_write_bytes(path, text.encode())


def atomic_write_json(path: Path, obj: Any, *, indent: bool = True) -> None:
    """Write `obj` as JSON, atomically; ValueError on NaN or infinity, TypeError on what JSON cannot hold."""
    data = dump_json(obj, option=orjson.OPT_INDENT_2 if indent else 0)
    atomic_write_bytes(path, data + b"\n")


def dump_json(obj: Any, *, option: int = 0) -> bytes:
    """`orjson.dumps`, but ValueError on NaN or infinity (orjson writes null for them). Paths become their text."""
    data = orjson.dumps(obj, default=_encode_path, option=option | orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in data:  # the only trace that a NaN leaves; walking every object would cost more than writing it
        _refuse_nan(obj, "$")
    return data


def _encode_path(obj: Any) -> str:
    if isinstance(obj, os.PathLike):
        return str(os.fspath(obj))
    raise TypeError(f"{type(obj).__name__} has no JSON form")


def _refuse_nan(obj: Any, place: str) -> None:
    if isinstance(obj, float) and not math.isfinite(obj):
        raise ValueError(f"{obj} at {place} has no JSON form")
    if isinstance(obj, dict):
        for key, value in obj.items():
            _refuse_nan(value, f"{place}.{key}")
    elif isinstance(obj, list | tuple):
        for index, value in enumerate(obj):
            _refuse_nan(value, f"{place}[{index}]")
    elif hasattr(obj, "tolist"):  # a numpy array or scalar, without importing numpy
        _refuse_nan(obj.tolist(), place)


def read_json(path: Path) -> Any:
    """The JSON document in `path`; NotFoundError, or DataError naming line and column."""
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFoundError("no such file", where=str(path)) from error
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"not valid JSON at {place}: {error.msg}", where=str(path)) from error


@contextlib.contextmanager
def staged_directory(final: Path) -> Iterator[Path]:
    """Build a folder out of sight; when the block ends well it appears as `final`, whole and durable.

    Yields the empty sibling `.{name}.staging-xxxx`. ConflictError when `final` exists. When the block raises, the
    staging folder is removed and `final` does not appear; after a kill, `sweep_staging` removes it.
    """
    make_directory(final.parent)
    _refuse_existing(final)
    staging, descriptor = _new_staging(final)
    try:
        yield staging
        _sync_tree(staging)
        _refuse_existing(final)
        os.rename(staging, final)
        sync_directory(final.parent)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        _raise_if_full(error, final)
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise ConflictError("already exists", where=str(final)) from error
        raise
    finally:
        os.close(descriptor)


def _refuse_existing(final: Path) -> None:
    if os.path.lexists(final):
        raise ConflictError("already exists", where=str(final))


def _new_staging(final: Path) -> tuple[Path, int]:
    """A fresh staging folder and the descriptor that holds its lock (which is on the inode and outlives the rename)."""
    while True:
        staging = final.with_name(f".{final.name}{_STAGING}{secrets.token_hex(4)}")
        staging.mkdir()
        try:
            descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # a sweeper took it between mkdir and lock
        if _try_lock(descriptor) and staging.exists():
            return staging, descriptor
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _sync_tree(root: Path) -> None:
    for folder, _, files in os.walk(root, topdown=False):
        for name in files:
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        sync_directory(Path(folder))


def sweep_staging(parent: Path) -> int:
    """Remove staging folders in `parent` whose writer is dead (nobody holds their lock); the number removed."""
    removed = 0
    if not parent.is_dir():
        return 0
    for folder in parent.glob(f".*{_STAGING}*"):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            if _try_lock(descriptor):
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        finally:
            os.close(descriptor)
    return removed


def sha256_bytes(data: bytes) -> str:
    """SHA-256 as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(obj: Any) -> str:
    """SHA-256 of the canonical JSON of `obj`: sorted keys, no spaces, UTF-8. ValueError on NaN."""
    text = json.dumps(
        obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_encode_path
    )
    return sha256_bytes(text.encode())


def crc32_file(path: Path) -> str:
    """CRC32 (IEEE, as zip and spec 001 use it) of a file's bytes as 8 hex digits."""
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            crc = zlib.crc32(chunk, crc)
    return f"{crc:08x}"


def iter_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, row) of a JSON-lines file; empty lines are passed over, DataError names the line."""
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise NotFoundError("no such file", where=str(path)) from error
    with file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _row(path, number, line)


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    where = f"{path}, line {number}"
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(f"not valid JSON at column {error.colno}: {error.msg}", where=where) from error
    if not isinstance(row, dict):
        raise DataError("a JSON object is expected on every line", where=where)
    return row


class JsonlWriter:
    """Appends rows to a JSON-lines file, a whole line at a time; a last line that a kill tore is cut off on open.

    `write` hands the line to the system (it survives our death), `flush` makes it survive the machine's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._repair()

    def _repair(self) -> None:
        size = os.fstat(self._descriptor).st_size
        end = size
        while end > 0:
            start = max(0, end - _CHUNK_BYTES)
            newline = os.pread(self._descriptor, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end != size:
            os.ftruncate(self._descriptor, end)

    def write(self, row: dict[str, Any]) -> None:
        """Append one row; ValueError on NaN, DiskSpaceError on a full disk, and then nothing of the row is left."""
        size = os.fstat(self._descriptor).st_size
        try:
            write_all(self._descriptor, dump_json(row, option=orjson.OPT_APPEND_NEWLINE))
        except OSError as error:
            os.ftruncate(self._descriptor, size)
            _raise_if_full(error, self.path)
            raise

    def flush(self) -> None:
        """Wait until every row so far is on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Flush and close; closing twice is harmless."""
        if self._descriptor >= 0:
            self.flush()
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "JsonlWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def free_bytes(path: Path) -> int:
    """Bytes that an ordinary user may still write on the file system of `path`, or of its nearest existing parent."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    figures = os.statvfs(place)
    return figures.f_bavail * figures.f_frsize


@contextlib.contextmanager
def file_lock(path: Path, *, timeout_s: float = 30) -> Iterator[None]:
    """Hold the lock file `path` against every other process and thread; the system frees it when the holder dies.

    ConflictError when it is still held after `timeout_s` (0 = do not wait). Not re-entrant.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path, timeout=timeout_s, thread_local=False)
    try:
        lock.acquire(poll_interval=0.002)
    except filelock.Timeout as error:
        raise ConflictError(
            f"another process has held this for over {timeout_s:g} s",
            where=str(path),
            remedy="Wait until it ends, or end it, and try again.",
        ) from error
    try:
        yield
    finally:
        lock.release()
