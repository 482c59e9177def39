"""The runner with phases of our own: order, times, categories of errors, and the truth in status.json."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.config.compose import load_pipeline
from studio.core import errors
from studio.core.fsio import read_json
from studio.core.paths import Home
from studio.core.stopping import StopFlag
from studio.pipeline.context import RunContext
from studio.pipeline.entry import make_context, plain_error
from studio.pipeline.runner import PipelineFailed, PipelineRunner, error_message, error_type
from studio.pipeline.status import WORK_PHASES, ErrorType, Phase, PipelineStatus, StatusFile

Work = Callable[[RunContext], None]


def nothing(context: RunContext) -> None:
    pass


def context_at(root: Path, *overrides: str, stop: StopFlag | None = None) -> RunContext:
    return make_context("run", load_pipeline(overrides), Home(root), emit=lambda *a, **k: None, stop=stop or StopFlag())


def runner(context: RunContext, **work: Work) -> PipelineRunner:
    return PipelineRunner(context, {phase: work.get(phase.value, nothing) for phase in WORK_PHASES})


def saved(context: RunContext) -> PipelineStatus:
    return StatusFile(context.run_dir / "status.json").read()


def test_phases_run_in_order_and_status_is_true_while_they_run(tmp_path: Path) -> None:
    context = context_at(tmp_path)
    seen: list[tuple[str, tuple[str, ...]]] = []

    def look(context: RunContext) -> None:
        status = saved(context)
        seen.append((status.current_phase.value, tuple(phase.value for phase in status.completed_phases)))

    status = PipelineRunner(context, dict.fromkeys(WORK_PHASES, look)).run()
    names = [phase.value for phase in WORK_PHASES]
    assert seen == [(name, tuple(names[:number])) for number, name in enumerate(names)]
    assert status.current_phase is Phase.COMPLETE
    assert status == saved(context)
    assert set(status.phase_timings) == set(names)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (errors.DiskSpaceError("full"), "disk_space"),
        (OSError(errno.ENOSPC, "No space left"), "disk_space"),
        (errors.NetworkError("gone"), "network"),
        (ConnectionResetError("reset"), "network"),
        (errors.OutOfMemory("too big", fits_batch_size=4), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "oom"),
        (MemoryError(), "oom"),
        (errors.ValidationFailure("bad"), "validation_failure"),
        (errors.IntegrityError("changed", where="model.safetensors"), "validation_failure"),
        (errors.Interrupted("stopped"), "interrupted"),
        (ZeroDivisionError("division by zero"), "internal"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_every_error_has_its_category_one_line_and_the_last_lines(raised: Exception, kind: str, tmp_path: Path) -> None:
    context = context_at(tmp_path)
    (context.run_dir / "stderr.log").write_text("".join(f"line {number}\n" for number in range(100)))

    def fail(context: RunContext) -> None:
        raise raised

    with pytest.raises(PipelineFailed) as caught:
        runner(context, corpus_download=fail).run()
    details = saved(context).error_details
    assert details is not None
    assert (details.failed_phase, details.error_type) == (Phase.CORPUS_DOWNLOAD, ErrorType(kind))
    assert "\n" not in details.error_message
    assert type(raised).__name__ in details.stderr_output
    assert len(details.stderr_output.splitlines()) <= 50
    assert "line 99" in details.stderr_output
    assert saved(context).completed_phases == (Phase.PREREQUISITE_CHECK,)
    assert plain_error(caught.value).error_type == kind
    assert error_type(raised).value == kind
    assert error_message(raised) == details.error_message


def test_a_stop_between_phases_is_interrupted(tmp_path: Path) -> None:
    stop = StopFlag()
    context = context_at(tmp_path, stop=stop)
    with pytest.raises(PipelineFailed):
        runner(context, tokenizer_training=lambda _: stop.set("SIGTERM")).run()
    status = saved(context)
    assert status.error_details is not None
    assert status.error_details.error_type is ErrorType.INTERRUPTED
    assert status.error_details.failed_phase is Phase.MODEL_TRAINING
    assert "SIGTERM" in status.error_details.error_message


def test_a_failed_run_begins_again_and_a_complete_one_does_not(tmp_path: Path) -> None:
    tries: list[int] = []

    def once(context: RunContext) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise errors.DataError("no text")

    with pytest.raises(PipelineFailed):
        runner(context_at(tmp_path), corpus_download=once).run()
    began = saved(context_at(tmp_path)).start_time
    assert runner(context_at(tmp_path), corpus_download=once).run().current_phase is Phase.COMPLETE
    status = runner(context_at(tmp_path), corpus_download=once).run()
    assert (len(tries), status.start_time, status.error_details) == (2, began, None)


def test_skipped_phases_only_look(tmp_path: Path) -> None:
    looked: list[bool] = []
    context = context_at(tmp_path, "skip_phases=[corpus_download]")
    status = runner(context, corpus_download=lambda context: looked.append(context.reuse_only)).run()
    assert looked == [True]
    assert not context.reuse_only
    assert Phase.CORPUS_DOWNLOAD not in status.completed_phases
    assert status.current_phase is Phase.COMPLETE


def test_the_report_is_written_after_every_phase(tmp_path: Path) -> None:
    context = context_at(tmp_path)

    def tell(context: RunContext) -> None:
        context.report["corpus"] = {"documents": 3}

    def look(context: RunContext) -> None:
        assert read_json(context.run_dir / "report.json") == {"corpus": {"documents": 3}}

    runner(context, corpus_download=tell, tokenizer_training=look).run()
