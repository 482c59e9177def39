"""Stages keyed by the hash of what goes in: a re-run does only what changed.

A stage owns one directory `<root>/<name>/<input hash>/`. Its `stage.json` is written last and is the commit point:
with it the stage is finished and its files are checked against it; without it the directory is unfinished work, which
a resumable stage continues and any other starts over. This module does not know what a stage makes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.core.clock import monotonic_s
from studio.core.errors import DataError, IntegrityError
from studio.core.events import Emit
from studio.core.fsio import atomic_write_json, file_lock, read_json, sha256_file, sha256_json

MANIFEST = "stage.json"
MANIFEST_FORMAT = 1
HASH_LENGTH = 16

Build = Callable[[Path], Mapping[str, Any]]
"""Fills the stage's directory and returns a JSON summary, which the manifest keeps."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """A finished stage on disk."""

    stage: str
    path: Path
    input_hash: str
    output_hash: str
    """SHA-256 over names and contents of the essential files: equal work, equal hash."""
    summary: Mapping[str, Any]
    seconds: float
    """Time the build took, when it was built."""
    reused: bool
    """True when nothing had to be done."""


def input_hash(stage: str, version: int, inputs: Mapping[str, Any]) -> str:
    """Key of a stage: its name, the version of its code's meaning, and everything that goes in."""
    return sha256_json({"stage": stage, "version": version, "inputs": dict(inputs)})[:HASH_LENGTH]


@dataclass(frozen=True, slots=True)
class Stage:
    """What to make and from what."""

    name: str
    version: int
    """Raise when the same inputs shall give another output."""
    inputs: Mapping[str, Any]
    resumable: bool = False
    """Unfinished work of a killed attempt is continued rather than wiped."""
    essential: tuple[str, ...] = ()
    """Endings of the file names that make the output hash; empty = all. Leaves out what differs between equal runs
    (times).
    """

    @property
    def key(self) -> str:
        return input_hash(self.name, self.version, self.inputs)


class StageCache:
    """All stages below one root, shared by every run of a home."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def directory(self, stage: Stage) -> Path:
        return self.root / stage.name / stage.key

    def find(self, stage: Stage) -> Artefact | None:
        """The finished stage, or None; damaged files count as not finished."""
        try:
            return self._load(stage)
        except (IntegrityError, DataError):
            return None

    def unfinished(self, stage: Stage) -> bool:
        directory = self.directory(stage)
        return directory.is_dir() and not (directory / MANIFEST).exists() and any(directory.iterdir())

    def ensure(self, stage: Stage, build: Build, *, emit: Emit) -> Artefact:
        """The finished stage: found, or built now. Two runs that want the same stage wait for each other."""
        directory = self.directory(stage)
        directory.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(directory.parent / f".{stage.key}.lock", timeout_s=24 * 3600):
            found = self._found(stage, emit)
            emit("stage_start", stage=stage.name, input_hash=stage.key, reused=found is not None)
            artefact = found or self._build(stage, build, directory)
        emit(
            "stage_end",
            stage=stage.name,
            input_hash=stage.key,
            output_hash=artefact.output_hash,
            path=str(artefact.path),
            seconds=artefact.seconds,
            reused=artefact.reused,
        )
        return artefact

    def discard(self, stage: Stage) -> None:
        """Forget this stage, finished or not."""
        shutil.rmtree(self.directory(stage), ignore_errors=True)

    def _found(self, stage: Stage, emit: Emit) -> Artefact | None:
        try:
            return self._load(stage)
        except (IntegrityError, DataError) as error:
            emit("warning", stage=stage.name, message=f"{error} It is built again.")
            self.discard(stage)
            return None

    def _build(self, stage: Stage, build: Build, directory: Path) -> Artefact:
        if directory.exists() and not stage.resumable:
            shutil.rmtree(directory)
        directory.mkdir(parents=True, exist_ok=True)
        started = monotonic_s()
        summary = dict(build(directory))
        files = _fingerprint(directory)
        manifest = {
            "format": MANIFEST_FORMAT,
            "stage": stage.name,
            "version": stage.version,
            "input_hash": stage.key,
            "inputs": dict(stage.inputs),
            "files": files,
            "output_hash": _output_hash(files, stage.essential),
            "summary": summary,
            "seconds": round(monotonic_s() - started, 3),
        }
        atomic_write_json(directory / MANIFEST, manifest)
        return _artefact(directory, manifest, reused=False)

    def _load(self, stage: Stage) -> Artefact | None:
        directory = self.directory(stage)
        if not (directory / MANIFEST).exists():
            return None
        manifest = read_json(directory / MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") != MANIFEST_FORMAT:
            raise DataError("not a stage manifest of this version", where=str(directory / MANIFEST))
        verify_files(directory, manifest["files"])
        return _artefact(directory, manifest, reused=True)


def open_artefact(directory: Path) -> Artefact:
    """A finished stage by its directory; IntegrityError names a damaged file, NotFound is a DataError."""
    manifest = read_json(directory / MANIFEST)
    verify_files(directory, manifest["files"])
    return _artefact(directory, manifest, reused=True)


def verify_files(directory: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Every file of a manifest is there with its size and SHA-256; IntegrityError names the first that is not."""
    for name, expected in files.items():
        path = directory / name
        if not path.is_file():
            raise IntegrityError("file is missing", where=str(path), remedy="run the pipeline again")
        if path.stat().st_size != expected["bytes"] or sha256_file(path) != expected["sha256"]:
            raise IntegrityError("file was changed or damaged", where=str(path), remedy="run the pipeline again")


def _fingerprint(directory: Path) -> dict[str, dict[str, Any]]:
    files: dict[str, dict[str, Any]] = {}
    for parent, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted(names):
            path = Path(parent) / name
            relative = path.relative_to(directory).as_posix()
            if relative != MANIFEST and not name.startswith("."):
                files[relative] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    return files


def _output_hash(files: Mapping[str, Mapping[str, Any]], essential: tuple[str, ...]) -> str:
    return sha256_json({name: row["sha256"] for name, row in files.items() if name.endswith(essential or "")})


def _artefact(directory: Path, manifest: Mapping[str, Any], *, reused: bool) -> Artefact:
    return Artefact(
        stage=manifest["stage"],
        path=directory,
        input_hash=manifest["input_hash"],
        output_hash=manifest["output_hash"],
        summary=manifest["summary"],
        seconds=manifest["seconds"],
        reused=reused,
    )
