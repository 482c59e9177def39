"""Checkpoints: one directory per saved model, in the layout of spec 002 §4.1, that vouches for each of its bytes.

It knows the directory, the model's weights and configuration, and which directory is last and best. It refuses to know
trainers: their state comes as plain trees and leaves as plain trees.

* transformers opens the directory as its own (`config.json`, `model.safetensors`, tokenizer files).
* Training state lies beside it as safetensors + JSON (`optimizer.*`, `scheduler.*`, `loops.*`, `rng.*`, `data.*`,
  `callbacks.*`). `training_args.bin` is a courtesy to other tools: it is a pickle, so it is written and never read.
* A directory is staged beside its final name, synced, then renamed: it is there whole or not at all. The pointers
  `last.json` and `best.json` move only afterwards.
* `manifest.json` lists size and CRC32 of every file and carries a checksum of itself.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studio.config.model import ModelConfig
from studio.core.clock import iso
from studio.core.errors import DiskSpaceError, IncompatibleError, IntegrityError, NotFoundError, StudioError
from studio.core.fsio import (
    atomic_write_json,
    dump_json,
    free_bytes,
    read_json,
    sha256_file,
    sha256_json,
    staged_directory,
    sweep_staging,
    sync_directory,
)
from studio.nn.checkpoint_files import (
    check_files,
    checksum_of,
    describe_files,
    read_manifest,
    read_tensors,
    read_tree,
    tree_bytes,
    write_manifest,
    write_tensors,
    write_tree,
)
from studio.nn.checkpoint_state import LIFECYCLE, CheckpointState
from studio.nn.gpt import GPT

FORMAT_VERSION = "1.0.0"
"""Of the directory's layout. Another MAJOR is refused."""
WEIGHTS = "model.safetensors"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
MARGIN_BYTES = 2 << 20
"""Room asked for beyond the tensors: JSON files, file system blocks."""


@dataclass(frozen=True, slots=True)
class CheckpointMetadata:
    """What training was like when the checkpoint was taken (spec 001)."""

    global_step: int
    epoch: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Last known values: loss, eval_loss, learning_rate ..."""
    parents: Mapping[str, str] = field(default_factory=dict)
    """Content hashes of what it was made from: tokenizer, dataset, the checkpoint it started from."""
    created_at: str = ""


@dataclass(slots=True)
class TrainingState:
    """Everything beyond the weights that an exact resume needs, each a tree of plain values and tensors."""

    optimizer: Any = None
    scheduler: Any = None
    loops: Any = None
    rng: Any = None
    data: Any = None
    callbacks: Any = None

    @classmethod
    def parts(cls) -> tuple[str, ...]:
        """Names of the parts, which are also names of files."""
        return tuple(part.name for part in fields(cls))


@dataclass(slots=True)
class ModelCheckpoint:
    """Spec 001's entity: a saved state of a model. It opens its weights only when asked."""

    path: Path
    config: ModelConfig
    metadata: CheckpointMetadata
    version: str
    """MAJOR.MINOR.PATCH of spec 003: vocabulary, architecture, weights."""
    checksum: int
    """CRC32 over the checksums of all files, u32."""
    state: CheckpointState = CheckpointState.CREATED

    def load(self) -> dict[str, Tensor]:
        """The weights by parameter name; Saved becomes Loaded."""
        self._become(CheckpointState.LOADED)
        return read_tensors(self.path / WEIGHTS)

    def validate(self) -> None:
        """Check every file against the manifest; Loaded becomes Validated, IntegrityError names a damaged file."""
        LIFECYCLE.check(self.state, CheckpointState.VALIDATED)
        verify_checkpoint(self.path)
        self._become(CheckpointState.VALIDATED)

    def _become(self, wanted: CheckpointState) -> None:
        self.state = LIFECYCLE.check(self.state, wanted)


def write_checkpoint(
    final_dir: Path,
    *,
    model_state: Mapping[str, Tensor],
    config: ModelConfig,
    tokenizer_dir: Path,
    trainer_state: Mapping[str, Any],
    training_state: TrainingState | None = None,
    parents: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    version: str = "1.0.0",
    training_args: Mapping[str, Any] | None = None,
) -> ModelCheckpoint:
    """Write the directory `final_dir` whole, durably and checked, or leave nothing.

    `trainer_state` needs `global_step` and `epoch`. A directory of that name which a killed run published but never
    pointed to is replaced. DiskSpaceError before anything is written when the room is not there, and when the disk
    fills up meanwhile.
    """
    _ensure_room(final_dir.parent, {**model_state}, training_state)
    weights = dict(model_state)
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    with _replacing(final_dir), staged_directory(final_dir) as folder:
        write_tensors(folder / WEIGHTS, weights)
        _write_json(folder / "config.json", hf_config(config))
        _write_json(folder / "generation_config.json", _generation_config(config))
        for name in TOKENIZER_FILES:
            shutil.copyfile(tokenizer_dir / name, folder / name)
        _write_json(folder / "trainer_state.json", trainer_state)
        torch.save(dict(training_args or {}), folder / "training_args.bin")
        if training_state is not None:
            for part in TrainingState.parts():
                write_tree(folder, part, getattr(training_state, part))
        manifest = _manifest(folder, config, trainer_state, parents or {}, metrics or {}, version, training_args or {})
        write_manifest(folder, manifest)
    return _checkpoint(final_dir, config, manifest)


