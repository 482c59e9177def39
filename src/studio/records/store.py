"""The record store: TinyDB over one file that several processes may share and that a kill cannot break.

TinyDB's own storage rewrites the file in place, so that two writers lose each other's records and a kill leaves half a
file. `RecordStorage` keeps the state in memory, notices when another process wrote, and commits whole images
(`records.store_file`); `RecordTable` tells it which records changed, so that a write renders only those. The only
module that imports TinyDB; it knows no entities.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Document as TinyDocument
from tinydb.table import Table

from studio.core.errors import ConflictError
from studio.core.fsio import make_directory
from studio.core.ids import new_id
from studio.records.image import Document, Image, TableImage
from studio.records.migrations import MIGRATIONS, Migration
from studio.records.store_file import StoreFile

Updater = Callable[[MutableMapping[str, Document]], None]


class RecordStorage(Storage):
    """TinyDB's two-method seam, plus `transaction` and one table at a time. Any thread may use it.

    Readers never wait for a writer: they see the state that was committed last.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep_backups: int = 5,
        migrations: Sequence[Migration] = MIGRATIONS,
        lock_timeout_s: float = 30,
    ) -> None:
        path = Path(path)
        make_directory(path.parent)
        self._file = StoreFile(path, keep_backups=keep_backups, migrations=migrations, lock_timeout_s=lock_timeout_s)
        self._local = threading.local()
        self._image = self._file.current(Image())

    def read(self) -> dict[str, dict[str, Document]] | None:
        """Every table as TinyDB wants it, as a private copy; None while the store is empty."""
        image = self._current()
        self._local.read_stamp = image.stamp
        return {name: image.table_copy(name) for name in image.tables} or None

    def write(self, data: Mapping[str, Mapping[Any, Mapping[str, Any]]]) -> None:
        """Replace every table. ConflictError when another writer came between this and the `read` before it."""
        with self.transaction() as draft:
            if draft.base.stamp != getattr(self._local, "read_stamp", ""):
                raise ConflictError("another writer came first", where=str(self._file.path), remedy="Read again.")
            draft.clear()
            for name, records in data.items():
                table = draft.table(name)
                for record_id, record in records.items():
                    table.put(name, str(record_id), record)
        self._local.read_stamp = self._image.stamp

    def documents(self, name: str) -> Mapping[str, Document]:
        """The records of table `name` by id, to look at only: they are the store's own."""
        return MappingProxyType(self._current().table(name).documents)

    def change(self, name: str, updater: Updater) -> None:
        """Let `updater` change the records of table `name`, alone among all writers, and commit."""
        with self.transaction() as draft:
            records = _TableDraft(draft, name)
            updater(records)
            records.finish()

    @contextlib.contextmanager
    def transaction(self) -> Iterator["Draft"]:
        """Everything read and changed inside is one write, or none when the block raises. Nests: the outermost commits.

        ConflictError when another process holds the lock for too long; DiskSpaceError or StoreError when the file
        cannot be written.
        """
        outer = self._draft
        if outer is not None:
            yield outer
            return
        with self._file.locked():
            draft = Draft(self._file.current(self._image))
            self._local.draft = draft
            try:
                yield draft
            finally:
                self._local.draft = None
            if draft.changed:
                self._image = self._file.commit(draft.base.successor(draft.view.tables))

    @property
    def _draft(self) -> "Draft | None":
        return getattr(self._local, "draft", None)

    def _current(self) -> Image:
        """What this thread may see: its own draft, else the committed state."""
        draft = self._draft
        if draft is not None:
            return draft.view
        image = self._file.current(self._image)
        self._image = image
        return image


class Draft:
    """The tables as one transaction sees and changes them; `base` stays as it is."""

    def __init__(self, base: Image) -> None:
        self.base = base
        self.changed = False
        self._tables = dict(base.tables)
        self._own: set[str] = set()
        self.view = Image(base.stamp, base.revision, base.schema, self._tables)

    def table(self, name: str) -> TableImage:
        """Table `name`, to be changed (copied at the first touch, so that `base` and its readers see nothing)."""
        self.changed = True
        if name not in self._own:
            known = self._tables.get(name)
            self._tables[name] = known.copy() if known is not None else TableImage()
            self._own.add(name)
        return self._tables[name]

    def clear(self) -> None:
        """Drop every table."""
        self.changed = True
        self._tables.clear()
        self._own.clear()


