"""HL7 date/time values as intervals of instants: a date is a whole local day, not midnight.

Only the HL7 grammar is read (v2.5 2.A.22): libraries that guess turned `2025-06-15` into the first of January. One
thing more is taken because it cannot be misread: a fraction of five or six digits, as databases write it (HL7: four).
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

_DTM = re.compile(
    r"(?P<y>\d{4})(?:(?P<m>\d\d)(?:(?P<d>\d\d)(?:(?P<H>\d\d)(?:(?P<M>\d\d)(?:(?P<S>\d\d)(?:\.(?P<f>\d{1,6}))?)?)?)?)?)?"
    r"(?P<z>[+-]\d{4})?",
    re.ASCII,
)
_EASTERNMOST, _WESTERNMOST = dt.timedelta(hours=14), -dt.timedelta(hours=12)
_DAY = 2
"""Parts below the year that a calendar date states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """From `start` to `end`, both aware; equal for a time stated to the second."""

    start: dt.datetime
    end: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stated:
    """A value as written: local time of its beginning, parts stated below the year, offset if there is one."""

    local: dt.datetime
    precision: int
    offset: dt.timezone | None


@lru_cache(maxsize=4096)  # the values of a message mostly share one or two times
def interval(text: str, zone: ZoneInfo) -> Interval | None:
    """The interval that an HL7 DTM value states; None when it is empty or no DTM. `zone` serves where no offset is."""
    stated = _read(text)
    if stated is None:
        return None
    try:
        return Interval(
            start=_instant(stated.local, stated.offset, zone),
            end=_instant(_end(stated.local, stated.precision), stated.offset, zone),
        )
    except OverflowError:  # the last day of the year 9999
        return None


def instant(text: str, zone: ZoneInfo) -> dt.datetime | None:
    """The start of the stated interval."""
    found = interval(text, zone)
    return found.start if found else None


def date(text: str) -> dt.date | None:
    """The calendar date of a DTM or DT value, or None when it is coarser than a day or no date."""
    stated = _read(text)
    return stated.local.date() if stated and stated.precision >= _DAY else None


def local_interval(local: dt.datetime, *, whole_day: bool, zone: ZoneInfo) -> Interval:
    """The interval of a time that came in another notation (CSV): an aware or a local instant, or a local day."""
    if local.tzinfo is not None:
        return Interval(start=local, end=local)
    after = local + dt.timedelta(days=1) if whole_day else local
    return Interval(start=_instant(local, None, zone), end=_instant(after, None, zone))


def _read(text: str) -> _Stated | None:
    match = _DTM.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(match[k]) if match[k] else None for k in "ymdHMS")
    fraction = int((match["f"] or "0").ljust(6, "0"))
    try:
        local = dt.datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, second or 0, fraction)  # noqa: DTZ001
        offset = _offset(match["z"])
    except ValueError:
        return None
    return _Stated(local=local, precision=sum(v is not None for v in (month, day, hour, minute, second)), offset=offset)


def _end(local: dt.datetime, precision: int) -> dt.datetime:
    """First moment after the stated unit, from seconds on the moment itself; `precision`: parts stated below year."""
    days_in_month = calendar.monthrange(local.year, local.month)[1]
    days_in_year = 366 if calendar.isleap(local.year) else 365
    lengths = (
        dt.timedelta(days=days_in_year),
        dt.timedelta(days=days_in_month),
        dt.timedelta(days=1),
        dt.timedelta(hours=1),
        dt.timedelta(minutes=1),
        dt.timedelta(0),
    )
    return local + lengths[precision]


def _offset(text: str | None) -> dt.timezone | None:
    """The zone of `+0100`. ValueError: no offset that a civil time ever has, so the instant would be wrong by hours."""
    if not text:
        return None
    hours, minutes = int(text[1:3]), int(text[3:])
    offset = dt.timedelta(hours=hours, minutes=minutes) * (-1 if text[0] == "-" else 1)
    if minutes > 59 or not _WESTERNMOST <= offset <= _EASTERNMOST:  # noqa: PLR2004 - minutes of an hour
        raise ValueError(text)
    return dt.timezone(offset)


def _instant(local: dt.datetime, offset: dt.timezone | None, zone: ZoneInfo) -> dt.datetime:
    """The instant; of a local time that occurs twice (autumn) or never (spring) the later reading."""
    if offset is not None:
        return local.replace(tzinfo=offset)
    return max(local.replace(tzinfo=zone, fold=f).astimezone(dt.UTC) for f in (0, 1))
