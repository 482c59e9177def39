"""A whole pipeline that takes seconds: the starter world at a twentieth, two layers, a few steps, everything exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.config.compose import load_pipeline
from studio.core.ids import new_id
from studio.core.paths import Home
from studio.core.stopping import StopFlag
from studio.pipeline.context import RunContext, Seams
from studio.pipeline.entry import make_context, run_pipeline
from studio.pipeline.runner import PipelineFailed
from studio.pipeline.status import PipelineStatus

STAGE = (
    "batch_size=8",
    "lr_scheduler_type=cosine",
    "warmup_steps=0",
    "logging_steps=1",
    "eval_every_epoch=true",
    "save_every_epoch=true",
    "eval_batches=4",
)
TINY = (
    "starter_scale=0.05",
    "model=tiny",
    "tokenizer=unigram",
    "tokenizer.vocab_size=1000",
    "data=default",
    "trainer=exact",
    *(f"{stage}.{setting}" for stage in ("pretrain", "sft") for setting in STAGE),
    "pretrain.max_steps=4",
    "pretrain.save_steps=2",
    "sft.max_steps=3",
    "export.parity_prompts=8",
    "validation.heldout_questions=8",
    "validation.samples_per_language=1",
    "validation.max_val_loss=null",
    "validation.max_repeated_4gram_ratio=1",
)
"""Says everything that the tests count on, so that the starter world's own numbers may change."""


@dataclass
class Ran:
    """A run and what it told."""

    status: PipelineStatus
    context: RunContext
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    error: BaseException | None = None

    def stages(self) -> dict[str, bool]:
        """Stage -> whether it was only found; a stage counts as made when it was made once."""
        found: dict[str, bool] = {}
        for kind, row in self.events:
            if kind == "stage_end":
                found[row["stage"]] = found.get(row["stage"], True) and row["reused"]
        return found

    def made(self) -> set[str]:
        return {name for name, reused in self.stages().items() if not reused}

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]


def run_tiny(
    home: Home,
    *overrides: str,
    seams: Seams | None = None,
    run_id: str | None = None,
    continues: str | None = None,
    fresh: bool = False,
    stop: StopFlag | None = None,
    base: Sequence[str] = TINY,
) -> Ran:
    """Run in this process, to the end or to its failure."""
    events: list[tuple[str, Mapping[str, Any]]] = []

    def emit(kind: str, /, **fields: Any) -> None:
        events.append((kind, fields))

    context = make_context(
        run_id or new_id(),
        load_pipeline([*base, *overrides]),
        home,
        emit=emit,
        stop=stop or StopFlag(),
        seams=seams,
        continues=continues,
        fresh=fresh,
    )
    context.threads = 1
    try:
        return Ran(run_pipeline(context), context, events)
    except PipelineFailed as failed:
        return Ran(failed.status, context, events, failed.cause)


def new_home(root: Path) -> Home:
    root.mkdir(parents=True, exist_ok=True)
    return Home(root)