def _ensure_room(parent: Path, model_state: Any, training_state: TrainingState | None) -> None:
    parts = [] if training_state is None else [getattr(training_state, part) for part in TrainingState.parts()]
    needed = tree_bytes(model_state) + tree_bytes(parts) + MARGIN_BYTES
    free = free_bytes(parent)
    if free < needed:
        raise DiskSpaceError(
            f"a checkpoint needs {needed / 1e6:.1f} MB, {free / 1e6:.1f} MB are free",
            where=str(parent),
            remedy="Free some space and resume.",
        )


@contextmanager
def _replacing(final_dir: Path) -> Iterator[None]:
    """Have an old directory of that name out of the way in this block; it comes back when the block fails.

    When we die in the block, `recover` brings it back.
    """
    aside = final_dir.with_name(f".{final_dir.name}.replaced")
    if final_dir.exists():
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(final_dir, aside)
    try:
        yield
    except BaseException:
        if aside.exists() and not final_dir.exists():
            os.rename(aside, final_dir)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_bytes(dump_json(dict(document), option=2) + b"\n")


def hf_config(config: ModelConfig) -> dict[str, Any]:
    """`config.json`: what transformers' Qwen3 needs, with the ids of our special tokens."""
    return {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, **config.to_hf()}


def _generation_config(config: ModelConfig) -> dict[str, Any]:
    return {
        "bos_token_id": 0,
        "eos_token_id": [1, 7],  # end of document, end of turn
        "pad_token_id": 2,
        "do_sample": True,
        "temperature": 0.7,
        "top_k": min(50, config.vocab_size),
        "top_p": 0.9,
        "max_new_tokens": min(256, config.sequence_len),
    }


def _manifest(
    folder: Path,
    config: ModelConfig,
    trainer_state: Mapping[str, Any],
    parents: Mapping[str, str],
    metrics: Mapping[str, float],
    version: str,
    training_args: Mapping[str, Any],
) -> dict[str, Any]:
    files = describe_files(folder)
    return {
        "format": "studio-checkpoint",
        "format_version": FORMAT_VERSION,
        "version": version,
        "created_at": iso(),
        "global_step": int(trainer_state["global_step"]),
        "epoch": float(trainer_state["epoch"]),
        "parents": dict(parents),
        "metrics": dict(metrics),
        "hashes": {
            "weights": sha256_file(folder / WEIGHTS),
            "model_config": sha256_json(config.model_dump(mode="json")),
            "tokenizer": sha256_file(folder / "tokenizer.json"),
            "training_args": sha256_json(dict(training_args)),
        },
        "checksum": checksum_of(files),
        "files": files,
    }


def _checkpoint(folder: Path, config: ModelConfig, manifest: Mapping[str, Any]) -> ModelCheckpoint:
    metadata = CheckpointMetadata(
        global_step=manifest["global_step"],
        epoch=manifest["epoch"],
        metrics=manifest["metrics"],
        parents=manifest["parents"],
        created_at=manifest["created_at"],
    )
    return ModelCheckpoint(
        folder, config, metadata, manifest["version"], manifest["checksum"], state=CheckpointState.SAVED
    )


def verify_checkpoint(folder: Path) -> dict[str, Any]:
    """The manifest, once the format is ours and every file is as it was written.

    NotFoundError without such a directory, IntegrityError naming a damaged or missing file, IncompatibleError for
    another format version.
    """
    manifest = _compatible_manifest(folder)
    check_files(folder, manifest["files"])
    if checksum_of(manifest["files"]) != manifest["checksum"]:
        raise IntegrityError("the checksum over all files does not hold", where=str(folder / "manifest.json"))
    return manifest


