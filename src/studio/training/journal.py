"""Where a run's figures go: an event for whoever listens, a line in metrics.jsonl always, wandb offline when asked.

It knows rows, and nothing of how they come about. Without network: wandb runs in offline mode only.
"""

from collections import deque
from pathlib import Path
from typing import Any, Protocol

from studio.core.errors import UsageError
from studio.core.events import Emit
from studio.core.fsio import JsonlWriter, iter_jsonl
from studio.training.metrics import rewind

RECENT_ROWS = 100
"""How many rows a checkpoint's `log_history` holds at most."""


class Journal:
    """Records rows of one run. `resume_step` drops what a resumed run will write again."""

    def __init__(self, path: Path, emit: Emit, *, resume_step: int | None, wandb: "Mirror | None" = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if resume_step is None:
            path.unlink(missing_ok=True)
        else:
            rewind(path, resume_step)
        kept = [row for _, row in iter_jsonl(path)] if path.exists() else []
        self._recent: deque[dict[str, Any]] = deque(map(_logged, kept), maxlen=RECENT_ROWS)
        self._writer, self._emit, self._mirror = JsonlWriter(path), emit, wandb

    def record(self, kind: str, row: dict[str, Any]) -> None:
        """Tell a row to everybody; `kind` is metrics, eval, sample or epoch."""
        self._writer.write({"kind": kind, **row})
        if kind in ("metrics", "eval"):
            self._recent.append(dict(row))
            if self._mirror is not None:
                self._mirror.log({key: value for key, value in row.items() if value is not None})
        self._emit(kind, **row)

    def recent(self) -> list[dict[str, Any]]:
        """The newest rows, oldest first."""
        return list(self._recent)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()
        if self._mirror is not None:
            self._mirror.close()


def _logged(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "kind"}


class Mirror(Protocol):
    """A second place for figures."""

    def log(self, row: dict[str, Any]) -> None:
        """Take a row that has a `global_step`."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


class OfflineWandb:
    """Writes a wandb run below `folder`, to be synced by its owner if ever; UsageError when wandb is not installed."""

    def __init__(self, folder: Path, name: str, config: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise UsageError(
                "wandb is not installed", where="wandb=true", remedy="Run `pip install wandb`, or leave it off."
            ) from error
        settings = wandb.Settings(mode="offline", console="off", disable_git=True, save_code=False, silent=True)
        self._run = wandb.init(project="studio", name=name, dir=str(folder), config=config, settings=settings)

    def log(self, row: dict[str, Any]) -> None:
        """Log the row at its step."""
        self._run.log(row, step=int(row["global_step"]))

    def close(self) -> None:
        """Finish the run's files."""
        self._run.finish()
