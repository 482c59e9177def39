"""TinyDB over our storage, through one handle and through two that share the file."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tinydb import Query, TinyDB
from tinydb.table import Table

from studio.core.errors import ConflictError, DataError, IncompatibleError
from studio.core.ids import is_id
from studio.records.store import RecordDB, RecordStorage, StoredDocument


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "studio.json"


@pytest.fixture(params=["one handle", "two handles"])
def pair(path: Path, request: pytest.FixtureRequest) -> tuple[RecordDB, RecordDB]:
    """Who writes and who reads."""
    writer = RecordDB(path)
    return writer, (writer if request.param == "one handle" else RecordDB(path))


def test_tinydb_works_as_ever(pair: tuple[RecordDB, RecordDB]) -> None:
    writer, reader = pair
    table, seen = writer.table("models"), reader.table("models")
    first = table.insert({"name": "a", "size": 1})
    second, third = table.insert_multiple([{"name": "b", "size": 2}, {"name": "c", "size": 3}])
    assert all(is_id(record_id) for record_id in (first, second, third))
    assert [document["name"] for document in seen] == ["a", "b", "c"]
    assert seen.get(doc_id=second) == {"name": "b", "size": 2}
    assert seen.get(doc_id=second).doc_id == second
    assert seen.get(doc_id="absent") is None
    assert [document.doc_id for document in seen.search(Query().size >= 2)] == [second, third]
    assert table.update({"size": 9}, doc_ids=[first]) == [first]
    assert table.update(lambda document: document.pop("size"), Query().name == "b") == [second]
    assert seen.all() == [{"name": "a", "size": 9}, {"name": "b"}, {"name": "c", "size": 3}]
    assert table.upsert({"name": "c", "size": 4}, Query().name == "c") == [third]
    assert table.remove(doc_ids=[first]) == [first]
    assert len(seen) == 2
    assert seen.contains(doc_id=third)
    table.truncate()
    assert seen.all() == []
    writer.table("others").insert({"x": 1})
    assert reader.tables() == {"models", "others"}
    writer.drop_table("models")
    assert reader.tables() == {"others"}
    writer.drop_tables()
    assert reader.tables() == set()


def test_a_search_sees_what_another_process_wrote(path: Path) -> None:
    one, two = RecordDB(path).table("models"), RecordDB(path).table("models")
    assert one.search(Query().x == 1) == []
    two.insert({"x": 1})
    assert one.search(Query().x == 1) == [{"x": 1}]


def test_an_id_is_taken_once(path: Path) -> None:
    table = RecordDB(path).table("models")
    table.insert(StoredDocument({"x": 1}, "a"))
    with pytest.raises(ValueError, match="already exists"):
        table.insert(StoredDocument({"x": 2}, "a"))
    assert table.all() == [{"x": 1}]


def test_what_a_reader_changes_is_its_own(path: Path) -> None:
    db = RecordDB(path)
    table = db.table("models")
    record_id = table.insert({"tags": ["a"]})
    for document in (table.get(doc_id=record_id), table.all()[0], table.search(Query().tags.any(["a"]))[0]):
        document["tags"].append("b")
    everything = db.records.read()
    assert everything is not None
    everything["models"].clear()
    assert table.all() == [{"tags": ["a"]}]
    given: dict[str, Any] = {"tags": []}
    other = table.insert(given)
    given["tags"].append("later")
    assert table.get(doc_id=other) == {"tags": []}


def test_a_transaction_is_one_write(path: Path) -> None:
    db, other = RecordDB(path), RecordDB(path)
    with db.transaction():
        db.put("models", "a", {"x": 1})
        with db.transaction():
            db.table("models").insert({"x": 2})
        assert len(db.table("models")) == 2
        assert len(other.table("models")) == 0
    assert len(other.table("models")) == 2
    assert path.read_bytes().startswith(b'{"studio_store":{"format":1,"schema":0,"revision":1,')


def test_a_raising_block_changes_nothing(path: Path) -> None:
    db = RecordDB(path)
    db.put("models", "a", {"x": 1})
    before = path.read_bytes()

    def spoil() -> None:
        db.table("models").update({"x": 2}, doc_ids=["a"])
        db.put("others", "b", {})
        raise RuntimeError

    with pytest.raises(RuntimeError), db.transaction():
        spoil()
    assert path.read_bytes() == before
    assert db.table("models").all() == [{"x": 1}]
    assert db.tables() == {"models"}


def test_nothing_changed_means_nothing_written(path: Path) -> None:
    db = RecordDB(path)
    with db.transaction():
        pass
    assert not path.exists()
    db.put("models", "a", {"x": 1})
    before = path.stat().st_ino
    db.table("models").update({"x": 1}, doc_ids=["a"])
    assert path.stat().st_ino == before


def test_nan_is_refused_and_nothing_written(path: Path) -> None:
    db = RecordDB(path)
    db.put("models", "a", {"x": 1})
    before = path.read_bytes()
    changes: list[Callable[[], Any]] = [
        lambda: db.put("models", "b", {"x": float("nan")}),
        lambda: db.table("models").insert({"x": float("inf")}),
        lambda: db.table("models").update({"x": float("nan")}, doc_ids=["a"]),
        lambda: db.records.write({"models": {"a": {"x": float("nan")}}}),
    ]
    for change in changes[:3]:
        with pytest.raises(DataError, match="no JSON form"):
            change()
    db.records.read()
    with pytest.raises(DataError, match="no JSON form"):
        changes[3]()
    assert path.read_bytes() == before
    assert db.table("models").all() == [{"x": 1}]


class StockTable(TinyDB):
    """TinyDB's own table class on our storage: reads and writes whole states, without the lock in between."""

    table_class = Table


