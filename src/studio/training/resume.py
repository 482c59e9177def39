"""Where a run begins: fresh, from another checkpoint's weights, or from its own last checkpoint.

It knows checkpoint directories and what must match (003: vocabulary and architecture) and what may differ (everything
else). It refuses to know trainers: it names the directory, others open it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from studio.config.model import ModelConfig
from studio.config.training import TrainConfig
from studio.core.errors import ConflictError, IncompatibleError
from studio.core.fsio import read_json, sha256_file
from studio.nn import checkpoint as checkpoints
from studio.nn.checkpoint_files import read_tensors


@dataclass(frozen=True, slots=True)
class TrainingCheckpoint:
    """003's entity: what a directory says about the training that it is a snapshot of."""

    epoch: int
    """Whole epochs that were done."""
    checkpoint_path: Path
    training_config: Mapping[str, Any]
    """The configuration as its owner knew it: a pipeline's, for one that a pipeline ran."""
    train: Mapping[str, Any]
    """The stage's TrainConfig."""
    machine: Mapping[str, Any]
    """What it ran on."""
    loss_history: Mapping[str, list[float | None]]
    """`train_losses` and `val_losses`, per epoch."""
    run_id: str

    @classmethod
    def read(cls, folder: Path) -> "TrainingCheckpoint":
        """From `trainer_state.json`; verify the directory first."""
        state = read_json(folder / "trainer_state.json")
        return cls(
            epoch=int(state["epoch"]),
            checkpoint_path=folder,
            training_config=state.get("training_config", {}),
            train=state.get("train", {}),
            machine=state.get("machine", {}),
            loss_history=state.get("loss_history", {"train_losses": [], "val_losses": []}),
            run_id=str(state.get("run_id", "")),
        )

    def model_state(self) -> dict[str, Tensor]:
        """The weights by name."""
        return read_tensors(self.checkpoint_path / checkpoints.WEIGHTS)

    def optimizer_state(self) -> Any:
        """The optimizer's momenta and variances."""
        return checkpoints.read_training_state(self.checkpoint_path).optimizer


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run begins."""

    version: str
    """MAJOR.MINOR.PATCH of the checkpoints that it will write."""
    resume_from: Path | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)
    """What the checkpoint it resumes from ran on."""
    run_id: str = ""
    """Of the run that is resumed."""


def starting_point(
    folder: Path,
    train: TrainConfig,
    model: ModelConfig,
    tokenizer_dir: Path,
    *,
    init_from: Path | None,
    resume: bool,
) -> Start:
    """Look at the checkpoints in `folder`, cleaning up after a killed run, and say where to begin.

    ConflictError when there are some and we are not to resume; IncompatibleError when they are of another vocabulary,
    tokenizer or architecture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints.recover(folder)
    found = checkpoints.latest(folder)
    if found is None:
        return Start(_version_of_descendant(init_from, model, tokenizer_dir))
    if not resume:
        raise ConflictError(
            "this folder already holds a run's checkpoints",
            where=str(folder),
            remedy="Resume it, or use another folder.",
        )
    ensure_compatible(found, model, tokenizer_dir, verb="resume from")
    before = TrainingCheckpoint.read(found)
    version = checkpoints.open_checkpoint(found).version
    if before.train != train.model_dump(mode="json"):
        version = checkpoints.next_version(version, model, model)  # 003: other hyperparameters, PATCH
    return Start(version, found, before.machine, before.run_id)


def _version_of_descendant(init_from: Path | None, model: ModelConfig, tokenizer_dir: Path) -> str:
    if init_from is None:
        return "1.0.0"
    ensure_compatible(init_from, model, tokenizer_dir, verb="start from")
    parent = checkpoints.open_checkpoint(init_from)
    return checkpoints.next_version(parent.version, parent.config, model)


def ensure_compatible(checkpoint: Path, model: ModelConfig, tokenizer_dir: Path, *, verb: str) -> None:
    """IncompatibleError, saying what differs, unless vocabulary, tokenizer and architecture match (003)."""
    manifest = checkpoints.verify_checkpoint(checkpoint)
    found = checkpoints.read_config(checkpoint)
    if found.vocab_size != model.vocab_size:
        raise _mismatch(checkpoint, f"its vocabulary has {found.vocab_size} tokens, not {model.vocab_size}", verb)
    before, after = found.model_dump(exclude={"dropout"}), model.model_dump(exclude={"dropout"})
    other = [f"{name} is {before[name]}, not {after[name]}" for name in after if before[name] != after[name]]
    if other:
        raise _mismatch(checkpoint, f"its architecture differs: {'; '.join(other)}", verb)
    if manifest["hashes"]["tokenizer"] != sha256_file(tokenizer_dir / "tokenizer.json"):
        raise _mismatch(checkpoint, "it was trained with another tokenizer", verb)


def _mismatch(checkpoint: Path, what: str, verb: str) -> IncompatibleError:
    return IncompatibleError(f"cannot {verb} this checkpoint: {what}", where=str(checkpoint), remedy="Start a new run.")
