"""Which checkpoints a stopped run left. Reads names and JSON only, so that asking costs nothing."""

from __future__ import annotations

from pathlib import Path

from studio.core.fsio import read_json
from studio.pipeline.context import recorded_stages
from studio.pipeline.stage import MANIFEST

TRAINING_STAGES = ("pretrain", "midtrain", "sft")


def unfinished_training(run_dir: Path) -> tuple[Path, int] | None:
    """(checkpoint, step) of the training stage that the run did not finish, or None."""
    stages = recorded_stages(run_dir)
    for name in reversed(TRAINING_STAGES):
        record = stages.get(name)
        if record is None or (record.directory / MANIFEST).exists():
            continue
        found = newest_checkpoint(record.directory)
        if found is not None:
            return found
    return None


def newest_checkpoint(stage_dir: Path) -> tuple[Path, int] | None:
    """The checkpoint with the highest step of an unfinished stage."""
    steps = []
    for folder in (stage_dir / "checkpoints").glob("checkpoint_*"):
        state = folder / "trainer_state.json"
        if state.is_file():
            steps.append((int(read_json(state).get("global_step", 0)), folder))
    return (max(steps)[1], max(steps)[0]) if steps else None
