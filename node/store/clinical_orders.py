"""Which patient an imaging order is for: accession number and Study Instance UID -> person.

A new statement of the same issuer replaces its former one. What a later statement leaves out stays as it was known, so
that an order sent twice, the second time with its Study Instance UID, is one link with both. The newest is the one that
was received last: a frame that is replayed out of quarantine says nothing against what a later frame said of the order,
be it another patient or that the order was cancelled.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, TypeAlias

import sqlalchemy as sa

from model.domain import AssigningAuthority
from node.facts import Change, ChangeKind, OrderFact
from node.names import same_issuer
from node.store import clinical_persons as persons
from node.store.clinical_persons import Known
from node.store.clinical_schema import order_link, person_identifier

_o, _i = order_link.c, person_identifier.c
_Link: TypeAlias = sa.Row[tuple[Any, ...]]
_CONTENT = ("accession", "placer", "filler", "study_uid")


def link_order(
    c: sa.Connection, fact: OrderFact, patient: Known, at: dt.datetime, *, seq: int | None = None
) -> tuple[int, tuple[Change, ...]]:
    """Link an order to its patient, or close the link of one that was cancelled. (rows written, changes).

    `seq`: number of the inbox frame that says so, None when it came otherwise.
    """
    known = [link for link in _links(c, fact) if _issued_alike(link, patient)]
    last_said = max((_last_said(link) for link in known if _contradictable(link, fact, patient)), default=0)
    if seq is not None and last_said > seq:
        return 0, ()
    links = [link for link in known if link.superseded_at is None]
    own = [link for link in links if link.person_id == patient.person_key and _one_study(link, fact)]
    if fact.cancelled and not own:
        if seq is not None and last_said < seq:  # else this very frame was here before
            _note_cancelled(c, fact, patient, at, seq)
        return 0, ()
    if fact.cancelled:
        _close(c, own, at, seq)
        return len(own), _changes(own)
    foreign = [link for link in links if link.person_id != patient.person_key]
    if not foreign and any(_says(link, fact) for link in own):
        return 0, ()
    completed = sorted(own, key=lambda link: link.study_uid != fact.study_uid)[:1]
    content = {name: getattr(fact, name) or next((getattr(o, name) for o in completed), "") for name in _CONTENT}
    _close(c, [*completed, *foreign], at, seq)
    c.execute(sa.insert(order_link).values(identifier_id=patient.row, recorded_at=at, seq=seq, **content))
    return 1, (Change(kind=ChangeKind.ORDER, person_key=patient.person_key), *_changes(foreign))


def order_persons(c: sa.Connection, accession: str) -> frozenset[int]:
    """Persons (as read through merges) whose orders carry the accession number."""
    return _ordered(c, _BY_ACCESSION, accession) if accession else frozenset()


def study_persons(c: sa.Connection, study_uid: str) -> frozenset[int]:
    """Persons (as read through merges) whose orders carry the Study Instance UID."""
    return _ordered(c, _BY_STUDY, study_uid) if study_uid else frozenset()


def order_numbers(c: sa.Connection, accession: str, study_uid: str) -> tuple[str, str]:
    """(placer, filler) order number of the one standing order of a study; empty where none or several are known."""
    named = [
        rule
        for value, rule in ((study_uid, _o.study_uid == study_uid), (accession, _o.accession == accession))
        if value
    ]
    for rule in named:
        wanted = sa.select(_o.placer, _o.filler).distinct().where(rule, _o.superseded_at.is_(None)).limit(2)
        found = c.execute(wanted).all()
        if len(found) == 1:
            return found[0].placer, found[0].filler
    return "", ""


_ORDERED = sa.select(_i.person_id).join_from(order_link, person_identifier, _i.id == _o.identifier_id)
_BY_ACCESSION = _ORDERED.where(_o.accession == sa.bindparam("wanted"), _o.superseded_at.is_(None))
_BY_STUDY = _ORDERED.where(_o.study_uid == sa.bindparam("wanted"), _o.superseded_at.is_(None))


def _ordered(c: sa.Connection, orders: sa.Executable, wanted: str) -> frozenset[int]:
    found = c.execute(orders, {"wanted": wanted}).scalars()
    return frozenset(persons.roots(c, set(found.all())).values())


def _note_cancelled(c: sa.Connection, fact: OrderFact, patient: Known, at: dt.datetime, seq: int) -> None:
    """Leave a closed link of a cancelled order that nobody knows, for its late replay."""
    content = {name: getattr(fact, name) for name in _CONTENT}
    closed = {"recorded_at": at, "superseded_at": at, "seq": seq, "closed_seq": seq}
    c.execute(sa.insert(order_link).values(identifier_id=patient.row, **closed, **content))


def _contradictable(link: _Link, fact: OrderFact, patient: Known) -> bool:
    """Whether the fact would replace what the link says: another patient, or the same study of this one."""
    return link.person_id != patient.person_key or _one_study(link, fact)


def _last_said(link: _Link) -> int:
    """Number of the last inbox frame that spoke of the link; 0 for links of old releases and of other sources."""
    return max(link.seq or 0, link.closed_seq or 0)


def _links(c: sa.Connection, fact: OrderFact) -> list[_Link]:
    """Links that speak of the same order: by accession number, and by Study UID where one side has no number."""
    by_study = _o.study_uid == fact.study_uid
    if fact.accession:
        by_study = sa.and_(by_study, _o.accession == "")
    named = [
        rule for value, rule in ((fact.accession, _o.accession == fact.accession), (fact.study_uid, by_study)) if value
    ]
    wanted = (
        sa.select(order_link, _i.person_id, _i.namespace, _i.universal_id)
        .join_from(order_link, person_identifier, _i.id == _o.identifier_id)
        .where(sa.or_(*named))
        .order_by(_o.id)
    )
    return list(c.execute(wanted).all())


def _issued_alike(link: _Link, patient: Known) -> bool:
    """Whether the link was stated by the patient's issuer: two hospitals may use one accession number."""
    authority = AssigningAuthority(namespace=link.namespace, universal_id=link.universal_id)
    return same_issuer(authority, patient.identifier.authority)


def _one_study(link: _Link, fact: OrderFact) -> bool:
    """Whether both can be one study: an accession number may stand for several."""
    return not link.study_uid or not fact.study_uid or link.study_uid == fact.study_uid


def _says(link: _Link, fact: OrderFact) -> bool:
    """Whether the link holds everything that the fact states."""
    return all(getattr(fact, name) in ("", getattr(link, name)) for name in _CONTENT)


def _close(c: sa.Connection, links: Iterable[_Link], at: dt.datetime, seq: int | None) -> None:
    if ids := [link.id for link in links]:
        c.execute(sa.update(order_link).where(_o.id.in_(ids)).values(superseded_at=at, closed_seq=seq))


def _changes(links: Iterable[_Link]) -> tuple[Change, ...]:
    keys = dict.fromkeys(link.person_id for link in links)
    return tuple(Change(kind=ChangeKind.ORDER, person_key=key) for key in keys)
