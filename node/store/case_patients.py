"""Which cases a clinical message may concern. A hint for waking them, never a match: matching is `node.matching`'s."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from node.store.engine import Connection
from node.store.schema import case_patient


def register(c: Connection, case_id: int, patient_ids: Iterable[str]) -> None:
    """Remember the identifier values of a new case, in the transaction that opens it.

    Without leading zeros as well: that is how an issuer's normaliser may have stored them (`node.issuers`). And without
    NULs, which PostgreSQL takes in no text.
    """
    values = [value.replace("\0", "") for value in patient_ids]
    forms = {form[:64] for value in values for form in (value, value.strip().lstrip("0")) if form}
    rows = [{"case_id": case_id, "patient_id": form} for form in sorted(forms)]
    if rows:
        c.execute(sa.insert(case_patient), rows)
