"""PID -> the person a message is about: identifiers, legal name, birth date, sex and death.

Empty was not sent, `""` asks to delete: the two leave here as different things (HL7 v2.5 2.5.3).
"""

from __future__ import annotations

import datetime as dt

from model.domain import AssigningAuthority, Identifier, NameGroup, PatientIdentity, PersonName, Sex
from node.facts import Demographic, PersonFact
from node.feeds.er7 import DELETE, Segment
from node.feeds.hl7_rules import Rules
from node.feeds.hl7_time import date, instant
from node.names import blocklisted

_NOT_A_PERSON = frozenset(
    {"AN", "ANC", "AND", "ANT", "VN", "VS", "FI", "XX"}  # accounts, visits, organisations
    | {"SN", "MB", "GN", "GI", "GL", "WC", "WCN"}  # subscriber, member, guarantor: one number for a whole family
)
"""CX.5 types (table 0203) of numbers that may stand for somebody else, or for several, under the same issuer."""
_SEXES = {"F": Sex.FEMALE, "M": Sex.MALE, "O": Sex.OTHER, "A": Sex.OTHER}
_DELETABLE = ((5, Demographic.NAME), (7, Demographic.BIRTH_DATE), (8, Demographic.SEX))


def person(pid: Segment, rules: Rules, *, valid_since: dt.datetime) -> PersonFact:
    """Everything that a PID segment says; its identity has no identifier when none of PID-3 is usable."""
    dead = {"Y": True, "N": False}.get(pid.text(30).upper())
    cleared = {field for number, field in _DELETABLE if pid.get(number) == DELETE}
    if dead is False or DELETE in (pid.get(29), pid.get(30)):
        cleared.add(Demographic.DEATH)  # who is not dead has no time of death, whatever was said before
    return PersonFact(
        identity=identity(pid, rules),
        valid_since=valid_since,
        dead=dead,
        died_at=instant(pid.text(29), rules.zone),
        cleared=frozenset(cleared),
    )


def identity(pid: Segment, rules: Rules) -> PatientIdentity:
    """Who a PID segment is about: every usable repetition of PID-3, the legal name, birth date and sex."""
    return PatientIdentity(
        identifiers=identifiers(pid, 3, rules),
        name=_name(pid),
        birth_date=date(pid.text(7)),
        sex=_SEXES.get(pid.text(8).upper(), Sex.UNKNOWN),
    )


def identifiers(segment: Segment, number: int, rules: Rules) -> tuple[Identifier, ...]:
    """The repetitions of a CX field that identify a person and state (or are given) who issued them.

    Medical record numbers stand first: values are filed under the first identifier, and a correction whose sender lists
    the same identifiers in another order must find what it corrects.
    """
    found: list[tuple[bool, Identifier]] = []
    for r in range(1, segment.repetitions(number) + 1):
        value = segment.text(number, repetition=r)
        stated = AssigningAuthority(
            namespace=segment.text(number, 4, 1, repetition=r),
            universal_id=segment.text(number, 4, 2, repetition=r),
            universal_id_type=segment.text(number, 4, 3, repetition=r),
        )
        authority = stated if stated.stated else rules.default_issuer
        kind = segment.text(number, 5, repetition=r)
        if authority.stated and kind not in _NOT_A_PERSON and not blocklisted(value):
            one = rules.issuers.canonical(Identifier(value=value, authority=authority))
            found.append((kind != "MR", one))
    return tuple(dict.fromkeys(one for _, one in sorted(found, key=lambda f: f[0])))


def _name(pid: Segment) -> PersonName:
    """PID-5: the legal name (XPN.7 = L) if there is one, else the first kind; one group per representation (XPN.8)."""
    repetitions = range(1, pid.repetitions(5) + 1)
    kinds = [pid.text(5, 7, repetition=r) for r in repetitions]
    kind = "L" if "L" in kinds else (kinds[0] if kinds else "")
    groups: dict[str, NameGroup] = {}
    for r in repetitions:
        if kinds[r - 1] == kind:
            group = NameGroup(family=pid.text(5, 1, repetition=r), given=pid.text(5, 2, repetition=r))
            groups.setdefault(pid.text(5, 8, repetition=r) or "A", group)
    nothing = NameGroup()
    return PersonName(
        alphabetic=groups.get("A", nothing), ideographic=groups.get("I", nothing), phonetic=groups.get("P", nothing)
    )
