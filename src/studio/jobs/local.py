"""The local launcher: a job becomes a child process in a session of its own; nothing here waits for it unless asked.

Cancel is SIGTERM, then a grace in which the worker saves what it has, then SIGKILL for the whole group. There is no
queue yet: whoever starts a job starts it at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from studio.core.clock import monotonic_s
from studio.core.errors import ConflictError
from studio.core.fsio import read_json
from studio.jobs.lock import is_alive
from studio.jobs.spec import RESULT, STDERR, WORKER, JobResult, JobSpec, JobState, read_result, write_result, write_spec

DEFAULT_GRACE_S = 10.0
POLL_S = 0.05
START_TIMEOUT_S = 30.0
WORKER_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""What a worker gets unless the user set it. By default an arithmetic thread that waits for another one spins; where
two programs share the cores, each spins while the other should work, and both get fifty times slower."""


class LocalLauncher:
    """Starts, watches and stops workers on this machine. It can watch a job that another process started."""

    def __init__(self) -> None:
        self._children: dict[Path, subprocess.Popen[bytes]] = {}

    def start(self, job_dir: Path, spec: JobSpec | None = None) -> None:
        """Start (or start again) the job; returns once the worker holds its lock or has ended. ConflictError when it
        runs.
        """
        if is_alive(job_dir):
            raise ConflictError("this job is running", where=str(job_dir), remedy="wait for it or cancel it")
        self._end_group(job_dir)
        if spec is not None:
            write_spec(job_dir, spec)
        for name in (RESULT, WORKER):
            (job_dir / name).unlink(missing_ok=True)
        with (job_dir / STDERR).open("ab") as stderr:
            child = subprocess.Popen(
                [sys.executable, "-m", "studio.jobs.worker", str(job_dir)],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env=WORKER_ENVIRONMENT | os.environ,
                start_new_session=True,
                close_fds=True,
            )
        self._children[job_dir] = child
        self._await_start(job_dir, child)

    def state(self, job_dir: Path) -> JobState:
        """Where the job is, by its lock and its result alone."""
        result = read_result(job_dir)
        if self._running(job_dir):
            return JobState.RUNNING
        result = result or read_result(job_dir)
        return result.state if result is not None else JobState.INTERRUPTED

    def wait(self, job_dir: Path, timeout_s: float | None = None) -> JobState:
        """Until the worker is gone, or the time is up."""
        until = None if timeout_s is None else monotonic_s() + timeout_s
        while self._running(job_dir) and (until is None or monotonic_s() < until):
            time.sleep(POLL_S)
        return self.state(job_dir)

    def cancel(self, job_dir: Path, *, grace_s: float = DEFAULT_GRACE_S) -> JobState:
        """SIGTERM, wait, then SIGKILL for the group. A worker that stops by itself writes its own result."""
        if self._running(job_dir):
            self._signal(job_dir, signal.SIGTERM)
            self.wait(job_dir, grace_s)
        self._end_group(job_dir)
        self.wait(job_dir, 2.0)
        if read_result(job_dir) is None:
            write_result(
                job_dir, JobResult(JobState.INTERRUPTED, "interrupted", f"killed after {grace_s:g} s without an answer")
            )
        return self.state(job_dir)

    def _running(self, job_dir: Path) -> bool:
        child = self._children.get(job_dir)
        if child is not None:
            if child.poll() is None:
                return True
            del self._children[job_dir]
        return is_alive(job_dir)

    def _await_start(self, job_dir: Path, child: subprocess.Popen[bytes]) -> None:
        until = monotonic_s() + START_TIMEOUT_S
        while child.poll() is None and not (job_dir / WORKER).exists() and monotonic_s() < until:
            time.sleep(POLL_S)

    def _signal(self, job_dir: Path, number: signal.Signals) -> None:
        pid = self._pid(job_dir)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def _end_group(self, job_dir: Path) -> None:
        """Children that outlived their worker: they are still in the group that the worker led."""
        pid = self._pid(job_dir)
        if pid is not None and _leads_worker_group(pid, job_dir):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def _pid(self, job_dir: Path) -> int | None:
        path = job_dir / WORKER
        return int(read_json(path)["pid"]) if path.exists() else None


def _leads_worker_group(group: int, job_dir: Path) -> bool:
    """True when the group's members are this job's: a PID may have been given to someone else since."""
    marker = str(job_dir).encode()
    if not Path("/proc").is_dir():
        return is_alive(job_dir)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if os.getpgid(int(entry.name)) == group and marker in (entry / "cmdline").read_bytes():
                return True
    return False
