"""Liveness of a worker: it is alive exactly while it holds the flock of its job directory, whatever its PID says."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from studio.core.errors import ConflictError
from studio.jobs.spec import LOCK


class JobLock:
    """Held by a worker from start to death; the kernel lets go of it when the process dies by any means."""

    def __init__(self, job_dir: Path) -> None:
        self._path = job_dir / LOCK
        self._fd: int | None = None

    def acquire(self) -> None:
        """ConflictError when another worker has this job."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise ConflictError(
                "this job already has a worker", where=str(self._path.parent), remedy="wait for it or cancel it"
            ) from None
        self._fd = fd

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def is_alive(job_dir: Path) -> bool:
    """True while a worker holds the job; looking never takes the lock from a worker that is about to start."""
    path = job_dir / LOCK
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
