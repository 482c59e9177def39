"""`studio pipeline run|status|resume|cancel|list`: text to a validated model, as one job."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from studio.commands.output import Commands, add_overrides, group, show, table, verb

if TYPE_CHECKING:
    from studio.services.pipelines import PipelineService


def add_parser(commands: Commands) -> None:
    actions = group(
        commands,
        "pipeline",
        summary="take text to a validated model",
        example="studio pipeline run experiment=bilingual --wait",
    )
    run = verb(
        actions,
        "run",
        summary="start a pipeline; the default is the starter world",
        example="studio pipeline run experiment=bilingual corpus.path=books/ --wait",
        run=_run,
    )
    add_overrides(run)
    run.add_argument(
        "--wait", action="store_true", help="stay until it ends and show how it goes; Ctrl-C stops it safely"
    )
    status = verb(
        actions,
        "status",
        summary="show how a run is going, or its report",
        example="studio pipeline status",
        run=_status,
    )
    status.add_argument("id", nargs="?", default="latest", help="run id, its beginning, or latest")
    resume = verb(
        actions,
        "resume",
        summary="continue a stopped or failed run",
        example="studio pipeline resume 3f2a --wait",
        run=_resume,
    )
    resume.add_argument("id", nargs="?", default="latest", help="run id, its beginning, or latest")
    add_overrides(resume)
    resume.add_argument("--wait", action="store_true", help="stay until it ends")
    cancel = verb(
        actions,
        "cancel",
        summary="stop a run; it keeps what it has",
        example="studio pipeline cancel latest",
        run=_cancel,
    )
    cancel.add_argument("id", nargs="?", default="latest", help="run id, its beginning, or latest")
    verb(actions, "list", summary="list the runs, newest first", example="studio pipeline list", run=_list)


def _service() -> PipelineService:
    from studio.services.studio import open_studio

    return open_studio().pipelines


def _run(arguments: argparse.Namespace) -> int:
    service = _service()
    overrides = list(arguments.overrides)
    fresh = False
    found = service.unfinished_checkpoint(overrides)
    if found is not None and _on_terminal(arguments):
        answer = (
            input(f"Run {found.run_id[:8]} stopped at step {found.step}. Continue from there? [Y/n] ").strip().lower()
        )
        fresh = answer.startswith("n")
        if not fresh:
            overrides.append("resume_from_checkpoint=true")
    run_id = service.start(overrides, fresh=fresh)
    return _after_start(service, run_id, arguments)


def _resume(arguments: argparse.Namespace) -> int:
    service = _service()
    if "=" in arguments.id:
        arguments.overrides, arguments.id = [arguments.id, *arguments.overrides], "latest"
    run_id = service.resume(arguments.id, arguments.overrides)
    return _after_start(service, run_id, arguments)


def _after_start(service: PipelineService, run_id: str, arguments: argparse.Namespace) -> int:
    if arguments.wait:
        return _follow(service, run_id, arguments)
    show(
        arguments,
        {"pipeline_id": run_id, "directory": str(service.directory(run_id))},
        [f"pipeline {run_id} started", f"next: studio pipeline status {run_id[:8]}"],
    )
    return 0


def _follow(service: PipelineService, run_id: str, arguments: argparse.Namespace) -> int:
    from studio.commands.progress import follow
    from studio.core.stopping import StopFlag, install_signals

    stop = StopFlag()
    install_signals(stop)
    if not arguments.json:
        print(f"pipeline {run_id}")
    follow(service, run_id, stop=stop, quiet=arguments.json)
    if stop.is_set() and service.running(run_id):
        print("stopping: the run saves what it has", file=sys.stderr)
        service.cancel(run_id)
    return _print_report(service, run_id, arguments)


def _print_report(service: PipelineService, run_id: str, arguments: argparse.Namespace) -> int:
    from studio.pipeline.report import render

    report = service.report(run_id)
    show(arguments, report, render(report))
    return 1 if report["status"]["current_phase"] == "failed" else 0


def _status(arguments: argparse.Namespace) -> int:
    service = _service()
    _print_report(service, service.resolve(arguments.id), arguments)
    return 0


def _cancel(arguments: argparse.Namespace) -> int:
    service = _service()
    run_id = service.resolve(arguments.id)
    state = service.cancel(run_id)
    show(arguments, {"pipeline_id": run_id, "state": state}, [f"pipeline {run_id[:8]} is {state}"])
    return 0


def _list(arguments: argparse.Namespace) -> int:
    rows = _service().list_runs()
    show(arguments, rows, table(rows, ["id", "name", "phase", "started", "val_loss"]) if rows else ["no runs yet"])
    return 0


def _on_terminal(arguments: argparse.Namespace) -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and not arguments.json
