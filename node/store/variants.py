"""Frozen objects that not every destination gets: the SR in another SOP class, and rejection notes.

Frozen once, before the first send, like every object of the outbox: a retry sends the same bytes, after a restart too.
"""

from __future__ import annotations

import datetime as dt
import hashlib

import sqlalchemy as sa

from node.store.delivery_schema import outbox_variant
from node.store.engine import Connection
from node.store.errors import DamagedObject
from node.store.report_objects import Freezable, OutboxObject
from node.store.upsert import add_missing

_t = outbox_variant.c


def freeze(c: Connection, case_id: int, version: int, item: Freezable) -> None:
    """Fix one object. One with the same UID that is frozen already stays, also when `item` differs."""
    row = {
        "sop_instance_uid": item.sop_instance_uid,
        "case_id": case_id,
        "version": version,
        "kind": item.kind,
        "sop_class_uid": item.sop_class_uid,
        "sha256": hashlib.sha256(item.part10).hexdigest(),
        "part10": item.part10,
        "frozen_at": dt.datetime.now(dt.UTC),
    }
    add_missing(c, outbox_variant, [row])


def find(c: Connection, sop_instance_uid: str) -> OutboxObject | None:
    """Return a frozen variant with its bytes.

    Raises:
        DamagedObject: they no longer have their digest.

    """
    row = c.execute(_FIND, {"uid": sop_instance_uid}).mappings().first()
    if row is None:
        return None
    if hashlib.sha256(row["part10"]).hexdigest() != row["sha256"]:
        msg = f"object {sop_instance_uid} does not have the digest it was frozen with"
        raise DamagedObject(msg)
    return OutboxObject(**row)


_FIND = sa.select(_t.kind, _t.sop_class_uid, _t.sop_instance_uid, _t.sha256, _t.part10).where(
    _t.sop_instance_uid == sa.bindparam("uid")
)
"""Built once: to build a statement costs more than to run it."""
