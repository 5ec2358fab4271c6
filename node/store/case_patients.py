"""Which cases a clinical message may concern. A hint for waking them, never a match: matching is `node.matching`'s."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from node.store.engine import Connection
from node.store.schema import case_patient, screening_case


def register(c: Connection, case_id: int, patient_ids: Iterable[str]) -> None:
    """Remember the identifier values of a new case, in the transaction that opens it."""
    rows = [{"case_id": case_id, "patient_id": value[:64]} for value in sorted(set(patient_ids)) if value]
    if rows:
        c.execute(sa.insert(case_patient), rows)


def waiting_for(c: Connection, patient_ids: Iterable[str]) -> tuple[int, ...]:
    """Cases still in Received whose image carries one of these identifier values."""
    wanted = [value[:64] for value in set(patient_ids) if value]
    query = (
        sa.select(case_patient.c.case_id)
        .distinct()
        .join(screening_case, screening_case.c.id == case_patient.c.case_id)
        .where(case_patient.c.patient_id.in_(wanted), screening_case.c.state == "Received")
    )
    return tuple(c.execute(query).scalars().all())