class _TableDraft(MutableMapping[str, Document]):
    """The mapping that TinyDB's updaters change: records are handed out as copies and compared at the end."""

    def __init__(self, draft: Draft, name: str) -> None:
        self._draft = draft
        self._name = name
        self._before = draft.view.table(name).documents
        self._handed: dict[str, Document] = {}
        self._dropped: set[str] = set()

    def __getitem__(self, record_id: str) -> Document:
        if record_id in self._dropped:
            raise KeyError(record_id)
        if record_id not in self._handed:
            self._handed[record_id] = copy_json(self._before[record_id])
        return self._handed[record_id]

    def __setitem__(self, record_id: str, record: Document) -> None:
        self._handed[record_id] = record
        self._dropped.discard(record_id)

    def __delitem__(self, record_id: str) -> None:
        if record_id not in self:
            raise KeyError(record_id)
        self._handed.pop(record_id, None)
        self._dropped.add(record_id)

    def __contains__(self, record_id: object) -> bool:
        return record_id not in self._dropped and (record_id in self._handed or record_id in self._before)

    def __iter__(self) -> Iterator[str]:
        yield from (record_id for record_id in self._before if record_id not in self._dropped)
        yield from (record_id for record_id in self._handed if record_id not in self._before)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def finish(self) -> None:
        """Carry what has changed over into the draft."""
        before = self._before
        changed = {key: record for key, record in self._handed.items() if before.get(key) != record}
        dropped = [key for key in self._dropped if key in before]
        if not changed and not dropped:
            return
        table = self._draft.table(self._name)
        for key in dropped:
            table.drop(key)
        for key, record in changed.items():
            table.put(self._name, key, record)


def copy_json(value: Any) -> Any:
    """A deep copy of what JSON can hold (an order of magnitude quicker than `copy.deepcopy`)."""
    if isinstance(value, dict):
        return {key: copy_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [copy_json(inner) for inner in value]
    return value


class StoredDocument(TinyDocument):
    """A record that the caller may change without changing the store."""

    def __init__(self, value: Mapping[str, Any], doc_id: str) -> None:
        super().__init__(copy_json(dict(value)), doc_id)  # type: ignore[arg-type]  # TinyDB types ids as int only


class RecordTable(Table):
    """A TinyDB table whose ids are texts (UUIDs) and whose changes name the records they touch.

    TinyDB's query cache stays off: it cannot know that another process wrote.
    """

    document_class = StoredDocument  # type: ignore[assignment]
    document_id_class = str  # type: ignore[assignment]  # TinyDB types ids as int only

    def __init__(self, storage: RecordStorage, name: str, cache_size: int = 0, persist_empty: bool = False) -> None:
        self._records = storage
        super().__init__(storage, name, cache_size=0, persist_empty=persist_empty)

    def _read_table(self) -> Mapping[str, Document]:  # type: ignore[override]
        return self._records.documents(self.name)

    def _update_table(self, updater: Updater) -> None:  # type: ignore[override]
        self._records.change(self.name, updater)

    def _get_next_id(self) -> str:
        return new_id()


class RecordDB(TinyDB):
    """TinyDB with our storage and tables: `RecordDB(home.store).table("models")`."""

    table_class = RecordTable  # type: ignore[assignment]
    default_storage_class = RecordStorage  # type: ignore[assignment]

    @property
    def records(self) -> RecordStorage:
        """The storage under its own type."""
        assert isinstance(self.storage, RecordStorage)
        return self.storage

    def transaction(self) -> contextlib.AbstractContextManager[Draft]:
        """See `RecordStorage.transaction`."""
        return self.records.transaction()

    def put(self, name: str, record_id: str, document: Mapping[str, Any]) -> None:
        """Insert or replace one record of table `name`; DataError on NaN and what else JSON cannot hold."""
        with self.transaction() as draft:
            draft.table(name).put(name, record_id, document)
