"""Training survives everything: SIGKILL at random steps and inside saves, SIGTERM; and the resume is exact."""

import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.nn import checkpoint as checkpoints
from tests.tools import require_tool
from tests.training.forks import ForkServer
from tests.training.world import World, build_world

TRAIN = "tests.training.children:train"


@pytest.fixture(scope="module")
def other_filesystem() -> Path:
    """A folder for temporary files that is not on the file system of the runs."""
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK):
        pytest.skip("no /dev/shm to put TMPDIR on another file system")
    return folder


@pytest.fixture(scope="module")
def forks(other_filesystem: Path) -> Iterator[ForkServer]:
    with ForkServer(TMPDIR=str(other_filesystem)) as server:
        yield server


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Dropout, clipping, accumulation, a schedule, evaluation and samples: everything that a resume could forget."""
    return build_world(tmp_path_factory.mktemp("kill"), sample_prompts=["The cat"], eval_every_epoch=True, num_epochs=2)


@pytest.fixture(scope="module")
def unkilled(forks: ForkServer, world: World) -> Path:
    """A run that nobody killed."""
    out = world.root / "unkilled"
    assert forks.spawn(TRAIN, root=str(world.root), out=str(out), order=str(out) + ".order").wait() == 0
    return out


def weights(out: Path) -> str:
    """Hash of the final weights."""
    last = Path(json.loads((out / "result.json").read_text())["last"])
    return hashlib.sha256((last / "model.safetensors").read_bytes()).hexdigest()


def figures(out: Path) -> list[dict[str, object]]:
    """metrics.jsonl without times."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if "second" not in key} for row in rows]


def batches(order: Path) -> dict[str, set[str]]:
    """What each micro batch held, in every process that trained on it."""
    seen: dict[str, set[str]] = {}
    for line in order.read_text().splitlines():
        number, digest = line.split()
        seen.setdefault(number, set()).add(digest)
    return seen


def test_sigkill_at_random_steps_changes_nothing(forks: ForkServer, world: World, unkilled: Path, long: bool) -> None:
    chance = random.Random(2026)
    wanted = batches(Path(str(unkilled) + ".order"))
    for number in range(20 if long else 5):
        out = world.root / f"killed-{number}"
        order = Path(str(out) + ".order")
        where = {"root": str(world.root), "out": str(out), "order": str(order)}
        moment = chance.randrange(1, len(wanted) + 1)
        assert forks.spawn(TRAIN, **where, die_at_batch=moment).wait() == -signal.SIGKILL
        assert forks.spawn(TRAIN, **where).wait() == 0
        assert batches(order) == wanted, f"another sample order after a kill at batch {moment}"
        assert weights(out) == weights(unkilled), f"other weights after a kill at batch {moment}"
        assert figures(out) == figures(unkilled), f"other figures after a kill at batch {moment}"


def test_many_kills_in_one_run_change_nothing(forks: ForkServer, world: World, unkilled: Path) -> None:
    out = world.root / "killed-often"
    where = {"root": str(world.root), "out": str(out)}
    for moment in (13, 11, 14):  # each gets past a save at least, the resumed ones start from there
        assert forks.spawn(TRAIN, **where, die_at_batch=moment).wait() == -signal.SIGKILL
    assert forks.spawn(TRAIN, **where).wait() == 0
    assert weights(out) == weights(unkilled)


def test_sigkill_during_a_save_never_costs_the_last_checkpoint(
    forks: ForkServer, world: World, other_filesystem: Path, long: bool
) -> None:
    assert other_filesystem.stat().st_dev != world.root.stat().st_dev
    chance = random.Random(7)
    wanted, kills, run, out = 50 if long else 12, 0, 0, world.root / "saves-0"
    config = {"save_steps": 1, "eval_steps": 1000, "sample_prompts": [], "eval_every_epoch": False}
    folder = out / "checkpoints"
    while kills < wanted:
        death = {"number": chance.randrange(1, 4), "seed": chance.randrange(10**6)}
        before = checkpoints.resolve(folder, "last")
        code = forks.spawn(TRAIN, root=str(world.root), out=str(out), die_in_save=death, **config).wait()
        if code == 0:
            run += 1
            out = world.root / f"saves-{run}"
            folder = out / "checkpoints"
            continue
        assert code == -signal.SIGKILL
        kills += (out / "saving").exists()
        (out / "saving").unlink(missing_ok=True)
        last = checkpoints.resolve(folder, "last")
        assert last is not None
        assert last != before
        checkpoints.verify_checkpoint(last)
        assert checkpoints.latest(folder) == last
        checkpoints.load_model(last)
    assert forks.spawn(TRAIN, root=str(world.root), out=str(out), **config).wait() == 0
    assert not list(folder.glob(".*")), "leftovers of dead writers"


def test_sigterm_leaves_a_valid_checkpoint_within_ten_seconds(forks: ForkServer, world: World, unkilled: Path) -> None:
    out = world.root / "terminated"
    where = {"root": str(world.root), "out": str(out)}
    child = forks.spawn(TRAIN, **where, slow_s=0.05)
    _wait_for(out / "metrics.jsonl")
    began = time.monotonic()
    child.signal(signal.SIGTERM)
    assert child.wait(timeout_s=30) == 0
    assert time.monotonic() - began < 10
    result = json.loads((out / "result.json").read_text())
    assert result["interrupted"] is True
    last = checkpoints.latest(out / "checkpoints")
    assert str(last) == result["last"]
    assert checkpoints.open_checkpoint(Path(result["last"])).metadata.global_step == result["steps"]
    assert forks.spawn(TRAIN, **where).wait() == 0
    assert weights(out) == weights(unkilled)


def test_compiled_runs_resume_to_the_same_weights(forks: ForkServer, world: World) -> None:
    require_tool("c++")
    for precision in ("fp32", "auto"):
        config = {"compile": "on", "precision": precision}
        whole, killed = world.root / f"compiled-{precision}", world.root / f"compiled-{precision}-killed"
        assert forks.spawn(TRAIN, root=str(world.root), out=str(whole), **config).wait(600) == 0
        where = {"root": str(world.root), "out": str(killed)}
        assert forks.spawn(TRAIN, **where, die_at_batch=17, **config).wait(600) == -signal.SIGKILL
        assert forks.spawn(TRAIN, **where, **config).wait(600) == 0
        assert weights(killed) == weights(whole)


def _wait_for(path: Path, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)
