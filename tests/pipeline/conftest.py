"""One finished tiny run for all tests of this folder."""

from __future__ import annotations

import pytest

from studio.core.paths import Home
from tests.pipeline.tiny import Ran, new_home, run_tiny


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return new_home(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="session")
def finished(home: Home) -> Ran:
    ran = run_tiny(home)
    assert ran.error is None, ran.status.error_details
    return ran
