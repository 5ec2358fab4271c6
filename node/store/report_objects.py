"""Report objects with their bytes, fixed before the first send.

A report that is sent twice is byte-identical, so the second is the archive's duplicate and never a second finding.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import sqlalchemy as sa

from node.case import ReportObject
from node.store.cases import lock_case
from node.store.delivery_schema import outbox_variant
from node.store.engine import Connection
from node.store.errors import DamagedObject
from node.store.schema import outbox_object


class Freezable(Protocol):
    """A built object as `dicom_io.results` gives it."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def sop_class_uid(self) -> str: ...  # noqa: D102
    @property
    def sop_instance_uid(self) -> str: ...  # noqa: D102
    @property
    def part10(self) -> bytes: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxObject:
    """One frozen object; `part10` is the DICOM file (PS3.10) that is sent, always the same bytes."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    sha256: str
    part10: bytes = field(repr=False)


def freeze_once(c: Connection, case_id: int, version: int, objects: Sequence[Freezable]) -> tuple[ReportObject, ...]:
    """Fix the objects of a report version in the order of sending; the SR last.

    A second call changes nothing and returns what is frozen, also when `objects` differ.

    Raises:
        NoSuchCase: the case is unknown.

    """
    lock_case(c, case_id)
    if already := frozen(c, case_id, version):
        return already
    now = dt.datetime.now(dt.UTC)
    rows = [
        {"case_id": case_id, "version": version, "position": position, "frozen_at": now, "part10": item.part10}
        | {"kind": item.kind, "sop_class_uid": item.sop_class_uid, "sop_instance_uid": item.sop_instance_uid}
        | {"sha256": hashlib.sha256(item.part10).hexdigest()}
        for position, item in enumerate(objects)
    ]
    if rows:
        c.execute(sa.insert(outbox_object), rows)
    return frozen(c, case_id, version)


def frozen(c: Connection, case_id: int, version: int) -> tuple[ReportObject, ...]:
    """The frozen objects of a version without their bytes, in the order of sending."""
    rows = c.execute(_FROZEN, {"case_id": case_id, "version": version}).mappings().all()
    return tuple(ReportObject(**row) for row in rows)


def made_here(c: Connection, sop_instance_uid: str) -> bool:
    """Whether this ledger's node made that object: an archive that routes by study sends it back."""
    return c.execute(_MADE_HERE, {"uid": sop_instance_uid}).first() is not None


def objects(c: Connection, case_id: int, version: int, *, kind: str | None = None) -> tuple[OutboxObject, ...]:
    """Return the frozen objects with their bytes, in the order of sending; `kind`: only those.

    Raises:
        DamagedObject: bytes no longer have their digest.

    """
    wanted = _OBJECTS if kind is None else _OBJECTS_OF_KIND
    rows = c.execute(wanted, {"case_id": case_id, "version": version, "kind": kind}).mappings().all()
    found = tuple(OutboxObject(**row) for row in rows)
    for item in found:
        if hashlib.sha256(item.part10).hexdigest() != item.sha256:
            msg = f"object {item.sop_instance_uid} of case {case_id} does not have the digest it was frozen with"
            raise DamagedObject(msg)
    return found


def whole(c: Connection, case_id: int, version: int) -> bool:
    """Whether every object of the version still has its bytes: retention lets go those of all but the SR."""
    return c.execute(_GONE, {"case_id": case_id, "version": version}).first() is None


# Built once: to build a statement costs more than to run it.
_t = outbox_object.c
_VERSION = _t.case_id == sa.bindparam("case_id"), _t.version == sa.bindparam("version")
_FROZEN = sa.select(_t.kind, _t.sop_class_uid, _t.sop_instance_uid, _t.sha256).where(*_VERSION).order_by(_t.position)
_OBJECTS = _FROZEN.add_columns(_t.part10)
_OBJECTS_OF_KIND = _OBJECTS.where(_t.kind == sa.bindparam("kind"))
_GONE = sa.select(_t.kind).where(*_VERSION, sa.func.length(_t.part10) == 0).limit(1)
_MADE_HERE = sa.union_all(
    *(
        sa.select(uid).where(uid == sa.bindparam("uid"))
        for uid in (_t.sop_instance_uid, outbox_variant.c.sop_instance_uid)
    )
)
