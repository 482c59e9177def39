"""The runner: takes a run through its phases in order and tells the truth about it in `status.json` at every change.

Each phase is a function of the `RunContext`. An error of any kind ends in `failed` with its category, one line for a
person and the last 50 lines for whoever looks deeper. The runner knows nothing of what phases do, of processes, or of
records.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from studio.core.clock import monotonic_s
from studio.core.errors import Interrupted, StudioError
from studio.core.fsio import atomic_write_json
from studio.core.logs import get_logger
from studio.pipeline.context import RunContext
from studio.pipeline.status import (
    WORK_PHASES,
    ErrorDetails,
    ErrorType,
    Phase,
    PipelineStatus,
    StatusFile,
    last_lines,
    new_status,
    phase_transitions,
)

STATUS = "status.json"
STDERR = "stderr.log"
REPORT = "report.json"
log = get_logger("studio.pipeline.runner")

PhaseFunction = Callable[[RunContext], None]


class PipelineFailed(StudioError):
    """A phase failed; `status` holds the details and `cause` what was raised."""

    def __init__(self, status: PipelineStatus, cause: BaseException) -> None:
        details = status.error_details
        assert details is not None
        super().__init__(details.error_message)
        self.status = status
        self.cause = cause
        self.category = details.error_type


class PipelineRunner:
    """Runs the phases of one context; `phases` gives the function of each."""

    def __init__(self, context: RunContext, phases: Mapping[Phase, PhaseFunction]) -> None:
        self._context = context
        self._phases = phases
        self._skip = frozenset(Phase(name) for name in context.config.skip_phases)
        self._table = phase_transitions(self._skip)
        self._file = StatusFile(context.run_dir / STATUS)
        self._status = self._open()

    def run(self) -> PipelineStatus:
        """The status `complete`; PipelineFailed otherwise, with the status written first."""
        if self._status.current_phase is Phase.COMPLETE:
            return self._status
        for phase in WORK_PHASES:
            if phase in self._skip:
                self._skip_over(phase)
                continue
            if phase is not self._status.current_phase:
                self._write(self._status.entered(phase, self._table))
            self._run_phase(phase)
        self._write(self._status.entered(Phase.COMPLETE, self._table))
        self._context.emit("phase", phase=Phase.COMPLETE.value)
        return self._status

    def _open(self) -> PipelineStatus:
        if not self._file.exists():
            return self._file.write(new_status(self._context.run_id))
        status = self._file.read()
        return status if status.current_phase is Phase.COMPLETE else self._file.write(status.restarted())

    def _run_phase(self, phase: Phase) -> None:
        self._context.emit("phase", phase=phase.value)
        log.info("phase %s", phase.value)
        started = monotonic_s()
        try:
            self._context.check_stop()
            self._phases[phase](self._context)
        except Exception as error:
            self._settle(phase, monotonic_s() - started)
            self._fail(phase, error)
        self._settle(phase, monotonic_s() - started)

    def _skip_over(self, phase: Phase) -> None:
        """A skipped phase still finds its artefacts; without them there is nothing to skip to."""
        self._context.emit("phase_skipped", phase=phase.value)
        started = monotonic_s()
        self._context.reuse_only = True
        try:
            self._phases[phase](self._context)
        except Exception as error:
            self._settle(phase, monotonic_s() - started)
            self._fail(phase, error)
        finally:
            self._context.reuse_only = False

    def _settle(self, phase: Phase, seconds: float) -> None:
        status = self._status.timed(phase, seconds).with_artefacts(*self._context.paths)
        if self._context.validation is not None:
            status = status.changed(validation_results=self._context.validation)
        self._write(status)
        atomic_write_json(self._context.run_dir / REPORT, self._context.report)
        self._context.emit("phase_end", phase=phase.value, seconds=round(seconds, 3))

    def _fail(self, phase: Phase, error: Exception) -> None:
        trace = "".join(traceback.format_exception(error))
        details = ErrorDetails(
            failed_phase=phase,
            error_type=error_type(error),
            error_message=error_message(error),
            stderr_output=last_lines(_read_tail(self._context.run_dir / STDERR) + "\n" + trace),
        )
        self._write(self._status.failed(details, self._table))
        self._context.emit("failed", **details.model_dump(mode="json", exclude={"stderr_output"}))
        if not isinstance(error, Interrupted):
            log.error(
                details.error_message, extra={"context": {"error_type": details.error_type.value}}, exc_info=error
            )
        raise PipelineFailed(self._status, error) from error

    def _write(self, status: PipelineStatus) -> None:
        self._status = self._file.write(status)


def error_type(error: BaseException) -> ErrorType:
    """003's category of anything that can be raised."""
    if isinstance(error, StudioError):
        return ErrorType(error.error_type)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ErrorType.DISK_SPACE
    if isinstance(error, MemoryError) or _is_allocation_failure(error):
        return ErrorType.OOM
    if isinstance(error, (ConnectionError, TimeoutError)):
        return ErrorType.NETWORK
    if isinstance(error, KeyboardInterrupt):
        return ErrorType.INTERRUPTED
    return ErrorType.INTERNAL


def error_message(error: BaseException) -> str:
    if isinstance(error, StudioError):
        return str(error)
    kind = error_type(error)
    text = " ".join(str(error).split()) or type(error).__name__
    if kind is ErrorType.DISK_SPACE:
        return f"the disk is full ({text}). Free some space, then: studio pipeline resume"
    if kind is ErrorType.OOM:
        return f"memory ran out ({text[:200]}). Use a smaller batch_size or sequence length"
    return f"{type(error).__name__}: {text}"


def _is_allocation_failure(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and (
        "DefaultCPUAllocator" in str(error) or "out of memory" in str(error).lower()
    )


def _read_tail(path: Path, limit_bytes: int = 1 << 16) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - limit_bytes))
        return file.read().decode("utf-8", errors="replace")
