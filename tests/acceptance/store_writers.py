"""Processes that write to one store until they are killed, and say what was acknowledged. Run by test_store.py."""

import os
from pathlib import Path

from studio.core.ids import new_id
from studio.records.store import RecordDB

PADDING = "x" * 300


def write_until_killed(store: Path, acknowledged: Path, writer: int) -> None:
    """Insert records and count them in a record of our own; each line of `acknowledged` follows its commit."""
    db = RecordDB(store)
    log = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    counter = f"counter-{writer}"
    while True:
        record_id = new_id()
        with db.transaction():
            count = db.records.documents("counters").get(counter, {"count": 0})["count"] + 1
            db.put("counters", counter, {"count": count})
            db.put("items", record_id, {"writer": writer, "count": count, "padding": PADDING})
        os.write(log, f"{writer} {count} {record_id}\n".encode())


def insert_many(store: Path, count: int) -> None:
    """Insert `count` records and add each to a shared total, through TinyDB's own methods."""
    db = RecordDB(store)
    items = db.table("items")
    for number in range(count):
        with db.transaction():
            items.insert({"pid": os.getpid(), "number": number})
            total = db.records.documents("totals").get("all", {"count": 0})["count"]
            db.put("totals", "all", {"count": total + 1})
