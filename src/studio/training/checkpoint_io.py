"""The bridge between Lightning's checkpoint dictionary and our checkpoint directory.

Lightning would write one pickle; here its parts go to the files of `nn.checkpoint` and come back from them, so
`Trainer.fit(ckpt_path=directory, weights_only=True)` resumes from a directory and no pickle is ever opened. It knows
the names of Lightning's parts and the counters of its loops, and nothing of what they count.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from studio.config.model import ModelConfig
from studio.nn.checkpoint import (
    WEIGHTS,
    ModelCheckpoint,
    TrainingState,
    read_training_state,
    verify_checkpoint,
    write_checkpoint,
)
from studio.nn.checkpoint_files import read_tensors

PREFIX = "gpt."
"""Of the model's weights inside the Lightning module."""
RNG_KEY = "rng"
"""Where the callback leaves the states of the random generators in Lightning's dictionary."""
DATA_KEY = "TokenDataModule"
SCALER_KEY = "MixedPrecision"
"""Lightning's name for the loss scale of float16 training."""


@dataclass(frozen=True, slots=True)
class SaveRequest:
    """What a save needs beyond Lightning's dictionary; it travels as `storage_options`."""

    trainer_state: dict[str, Any]
    metrics: dict[str, float]


@dataclass(slots=True)
class DirectoryCheckpointIO(CheckpointIO):
    """Lightning's CheckpointIO over checkpoint directories of one run."""

    config: ModelConfig
    tokenizer_dir: Path
    parents: dict[str, str]
    version: str
    training_args: dict[str, Any]
    accumulate: int
    """Micro batches per optimizer step of *this* run; it may differ from that of the run that saved."""
    written: list[ModelCheckpoint] = field(default_factory=list)

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the directory `path`."""
        assert isinstance(storage_options, SaveRequest)
        state = TrainingState(
            optimizer=checkpoint["optimizer_states"],
            scheduler={"lr_schedulers": checkpoint["lr_schedulers"], "loss_scale": checkpoint.get(SCALER_KEY)},
            loops={
                "loops": checkpoint["loops"],
                "epoch": checkpoint["epoch"],
                "global_step": checkpoint["global_step"],
                "lightning": checkpoint["pytorch-lightning_version"],
            },
            rng=checkpoint[RNG_KEY],
            data=checkpoint[DATA_KEY],
            callbacks=checkpoint["callbacks"],
        )
        written = write_checkpoint(
            Path(path),
            model_state={name.removeprefix(PREFIX): tensor for name, tensor in checkpoint["state_dict"].items()},
            config=self.config,
            tokenizer_dir=self.tokenizer_dir,
            trainer_state=storage_options.trainer_state,
            training_state=state,
            parents=self.parents,
            metrics=storage_options.metrics,
            version=self.version,
            training_args=self.training_args,
        )
        self.written[:] = [written]

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Lightning's dictionary from the directory `path`, every file checked first."""
        folder = Path(path)
        verify_checkpoint(folder)
        state = read_training_state(folder)
        step = int(state.loops["global_step"])
        scaler = state.scheduler["loss_scale"]
        return ({} if scaler is None else {SCALER_KEY: scaler}) | {
            "epoch": state.loops["epoch"],
            "global_step": step,
            "pytorch-lightning_version": state.loops["lightning"],
            "state_dict": {PREFIX + name: tensor for name, tensor in read_tensors(folder / WEIGHTS).items()},
            "loops": at_step_boundary(state.loops["loops"], step, self.accumulate),
            "optimizer_states": state.optimizer,
            "lr_schedulers": state.scheduler["lr_schedulers"],
            "callbacks": state.callbacks,
            RNG_KEY: state.rng,
            DATA_KEY: state.data,
        }

    def remove_checkpoint(self, path: Any) -> None:
        """Lightning never removes our checkpoints: `nn.checkpoint.prune` does."""
        raise NotImplementedError


def at_step_boundary(loops: dict[str, Any], step: int, accumulate: int) -> dict[str, Any]:
    """Set the loops' batch counters to "exactly `step` optimizer steps are done".

    Lightning saves in the middle of a batch's bookkeeping and counts micro batches, whose number per step may change
    between runs; both are put right here.
    """
    done = step * accumulate
    progress = loops["fit_loop"]["epoch_loop.batch_progress"]
    for count in (progress["total"], progress["current"]):
        count.update(ready=done, started=done, processed=done, completed=done)
    progress["is_last_batch"] = False
    return loops
