"""Fixtures shared by every test: the corpora folder and the long form of bounded suites."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Real and hostile texts; absent on a user's machine, where the tests that need them skip."""
    folder = Path(os.environ.get("STUDIO_TEST_CORPORA", ROOT.parent / "shared" / "corpora"))
    if not folder.is_dir():
        pytest.skip(f"no corpora at {folder}; set STUDIO_TEST_CORPORA")
    return folder.resolve()


@pytest.fixture(scope="session")
def long() -> bool:
    """True under `scripts/test --long`: full numbers instead of the bounded ones."""
    return os.environ.get("STUDIO_LONG") == "1"
