"""Training meets a machine without memory, a disk without room and a loss without a value."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.core.errors import DiskSpaceError, OutOfMemory, ValidationFailure
from studio.nn import checkpoint as checkpoints
from tests.training.world import World, build_world

CPU_OOM = "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("faults"), num_epochs=1, per_device_batch_size=8)


class Memory:
    """Room for `rows` rows; more than that fails as torch fails on the CPU."""

    def __init__(self, rows: int, *, from_batch: int = 0, error: type[BaseException] = RuntimeError) -> None:
        self.rows, self.from_batch, self.error, self.seen = rows, from_batch, error, 0

    def __call__(self, rows: int) -> None:
        self.seen += 1
        if rows > self.rows and self.seen > self.from_batch:
            raise self.error(CPU_OOM)


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, torch.OutOfMemoryError])
def test_out_of_memory_names_the_batch_that_fits_and_the_retry_finishes(
    world: World, tmp_path: Path, error: type[BaseException]
) -> None:
    config = world.config(max_steps=4)
    with pytest.raises(OutOfMemory, match=r"Use per_device_batch_size=2 gradient_accumulation_steps=8") as failure:
        world.run(tmp_path / "run", config=config, before_batch=Memory(3, error=error))
    assert failure.value.fits_batch_size == 2
    smaller = config.with_device_batch(failure.value.fits_batch_size)
    assert smaller.batch_size == config.batch_size
    outcome = world.run(tmp_path / "run", config=smaller, before_batch=Memory(3, error=error), resume=True)
    assert outcome.steps == 4


def test_after_out_of_memory_in_the_middle_the_run_goes_on_in_smaller_bites(world: World, tmp_path: Path) -> None:
    config = world.config(max_steps=8, save_steps=3)
    whole = world.run(tmp_path / "whole", config=config)
    with pytest.raises(OutOfMemory) as failure:
        world.run(tmp_path / "run", config=config, before_batch=Memory(4, from_batch=9))
    assert failure.value.fits_batch_size == 4
    smaller = config.with_device_batch(4)
    outcome = world.run(tmp_path / "run", config=smaller, resume=True)
    assert outcome.steps == 8
    assert outcome.tokens == whole.tokens  # the same rows, each once


def test_when_not_even_one_row_fits_it_says_so(world: World, tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory, match="Not even one row fits") as failure:
        world.run(tmp_path / "run", before_batch=Memory(0))
    assert failure.value.fits_batch_size is None


def test_another_runtime_error_is_not_taken_for_it(world: World, tmp_path: Path) -> None:
    def broken(rows: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        world.run(tmp_path / "run", before_batch=broken)


@pytest.mark.parametrize("part", ["write_tensors", "_write_json", "write_tree", "write_manifest"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_in_a_save_leaves_the_last_checkpoint(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, code: int
) -> None:
    out = tmp_path / "run"
    config = world.config(max_steps=6, save_steps=2)
    original, calls = getattr(checkpoints, part), 0

    def fill_up(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if (out / "checkpoints" / "last.json").exists():
            raise OSError(code, "no room", str(args[0]))
        return original(*args, **kwargs)

    monkeypatch.setattr(checkpoints, part, fill_up)
    with pytest.raises(DiskSpaceError, match=r"checkpoint_step_2 is still the last one") as failure:
        world.run(out, config=config)
    assert failure.value.error_type == "disk_space"
    monkeypatch.undo()
    last = checkpoints.resolve(out / "checkpoints", "last")
    assert last is not None
    checkpoints.verify_checkpoint(last)
    assert [path.name for path in (out / "checkpoints").iterdir() if path.is_dir()] == ["checkpoint_step_2"]
    assert world.run(out, config=config, resume=True).steps == 6


def test_too_little_room_is_found_before_the_save(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "free_bytes", lambda path: 1000)
    with pytest.raises(DiskSpaceError, match=r"a checkpoint needs .* MB, 0\.0 MB are free.*no checkpoint yet"):
        world.run(tmp_path / "run", config=world.config(max_steps=2))


def test_a_loss_without_a_value_ends_the_run_and_the_checkpoint_before_stays(world: World, tmp_path: Path) -> None:
    rates = {"optimizer_type": "sgd", "learning_rate": 1e30}
    config = world.config(max_steps=6, save_steps=1, max_grad_norm=0.0, logging_steps=1, optim=rates, warmup_steps=0)
    with pytest.raises(ValidationFailure, match=r"the loss is nan at step \d.*Lower the learning rate"):
        world.run(tmp_path / "run", config=config)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["loss"] is not None for row in rows if row["kind"] == "metrics")
