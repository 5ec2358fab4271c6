"""What was known of a person as of an image, in one statement: the SQL of `model.asof`, which holds the rule.

Not allowed here: a condition or an order of its own. What makes a value usable (status, unit, range, precision) was
judged when it was written.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa

from model import asof
from model.domain import Observation
from node.store.clinical_schema import observation, person_identifier
from node.store.metadata import UtcDateTime

_t = observation.c
_COLUMNS = (_t.id, _t.variable, _t.value, _t.unit, _t.code, _t.source, _t.start_at, _t.end_at)


def observations_as_of(
    c: sa.Connection, person_keys: Iterable[int], question: asof.Question, *, without: Collection[int] = ()
) -> tuple[Observation, ...]:
    """The observation to use per variable among these persons' rows, by `model.asof`; sorted by variable.

    `without`: numbers of observations that are not these persons'.
    """
    groups: dict[float, list[str]] = {}
    for variable, days in question.lookback_days.items():
        groups.setdefault(days, []).append(variable)
    moments = {
        _name(bound, number): question.bound(bound, days) for number, days in enumerate(groups) for bound in asof.Bound
    }
    latest = _latest(tuple(tuple(names) for names in groups.values()), choosy=bool(without))
    rows = c.execute(latest, {"persons": list(person_keys), "without": list(without), **moments}).all()
    return tuple(_domain(row, question.t0) for row in rows)


@functools.lru_cache(maxsize=32)
def _latest(groups: tuple[tuple[str, ...], ...], *, choosy: bool) -> sa.Select[tuple[object, ...]]:
    """The statement for these variables, those of one look-back together. Building it costs more than running it."""
    latest_first = [_t[name].desc() for name in asof.ORDER]
    rank = sa.func.row_number().over(partition_by=_t.variable, order_by=latest_first).label("rank")
    asked_for = [sa.and_(_t.variable.in_(names), *_conditions(number)) for number, names in enumerate(groups)]
    persons: sa.BindParameter[list[int]] = sa.bindparam("persons", expanding=True)
    without: sa.BindParameter[list[int]] = sa.bindparam("without", expanding=True)
    eligible = (
        sa.select(*_COLUMNS, rank)
        .join_from(observation, person_identifier, person_identifier.c.id == _t.identifier_id)
        .where(person_identifier.c.person_id.in_(persons), _t.usable, sa.or_(sa.false(), *asked_for))
        .where(_t.id.not_in(without) if choosy else sa.true())
        .subquery()
    )
    return sa.select(eligible).where(eligible.c.rank == 1).order_by(eligible.c.variable)


def _conditions(number: int) -> Iterable[sa.ColumnElement[bool]]:
    """Every condition of the rule for group `number`."""
    for condition in asof.ELIGIBILITY:
        column = _t[condition.column]
        bound = sa.bindparam(_name(condition.bound, number), type_=UtcDateTime)
        holds: sa.ColumnElement[bool] = condition.holds(column, bound)
        yield sa.or_(column.is_(None), holds) if condition.open_holds else holds


def _name(bound: asof.Bound, number: int) -> str:
    return f"{bound.value}_{number}"


def _domain(row: sa.Row[Any], t0: dt.datetime) -> Observation:
    return Observation(
        variable=row.variable,
        value=row.value,
        unit=row.unit,
        age_days=(t0 - row.end_at).total_seconds() / 86_400,
        observation_id=row.id,
        source=row.source,
        code=row.code,
        observed_at=row.start_at,
    )
