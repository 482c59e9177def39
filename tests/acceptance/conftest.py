"""What several acceptance tests share: one finished run of the starter world, from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_S = 1500


@dataclass(frozen=True)
class CommandRun:
    """A `studio pipeline run --wait` that has ended."""

    home: Path
    code: int
    document: Mapping[str, Any]
    """What `--json` printed: pipeline_id, directory, status, report."""
    seconds: float

    @property
    def model(self) -> Path:
        return Path(self.document["report"]["model"])

    @property
    def status(self) -> Mapping[str, Any]:
        return dict(self.document["status"])

    @property
    def report(self) -> Mapping[str, Any]:
        return dict(self.document["report"])


def run_pipeline_command(home: Path, *overrides: str) -> CommandRun:
    """Run it as a person would, with `--json`."""
    command = [sys.executable, "-m", "studio.cli", "pipeline", "run", *overrides, "--wait", "--json"]
    done = subprocess.run(
        command,
        env=os.environ | {"STUDIO_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    document = json.loads(done.stdout)
    assert "status" in document, done.stderr
    return CommandRun(home, done.returncode, document, sum(document["status"]["phase_timings"].values()))


@pytest.fixture(scope="session")
def starter_run(tmp_path_factory: pytest.TempPathFactory) -> CommandRun:
    """The default pipeline, whole: the model that later tests talk to."""
    return run_pipeline_command(tmp_path_factory.mktemp("starter"))
