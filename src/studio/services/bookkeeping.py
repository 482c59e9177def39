"""Folds what runs left on disk into records: the supervisor's side, since a worker knows no records.

A record follows its run along the legal transitions, so that a reader who looks late sees the same history. Folding
twice changes nothing. The record store opens when the first record is needed.
"""

from __future__ import annotations

from collections import deque
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.core.errors import NotFoundError
from studio.core.fsio import read_json
from studio.core.paths import Home
from studio.pipeline.status import Phase, PipelineStatus

if TYPE_CHECKING:
    from studio.records.entities import PipelineRun
    from studio.records.repositories import Records


class Bookkeeping:
    """Records of one home, kept for the default organization."""

    def __init__(self, home: Home) -> None:
        self._home = home

    @cached_property
    def records(self) -> Records:
        from studio.records.repositories import open_records

        self._home.root.mkdir(parents=True, exist_ok=True)
        return open_records(self._home)

    @cached_property
    def owner(self) -> str:
        return self.records.default_owner()[0].id

    def pipeline_started(self, run_id: str, name: str, configuration: dict[str, Any], directory: Path) -> None:
        """A new run."""
        from studio.records.entities import PipelineRun

        run = PipelineRun(
            id=run_id,
            organization_id=self.owner,
            name=name,
            configuration=configuration,
            directory=str(directory),
        )
        self.records.pipeline_runs.insert(run)

    def pipeline_seen(self, status: PipelineStatus, directory: Path) -> None:
        """Bring the record of a run to what its status says; a complete run registers its model."""
        runs = self.records.pipeline_runs
        with self.records.transaction():
            try:
                run = runs.get(status.pipeline_id, organization_id=self.owner)
            except NotFoundError:
                return
            if _same(run, status):
                return
            for phase in path_between(run.current_phase, status.current_phase):
                run = runs.update(run.id, organization_id=self.owner, current_phase=phase)
            runs.update(run.id, organization_id=self.owner, **self._fields(run, status, directory))

    def _fields(self, run: PipelineRun, status: PipelineStatus, directory: Path) -> dict[str, Any]:
        document = status.model_dump(mode="json")
        names = ("completed_phases", "phase_timings", "artifacts_created", "error_details", "validation_results")
        fields = {name: document[name] for name in names}
        if status.current_phase is Phase.COMPLETE and run.model_id is None:
            fields["model_id"] = self._register(run, directory)
        return fields

    def _register(self, run: PipelineRun, directory: Path) -> str | None:
        from studio.records.entities import Model

        model = read_json(directory / "report.json").get("model")
        if model is None:
            return None
        entry = Model(
            organization_id=self.owner,
            name=run.name,
            platform_model_id=run.id,
            metadata={"pipeline_id": run.id},
            path=str(model),
        )
        return self.records.models.insert(entry).id


def _same(run: PipelineRun, status: PipelineStatus) -> bool:
    return run.current_phase == status.current_phase and dict(run.phase_timings) == dict(status.phase_timings)


def path_between(current: Phase, wanted: Phase) -> list[Phase]:
    """The shortest way of legal transitions; empty when there is none or nothing to do."""
    from studio.records.lifecycles import PIPELINE

    ways: deque[list[Phase]] = deque([[current]])
    seen = {current}
    while ways:
        way = ways.popleft()
        if way[-1] == wanted:
            return way[1:]
        for following in PIPELINE.allowed(way[-1]):
            if following not in seen:
                seen.add(following)
                ways.append([*way, following])
    return []
