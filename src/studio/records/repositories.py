"""Records in and out of the store: the one place that checks owners, lifecycles and unique names.

A repository turns entities into stored documents and back. It knows nothing of what the entities are for; every rule
that it enforces is data in a `Kind`.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import ValidationError

from studio.core.clock import utc_now
from studio.core.errors import ConflictError, DataError, NotFoundError, UsageError
from studio.core.paths import Home
from studio.core.states import TransitionTable
from studio.records import entities, lifecycles
from studio.records.record import Record
from studio.records.store import RecordDB

R = TypeVar("R", bound=Record)
EVERY_ORGANIZATION: Final = "*"
"""Instead of an organization's id: see and change everything. For supervisors and start-up, never for a request."""
_DELETED: Final = "DELETED"
_FIXED: Final = frozenset({"id", "created_at", "updated_at"})


@dataclass(frozen=True)
class Kind(Generic[R]):
    """How one entity is kept."""

    entity: type[R]
    table: str
    lifecycle: TransitionTable[Any] | None = None
    state_field: str = "status"
    unique: tuple[tuple[str, ...], ...] = ()
    """Groups of fields of which no two records of an organization may share all values."""


class Repository(Generic[R]):
    """The records of one kind. Every method names the organization it acts for; null-owned records are read-only."""

    def __init__(self, db: RecordDB, kind: Kind[R]) -> None:
        self.kind = kind
        self._db = db
        self._table = db.table(kind.table)
        self._name = kind.entity.__name__

    def insert(self, record: R) -> R:
        """Keep a new record; ConflictError when its id or a unique value is taken."""
        with self._db.transaction():
            if self._table.contains(doc_id=record.id):  # type: ignore[arg-type]  # TinyDB types ids as int only
                raise ConflictError(f"{self._name} {record.id} exists already")
            self._refuse_duplicate(record, self.kind.unique)
            self._put(record)
        return record

    def get(self, record_id: str, *, organization_id: str | None) -> R:
        """One record; NotFoundError when there is none that this organization may see."""
        document = self._table.get(doc_id=record_id)  # type: ignore[call-overload]
        if document is None or not _visible(document, organization_id):
            raise NotFoundError(f"no {self._name} {record_id}")
        return self._entity(document)

    def list(
        self,
        *,
        organization_id: str | None,
        where: Callable[[Mapping[str, Any]], bool] | None = None,
        include_deleted: bool = False,
        **equals: Any,
    ) -> list[R]:
        """The records that this organization may see, newest first, with these values and for which `where` holds.

        `where` gets the stored document (JSON values) to look at. What is DELETED stays hidden unless asked for.
        """
        stored = {name: _stored(value) for name, value in equals.items()}
        state_field = None if include_deleted or self.kind.state_field in stored else self.kind.state_field

        def wanted(document: Mapping[str, Any]) -> bool:
            return (
                _visible(document, organization_id)
                and (state_field is None or document.get(state_field) != _DELETED)
                and all(document.get(name) == value for name, value in stored.items())
                and (where is None or where(document))
            )

        found = [self._entity(document) for document in self._table.search(wanted)]  # type: ignore[arg-type]
        found.reverse()  # the sort is stable: of equal times the later insert comes first
        return sorted(found, key=lambda record: record.created_at, reverse=True)

    def update(self, record_id: str, *, organization_id: str | None, **changes: Any) -> R:
        """Change fields of a record; the new record.

        TransitionError when the lifecycle forbids the new state, DataError when a value is refused, UsageError for a
        field that never changes or a built-in record.
        """
        fixed = _FIXED & changes.keys()
        if fixed:
            raise UsageError(f"{', '.join(sorted(fixed))} of a {self._name} cannot be changed")
        with self._db.transaction():
            old = self._writable(record_id, organization_id)
            self._check_lifecycle(old, changes)
            moment = max(utc_now(), old.updated_at)
            record = self._entity({**old.model_dump(), **changes, "updated_at": moment})
            self._refuse_duplicate(record, [fields for fields in self.kind.unique if changes.keys() & set(fields)])
            self._put(record)
        return record

    def delete(self, record_id: str, *, organization_id: str | None) -> None:
        """Remove a record for good. What has a DELETED state is updated to it instead."""
        with self._db.transaction():
            self._writable(record_id, organization_id)
            self._table.remove(doc_ids=[record_id])  # type: ignore[list-item]

    def _writable(self, record_id: str, organization_id: str | None) -> R:
        record = self.get(record_id, organization_id=organization_id)
        if record.organization_id is None and organization_id != EVERY_ORGANIZATION:
            raise UsageError(f"{self._name} {record_id} is built in", remedy="Make a copy and change that.")
        return record

    def _check_lifecycle(self, old: R, changes: Mapping[str, Any]) -> None:
        field = self.kind.state_field
        lifecycle = self.kind.lifecycle
        if lifecycle is None or field not in changes or changes[field] == getattr(old, field):
            return
        lifecycle.check(getattr(old, field), changes[field])

    def _refuse_duplicate(self, record: R, groups: Iterable[tuple[str, ...]]) -> None:
        for fields in groups:
            wanted = {field: _stored(getattr(record, field)) for field in (*fields, "organization_id")}
            first, value = next(iter(wanted.items()))
            for key, document in self._db.records.documents(self.kind.table).items():
                if document.get(first) == value and key != record.id and wanted.items() <= document.items():
                    shown = ", ".join(f"{field} {wanted[field]!r}" for field in fields)
                    raise ConflictError(f"a {self._name} with {shown} exists already")

    def _put(self, record: R) -> None:
        self._db.put(self.kind.table, record.id, record.model_dump(mode="json"))

    def _entity(self, document: Mapping[str, Any]) -> R:
        try:
            return self.kind.entity.model_validate(dict(document))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise DataError(f"{place}: {first['msg']}" if place else first["msg"], where=self._name) from error


