"""Merges between persons: edges `prior -> survivor`, written, listed and taken back.

No row of a patient is rewritten for a merge; so one can be undone, and the same question asked for an earlier moment
gets the answer of that moment. A merge of a person into itself, one that would close a circle and one of a person who
was merged into someone else are refused and raise an alert: following them would be a guess. Contradicting birth dates
are no reason to refuse: the merge stands, is marked, and `node.matching` does not combine the two persons' values.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from node.facts import Change, ChangeKind, MergeFact, MergeKind
from node.names import same_issuer
from node.store.alerts import AlertKind, raise_alert
from node.store.clinical_doubts import rejudge
from node.store.clinical_lock import write_alone
from node.store.clinical_people import People
from node.store.clinical_refusal import Refusal, Refused
from node.store.clinical_schema import person_alias

BIRTH_DATE_DIFFERS = "BIRTH_DATE_DIFFERS"
"""Mark of a merge whose persons' birth dates contradict each other."""

_a = person_alias.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """One edge, by numbers: persons' identifiers stand in `clinical_persons.identifiers_of`."""

    id: int
    prior_person_id: int
    survivor_person_id: int
    kind: MergeKind
    seq: int | None
    """Inbox frame that asked for it."""
    remark: str
    recorded_at: dt.datetime
    undone_at: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge did; nothing when it was known."""

    written: int = 0
    changes: tuple[Change, ...] = ()
    remark: str = ""
    """`BIRTH_DATE_DIFFERS`, else empty."""


def merge(c: sa.Connection, people: People, fact: MergeFact, at: dt.datetime, *, seq: int | None) -> Merged:
    """Read `prior` as `survivor` from now on; an unknown prior gets its alias all the same.

    Raises:
        Refused: SELF_MERGE, MERGE_CYCLE, MERGE_CONFLICT (the prior is merged into someone else), or as `People.known`.

    """
    if fact.prior.value == fact.survivor.value and same_issuer(fact.prior.authority, fact.survivor.authority):
        raise Refused(Refusal.SELF_MERGE)
    prior, survivor = (people.known(i, at).person_key for i in (fact.prior, fact.survivor))
    if prior == survivor:
        return Merged()
    end = people.root(survivor)
    if end == prior:
        raise Refused(Refusal.MERGE_CYCLE)
    if people.root(prior) == end:
        return Merged()
    if people.root(prior) != prior:
        raise Refused(Refusal.MERGE_CONFLICT)
    remark = BIRTH_DATE_DIFFERS if _birth_dates_differ(people, prior, end) else ""
    edge = {
        "prior_person_id": prior,
        "survivor_person_id": survivor,
        "recorded_at": at,
        "kind": fact.kind,
        "seq": seq,
        "remark": remark,
    }
    c.execute(sa.insert(person_alias).values(edge))
    people.merged()
    if fact.kind is MergeKind.CHANGE:
        raise_alert(c, AlertKind.IDENTIFIER_CHANGED, f"person {survivor}", f"person {prior}")
    return Merged(written=1, changes=_both(ChangeKind.MERGED, prior, survivor), remark=remark)


def undo_merge(c: sa.Connection, merge_id: int, at: dt.datetime) -> tuple[Change, ...]:
    """Take a merge back: from `at` (aware) on both persons are read as themselves. Nothing when it does not stand."""
    write_alone(c)
    standing = sa.update(person_alias).where(_a.id == merge_id, _a.undone_at.is_(None)).values(undone_at=at)
    edge = c.execute(standing.returning(_a.prior_person_id, _a.survivor_person_id)).one_or_none()
    if edge is None:
        return ()
    raise_alert(c, AlertKind.MERGE_UNDONE, f"person {edge.survivor_person_id}", f"merge {merge_id}")
    both = edge.prior_person_id, edge.survivor_person_id
    return (*_both(ChangeKind.UNMERGED, *both), *rejudge(c, both, at))


def merges(c: sa.Connection, *, include_undone: bool = False, limit: int = 200) -> tuple[Merge, ...]:
    """List merges, latest first."""
    wanted = sa.select(*(_a[name] for name in Merge.__dataclass_fields__)).order_by(_a.id.desc()).limit(limit)
    if not include_undone:
        wanted = wanted.where(_a.undone_at.is_(None))
    return tuple(Merge(**{**r, "kind": MergeKind(r["kind"])}) for r in c.execute(wanted).mappings().all())


def _birth_dates_differ(people: People, prior: int, survivor: int) -> bool:
    stated = [people.demographics(key) for key in (prior, survivor)]
    dates = {s[0].birth_date for s in stated if s is not None} - {None}
    return len(dates) > 1


def _both(kind: ChangeKind, prior: int, survivor: int) -> tuple[Change, ...]:
    return tuple(Change(kind=kind, person_key=key) for key in (prior, survivor))
