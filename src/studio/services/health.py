"""What this machine offers and what is missing, for `studio doctor`: each finding with what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from studio.core.errors import StudioError
from studio.core.fsio import free_bytes
from studio.core.paths import Home
from studio.pipeline.stages.prerequisites import FLOORS, available_memory_bytes, check_versions
from studio.services.pipelines import default_threads

MB = 1_000_000
LOW_DISK_MB = 1000
LOW_MEMORY_MB = 2000
Level = Literal["ok", "slow", "missing"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report. `slow`: works, less well; `missing`: something will not work."""

    name: str
    level: Level
    what: str
    remedy: str = ""


def examine(home: Home) -> Iterator[Finding]:
    """All findings."""
    yield Finding("python", "ok", sys.version.split()[0])
    yield from _libraries()
    yield _compiler()
    yield _bf16()
    yield _memory()
    yield _disk(home)
    yield Finding("cores", "ok", str(default_threads()))
    yield _accelerator()


def _libraries() -> Iterator[Finding]:
    installed = {name: _version(name) for name in FLOORS}
    try:
        check_versions()
    except StudioError as error:
        yield Finding("libraries", "missing", error.what, error.remedy)
        return
    yield Finding("libraries", "ok", ", ".join(f"{name} {version}" for name, version in installed.items()))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "-"


def _compiler() -> Finding:
    found = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    if found is None:
        return Finding("compiler", "slow", "no C++ compiler: training runs in eager mode", "install g++")
    return Finding("compiler", "ok", shutil.which(found) or found)


def _bf16() -> Finding:
    info = Path("/proc/cpuinfo")
    flags = info.read_text() if info.exists() else ""
    if "avx512_bf16" in flags or "amx_bf16" in flags or platform.machine() in ("arm64", "aarch64"):
        return Finding("bfloat16", "ok", "in the processor")
    return Finding("bfloat16", "slow", "not in the processor: training uses float32")


def _memory() -> Finding:
    free_mb = available_memory_bytes() / MB
    if 0 < free_mb < LOW_MEMORY_MB:
        return Finding("memory", "slow", f"{free_mb:,.0f} MB free", "close other programs, or use a smaller batch")
    return Finding("memory", "ok", f"{free_mb:,.0f} MB free" if free_mb else "not known on this system")


def _disk(home: Home) -> Finding:
    free_mb = free_bytes(home.root) / MB
    if free_mb < LOW_DISK_MB:
        return Finding(
            "disk", "missing", f"{free_mb:,.0f} MB free at {home.root}", "free some space or set STUDIO_HOME"
        )
    writable = os.access(home.root, os.W_OK)
    if not writable:
        return Finding("disk", "missing", f"{home.root} cannot be written", "set STUDIO_HOME")
    return Finding("disk", "ok", f"{free_mb:,.0f} MB free at {home.root}")


def _accelerator() -> Finding:
    found = shutil.which("nvidia-smi")
    return Finding("accelerator", "ok", "NVIDIA driver found" if found else "none: the processor does the work")
