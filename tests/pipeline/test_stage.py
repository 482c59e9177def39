"""Stages: equal inputs are found, changed inputs and damaged files are built, killed work is continued or wiped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from studio.core.errors import IntegrityError
from studio.core.events import silent
from studio.pipeline.stage import MANIFEST, Stage, StageCache, open_artefact


class Builder:
    """Writes one file and counts how often it had to."""

    def __init__(self, text: str = "made") -> None:
        self.text = text
        self.calls = 0

    def __call__(self, directory: Path) -> Mapping[str, Any]:
        self.calls += 1
        (directory / "out.txt").write_text(self.text)
        (directory / "time.log").write_text(str(self.calls))
        return {"length": len(self.text)}


@pytest.fixture
def cache(tmp_path: Path) -> StageCache:
    return StageCache(tmp_path / "stages")


def stage(**inputs: object) -> Stage:
    return Stage("corpus", 1, inputs, essential=("out.txt",))


def test_equal_inputs_are_built_once(cache: StageCache) -> None:
    build = Builder()
    first = cache.ensure(stage(a=1), build, emit=silent)
    second = cache.ensure(stage(a=1), build, emit=silent)
    assert (build.calls, first.reused, second.reused) == (1, False, True)
    assert second.summary == {"length": 4}
    assert second.output_hash == first.output_hash
    assert open_artefact(first.path).output_hash == first.output_hash


@pytest.mark.parametrize("changed", [{"a": 2}, {"a": 1, "b": 0}])
def test_changed_inputs_are_built_beside(cache: StageCache, changed: dict[str, object]) -> None:
    build = Builder()
    first = cache.ensure(stage(a=1), build, emit=silent)
    second = cache.ensure(stage(**changed), build, emit=silent)
    assert build.calls == 2
    assert first.path != second.path
    assert first.output_hash == second.output_hash, "time.log is not essential"


def test_a_new_version_is_another_stage() -> None:
    assert Stage("corpus", 1, {}).key != Stage("corpus", 2, {}).key


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "manifest"])
def test_damaged_output_is_noticed_and_built_again(cache: StageCache, damage: str) -> None:
    build = Builder()
    artefact = cache.ensure(stage(a=1), build, emit=silent)
    file = artefact.path / "out.txt"
    {
        "flip": lambda: file.write_text("mad3"),
        "truncate": lambda: file.write_text(""),
        "delete": file.unlink,
        "manifest": lambda: (artefact.path / MANIFEST).write_text("{"),
    }[damage]()
    if damage != "manifest":
        with pytest.raises(IntegrityError, match=r"out\.txt"):
            open_artefact(artefact.path)
    assert cache.find(stage(a=1)) is None
    assert cache.ensure(stage(a=1), build, emit=silent).output_hash == artefact.output_hash
    assert build.calls == 2


@pytest.mark.parametrize("resumable", [True, False])
def test_unfinished_work_is_continued_only_by_resumable_stages(cache: StageCache, resumable: bool) -> None:
    wanted = Stage("pretrain", 1, {}, resumable=resumable)

    def killed(directory: Path) -> Mapping[str, Any]:
        (directory / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.ensure(wanted, killed, emit=silent)
    assert cache.unfinished(wanted)
    assert cache.find(wanted) is None
    artefact = cache.ensure(wanted, Builder(), emit=silent)
    assert (artefact.path / "half").exists() is resumable
    assert not cache.unfinished(wanted)


def test_events_tell_what_was_reused(cache: StageCache) -> None:
    seen: list[tuple[str, bool]] = []

    def emit(kind: str, **fields: Any) -> None:
        seen.append((kind, fields["reused"]))

    cache.ensure(stage(), Builder(), emit=emit)
    cache.ensure(stage(), Builder(), emit=emit)
    assert seen == [("stage_start", False), ("stage_end", False), ("stage_start", True), ("stage_end", True)]