def test_stock_tables_work_on_the_storage_but_never_lose_a_write(path: Path) -> None:
    stock = StockTable(path, storage=RecordStorage)
    assert stock.insert({"x": 1}) == 1
    assert stock.all() == [{"x": 1}]
    storage = stock.storage
    assert isinstance(storage, RecordStorage)
    state = storage.read()
    RecordDB(path).put("models", "a", {})
    with pytest.raises(ConflictError, match="came first"):
        storage.write(state or {})
    assert RecordDB(path).tables() == {"_default", "models"}


def test_threads_share_a_handle(path: Path) -> None:
    db = RecordDB(path)

    def add() -> None:
        for _ in range(20):
            with db.transaction():
                count = db.records.documents("totals").get("all", {"count": 0})["count"]
                db.put("totals", "all", {"count": count + 1})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert RecordDB(path).records.documents("totals")["all"] == {"count": 80}


def test_a_reader_does_not_wait_for_a_writer(path: Path) -> None:
    db = RecordDB(path)
    db.put("models", "a", {"x": 1})
    with db.transaction():
        db.put("models", "a", {"x": 2})
        seen: list[Any] = []
        reader = threading.Thread(target=lambda: seen.append(db.table("models").get(doc_id="a")))
        reader.start()
        reader.join(timeout=5)
        assert seen == [{"x": 1}]


def test_a_held_lock_ends_in_an_error(path: Path) -> None:
    db = RecordDB(path)
    impatient = RecordDB(path, lock_timeout_s=0.05)
    with db.transaction(), pytest.raises(ConflictError, match=r"studio\.json\.lock"):
        impatient.put("models", "a", {})


def test_backups_are_earlier_states(path: Path) -> None:
    db = RecordDB(path, keep_backups=2)
    for number in range(5):
        db.put("models", "a", {"x": number})
    names = sorted(place.name for place in path.parent.iterdir())
    assert names == ["studio.json", "studio.json.bak-1", "studio.json.bak-2", "studio.json.lock"]
    assert b'{"x":3}' in path.with_name("studio.json.bak-1").read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_missing_file_comes_back_from_its_backup(path: Path) -> None:
    db = RecordDB(path)
    db.put("models", "a", {"x": 1})
    db.put("models", "b", {"x": 2})
    path.unlink()
    assert RecordDB(path).table("models").all() == [{"x": 1}]
    assert path.exists()


def add_colour(tables: dict[str, dict[str, dict[str, Any]]]) -> None:
    for record in tables.get("models", {}).values():
        record["colour"] = "red"


def rename_table(tables: dict[str, dict[str, dict[str, Any]]]) -> None:
    tables["kinds"] = tables.pop("models", {})


def test_an_old_file_opens_in_a_new_version(path: Path) -> None:
    RecordDB(path).put("models", "a", {"x": 1})
    old = path.read_bytes()
    db = RecordDB(path, migrations=(add_colour, rename_table))
    assert db.table("kinds").all() == [{"x": 1, "colour": "red"}]
    assert b'"schema":2' in path.read_bytes()
    assert [place.read_bytes() for place in path.parent.glob("*.schema-0-*")] == [old]
    once_more = RecordDB(path, migrations=(add_colour, rename_table))
    assert once_more.table("kinds").all() == [{"x": 1, "colour": "red"}]
    assert len(list(path.parent.glob("*.schema-*"))) == 1


def test_a_newer_file_is_refused(path: Path) -> None:
    RecordDB(path, migrations=(add_colour,)).put("models", "a", {"x": 1})
    before = path.read_bytes()
    with pytest.raises(IncompatibleError, match="newer Studio"):
        RecordDB(path)
    assert path.read_bytes() == before


def test_a_failing_migration_leaves_the_old_file(path: Path) -> None:
    RecordDB(path).put("models", "a", {"x": 1})
    before = path.read_bytes()

    def fail(tables: dict[str, dict[str, dict[str, Any]]]) -> None:
        tables.clear()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        RecordDB(path, migrations=(fail,))
    assert path.read_bytes() == before


def test_what_a_person_edits_is_noticed(path: Path) -> None:
    db = RecordDB(path)
    db.put("models", "a", {"colour": "red"})
    db.put("models", "b", {"colour": "red"})
    text = path.read_bytes()
    path.write_bytes(text.replace(b"red", b"tan"))  # the same size, and the stamp is left as it is
    os.utime(path, ns=(1, 1))
    assert db.table("models").all() == [{"colour": "tan"}] * 2
    db.put("models", "c", {"colour": "red"})
    assert RecordDB(path).table("models").all() == [{"colour": "tan"}, {"colour": "tan"}, {"colour": "red"}]
