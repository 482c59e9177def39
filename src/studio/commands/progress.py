"""Shows a running job from its events: a progress bar on a terminal, plain lines elsewhere.

It follows `events.jsonl`, so it may start late, stop early, or watch a job that another process started.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from studio.core.events import read_events
from studio.core.stopping import StopFlag

POLL_S = 0.2
PLAIN_EVERY_S = 10.0


class Followed(Protocol):
    """What can be followed: a service that knows where a run writes and whether it runs."""

    def directory(self, run_id: str) -> Path: ...

    def running(self, run_id: str) -> bool: ...


def follow(service: Followed, run_id: str, *, stop: StopFlag, quiet: bool = False) -> None:
    """Until the run ends or `stop` is set."""
    if quiet:
        _pump(service, run_id, stop, lambda event: None)
    elif sys.stdout.isatty():
        _with_bar(service, run_id, stop)
    else:
        printer = _PlainPrinter()
        _pump(service, run_id, stop, printer)


def _pump(service: Followed, run_id: str, stop: StopFlag, consume: Callable[[Mapping[str, Any]], None]) -> None:
    path = service.directory(run_id) / "events.jsonl"
    offset = _start_of_last_attempt(path)
    while True:
        running = service.running(run_id)
        for next_offset, event in read_events(path, offset):
            offset = next_offset
            consume(event)
        if stop.is_set() or not running:
            return
        time.sleep(POLL_S)


def _start_of_last_attempt(path: Path) -> int:
    start = previous = 0
    for offset, event in read_events(path):
        if event["kind"] == "job_start":
            start = previous
        previous = offset
    return start


class _PlainPrinter:
    """One line per event worth a line; metrics at most every ten seconds."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, event: Mapping[str, Any]) -> None:
        if event["kind"] == "metrics":
            if time.monotonic() - self._last < PLAIN_EVERY_S:
                return
            self._last = time.monotonic()
        line = describe(event)
        if line:
            print(line, flush=True)


def _with_bar(service: Followed, run_id: str, stop: StopFlag) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None, note="")

        def consume(event: Mapping[str, Any]) -> None:
            if event["kind"] in ("phase", "stage_start"):
                progress.reset(task, description=str(event.get("stage") or event.get("phase")), total=None, note="")
            elif event["kind"] == "metrics":
                note = f"loss {_number(event.get('loss'))}  {_number(event.get('tokens_per_second'))} tokens/s"
                progress.update(task, completed=event.get("global_step", 0), total=event.get("total_steps"), note=note)
                return
            line = describe(event)
            if line:
                console.print(line, markup=False, highlight=False)

        _pump(service, run_id, stop, consume)


def describe(event: Mapping[str, Any]) -> str:
    """One line for a person, "" for events that only machines need."""
    teller = _TELLERS.get(str(event["kind"]))
    return teller(event) if teller else ""


def _stage_end(event: Mapping[str, Any]) -> str:
    how = "reused" if event.get("reused") else f"{event.get('seconds', 0):.1f} s"
    return f"    {event.get('stage')}: {how}"


def _metrics(event: Mapping[str, Any]) -> str:
    total = event.get("total_steps")
    step = f"{event.get('global_step')}" + (f"/{total}" if total else "")
    return f"    step {step}  loss {_number(event.get('loss'))}  {_number(event.get('tokens_per_second'))} tokens/s"


def _evaluated(event: Mapping[str, Any]) -> str:
    return (
        f"    step {event.get('global_step')}  validation loss {_number(event.get('eval_loss'))}"
        f"  bits per byte {_number(event.get('bits_per_byte'))}"
    )


def _sampled(event: Mapping[str, Any]) -> str:
    lines = [
        f"    sample at step {event.get('at_step')}: {item[0]!r} -> {str(item[-1])[:100]!r}"
        for item in event.get("items", [])
    ]
    return "\n".join(lines[:2])


def _number(value: Any) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"


_TELLERS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "phase": lambda event: f"{event.get('phase')}",
    "phase_skipped": lambda event: f"{event.get('phase')}: skipped",
    "stage_end": _stage_end,
    "metrics": _metrics,
    "eval": _evaluated,
    "sample": _sampled,
    "warning": lambda event: f"    note: {event.get('message')}",
    "download_retry": lambda event: f"    try {event.get('try_number')} of {event.get('tries')}: {event.get('reason')}",
    "oom_retry": lambda event: f"    out of memory: again with batch {event.get('batch_size')}",
    "score": lambda event: f"    {event.get('label')}: {event.get('text')}",
}
