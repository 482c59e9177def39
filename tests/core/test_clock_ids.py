"""Times and identifiers as every record has them."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.core.clock import iso, monotonic_s, parse_iso, utc_now
from studio.core.errors import DataError
from studio.core.ids import is_id, new_id, short


def test_iso_is_utc_with_milliseconds() -> None:
    assert iso(datetime(2026, 11, 20, 10, 30, tzinfo=UTC)) == "2026-11-20T10:30:00.000Z"
    east = timezone(timedelta(hours=2))
    assert iso(datetime(2026, 11, 20, 12, 30, 1, 999_999, tzinfo=east)) == "2026-11-20T10:30:01.999Z"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", iso())


def test_a_naive_time_is_a_bug() -> None:
    with pytest.raises(ValueError, match="naive"):
        iso(datetime(2026, 11, 20))


@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)))
def test_iso_round_trip(moment: datetime) -> None:
    whole = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert parse_iso(iso(moment)) == whole


def test_now_round_trips() -> None:
    now = utc_now()
    assert parse_iso(iso(now)) == now


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", None])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="ISO 8601"):
        parse_iso(text)


def test_a_time_without_offset_counts_as_utc() -> None:
    assert parse_iso("2026-11-20T10:30:00") == datetime(2026, 11, 20, 10, 30, tzinfo=UTC)


def test_monotonic_does_not_go_back() -> None:
    first = monotonic_s()
    assert monotonic_s() >= first


def test_ids() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(is_id(text) for text in ids)
    one = new_id()
    assert one.startswith(short(one))
    assert len(short(one)) == 8


AN_ID = "1c941660-40fe-4b9b-8d31-af1095f174fc"


@pytest.mark.parametrize("text", ["", "x", None, 7, AN_ID.upper() + "A", AN_ID + "\n", AN_ID.replace("-", "")])
def test_what_is_no_id(text: object) -> None:
    assert not is_id(text)
