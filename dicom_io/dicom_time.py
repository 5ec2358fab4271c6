"""DA, TM, DT and UTC offsets (PS3.5 6.2) as they are found in the field: wrong ones give None, never an exception."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

_DATE: Final = re.compile(r"(\d{4})([.\-]?)(\d{2})\2(\d{2})", re.ASCII)
_TIME: Final = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?", re.ASCII)
_DATETIME: Final = re.compile(r"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?", re.ASCII)
_OFFSET: Final = re.compile(r"([+-])(\d{2})(\d{2})", re.ASCII)
_LEAP_SECOND: Final = 60
_MINUTES: Final = 60
_WESTERNMOST: Final = dt.timedelta(hours=-12)
_EASTERNMOST: Final = dt.timedelta(hours=14)


def parse_date(text: str) -> dt.date | None:
    """VR DA; also `YYYY.MM.DD` of ACR-NEMA 2.0 (PS3.5 6.2 note) and `YYYY-MM-DD`."""
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    try:
        return dt.date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return None


def parse_time(text: str) -> dt.time | None:
    """VR TM, also with the colons of ACR-NEMA 2.0. A leap second is read as the second before it."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    second = int(match[3] or 0)
    try:
        return dt.time(
            int(match[1]),
            int(match[2] or 0),
            second - 1 if second == _LEAP_SECOND else second,
            int((match[4] or "0").ljust(6, "0")),
        )
    except ValueError:
        return None


def parse_datetime(text: str) -> dt.datetime | None:
    """VR DT from a whole day on; aware if it states an offset. Coarser than a day gives None."""
    match = _DATETIME.fullmatch(text)
    day = parse_date(match[1]) if match else None
    if match is None or day is None:
        return None
    return dt.datetime.combine(day, parse_time(match[2] or "") or dt.time(), tzinfo=parse_offset(match[3] or ""))


def parse_offset(text: str) -> dt.timezone | None:
    """`&ZZXX` of VR DT and of Timezone Offset From UTC (0008,0201): -1200 to +1400."""
    match = _OFFSET.fullmatch(text)
    if match is None or int(match[3]) >= _MINUTES:
        return None
    offset = dt.timedelta(hours=int(match[2]), minutes=int(match[3])) * (1 if match[1] == "+" else -1)
    return dt.timezone(offset) if _WESTERNMOST <= offset <= _EASTERNMOST else None
