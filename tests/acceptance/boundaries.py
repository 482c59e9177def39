"""What a forked child does in the stage-boundary test: a tiny pipeline that dies at a given event."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from studio.config.compose import load_pipeline
from studio.core.events import EventLog
from studio.core.paths import Home
from studio.core.stopping import StopFlag
from studio.pipeline.entry import make_context, run_pipeline
from tests.pipeline.tiny import TINY

BOUNDARIES = ("phase", "stage_start", "stage_end")
CONFIG = (*TINY, "pretrain.max_steps=3", "sft.max_steps=2")


def run(home: str, run_id: str, die_at: int | None = None) -> None:
    """Run or resume; SIGKILL at boundary number `die_at` of this process. How many there are goes to a file."""
    run_dir = Path(home) / "pipelines" / run_id
    run_dir.mkdir(parents=True, exist_ok=True)
    log = EventLog(run_dir / "events.jsonl")
    seen = 0

    def emit(kind: str, /, **fields: Any) -> None:
        nonlocal seen
        log.emit(kind, **fields)
        if kind in BOUNDARIES:
            if seen == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    context = make_context(run_id, load_pipeline(CONFIG), Home(Path(home)), emit=emit, stop=StopFlag())
    context.threads = 1
    run_pipeline(context)
    (run_dir / "boundaries.json").write_text(json.dumps(seen))
