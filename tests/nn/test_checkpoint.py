"""Checkpoint directories: trees of state, manifests, lifecycles, versions, pointers, room on the disk."""

import errno
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from studio.config.model import ModelConfig
from studio.core.errors import (
    DiskSpaceError,
    IncompatibleError,
    IntegrityError,
    NotFoundError,
    TransitionError,
)
from studio.nn import checkpoint as checkpoints
from studio.nn import checkpoint_files as files
from studio.nn.checkpoint import CheckpointState, TrainingState
from studio.nn.gpt import GPT

CONFIG = ModelConfig(vocab_size=64, n_layer=1, n_embd=16, n_head=2, n_kv_head=1, sequence_len=16, intermediate_size=32)


@pytest.fixture
def tokenizer_dir(tmp_path: Path) -> Path:
    """The checkpoint copies the tokenizer's files and does not look into them."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for name in checkpoints.TOKENIZER_FILES:
        (folder / name).write_text(f'{{"file": "{name}"}}')
    return folder


def state(value: float = 1.0) -> TrainingState:
    return TrainingState(
        optimizer=[
            {"state": {0: {"exp_avg": torch.full((3,), value)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.95)}]}
        ],
        scheduler=[{"last_epoch": 3}],
        loops={"global_step": 3},
        rng={"torch": torch.get_rng_state()},
        data={"optimizer_steps": 3},
        callbacks={"progress": {}},
    )


def write(folder: Path, tokenizer_dir: Path, *, step: int = 3, config: ModelConfig = CONFIG, **more: Any) -> Path:
    torch.manual_seed(step)
    path = folder / f"checkpoint_step_{step}"
    checkpoints.write_checkpoint(
        path,
        model_state=GPT(config).state_dict(),
        config=config,
        tokenizer_dir=tokenizer_dir,
        trainer_state={"global_step": step, "epoch": 0.5},
        training_state=more.pop("training_state", state()),
        **more,
    )
    return path


@pytest.mark.parametrize("tied", [True, False])
def test_weights_come_back_to_the_last_bit(tmp_path: Path, tokenizer_dir: Path, tied: bool) -> None:
    config = CONFIG.model_copy(update={"tie_word_embeddings": tied})
    path = write(tmp_path, tokenizer_dir, config=config)
    torch.manual_seed(3)
    wanted = GPT(config).state_dict()
    found = checkpoints.load_model(path).state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert ("lm_head.weight" in files.read_tensors(path / "model.safetensors")) is not tied


def test_loading_draws_no_random_number_and_gives_evaluation_mode(tmp_path: Path, tokenizer_dir: Path) -> None:
    path = write(tmp_path, tokenizer_dir)
    before = torch.get_rng_state()
    model = checkpoints.load_model(path, dtype=torch.bfloat16)
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training
    assert next(model.parameters()).dtype == torch.bfloat16


def test_training_state_comes_back_as_it_was(tmp_path: Path, tokenizer_dir: Path) -> None:
    path = write(tmp_path, tokenizer_dir, training_state=state(2.5))
    found = checkpoints.read_training_state(path)
    (optimizer,) = found.optimizer
    assert torch.equal(optimizer["state"][0]["exp_avg"], torch.full((3,), 2.5))
    assert optimizer["param_groups"] == [{"lr": 0.1, "betas": (0.9, 0.95)}]
    assert found.data == {"optimizer_steps": 3}


def test_without_training_state_there_is_nothing_to_resume(tmp_path: Path, tokenizer_dir: Path) -> None:
    path = write(tmp_path, tokenizer_dir, training_state=None)
    checkpoints.load_model(path)
    with pytest.raises(NotFoundError, match="no training state"):
        checkpoints.read_training_state(path)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**130), 2**130) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(-(2**65), 2**65), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(tree=plain)
def test_any_tree_of_plain_values_survives(tmp_path_factory: pytest.TempPathFactory, tree: Any) -> None:
    folder = tmp_path_factory.mktemp("tree")
    files.write_tree(folder, "part", tree)
    assert files.read_tree(folder, "part") == tree


def test_a_tree_keeps_nan_and_tensors_and_refuses_the_rest(tmp_path: Path) -> None:
    shared = torch.arange(4)
    files.write_tree(tmp_path, "part", {"nan": math.nan, 3: [shared, shared.view(2, 2)], "$odd": torch.tensor(2)})
    found = files.read_tree(tmp_path, "part")
    assert math.isnan(found["nan"])
    assert torch.equal(found[3][1], torch.arange(4).view(2, 2))
    assert found["$odd"] == 2
    with pytest.raises(TypeError, match=r"Path at other\.inner"):
        files.write_tree(tmp_path, "other", {"inner": tmp_path})


def test_lifecycle_of_001(tmp_path: Path, tokenizer_dir: Path) -> None:
    checkpoint = checkpoints.open_checkpoint(write(tmp_path, tokenizer_dir, metrics={"loss": 2.0}))
    assert checkpoint.state is CheckpointState.SAVED
    with pytest.raises(TransitionError, match="checkpoint is Saved, it cannot become Validated; allowed: Loaded"):
        checkpoint.validate()
    assert "model.norm.weight" in checkpoint.load()
    checkpoint.validate()
    assert checkpoint.state is CheckpointState.VALIDATED
    assert checkpoint.metadata.metrics == {"loss": 2.0}
    assert checkpoint.metadata.global_step == 3
    assert checkpoint.config == CONFIG
    assert 0 <= checkpoint.checksum < 2**32


@pytest.mark.parametrize("current", list(CheckpointState))
@pytest.mark.parametrize("wanted", list(CheckpointState))
def test_every_pair_of_states(current: CheckpointState, wanted: CheckpointState) -> None:
    legal = {("Created", "Saved"), ("Saved", "Loaded"), ("Loaded", "Validated"), ("Validated", "Saved")}
    if (current, wanted) in legal:
        assert checkpoints.LIFECYCLE.check(current, wanted) == wanted
    else:
        with pytest.raises(TransitionError, match=f"checkpoint is {current}"):
            checkpoints.LIFECYCLE.check(current, wanted)


def test_all_weights_must_be_there_and_fit(tmp_path: Path, tokenizer_dir: Path) -> None:
    path = write(tmp_path, tokenizer_dir)
    weights = files.read_tensors(path / "model.safetensors")
    lacking = {name: tensor for name, tensor in weights.items() if name != "model.norm.weight"}
    files.write_tensors(path / "model.safetensors", lacking)
    with pytest.raises(IncompatibleError, match=r"missing weights: model\.norm\.weight"):
        checkpoints.load_weights(GPT(CONFIG), path)
    files.write_tensors(path / "model.safetensors", weights | {"model.norm.weight": torch.ones(3)})
    with pytest.raises(IncompatibleError, match="other shapes"):
        checkpoints.load_weights(GPT(CONFIG), path)


def test_another_major_format_is_refused(tmp_path: Path, tokenizer_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", "2.0.0")
    path = write(tmp_path, tokenizer_dir)
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", "1.4.2")
    with pytest.raises(IncompatibleError, match=r"format 2\.0\.0; this version reads 1\.4\.2"):
        checkpoints.verify_checkpoint(path)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        checkpoints.verify_checkpoint(tmp_path / "nothing")
    with pytest.raises(IntegrityError, match="manifest is missing"):
        checkpoints.verify_checkpoint(tmp_path)


def test_versions_of_003() -> None:
    wider = CONFIG.model_copy(update={"intermediate_size": 64})
    words = CONFIG.model_copy(update={"vocab_size": 65})
    assert checkpoints.next_version(None, None, CONFIG) == "1.0.0"
    assert checkpoints.next_version("1.0.0", CONFIG, CONFIG.model_copy(update={"dropout": 0.5})) == "1.0.1"
    assert checkpoints.next_version("1.2.3", CONFIG, wider) == "1.3.0"
    assert checkpoints.next_version("1.2.3", CONFIG, words) == "2.0.0"


def test_pointers_and_the_newest_whole_checkpoint(tmp_path: Path, tokenizer_dir: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    assert checkpoints.latest(folder) is None
    old, new = write(folder, tokenizer_dir, step=1), write(folder, tokenizer_dir, step=2)
    assert checkpoints.latest(folder.parent) == new  # no pointer: the newest
    checkpoints.point(folder, "last", old)
    checkpoints.point(folder, "best", old, value=1.5)
    assert checkpoints.latest(folder) == old
    assert checkpoints.best(folder.parent) == old
    (old / "config.json").write_text("{}")
    assert checkpoints.latest(folder) == new  # a damaged one is passed over


def test_pruning_keeps_best_last_and_the_newest(tmp_path: Path, tokenizer_dir: Path) -> None:
    paths = [write(tmp_path, tokenizer_dir, step=step) for step in (1, 2, 3, 10, 11)]
    checkpoints.point(tmp_path, "best", paths[0])
    checkpoints.point(tmp_path, "last", paths[4])
    checkpoints.prune(tmp_path, 3)
    assert {path.name for path in checkpoints.list_checkpoints(tmp_path)} == {
        "checkpoint_step_1",
        "checkpoint_step_10",
        "checkpoint_step_11",
    }
    checkpoints.prune(tmp_path, 1)
    assert set(checkpoints.list_checkpoints(tmp_path)) == {paths[0], paths[4]}


def test_a_directory_of_the_same_name_is_replaced_or_kept(
    tmp_path: Path, tokenizer_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, tokenizer_dir, metrics={"loss": 1.0})
    write(tmp_path, tokenizer_dir, metrics={"loss": 2.0})
    assert checkpoints.open_checkpoint(path).metadata.metrics == {"loss": 2.0}

    def fail(*args: object) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(checkpoints, "write_manifest", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        write(tmp_path, tokenizer_dir, metrics={"loss": 3.0})
    assert checkpoints.open_checkpoint(path).metadata.metrics == {"loss": 2.0}
    checkpoints.verify_checkpoint(path)
    assert sorted(child.name for child in tmp_path.iterdir()) == ["checkpoint_step_3", "tokenizer"]


def test_recovering_after_a_writer_died_between_the_two_renames(tmp_path: Path, tokenizer_dir: Path) -> None:
    path = write(tmp_path, tokenizer_dir)
    os.rename(path, tmp_path / f".{path.name}.replaced")
    (tmp_path / f".{path.name}.staging-0000").mkdir()
    checkpoints.recover(tmp_path)
    checkpoints.verify_checkpoint(path)
    assert sorted(child.name for child in tmp_path.iterdir()) == ["checkpoint_step_3", "tokenizer"]


def test_too_little_room_is_found_before_anything_is_written(
    tmp_path: Path, tokenizer_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "free_bytes", lambda path: 2_000_000)
    with pytest.raises(DiskSpaceError, match=r"a checkpoint needs 2\.1 MB, 2\.0 MB are free"):
        write(tmp_path / "run", tokenizer_dir)
    assert checkpoints.list_checkpoints(tmp_path / "run") == []


def test_a_full_disk_inside_safetensors_is_a_disk_space_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:  # its words on a full tmpfs
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(files, "save_file", fail)
    with pytest.raises(DiskSpaceError, match="the disk is full"):
        files.write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(1)})
