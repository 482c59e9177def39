"""One exported checkpoint for all tests of this room."""

from pathlib import Path

import pytest

from studio.inference.exporting import export_verified
from tests.inference.models import make_checkpoint


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a verified export; read only."""
    folder = make_checkpoint(tmp_path_factory.mktemp("inference") / "model")
    export_verified(folder, prompts=16)
    return folder
