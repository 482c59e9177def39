"""Jobs as child processes: states from lock and result, cancel, kill, and no orphan."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from studio.core.errors import ConflictError, DataError, UsageError
from studio.core.events import read_events
from studio.core.fsio import read_json
from studio.jobs import kinds, worker
from studio.jobs.local import LocalLauncher
from studio.jobs.lock import JobLock, is_alive
from studio.jobs.spec import JobResult, JobSpec, JobState, read_result, read_spec, write_result, write_spec

MODULE = """
import os, sys, time, subprocess
from studio.core.errors import DataError, Interrupted

def quick(spec, job_dir, emit, stop):
    emit("threads", seen=os.environ["OMP_NUM_THREADS"])
    return {"answer": spec.payload["number"] * 2}

def refuses(spec, job_dir, emit, stop):
    raise DataError("no text", where="book.txt", remedy="give another")

def breaks(spec, job_dir, emit, stop):
    raise ZeroDivisionError("oops")

def polite(spec, job_dir, emit, stop):
    while not stop.is_set():
        time.sleep(0.02)
    raise Interrupted("stopped")

def stubborn(spec, job_dir, emit, stop):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(job_dir)])
    (job_dir / "child").write_text(str(child.pid))
    while True:
        time.sleep(0.02)
"""


@pytest.fixture
def job_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job folder, and a module of job functions that workers can import."""
    (tmp_path / "jobkinds.py").write_text(MODULE)
    hook = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom studio.jobs import kinds\n"
    names = ("quick", "refuses", "breaks", "polite", "stubborn")
    hook += "".join(f"kinds.KINDS[{name!r}] = 'jobkinds:{name}'\n" for name in names)
    (tmp_path / "sitecustomize.py").write_text(hook)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return tmp_path / "job"


def start(job_dir: Path, kind: str, launcher: LocalLauncher) -> None:
    launcher.start(job_dir, JobSpec("job-1", kind, {"number": 21}, str(job_dir.parent), threads=1))


def wait_for(path: Path) -> None:
    until = time.monotonic() + 20
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert path.exists()


def test_a_job_runs_to_its_result(job_dir: Path) -> None:
    launcher = LocalLauncher()
    start(job_dir, "quick", launcher)
    assert launcher.wait(job_dir, 20) is JobState.DONE
    result = read_result(job_dir)
    assert result == JobResult(JobState.DONE, outcome={"answer": 42})
    seen = {event["kind"]: event for _, event in read_events(job_dir / "events.jsonl")}
    assert seen["threads"]["seen"] == "1"
    assert seen["job_end"]["state"] == "done"


@pytest.mark.parametrize(
    ("kind", "error_type", "words"),
    [
        ("refuses", "validation_failure", "book.txt: no text. give another"),
        ("breaks", "internal", "ZeroDivisionError: oops"),
    ],
)
def test_a_failure_is_one_line_with_its_category(job_dir: Path, kind: str, error_type: str, words: str) -> None:
    launcher = LocalLauncher()
    start(job_dir, kind, launcher)
    assert launcher.wait(job_dir, 20) is JobState.FAILED
    assert read_result(job_dir) == JobResult(JobState.FAILED, error_type, words)


def test_cancel_lets_a_worker_end_by_itself(job_dir: Path) -> None:
    launcher = LocalLauncher()
    start(job_dir, "polite", launcher)
    assert launcher.state(job_dir) is JobState.RUNNING
    assert launcher.cancel(job_dir, grace_s=10) is JobState.INTERRUPTED
    assert read_result(job_dir) == JobResult(JobState.INTERRUPTED, "interrupted", "stopped")


def test_cancel_kills_the_whole_group_of_a_stubborn_worker(job_dir: Path) -> None:
    launcher = LocalLauncher()
    start(job_dir, "stubborn", launcher)
    wait_for(job_dir / "child")
    child = int((job_dir / "child").read_text())
    assert launcher.cancel(job_dir, grace_s=0.3) is JobState.INTERRUPTED
    assert not is_alive(job_dir)
    until = time.monotonic() + 5
    while _exists(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _exists(child)


def _exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_worker_is_interrupted_and_can_start_again(job_dir: Path) -> None:
    launcher = LocalLauncher()
    start(job_dir, "polite", launcher)
    os.kill(int(read_json(job_dir / "worker.json")["pid"]), signal.SIGKILL)
    assert launcher.wait(job_dir, 10) is JobState.INTERRUPTED
    assert read_result(job_dir) is None
    launcher.start(job_dir)
    assert launcher.state(job_dir) is JobState.RUNNING
    launcher.cancel(job_dir)


def test_another_process_sees_and_stops_a_job_it_did_not_start(job_dir: Path) -> None:
    starter, other = LocalLauncher(), LocalLauncher()
    start(job_dir, "polite", starter)
    assert other.state(job_dir) is JobState.RUNNING
    with pytest.raises(ConflictError):
        other.start(job_dir)
    assert other.cancel(job_dir) is JobState.INTERRUPTED
    assert starter.wait(job_dir, 5) is JobState.INTERRUPTED


def test_one_worker_at_a_time(tmp_path: Path) -> None:
    first, second = JobLock(tmp_path), JobLock(tmp_path)
    assert not is_alive(tmp_path)
    first.acquire()
    assert is_alive(tmp_path)
    with pytest.raises(ConflictError):
        second.acquire()
    first.release()
    assert not is_alive(tmp_path)
    second.acquire()
    second.release()


def test_spec_and_result_come_back_as_written(tmp_path: Path) -> None:
    spec = JobSpec("id", "pipeline", {"a": [1]}, "/home", 2)
    write_spec(tmp_path, spec)
    assert read_spec(tmp_path) == spec
    result = JobResult(JobState.FAILED, "oom", "too big")
    write_result(tmp_path, result)
    assert read_result(tmp_path) == result


def test_a_folder_without_a_job_and_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read_spec(tmp_path)
    with pytest.raises(UsageError, match="pipeline"):
        kinds.resolve("nothing")
    assert worker.main([str(tmp_path)]) == 1
    assert worker.main([]) == 2
