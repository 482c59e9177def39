"""Every system call of a write fails, and the process dies at every one: the old or the new state, never mixed."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from studio.core.errors import DiskSpaceError, StoreError
from studio.records.store import RecordDB

CALLS = ("open", "write", "fsync", "close", "replace", "link", "unlink")
Fault = Callable[[str, Callable[..., Any], tuple[Any, ...]], None]


@contextmanager
def fault_at(step: int | None, fault: Fault) -> Iterator[list[str]]:
    """Count the calls of `os` in the block; the one with number `step` meets `fault` first. Yields the calls so far."""
    made: list[str] = []
    real = {name: getattr(os, name) for name in CALLS}

    def watched(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            made.append(name)
            if len(made) - 1 == step:
                fault(name, real[name], arguments)
            return real[name](*arguments, **keywords)

        return call

    for name in CALLS:
        setattr(os, name, watched(name))
    try:
        yield made
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def failing(number: int) -> Fault:
    def fault(name: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if name == "write":
            descriptor, data = arguments
            real(descriptor, data[: len(data) // 2])  # a full disk takes a part first
        if name == "close":
            real(*arguments)  # close frees the descriptor even when it reports an error
        raise OSError(number, os.strerror(number))

    return fault


def dying(name: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    if name == "write":
        descriptor, data = arguments
        real(descriptor, data[: len(data) // 2])
    os._exit(9)


def new_store(folder: Path) -> RecordDB:
    folder.mkdir()
    db = RecordDB(folder / "studio.json")
    for number in range(3):  # so that backups exist and move on
        db.put("items", "steady", {"value": number})
        db.put("items", "changing", {"value": number})
    return db


def write(db: RecordDB) -> None:
    with db.transaction():
        db.put("items", "changing", {"value": "new"})
        db.put("others", "added", {"value": "new"})


OLD = {"items": {"steady": {"value": 2}, "changing": {"value": 2}}}
NEW = {"items": {"steady": {"value": 2}, "changing": {"value": "new"}}, "others": {"added": {"value": "new"}}}


def calls_of_a_write(tmp_path: Path) -> list[str]:
    db = new_store(tmp_path / "counted")
    with fault_at(None, failing(0)) as made:
        write(db)
    return list(made)


def check_after_fault(db: RecordDB, folder: Path) -> dict[str, Any]:
    """What everybody sees now, after showing that they see the same and that writing goes on."""
    seen = db.records.read()
    fresh = RecordDB(folder / "studio.json")
    assert fresh.records.read() == seen
    fresh.put("later", "one", {})
    assert "one" in db.records.documents("later")
    assert not list(folder.glob(".studio.json*")), "a temporary file stays"
    assert seen is not None
    return seen


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_a_failing_call_leaves_the_old_or_the_new_state(tmp_path: Path, number: int) -> None:
    calls = calls_of_a_write(tmp_path)
    assert {"open", "write", "fsync", "replace", "link"} <= set(calls)
    expected = DiskSpaceError if number == errno.ENOSPC else StoreError
    states = []
    for step, name in enumerate(calls):
        folder = tmp_path / f"{number}-{step}"
        db = new_store(folder)
        failed = False
        with fault_at(step, failing(number)) as made:
            try:
                write(db)
            except expected:
                failed = True
        assert made[step] == name
        state = check_after_fault(db, folder)
        assert state == NEW or (failed and state == OLD), f"{name} ({step}): failed={failed}, {state}"
        states.append(state)
    assert OLD in states
    assert NEW in states


def test_a_process_that_dies_at_any_call_leaves_the_old_or_the_new_state(tmp_path: Path) -> None:
    calls = calls_of_a_write(tmp_path)
    states = []
    for step, name in enumerate(calls):
        folder = tmp_path / f"died-{step}"
        db = new_store(folder)
        child = os.fork()
        if child == 0:
            with fault_at(step, dying):
                write(db)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9, name
        state = check_after_fault(db, folder)
        assert state in (OLD, NEW), f"{name} ({step}): {state}"
        states.append(state)
    assert OLD in states
    assert NEW in states


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_backups_survive_a_failing_rotation(tmp_path: Path, number: int) -> None:
    for step in range(len(calls_of_a_write(tmp_path))):
        folder = tmp_path / f"{number}-{step}"
        db = new_store(folder)
        with suppress(StoreError, DiskSpaceError), fault_at(step, failing(number)):
            write(db)
        (folder / "studio.json").write_bytes(b"")
        items = RecordDB(folder / "studio.json").records.documents("items")
        assert items["steady"]["value"] in (1, 2), f"step {step}: no good backup"


def test_backups_survive_a_death_at_any_call(tmp_path: Path) -> None:
    for step in range(len(calls_of_a_write(tmp_path))):
        folder = tmp_path / f"died-{step}"
        db = new_store(folder)
        child = os.fork()
        if child == 0:
            with fault_at(step, dying):
                write(db)
            os._exit(0)
        os.waitpid(child, 0)
        (folder / "studio.json").write_bytes(b"")  # in place: another name of the same file would be lost with it
        items = RecordDB(folder / "studio.json").records.documents("items")
        assert items["steady"]["value"] in (1, 2), f"step {step}: no good backup"
        (folder / "studio.json").unlink()
        assert RecordDB(folder / "studio.json").records.documents("items") == items
