"""Values that came, are kept and are not used, counted by reason: for whoever asks why a variable is not known.

One sender's wrong unit makes all of its values unusable and every report image-only, and nothing else says so.
Codes and numbers only, never a value. What was corrected since, or taken back, is not counted: it is no value any more.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from node.facts import VOID_REASONS
from node.store.clinical_schema import observation, person_identifier
from node.store.engine import Connection
from node.store.feed_remarks import Counted

_t = observation.c
_STANDS_UNUSED = sa.and_(sa.not_(_t.usable), _t.superseded_at.is_(None), _t.reason.not_in(sorted(VOID_REASONS)))


def by_reason(c: Connection) -> tuple[Counted, ...]:
    """Over all persons, the most frequent reason first. It reads the whole table: for a person's question only."""
    first, last = sa.func.min(_t.recorded_at).label("first_at"), sa.func.max(_t.recorded_at).label("last_at")
    wanted = sa.select(_t.reason.label("code"), sa.func.count().label("count"), first, last).where(_STANDS_UNUSED)
    rows = c.execute(wanted.group_by(_t.reason).order_by(sa.func.count().desc(), _t.reason)).mappings()
    return tuple(Counted(**row) for row in rows)


def of_persons(c: Connection, person_keys: Collection[int]) -> dict[str, dict[str, int]]:
    """How many values of these persons stand and are not usable, by variable and coded reason (`facts.Unusable`)."""
    wanted = (
        sa.select(_t.variable, _t.reason, sa.func.count())
        .join_from(observation, person_identifier, person_identifier.c.id == _t.identifier_id)
        .where(person_identifier.c.person_id.in_(person_keys), _STANDS_UNUSED)
        .group_by(_t.variable, _t.reason)
        .order_by(_t.variable, _t.reason)
    )
    found: dict[str, dict[str, int]] = {}
    for variable, reason, count in c.execute(wanted):
        found.setdefault(variable, {})[reason] = count
    return found
