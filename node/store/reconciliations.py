"""What the ledger knows of images that an archive names, and what was found when they were compared."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from node.store.engine import Connection
from node.store.outbox import DeliveryState
from node.store.reconciliation_schema import reconciliation
from node.store.schema import delivery, screening_case
from node.store.upsert import insert

_AT_ONCE: Final = 500
"""Values of one IN list; databases have limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One image the ledger has a case for."""

    case_id: int
    sop_instance_uid: str
    state: str
    reason: str
    """Codes, comma-separated."""
    version: int | None
    """Newest version that the archive is recorded to have; None if it has none."""


def known(c: Connection, instances: Sequence[str], *, archive: str) -> dict[str, Known]:
    """The images among `instances` that were received, by SOP Instance UID."""
    case = screening_case.c
    at_archive = (
        sa.select(delivery.c.case_id, sa.func.max(delivery.c.version).label("version"))
        .where(delivery.c.destination == archive, delivery.c.state == DeliveryState.DELIVERED)
        .group_by(delivery.c.case_id)
        .subquery()
    )
    wanted = sa.select(
        case.id.label("case_id"), case.sop_instance_uid, case.state, case.reason, at_archive.c.version
    ).select_from(screening_case.outerjoin(at_archive, at_archive.c.case_id == case.id))
    found: dict[str, Known] = {}
    for first in range(0, len(instances), _AT_ONCE):
        of = wanted.where(case.sop_instance_uid.in_(instances[first : first + _AT_ONCE]))
        found |= {row["sop_instance_uid"]: Known(**row) for row in c.execute(of).mappings().all()}
    return found


def keep(c: Connection, day: dt.date, archive: str, document: Mapping[str, Any]) -> None:
    """Record the figures of a day."""
    row = {"day": day.isoformat(), "archive": archive}
    values = {"at": dt.datetime.now(dt.UTC), "document": json.dumps(document)}
    statement = insert(c, reconciliation).values(row | values)
    c.execute(statement.on_conflict_do_update(index_elements=list(row), set_=values))


def kept(c: Connection, day: dt.date, archive: str) -> Mapping[str, Any] | None:
    """The figures of a day as they were recorded last."""
    columns = reconciliation.c
    wanted = sa.select(columns.document).where(columns.day == day.isoformat(), columns.archive == archive)
    document = c.execute(wanted).scalar_one_or_none()
    return None if document is None else dict(json.loads(document))
