"""The kinds of value a setting can have, and the base of its groups."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_AE_TITLE = 16


def _ae_title(value: str) -> str:
    """PS3.5 6.2, VR AE: 1 to 16 characters of the default repertoire, no backslash or control character."""
    if not 0 < len(value.strip()) <= MAX_AE_TITLE or "\\" in value or not value.isascii() or not value.isprintable():
        msg = "an AE title has 1 to 16 printable ASCII characters and no backslash"
        raise ValueError(msg)
    return value.strip()


def _network(value: str) -> str:
    ipaddress.ip_network(value)
    return value


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        msg = f"no IANA time zone is called {value!r}; an example is 'Europe/Berlin'"
        raise ValueError(msg) from error
    return value


def _character_sets(values: tuple[str, ...]) -> tuple[str, ...]:
    """PS3.3 C.12.1.1.2: defined terms; an empty first one stands for the default repertoire."""
    for number, value in enumerate(values):
        if not _CHARACTER_SET.fullmatch(value) and (value or number):
            msg = f"{value!r} is no defined term of Specific Character Set; examples are 'GBK' and 'ISO_IR 100'"
            raise ValueError(msg)
    return values


_CHARACTER_SET = re.compile(r"ISO_IR \d{1,3}|ISO 2022 IR \d{1,3}|GB18030|GBK")
AeTitle = Annotated[str, AfterValidator(_ae_title)]
Network = Annotated[str, AfterValidator(_network)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
CharacterSets = Annotated[tuple[str, ...], AfterValidator(_character_sets)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0)]


class Group(BaseModel):
    """Base of every group: frozen, unknown keys refused, the docstring under a field is its documentation.

    `reference.described` reads it where somebody asks; pydantic would parse every group's source at every start for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
