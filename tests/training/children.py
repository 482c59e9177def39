"""What a forked child does in the kill tests: train, and die when and where it is told to."""

import hashlib
import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from studio.core.events import EventLog
from studio.core.stopping import StopFlag, install_signals
from studio.training.callbacks import StepBoundary
from studio.training.datamodule import Batch
from studio.training.modules import LanguageModule
from tests.training.world import World, world_at


def train(
    root: str,
    out: str,
    *,
    order: str | None = None,
    die_at_batch: int | None = None,
    die_in_save: dict[str, Any] | None = None,
    slow_s: float = 0.0,
    **config: Any,
) -> None:
    """Train in `out`, resuming what is there. The result, when it gets there, is `out`/result.json.

    `order`: a file that gets a line per micro batch. `die_at_batch`: SIGKILL before that micro batch of this process.
    `die_in_save`: {number, seed}: SIGKILL at a random moment of the save of that number.
    """
    world: World = world_at(Path(root))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    if order is not None:
        _note_order(order)
    if die_in_save is not None:
        _die_in_save(folder / "saving", **die_in_save)
    seen = 0

    def before_batch(rows: int) -> None:
        nonlocal seen
        seen += 1
        if seen == die_at_batch:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(slow_s)

    stop = StopFlag()
    install_signals(stop)
    with EventLog(folder / "events.jsonl") as events:
        outcome = world.run(
            folder, emit=events.emit, stop=stop, resume=True, before_batch=before_batch, config=world.config(**config)
        )
    result = {"steps": outcome.steps, "interrupted": outcome.interrupted, "last": str(outcome.last)}
    (folder / "result.json").write_text(json.dumps(result))


def _note_order(path: str) -> None:
    """Append `step.batch hash-of-the-ids` for each micro batch that is trained on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    original = LanguageModule.training_step

    def training_step(self: LanguageModule, batch: Batch, batch_idx: int = 0) -> Any:
        digest = hashlib.sha256(batch.ids.numpy().tobytes()).hexdigest()[:16]
        os.write(descriptor, f"{batch_idx} {digest}\n".encode())
        return original(self, batch, batch_idx)

    LanguageModule.training_step = training_step  # type: ignore[method-assign]


def _die_in_save(mark: Path, number: int, seed: int) -> None:
    """SIGKILL at a random moment of save `number`; `mark` stands exactly while a save is under way."""
    original = StepBoundary.save
    chance = random.Random(seed)
    durations: list[float] = []

    def save(self: StepBoundary, trainer: Trainer, module: LightningModule) -> None:
        mark.touch()
        began = time.monotonic()
        if len(durations) == number:
            # the earlier saves say how long one takes; a little beyond is cut off by the mark
            delay = chance.uniform(0.0, min(durations))
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        original(self, trainer, module)  # type: ignore[arg-type]
        durations.append(time.monotonic() - began)
        mark.unlink()

    StepBoundary.save = save  # type: ignore[method-assign,assignment]
