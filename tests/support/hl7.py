"""Builders for HL7 v2 messages, facts and identities of the feed tests."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from config.code_file import code_table
from model.domain import AssigningAuthority, Identifier, NameGroup, PatientIdentity, PersonName, Sex
from node.facts import ObservationFact
from node.feeds.hl7_rules import Rules

UTC = dt.UTC
BERLIN = ZoneInfo("Europe/Berlin")
RULES = Rules(zone=BERLIN, codes=code_table())
HOSP = AssigningAuthority(namespace="HOSP")
OTHER = AssigningAuthority(namespace="ELSEWHERE")


def when(day: int = 10, hour: int = 9) -> dt.datetime:
    return dt.datetime(2025, 3, day, hour, tzinfo=UTC)


def message(kind: str, *segments: str, control: str = "C1", sent: str = "20250310090000+0000", rest: str = "") -> bytes:
    header = f"MSH|^~\\&|HIS|FAC|OSTEON|RAD|{sent}||{kind}|{control}|P|2.5.1||||||UNICODE UTF-8{rest}"
    return "\r".join([header, *segments, ""]).encode()


def pid(value: str = "100001", name: str = "MÜLLER^ANNA^^^^^L", born: str = "19480312", sex: str = "F") -> str:
    return f"PID|1||{value}^^^HOSP^MR||{name}||{born}|{sex}"


def identity(
    value: str = "100001",
    authority: AssigningAuthority = HOSP,
    *,
    family: str = "MÜLLER",
    given: str = "ANNA",
    born: dt.date | None = dt.date(1948, 3, 12),
    sex: Sex = Sex.FEMALE,
    ideographic: NameGroup = NameGroup(),  # noqa: B008 - frozen
) -> PatientIdentity:
    return PatientIdentity(
        identifiers=(Identifier(value=value, authority=authority),),
        name=PersonName(alphabetic=NameGroup(family=family, given=given), ideographic=ideographic),
        birth_date=born,
        sex=sex,
    )


def weight(
    value: float | None = 61.5,
    *,
    patient: str = "100001",
    key: str = "k",
    at: dt.datetime | None = None,
    end: dt.datetime | None = None,
    variable: str = "weight",
    authority: AssigningAuthority = HOSP,
) -> ObservationFact:
    at = at or when(9)
    return ObservationFact(
        patient=Identifier(value=patient, authority=authority),
        key=key,
        variable=variable,
        raw_value=str(value),
        raw_unit="kg",
        value=value,
        unit="kg",
        observed_start=at,
        observed_end=end or at,
        available_at=at,
        usable=value is not None,
        reason="" if value is not None else "VOID",
        source="HL7 ORU^R01 1",
        code="29463-7",
    )
