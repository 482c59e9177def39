"""Kill (issue): SIGKILL at every stage boundary then resume gives the same artefacts; SIGTERM ends well within 10 s."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.core.events import read_events
from studio.core.fsio import read_json
from studio.jobs.lock import is_alive
from studio.nn.checkpoint import latest, verify_checkpoint
from studio.pipeline.context import recorded_stages
from studio.pipeline.stage import open_artefact
from studio.pipeline.status import Phase, StatusFile
from studio.services import open_studio
from tests.pipeline.tiny import TINY
from tests.training.forks import ForkServer

RUN = "tests.acceptance.boundaries:run"
RUN_ID = "22222222-2222-4222-8222-222222222222"


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer]:
    with ForkServer() as server:
        yield server


@pytest.fixture(scope="module")
def unkilled(forks: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("unkilled")
    assert forks.spawn(RUN, home=str(home), run_id=RUN_ID).wait() == 0
    return home / "pipelines" / RUN_ID


def hashes(run_dir: Path) -> dict[str, str]:
    """Content hash of every stage that the run used."""
    return {name: open_artefact(stage.directory).output_hash for name, stage in recorded_stages(run_dir).items()}


def test_sigkill_at_every_stage_boundary_changes_nothing(forks: ForkServer, unkilled: Path, tmp_path: Path) -> None:
    """One run that is killed at its first boundary, resumed, killed at its second, and so on to the end."""
    boundaries = json.loads((unkilled / "boundaries.json").read_text())
    assert boundaries > 20
    run_dir = tmp_path / "pipelines" / RUN_ID
    status = StatusFile(run_dir / "status.json")
    for number in range(boundaries):
        assert forks.spawn(RUN, home=str(tmp_path), run_id=RUN_ID, die_at=number).wait() == -signal.SIGKILL
        assert status.read().current_phase is not Phase.FAILED, "status.json is whole and a dead worker wrote no ending"
    assert forks.spawn(RUN, home=str(tmp_path), run_id=RUN_ID).wait() == 0
    assert hashes(run_dir) == hashes(unkilled)
    assert status.read().current_phase is Phase.COMPLETE


class Foreground:
    """`studio pipeline run --wait` in a process of its own."""

    def __init__(self, home: Path, *overrides: str) -> None:
        self.home = home
        environment = os.environ | {"STUDIO_HOME": str(home), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "studio.cli", "pipeline", "run", *TINY, *overrides, "--wait"]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run_dir(self) -> Path:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            found = list(self.home.glob("pipelines/*/worker.json"))
            if found:
                return found[0].parent
            time.sleep(0.05)
        raise AssertionError("no worker came up")

    def wait_for_step(self, step: int) -> None:
        events = self.run_dir() / "events.jsonl"
        until = time.monotonic() + 120
        while time.monotonic() < until:
            if any(row["kind"] == "metrics" and row["global_step"] >= step for _, row in read_events(events)):
                return
            time.sleep(0.05)
        raise AssertionError("training did not begin")

    def output(self) -> str:
        assert self.process.stdout is not None
        text = self.process.stdout.read()
        self.process.stdout.close()
        return text


@pytest.fixture
def foreground(tmp_path: Path) -> Iterator[Foreground]:
    run = Foreground(
        tmp_path, "pretrain.max_steps=100000", "pretrain.save_steps=100000", "pretrain.eval_every_epoch=false"
    )
    yield run
    if run.process.poll() is None:
        run.process.kill()
        run.process.wait()
    open_studio(tmp_path).pipelines.cancel("latest", grace_s=0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_valid_checkpoint_within_ten_seconds(foreground: Foreground, number: int) -> None:
    foreground.wait_for_step(2)
    run_dir = foreground.run_dir()
    worker = int(read_json(run_dir / "worker.json")["pid"])
    began = time.monotonic()
    foreground.process.send_signal(number)
    code = foreground.process.wait(timeout=30)
    assert time.monotonic() - began < 10
    assert code == 1
    assert "studio pipeline resume" in foreground.output()
    status = StatusFile(run_dir / "status.json").read()
    assert status.error_details is not None
    assert (status.error_details.failed_phase, status.error_details.error_type) == (Phase.MODEL_TRAINING, "interrupted")
    last = latest(recorded_stages(run_dir)["pretrain"].directory / "checkpoints")
    assert last is not None
    verify_checkpoint(last)
    assert not is_alive(run_dir)
    assert not Path(f"/proc/{worker}").exists()


def test_a_killed_worker_is_told_as_interrupted(foreground: Foreground) -> None:
    foreground.wait_for_step(2)
    os.kill(int(read_json(foreground.run_dir() / "worker.json")["pid"]), signal.SIGKILL)
    assert foreground.process.wait(timeout=30) == 1
    output = foreground.output()
    assert "failed in model_training (interrupted)" in output
    assert "studio pipeline resume" in output
    status = open_studio(foreground.home).pipelines.status("latest")
    assert status.current_phase is Phase.FAILED
