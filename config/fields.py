"""The kinds of value a setting can have, and the base of its groups."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MAX_AE_TITLE = 16
_MAX_LONG_STRING = 64
_MOST_WORKERS = 64


def _ae_title(value: str) -> str:
    """PS3.5 6.2, VR AE: 1 to 16 characters of the default repertoire, no backslash or control character."""
    if not 0 < len(value.strip()) <= MAX_AE_TITLE or "\\" in value or not value.isascii() or not value.isprintable():
        msg = "an AE title has 1 to 16 printable ASCII characters and no backslash"
        raise ValueError(msg)
    return value.strip()


def _long_string(value: str) -> str:
    """PS3.5 6.2, VR LO: at most 64 characters, no backslash (it parts values) and no control character."""
    value = value.strip()
    controls = any(unicodedata.category(character) == "Cc" for character in value)
    if len(value) > _MAX_LONG_STRING or "\\" in value or controls:
        msg = "write at most 64 characters in one line, without a backslash"
        raise ValueError(msg)
    return value


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


def _database_url(value: str) -> str:
    """What SQLAlchemy's `make_url` reads, for the two databases there are; else its first use would be a traceback."""
    if value and not _DATABASE_URL.fullmatch(value):
        msg = "write postgresql+psycopg://user:password@host:5432/name, special characters as %XX, or leave it empty"
        raise ValueError(msg)
    return value


def _at_home(value: object) -> object:
    """`~` is the home of the account that runs the node, as in a shell; never the name of a folder."""
    if not isinstance(value, str) or not value.startswith("~"):
        return value
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        msg = "there is no such home; write the whole path"
        raise ValueError(msg) from error


def _named(value: object) -> object:
    if value == "":
        msg = "write a path; an empty one would be the working directory"
        raise ValueError(msg)
    return _at_home(value)


def _none_if_empty(value: object) -> object:
    return None if value == "" else _at_home(value)


def _workers(value: object) -> object:
    """One validator for both kinds, so that a mistake is told all that is allowed."""
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_WORKERS):
        return value
    msg = f'write "auto" or a whole number from 1 to {_MOST_WORKERS}'
    raise ValueError(msg)


_DATABASE_URL = re.compile(
    r"""/.+                                     # a file of SQLite's
    | sqlite(?:\+pysqlite)?://.+
    | postgresql(?:\+psycopg)?://
      (?:[^:/]*(?::[^@]*)?@)?                   # user and password
      (?:\[[^/?]+\]|[^:/?]*)(?::[0-9]{1,5})?    # host and port
      (?:[/?].*)?""",
    re.VERBOSE,
)
_CHARACTER_SET = re.compile(r"ISO_IR \d{1,3}|ISO 2022 IR \d{1,3}|GB18030|GBK")
AeTitle = Annotated[str, AfterValidator(_ae_title)]
Network = Annotated[str, AfterValidator(_network)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
CharacterSets = Annotated[tuple[str, ...], AfterValidator(_character_sets)]
LongString = Annotated[str, AfterValidator(_long_string)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0.01, le=86_400)]
"""How long something may take or is waited for: never no time at all, in which nothing could be done, nor for ever."""
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
FilePath = Annotated[Path, BeforeValidator(_named)]
OptionalPath = Annotated[Path | None, BeforeValidator(_none_if_empty)]
"""A path, or None for none; the empty text of the reference means none."""
Workers = Annotated[Literal["auto"] | int, BeforeValidator(_workers)]


class Group(BaseModel):
    """Base of every group: frozen, unknown keys, inf and nan refused, the docstring under a field is its documentation.

    `reference.described` reads it where somebody asks; pydantic would parse every group's source at every start for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
