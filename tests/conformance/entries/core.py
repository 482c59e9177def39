"""Floor 0: the log lines of 002 §6."""

from tests.conformance.entry import Entry

_FORMATTER = "studio.core.logs:JsonFormatter.format"
_FIELDS = "tests/core/test_events_logs.py::test_a_log_line_has_the_fields_of_the_spec"
_LEVELS = "tests/core/test_events_logs.py::test_every_level_is_written"


def _field(line: int, name: str, what: str) -> Entry:
    return Entry(f"002 Log.{name}", line, what, _FORMATTER, _FIELDS)


ENTRIES = [
    Entry(
        "002 log line is one JSON object",
        346,
        "one JSON object per line, its fields in this order",
        _FORMATTER,
        _FIELDS,
    ),
    _field(366, "timestamp", "UTC, ISO 8601, milliseconds, Z"),
    _field(367, "level", "Python's level names"),
    *(
        Entry(f"002 Log.level {level}", 367, f"level {level}", "studio.core.logs:LEVELS", _LEVELS)
        for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    ),
    _field(368, "logger", "dotted name below studio"),
    _field(369, "message", "one text, secrets masked"),
    Entry(
        "002 Log.request_id",
        370,
        "bound for a block, else null",
        "studio.core.logs:bind",
        "tests/core/test_events_logs.py::test_bound_ids_nest_and_end",
    ),
    Entry(
        "002 Log.trace_id",
        371,
        "bound for a block, else null",
        "studio.core.logs:bind",
        "tests/core/test_events_logs.py::test_bound_ids_nest_and_end",
    ),
    _field(372, "context", "object given by the caller, secrets masked"),
]
