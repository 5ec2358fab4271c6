"""One row of the CSV form `observations` -> facts, by the same rules as an OBX segment (clinical-data.md section 9).

A row that would need a guess is bad: an identifier that a spreadsheet turned into a number, a decimal comma, a date
in a local notation. Rules are named, values are not: the list of errors lies in a folder that many people can read.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from model.domain import AssigningAuthority, Identifier, NameGroup, PatientIdentity, PersonName, Sex
from node.facts import Fact, PersonFact
from node.feeds.hl7_messages import Rules
from node.feeds.hl7_time import Interval, date, local_interval
from node.feeds.observations import RawObservation, Remark, read_observation
from node.names import UNDATED, blocklisted

REQUIRED_COLUMNS = frozenset(
    {
        "source_row_id",
        "patient_id",
        "issuer",
        "birth_date",
        "sex",
        "code",
        "code_system",
        "value",
        "unit",
        "observed_at",
        "status",
    }
)
OPTIONAL_COLUMNS = frozenset({"family_name", "given_name", "deleted"})

_SPREADSHEET_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?[eE][+-]?\d+|\d+\.0+")
_OID = re.compile(r"\d+(\.\d+)+")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?P<time>[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_COMPARATOR = re.compile(r"(<=|>=|<|>)\s*(.*)", re.DOTALL)
_BAD_REASONS = frozenset({"NUMBER", "UNIT", "RANGE", "TIME"})


class Rule(enum.StrEnum):
    """What a bad row breaks."""

    NO_ID = "NO_ID"
    """No identifier, or one that identifies nobody."""
    SPREADSHEET_NUMBER = "SPREADSHEET_NUMBER"
    """`1.23457E+11`, `7123.0`: a program took the identifier for a number and its digits are lost."""
    NO_ISSUER = "NO_ISSUER"
    NO_DATE = "NO_DATE"
    SEX = "SEX"
    """Neither F, M, O, U nor empty."""
    NO_ISO_TIME = "NO_ISO_TIME"


class BadRow(Exception):
    """A row that cannot be used. `column` and `rule` name the problem; neither holds a value."""

    def __init__(self, rule: Rule, column: str) -> None:
        super().__init__(f"{column}: {rule}")
        self.column = column
        self.rule = rule


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFacts:
    """What one row said. `problem` (column, rule) marks a value that is kept but not used."""

    row: int
    """1 = first row below the header."""
    facts: tuple[Fact, ...]
    problem: tuple[str, str] | None = None


def read_row(cells: Mapping[str, str], row: int, rules: Rules, *, import_id: int, at: dt.datetime) -> RowFacts:
    """The facts of one row.

    Raises:
        BadRow: no usable patient, no readable time, or an impossible birth date or sex.

    """
    cells = {name: text.strip() for name, text in cells.items()}
    identity = _identity(cells, rules)
    observed = _observed(cells["observed_at"], rules)
    comparator, value = _comparator(cells["value"])
    raw = RawObservation(
        patient=identity.identifiers[0],
        key=_key(cells),
        codes=((cells["code"], cells["code_system"]),),
        value=value,
        comparator=comparator,
        unit=cells["unit"],
        status="D" if cells.get("deleted", "").lower() in ("1", "true", "y", "yes") else cells["status"],
        observed=observed,
        available_at=at,
        source=f"CSV {import_id}:{row}",
    )
    found = read_observation(raw, rules.codes)
    person = PersonFact(identity=identity, valid_since=UNDATED)
    if isinstance(found, Remark):
        problem = ("value", found) if found in (Remark.NO_VALUE, Remark.DXA_UNUSABLE) else None
        return RowFacts(row=row, facts=(person,), problem=problem)
    reason = getattr(found, "reason", "")
    return RowFacts(row=row, facts=(person, found), problem=("value", reason) if reason in _BAD_REASONS else None)


def _identity(cells: Mapping[str, str], rules: Rules) -> PatientIdentity:
    value = cells["patient_id"]
    if blocklisted(value):
        raise BadRow(Rule.NO_ID, "patient_id")
    if _SPREADSHEET_NUMBER.fullmatch(value):
        raise BadRow(Rule.SPREADSHEET_NUMBER, "patient_id")
    authority = _authority(cells["issuer"]) if cells["issuer"] else rules.default_issuer
    if not authority.stated:
        raise BadRow(Rule.NO_ISSUER, "issuer")
    born = date(cells["birth_date"].replace("-", ""))
    if born is None and cells["birth_date"]:
        raise BadRow(Rule.NO_DATE, "birth_date")
    try:
        sex = Sex(cells["sex"].upper() or "U")
    except ValueError as error:
        raise BadRow(Rule.SEX, "sex") from error
    name = NameGroup(family=cells.get("family_name", ""), given=cells.get("given_name", ""))
    return PatientIdentity(
        identifiers=(Identifier(value=value, authority=authority),),
        name=PersonName(alphabetic=name),
        birth_date=born,
        sex=sex,
    )


def _authority(issuer: str) -> AssigningAuthority:
    if _OID.fullmatch(issuer):
        return AssigningAuthority(universal_id=issuer, universal_id_type="ISO")
    return AssigningAuthority(namespace=issuer)


def _observed(text: str, rules: Rules) -> Interval:
    match = _TIME.fullmatch(text)
    if match is None:
        raise BadRow(Rule.NO_ISO_TIME, "observed_at")
    try:
        return local_interval(dt.datetime.fromisoformat(text), whole_day=not match["time"], zone=rules.zone)
    except (ValueError, OverflowError) as error:
        raise BadRow(Rule.NO_ISO_TIME, "observed_at") from error


def _comparator(text: str) -> tuple[str, str]:
    match = _COMPARATOR.fullmatch(text)
    return (match[1], match[2]) if match else ("", text)


def _key(cells: Mapping[str, str]) -> str:
    """The source's own row id, so that a row corrected to another patient leaves the first; else the natural key."""
    if cells["source_row_id"]:
        return f"CSV|{cells['source_row_id']}"
    natural = [cells[c] for c in ("issuer", "patient_id", "code_system", "code", "observed_at")]
    return "CSV#" + hashlib.sha256("\x1f".join(natural).encode()).hexdigest()
