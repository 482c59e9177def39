"""The store's promises: nothing acknowledged is lost, nothing is mixed, nothing broken is taken for good."""

import json
import logging
import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import pytest
from tinydb import TinyDB

from studio.core.errors import StoreError
from studio.core.ids import new_id
from studio.records.store import RecordDB
from tests.acceptance.store_writers import insert_many, write_until_killed

WRITERS = 4
RECORDS = 60
CONTEXT: Any = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.acceptance.store_writers"])


def start(target: Any, *arguments: Any) -> Any:
    process = CONTEXT.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def acknowledged_writes(log: Path) -> list[tuple[str, int, str]]:
    """Whole lines only: a kill may tear the last one of its writer, and then it was not acknowledged."""
    if not log.exists():
        return []
    whole = log.read_text().rpartition("\n")[0].splitlines()
    return [(writer, int(count), record_id) for writer, count, record_id in (line.split() for line in whole)]


def check_store(store: Path, logs: list[Path]) -> int:
    """The file parses and holds every write acknowledged before we looked; how many those are."""
    promised = [write for log in logs for write in acknowledged_writes(log)]
    if not promised:
        return 0
    tables = json.loads(store.read_bytes())["tables"]
    assert {record_id for *_, record_id in promised} <= tables["items"].keys()
    for writer, count, _ in promised:
        assert tables["counters"][f"counter-{writer}"]["count"] >= count
    assert len(tables["items"]) == sum(counter["count"] for counter in tables["counters"].values())
    return len(promised)


def test_random_kills_lose_no_acknowledged_write(tmp_path: Path, long: bool) -> None:
    kills = 300 if long else 40
    rng = random.Random(20)
    store = tmp_path / "studio.json"
    logs = [tmp_path / f"acknowledged-{writer}" for writer in range(WRITERS)]
    processes = [start(write_until_killed, store, logs[writer], writer) for writer in range(WRITERS)]
    try:
        while not all(acknowledged_writes(log) for log in logs):
            time.sleep(0.02)
        for _ in range(kills):
            time.sleep(rng.uniform(0.005, 0.06))
            victim = rng.randrange(WRITERS)
            processes[victim].kill()
            processes[victim].join()
            check_store(store, logs)
            processes[victim] = start(write_until_killed, store, logs[victim], victim)
    finally:
        for process in processes:
            process.kill()
            process.join()
    assert check_store(store, logs) > kills
    RecordDB(store).put("items", "after", {})
    left = [path.name for path in tmp_path.iterdir() if path.name.startswith(".studio.json")]
    assert left == [], "temporary files of killed writers stay"


def test_four_processes_insert_exactly_all(tmp_path: Path) -> None:
    store = tmp_path / "studio.json"
    processes = [start(insert_many, store, 200) for _ in range(WRITERS)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * WRITERS
    db = RecordDB(store)
    assert len(db.table("items")) == 800
    assert db.records.documents("totals")["all"] == {"count": 800}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of some records without backups."""
    path = tmp_path / "studio.json"
    db = RecordDB(path)
    with db.transaction():
        for number in range(RECORDS):
            db.put("items", f"item-{number}", {"number": number, "text": "añ " * number})
    return path


def damaged_forms(whole: bytes) -> dict[str, bytes]:
    offsets = [round(len(whole) * step / 50) for step in range(50)]
    return {f"cut at {offset}": whole[:offset] for offset in offsets} | {
        "empty": b"",
        "blank": b" \n",
        "zeros": bytes(len(whole)),
        "one byte less": whole[:-2],
        "no JSON": b"\x89PNG\r\n\x1a\n" + whole,
    }


FOREIGN = {
    "another JSON document": b'{"name": "not ours"}',
    "a list": b"[1, 2, 3]",
    "stock TinyDB": b'{"_default": {"1": {"name": "x"}}}',
}


def test_a_broken_file_without_backup_is_refused_and_kept(store: Path) -> None:
    whole = store.read_bytes()
    for name, data in (damaged_forms(whole) | FOREIGN).items():
        store.write_bytes(data)
        with pytest.raises(StoreError, match=r"studio\.json"):
            RecordDB(store)
        assert store.read_bytes() == data, name


def test_a_broken_file_is_restored_from_backup_and_kept_aside(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("studio").propagate = True
    RecordDB(store).put("items", "newest", {"number": -1})  # makes the state before it backup 1
    backup = store.with_name("studio.json.bak-1").read_bytes()
    whole = store.read_bytes()
    for name, data in damaged_forms(whole).items():
        for old in store.parent.glob("*.broken-*"):
            old.unlink()
        store.unlink()
        store.write_bytes(data)
        db = RecordDB(store)
        assert set(db.records.documents("items")) == {f"item-{number}" for number in range(RECORDS)}, name
        kept = [path.read_bytes() for path in store.parent.glob("*.broken-*")]
        assert kept == [data], name
        assert "has been restored from a backup" in caplog.text
        assert store.with_name("studio.json.bak-1").read_bytes() == backup, "a broken file must never become a backup"
        caplog.clear()


def test_a_foreign_file_is_refused_even_beside_a_backup(store: Path) -> None:
    RecordDB(store).put("items", "newest", {"number": -1})
    for name, data in FOREIGN.items():
        store.write_bytes(data)
        with pytest.raises(StoreError, match="not a Studio store"):
            RecordDB(store)
        assert store.read_bytes() == data, name


def test_a_write_into_10000_records_is_quick(tmp_path: Path, long: bool) -> None:
    """At most 30 ms (95th percentile) on a machine that is otherwise idle; anywhere at most half of stock TinyDB's."""
    ours_db = RecordDB(tmp_path / "studio.json")
    with ours_db.transaction():
        for _ in range(10_000):
            document = record(0)
            ours_db.put("models", str(document["id"]), document)
    ours, stock = ours_db.table("models"), TinyDB(tmp_path / "stock.json")
    stock.insert_multiple(record(0) for _ in range(10_000))
    writes = 100 if long else 12
    ours_ms, stock_ms = (
        sorted(column) for column in zip(*((timed_ms(ours), timed_ms(stock)) for _ in range(writes)), strict=True)
    )
    stock.close()
    assert ours_ms[writes // 2] < 0.5 * stock_ms[writes // 2]
    if long:
        assert ours_ms[int(0.95 * writes)] <= 30


def record(number: int) -> dict[str, object]:
    return {"id": new_id(), "name": f"model-{number}", "tags": ["a", "b"], "note": "word " * 40, "loss": 1.25}


def timed_ms(table: Any) -> float:
    start = time.perf_counter()
    table.insert(record(0))
    return (time.perf_counter() - start) * 1e3


@pytest.mark.parametrize("keep", [0, 40, 100, 2000])
def test_a_file_that_breaks_under_a_running_process_is_written_again(store: Path, keep: int) -> None:
    db = RecordDB(store)
    db.put("items", "newest", {"number": -1})
    broken = store.read_bytes()[:keep]
    store.write_bytes(broken)
    assert "newest" in db.records.documents("items"), "the process still knew everything"
    assert [path.read_bytes() for path in store.parent.glob("*.broken-*")] == [broken]
    db.put("items", "after", {})
    assert RecordDB(store).records.documents("items").keys() >= {"item-7", "newest", "after"}
    backups = [path.read_bytes() for path in store.parent.glob("*.bak-*")]
    assert broken not in backups
