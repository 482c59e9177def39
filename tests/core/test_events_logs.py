"""Events and logs: lines of JSON that survive a kill and keep secrets."""

import errno
import io
import json
import logging
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.core.events import EventLog, read_events, silent
from studio.core.logs import LEVELS, bind, configure, get_logger, mask


def test_events_are_read_from_where_one_stopped(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "events.jsonl"
    assert list(read_events(path)) == []
    with EventLog(path) as log:
        log.emit("metrics", loss=1.5, path=Path("a"), nan=float("nan"))
        ((offset, event),) = read_events(path)
        assert {**event, "time": ""} == {"time": "", "kind": "metrics", "loss": 1.5, "path": "a", "nan": None}
        assert event["time"].endswith("Z")
        log.emit("done")
        ((end, event),) = read_events(path, offset)
        assert event["kind"] == "done"
        assert list(read_events(path, end)) == []
    assert end == path.stat().st_size


def test_a_line_in_the_making_is_left_and_a_torn_one_is_passed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log.emit("one")
    path.write_bytes(path.read_bytes() + b'{"time":"x","kind":"to')
    ((offset, _),) = read_events(path)
    with EventLog(path) as log:
        log.emit("two")
    assert [event["kind"] for _, event in read_events(path, offset)] == ["two"]
    assert [event["kind"] for _, event in read_events(path)] == ["one", "two"]


def test_a_full_disk_costs_one_event_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    real = os.write
    room = iter([20])

    def nearly_full(descriptor: int, data: bytes) -> int:
        for size in room:
            return real(descriptor, data[:size])
        raise OSError(errno.ENOSPC, "no space left on device")

    with EventLog(path) as log:
        log.emit("one")
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", nearly_full)
            with pytest.raises(OSError, match="no space"):
                log.emit("lost")
        log.emit("two")
    assert [event["kind"] for _, event in read_events(path)] == ["one", "two"]


def emit_many(path: Path, writer: int) -> None:
    with EventLog(path) as log:
        for number in range(200):
            log.emit("tick", writer=writer, number=number, padding="x" * 500)


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    context = multiprocessing.get_context("forkserver")
    writers = [context.Process(target=emit_many, args=(path, writer)) for writer in range(3)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    seen = [(event["writer"], event["number"]) for _, event in read_events(path)]
    assert sorted(seen) == [(writer, number) for writer in range(3) for number in range(200)]


def test_silent_takes_anything() -> None:
    silent("metrics", loss=1.0)


@pytest.fixture
def lines() -> Iterator[Any]:
    stream = io.StringIO()
    configure(stream, "DEBUG")

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    yield read
    logger = logging.getLogger("studio")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.propagate = True


def test_a_log_line_has_the_fields_of_the_spec(lines: Any) -> None:
    with bind(request_id="req-1", trace_id="trace-1"):
        get_logger("inference.server").info("Request completed", extra={"context": {"latency_ms": 245.5}})
    (line,) = lines()
    assert list(line) == ["timestamp", "level", "logger", "message", "request_id", "trace_id", "context"]
    assert line["timestamp"].endswith("Z")
    assert {**line, "timestamp": ""} == {
        "timestamp": "",
        "level": "INFO",
        "logger": "studio.inference.server",
        "message": "Request completed",
        "request_id": "req-1",
        "trace_id": "trace-1",
        "context": {"latency_ms": 245.5},
    }


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_is_written(lines: Any, level: str) -> None:
    get_logger("a").log(getattr(logging, level), "x")
    assert lines()[0]["level"] == level


def test_bound_ids_nest_and_end(lines: Any) -> None:
    log = get_logger("a")
    with bind(request_id="outer", trace_id="t"):
        with bind(request_id="inner"):
            log.info("x")
        log.info("x")
    log.info("x")
    assert [(line["request_id"], line["trace_id"]) for line in lines()] == [
        ("inner", "t"),
        ("outer", "t"),
        (None, None),
    ]


def test_an_exception_goes_into_the_context(lines: Any) -> None:
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        get_logger("a").exception("failed", extra={"context": {"step": 3}})
    (line,) = lines()
    assert line["context"]["step"] == 3
    assert "RuntimeError: boom" in line["context"]["exception"]


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ({"api_key": "abc", "tokens": 3, "max_tokens": "5"}, {"api_key": "***", "tokens": 3, "max_tokens": "5"}),
        ({"nested": [{"password": "p"}, {"X-Api-Key": "k"}]}, {"nested": [{"password": "***"}, {"X-Api-Key": "***"}]}),
        ({"token": "t", "access_token": "u"}, {"token": "***", "access_token": "***"}),
        ("Authorization: Bearer abcdef.ghi", "Authorization: Bearer ***"),
        ("key sk-abcdefghijklmnop and hf_abcdefghijklmnop", "key *** and ***"),
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ('password="hunter2" next', 'password="***" next'),
        ("api_key=abc&x=1", "api_key=***&x=1"),
        ("156 tokens at 3 tokens/s", "156 tokens at 3 tokens/s"),
    ],
)
def test_secrets_are_masked(value: Any, masked: Any) -> None:
    assert mask(value) == masked


def test_secrets_are_masked_in_messages(lines: Any) -> None:
    get_logger("a").info("login with %s", "password=hunter2", extra={"context": {"secret": "s"}})
    (line,) = lines()
    assert "hunter2" not in line["message"]
    assert line["context"] == {"secret": "***"}


def test_a_file_is_appended_to(tmp_path: Path, lines: Any) -> None:
    path = tmp_path / "logs" / "log.jsonl"
    for word in ("one", "two"):
        handler = configure(path, "INFO")
        get_logger("a").info(word)
        get_logger("a").debug("below the level")
        handler.close()
    assert [json.loads(line)["message"] for line in path.read_text().splitlines()] == ["one", "two"]
    assert lines() == []


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        configure(io.StringIO(), "LOUD")
