"""How far a run is: everything about it that is neither weights, optimizer nor data, and that a resume restores.

It knows plain values only, so that it travels in a checkpoint as JSON.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from studio.training.metrics import EpochMetrics, Tally


@dataclass(slots=True)
class Best:
    """The best evaluation so far."""

    eval_loss: float
    global_step: int
    checkpoint: str
    """Name of its directory."""


@dataclass(slots=True)
class Progress:
    """The state of a run between two optimizer steps."""

    global_step: int = 0
    tokens: int = 0
    """Trained tokens since the run began."""
    busy_seconds: float = 0.0
    """Time spent in training steps alone."""
    epoch: Tally = field(default_factory=Tally)
    """Of the epoch that is under way."""
    epoch_seconds: float = 0.0
    window: Tally = field(default_factory=Tally)
    """Since the last logged line."""
    window_seconds: float = 0.0
    epochs_closed: int = 0
    history: list[EpochMetrics] = field(default_factory=list)
    last_train_loss: float | None = None
    evaluation: dict[str, float] = field(default_factory=dict)
    """The last evaluation's figures."""
    best: Best | None = None
    evaluations_without_gain: int = 0
    stopped_early: bool = False
    settled_step: int = -1
    """The last step after which evaluation, samples and the epoch's end were dealt with."""

    def as_tree(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        tree = asdict(self)
        tree["history"] = [epoch.model_dump(mode="json") for epoch in self.history]
        return tree

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> "Progress":
        """The inverse of `as_tree`."""
        values = dict(tree)
        values["epoch"], values["window"] = Tally(**values["epoch"]), Tally(**values["window"])
        values["history"] = [EpochMetrics(**epoch) for epoch in values["history"]]
        values["best"] = None if values["best"] is None else Best(**values["best"])
        return cls(**values)

    def loss_history(self) -> dict[str, list[float | None]]:
        """003's TrainingCheckpoint.loss_history."""
        return {
            "train_losses": [epoch.train_loss for epoch in self.history],
            "val_losses": [epoch.validation_loss for epoch in self.history],
        }
