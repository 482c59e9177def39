"""`python -m benchmarks.store`: one record written into 10,000, by our storage and by TinyDB's own, in turns.

Ours waits for the disk and survives a kill; TinyDB's does neither. Prints a table of milliseconds per write.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tinydb import TinyDB

from studio.core.clock import iso
from studio.core.ids import new_id
from studio.records.entities import Model
from studio.records.repositories import EVERY_ORGANIZATION, Records
from studio.records.store import RecordDB, StoredDocument


def record(number: int) -> dict[str, object]:
    """About 400 bytes of JSON, like a small model's."""
    now = iso()
    return {
        "id": new_id(),
        "organization_id": None,
        "created_at": now,
        "updated_at": now,
        "name": f"model-{number}",
        "status": "active",
        "tags": ["starter", "small"],
        "metadata": {"loss": 1.25, "steps": 4000, "note": "word " * 20},
    }


def timed_ms(write: Callable[[], object]) -> float:
    start = time.perf_counter()
    write()
    return (time.perf_counter() - start) * 1e3


def ours(folder: Path, records: int) -> tuple[Callable[[], object], RecordDB]:
    """TinyDB's `insert` on our storage."""
    db = RecordDB(folder / "studio.json")
    with db.transaction():
        for number in range(records):
            document = record(number)
            db.put("models", str(document["id"]), document)
    table = db.table("models")
    return lambda: table.insert(StoredDocument(record(0), new_id())), db


def whole_way(folder: Path, records: int) -> Callable[[], object]:
    """An entity through its repository: owner, lifecycle and unique name checked."""
    store = Records(RecordDB(folder / "entities.json"))
    models = [Model(name=f"model-{number}") for number in range(records)]
    with store.transaction():
        for model in models:
            store.db.put("models", model.id, model.model_dump(mode="json"))
    ids = iter(models)
    return lambda: store.models.update(next(ids).id, organization_id=EVERY_ORGANIZATION, description="changed")


def stock(folder: Path, records: int) -> Callable[[], object]:
    """TinyDB as it comes: it neither waits for the disk nor keeps others out."""
    db = TinyDB(folder / "stock.json")
    db.insert_multiple(record(number) for number in range(records))
    return lambda: db.insert(record(0))


def row(name: str, values: list[float], size_bytes: int) -> str:
    ordered = sorted(values)
    p95 = ordered[int(0.95 * (len(ordered) - 1))]
    return f"{name:<34}{statistics.median(ordered):>10.1f}{p95:>10.1f}{ordered[-1]:>10.1f}{size_bytes / 1e6:>10.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--writes", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="on which disk to measure (default: the temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        insert, db = ours(folder, options.records)
        writers = {
            "ours, insert": (insert, "studio.json"),
            "ours, entity update": (whole_way(folder, options.records), "entities.json"),
            "stock TinyDB, insert (unsafe)": (stock(folder, options.records), "stock.json"),
        }
        taken: dict[str, list[float]] = {key: [] for key in writers}
        for _ in range(options.writes):
            for key, (write, _) in writers.items():
                taken[key].append(timed_ms(write))
        print(f"{options.records:,} records, {options.writes} writes each in turns, {os.cpu_count()} cores")
        print(f"{'':<34}{'p50 ms':>10}{'p95 ms':>10}{'max ms':>10}{'MB':>10}")
        for key, (_, file) in writers.items():
            print(row(key, taken[key], (folder / file).stat().st_size))
        fresh, read = timed_ms(lambda: RecordDB(folder / "studio.json")), timed_ms(db.table("models").all)
        print(f"open {fresh:.0f} ms, read all {read:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
