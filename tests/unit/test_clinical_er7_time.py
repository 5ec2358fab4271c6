"""HL7 date/time values (clinical-data.md section 3): the grammar only, intervals by precision, offsets, summer time."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.feeds.hl7_time import date, instant, interval

NO_TIMES = (
    *(
        "",
        "today",
        "2025-06-15",
        "20251301",
        "20250230",
        "202506151",
        "2025061524",
        "20250615103060",
        "0000",
        "99991231",
    ),
    *("20250615+1", "20250615+0160", "20250615+1500", "20250615-1300", "20250615103015.", "2025061510.5"),
    "\uff12\uff10\uff12\uff15",  # digits, but not ASCII's
)
BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")


def utc(*parts):
    return dt.datetime(*parts, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2025", utc(2024, 12, 31, 23), utc(2025, 12, 31, 23)),
        ("202502", utc(2025, 1, 31, 23), utc(2025, 2, 28, 23)),
        ("20250615", utc(2025, 6, 14, 22), utc(2025, 6, 15, 22)),
        ("2025061510", utc(2025, 6, 15, 8), utc(2025, 6, 15, 9)),
        ("202506151030", utc(2025, 6, 15, 8, 30), utc(2025, 6, 15, 8, 31)),
        ("20250615103015", utc(2025, 6, 15, 8, 30, 15), utc(2025, 6, 15, 8, 30, 15)),
        ("20250615103015.5", utc(2025, 6, 15, 8, 30, 15, 500_000), utc(2025, 6, 15, 8, 30, 15, 500_000)),
        ("20250615103015.123456", utc(2025, 6, 15, 8, 30, 15, 123_456), utc(2025, 6, 15, 8, 30, 15, 123_456)),
        ("20251026", utc(2025, 10, 25, 22), utc(2025, 10, 26, 23)),  # 25 hours
        ("20250330", utc(2025, 3, 29, 23), utc(2025, 3, 30, 22)),  # 23 hours
    ],
)
def test_times_are_intervals_of_their_precision(text, start, end):
    found = interval(text, BERLIN)
    assert (found.start, found.end) == (start, end)
    assert instant(text, BERLIN) == start


def test_times_an_offset_in_the_value_wins_over_the_feeds_zone():
    for zone in (BERLIN, NEW_YORK):
        assert instant("20250615103000-0500", zone) == utc(2025, 6, 15, 15, 30)
        assert interval("20250615+0530", zone).end == utc(2025, 6, 15, 18, 30)


def test_times_of_the_ambiguous_autumn_hour_take_the_later_instant():
    assert instant("20251026023000", BERLIN) == utc(2025, 10, 26, 1, 30)
    assert instant("20251102013000", NEW_YORK) == utc(2025, 11, 2, 6, 30)
    assert instant("20250330023000", BERLIN) == utc(2025, 3, 30, 1, 30), "an hour that never was"


@pytest.mark.parametrize("text", NO_TIMES)
def test_times_no_guessing(text):
    assert interval(text, BERLIN) is None


def test_times_dates_are_as_strict():
    assert date("19480312") == date("194803121030+0100") == dt.date(1948, 3, 12)
    assert date("99991231") == dt.date(9999, 12, 31)
    assert [date(text) for text in ("194803", "19480399", "1948031299", "", "12.03.1948")] == [None] * 5


@given(st.datetimes(min_value=dt.datetime(1900, 1, 1), max_value=dt.datetime(2100, 1, 1)), st.integers(4, 14))  # noqa: DTZ001
def test_times_what_is_stated_more_precisely_lies_within(moment, digits):
    text = moment.strftime("%Y%m%d%H%M%S")
    whole, exact = interval(text[: digits - digits % 2], BERLIN), interval(text, BERLIN)
    assert whole.start <= exact.start <= exact.end <= whole.end
