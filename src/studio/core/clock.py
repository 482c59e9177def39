"""Time as every record and event writes it: UTC, ISO 8601, milliseconds. Knows no time zone but UTC."""

import time
from datetime import UTC, datetime

from studio.core.errors import DataError


def utc_now() -> datetime:
    """The time of day, timezone-aware, in UTC, cut to milliseconds (what `iso` keeps: it survives a round trip)."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def iso(moment: datetime | None = None) -> str:
    """`moment` (default: now) as "2026-11-20T10:30:00.000Z". A naive datetime is a bug of ours: ValueError."""
    moment = utc_now() if moment is None else moment
    if moment.tzinfo is None:
        raise ValueError("a naive datetime has no place in Studio; use studio.core.clock.utc_now")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_iso(text: str) -> datetime:
    """The inverse of `iso`; any ISO 8601 text is read, one without an offset counts as UTC. DataError otherwise."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{text!r} is not an ISO 8601 time", remedy="Write it like 2026-11-20T10:30:00.000Z."
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def monotonic_s() -> float:
    """Seconds on a clock that never goes back; only differences mean something."""
    return time.monotonic()
