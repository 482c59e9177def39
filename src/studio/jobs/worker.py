"""The worker process: `python -m studio.jobs.worker JOB_DIR`.

It holds the job's flock for life, reads `spec.json`, runs the kind, writes events while it goes and `result.json`
last. It knows no records and no supervisor: SIGTERM or SIGINT sets a stop flag, and the work ends at its next safe
point.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path

from studio.core import logs
from studio.core.clock import iso
from studio.core.errors import Interrupted, StudioError
from studio.core.events import EventLog
from studio.core.fsio import atomic_write_json
from studio.core.stopping import StopFlag, install_signals
from studio.jobs import kinds
from studio.jobs.lock import JobLock
from studio.jobs.spec import EVENTS, LOG, WORKER, JobResult, JobSpec, JobState, read_spec, write_result

LOCK_TRIES = 20
LOCK_WAIT_S = 0.05


def _hold(job_dir: Path) -> JobLock:
    """Take the lock; a supervisor that is just looking holds it for a moment, hence the few tries."""
    lock = JobLock(job_dir)
    for _ in range(LOCK_TRIES - 1):
        try:
            lock.acquire()
            return lock
        except StudioError:
            time.sleep(LOCK_WAIT_S)
    lock.acquire()
    return lock


def _limit_threads(threads: int) -> None:
    """Before any numeric library loads: they read these once."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def _run(spec: JobSpec, job_dir: Path, events: EventLog, stop: StopFlag) -> JobResult:
    log = logs.get_logger("studio.jobs.worker")
    try:
        outcome = kinds.resolve(spec.kind)(spec, job_dir, events.emit, stop)
    except Interrupted as error:
        return JobResult(JobState.INTERRUPTED, error.error_type, str(error))
    except StudioError as error:
        log.error(str(error), extra={"context": {"error_type": error.error_type}})
        return JobResult(JobState.FAILED, error.error_type, str(error))
    except Exception as error:
        traceback.print_exc()
        log.exception("job failed")
        return JobResult(JobState.FAILED, "internal", f"{type(error).__name__}: {error}")
    return JobResult(JobState.DONE, outcome=dict(outcome))


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when the job is done, 1 otherwise; 2 when the call was wrong."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1:
        print("use: python -m studio.jobs.worker JOB_DIR", file=sys.stderr)
        return 2
    job_dir = Path(arguments[0]).resolve()
    try:
        spec = read_spec(job_dir)
        lock = _hold(job_dir)
    except StudioError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    stop = StopFlag()
    install_signals(stop)
    _limit_threads(spec.threads)
    logs.configure(job_dir / LOG, "INFO")
    atomic_write_json(job_dir / WORKER, {"pid": os.getpid(), "started_at": iso()})
    events = EventLog(job_dir / EVENTS)
    events.emit("job_start", job_id=spec.job_id, job_kind=spec.kind, threads=spec.threads)
    with logs.bind(trace_id=spec.job_id):
        result = _run(spec, job_dir, events, stop)
    events.emit("job_end", state=result.state.value, error_type=result.error_type, error_message=result.error_message)
    write_result(job_dir, result)
    lock.release()
    return 0 if result.state is JobState.DONE else 1


if __name__ == "__main__":
    sys.exit(main())
