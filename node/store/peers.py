"""Who came to the Storage SCP and how it ended, counted: one row per (calling AE, called AE, address, outcome).

Written in batches, a few rows per second at most, by `node.contacts`. A scanner can send any number of titles, so the
table keeps the rows that were touched last and forgets the others.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from node.store.engine import Connection
from node.store.reception_schema import peer_contact
from node.store.upsert import insert

KEPT_ROWS = 2000
"""A large hospital has a few hundred (sender, outcome) pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How often one caller met one outcome."""

    calling_ae: str
    """As sent, non-printable characters escaped; empty when no title was said."""
    called_ae: str
    address: str
    outcome: str
    count: int
    first_at: dt.datetime
    last_at: dt.datetime


def add(c: Connection, contacts: Iterable[Contact]) -> None:
    """Add the counts to what is known, and forget the oldest rows beyond `KEPT_ROWS`."""
    rows = [asdict(contact) for contact in contacts]
    if not rows:
        return
    statement = insert(c, peer_contact)
    more = {"count": peer_contact.c.count + statement.excluded.count, "last_at": statement.excluded.last_at}
    key = ["calling_ae", "called_ae", "address", "outcome"]
    c.execute(statement.on_conflict_do_update(index_elements=key, set_=more), rows)
    newest = sa.select(peer_contact.c.id).order_by(peer_contact.c.last_at.desc(), peer_contact.c.id.desc())
    c.execute(sa.delete(peer_contact).where(peer_contact.c.id.in_(newest.offset(KEPT_ROWS))))


def listed(c: Connection) -> tuple[Contact, ...]:
    """Every contact, the latest first."""
    rows = c.execute(sa.select(peer_contact).order_by(peer_contact.c.last_at.desc(), peer_contact.c.id)).mappings()
    return tuple(Contact(**{name: row[name] for name in Contact.__dataclass_fields__}) for row in rows.all())
