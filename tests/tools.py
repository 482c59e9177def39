"""Tools from outside Python that a test needs: skipped without them, except in CI, where that is a failure."""

import os
import shutil

import pytest


def require_tool(name: str) -> str:
    """The path of a program on PATH."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is missing, and CI has every tool")
    if found is None:
        pytest.skip(f"{name} is missing")
    return found