def _visible(document: Mapping[str, Any], organization_id: str | None) -> bool:
    """The one place that says who sees a record: its owner, and everybody what is built in."""
    return organization_id == EVERY_ORGANIZATION or document.get("organization_id") in (organization_id, None)


def _stored(value: Any) -> Any:
    return value.value if hasattr(value, "value") else value


class Records:
    """Every repository over one store file."""

    def __init__(self, db: RecordDB) -> None:
        self.db = db
        named = (("name",),)
        self.organizations = Repository(db, Kind(entities.Organization, "organizations"))
        self.users = Repository(db, Kind(entities.User, "users", unique=named))
        self.api_keys = Repository(db, Kind(entities.ApiKey, "api_keys", unique=(("key_hash",),)))
        self.projects = Repository(db, Kind(entities.Project, "projects", lifecycles.PROJECT))
        self.corpora = Repository(db, Kind(entities.Corpus, "corpora", unique=named))
        self.tokenizers = Repository(db, Kind(entities.Tokenizer, "tokenizers", lifecycles.TOKENIZER, "state"))
        self.token_datasets = Repository(
            db, Kind(entities.TokenDataset, "token_datasets", unique=(("name", "version"),))
        )
        self.checkpoints = Repository(db, Kind(entities.ModelCheckpoint, "checkpoints", lifecycles.CHECKPOINT, "state"))
        self.training_sessions = Repository(
            db, Kind(entities.TrainingSession, "training_sessions", lifecycles.TRAINING_SESSION, "state")
        )
        self.pipeline_runs = Repository(
            db, Kind(entities.PipelineRun, "pipeline_runs", lifecycles.PIPELINE, "current_phase")
        )
        self.models = Repository(
            db,
            Kind(entities.Model, "models", lifecycles.MODEL, unique=(("platform_model_id", "platform", "version"),)),
        )
        self.benchmark_reports = Repository(db, Kind(entities.BenchmarkReport, "benchmark_reports"))

    def transaction(self) -> contextlib.AbstractContextManager[object]:
        """Several changes as one write, or none when the block raises."""
        return self.db.transaction()

    def default_owner(self) -> tuple[entities.Organization, entities.User]:
        """The organization and admin that exist from the first start on."""
        with self.transaction():
            found = self.organizations.list(organization_id=EVERY_ORGANIZATION)
            organization = found[-1] if found else self.organizations.insert(entities.Organization(name="default"))
            admins = self.users.list(organization_id=organization.id, role=entities.Role.ADMIN)
            if admins:
                return organization, admins[-1]
            admin = entities.User(name="admin", role=entities.Role.ADMIN, organization_id=organization.id)
            return organization, self.users.insert(admin)


def open_records(home: Home) -> Records:
    """The records of a home; StoreError when its file cannot be used."""
    return Records(RecordDB(home.store))