def _compatible_manifest(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise NotFoundError("no such checkpoint", where=str(folder))
    manifest = read_manifest(folder)
    found = str(manifest.get("format_version", "?"))
    if manifest.get("format") != "studio-checkpoint" or found.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise IncompatibleError(
            f"checkpoint format {found}; this version reads {FORMAT_VERSION}",
            where=str(folder),
            remedy="Open it with the version that wrote it.",
        )
    return manifest


def open_checkpoint(folder: Path) -> ModelCheckpoint:
    """The entity for a directory on disk; only the manifest and the configuration are read."""
    manifest = _compatible_manifest(folder)
    return _checkpoint(folder, read_config(folder), manifest)


def read_config(folder: Path) -> ModelConfig:
    """The architecture in `config.json`."""
    return ModelConfig.from_hf(read_json(folder / "config.json"))


def load_model(
    folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None, *, verify: bool = True
) -> GPT:
    """The model in evaluation mode. Every file is checked first; IncompatibleError when weights and config disagree.

    Draws nothing from the global random generators.
    """
    if verify:
        verify_checkpoint(folder)
    config = read_config(folder)
    with torch.random.fork_rng(devices=[]):
        model = GPT(config)
    load_weights(model, folder)
    return model.to(device=device, dtype=dtype).eval()


def load_weights(model: GPT, folder: Path) -> None:
    """Put the weights of a checkpoint into `model`; IncompatibleError names what is missing or has another shape."""
    weights = read_tensors(folder / WEIGHTS)
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise IncompatibleError(f"the weights have other shapes: {error}", where=str(folder / WEIGHTS)) from error
    if missing or unexpected:
        raise IncompatibleError(
            f"missing weights: {_some(missing)}; unexpected: {_some(unexpected)}", where=str(folder / WEIGHTS)
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "") if names else "none"


def read_training_state(folder: Path) -> TrainingState:
    """The training state beside the weights; NotFoundError when the checkpoint was written without one."""
    if not (folder / "optimizer.json").exists():
        raise NotFoundError(
            "this checkpoint holds no training state", where=str(folder), remedy="Start from its weights instead."
        )
    return TrainingState(**{part: read_tree(folder, part) for part in TrainingState.parts()})


def next_version(parent: str | None, before: ModelConfig | None, after: ModelConfig) -> str:
    """Spec 003: another vocabulary raises MAJOR, another architecture MINOR, anything else PATCH. First is 1.0.0."""
    if parent is None or before is None:
        return "1.0.0"
    major, minor, patch = (int(part) for part in parent.split("."))
    if before.vocab_size != after.vocab_size:
        return f"{major + 1}.0.0"
    if before.model_dump(exclude={"dropout"}) != after.model_dump(exclude={"dropout"}):
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"


# Which checkpoint is last, which is best


def point(folder: Path, pointer: str, checkpoint: Path, **facts: Any) -> None:
    """Let `{pointer}.json` in `folder` name `checkpoint`, atomically; the directory is durable by then."""
    atomic_write_json(folder / f"{pointer}.json", {"checkpoint": checkpoint.name, **facts})


def resolve(folder: Path, pointer: str) -> Path | None:
    """The directory that a pointer names, or None; `folder` holds the checkpoints, or is the run above them."""
    folder = _checkpoints_below(folder)
    path = folder / f"{pointer}.json"
    if not path.exists():
        return None
    target = folder / str(read_json(path)["checkpoint"])
    return target if target.is_dir() else None


def latest(folder: Path) -> Path | None:
    """The last whole checkpoint: what `last.json` names, or else the newest directory that verifies."""
    folder = _checkpoints_below(folder)
    pointed = resolve(folder, "last")
    rest = sorted(list_checkpoints(folder), key=_step_of, reverse=True)
    for candidate in [*([pointed] if pointed else []), *rest]:
        try:
            verify_checkpoint(candidate)
        except StudioError:
            continue
        return candidate
    return None


def best(folder: Path) -> Path | None:
    """The checkpoint with the lowest validation loss, if one was evaluated."""
    return resolve(folder, "best")


def _checkpoints_below(folder: Path) -> Path:
    below = folder / "checkpoints"
    return below if below.is_dir() else folder


def list_checkpoints(folder: Path) -> list[Path]:
    """Every `checkpoint_step_N` and `checkpoint_epoch_N` in `folder`."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)]


_NAME = re.compile(r"checkpoint_(step|epoch)_\d+")


def _step_of(checkpoint: Path) -> int:
    try:
        return int(read_manifest(checkpoint)["global_step"])
    except StudioError:
        return -1


def recover(folder: Path) -> None:
    """Clean up after a killed writer: its staging goes; a directory that it set aside comes back or goes."""
    sweep_staging(folder)
    for aside in folder.glob(".checkpoint_*.replaced"):
        original = folder / aside.name.removeprefix(".").removesuffix(".replaced")
        if original.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(aside, original)
            sync_directory(folder)


def prune(folder: Path, keep: int) -> list[Path]:
    """Remove the oldest checkpoints beyond `keep`, never the ones that `last` and `best` name; those removed."""
    kept = {path for path in (resolve(folder, "last"), resolve(folder, "best")) if path is not None}
    newest_first = sorted(list_checkpoints(folder), key=_step_of, reverse=True)
    room = max(0, keep - len(kept))
    removed = []
    for checkpoint in (path for path in newest_first if path not in kept):
        if room > 0:
            room -= 1
            continue
        shutil.rmtree(checkpoint, ignore_errors=True)
        removed.append(checkpoint)
    return removed
