"""The dropped files in the ledger: what became of each, how far an import has come, and what a person decided.

    importing -> done | held | rejected        held -> released -> done        held -> rejected
    done -> importing: the same bytes came again after another file of their source

A file is known by the digest of its bytes and of how they are read; its name is nowhere here. Who holds a file raises
the alert in the same transaction, who decides clears it. What a file of a source says holds until one that was made
later says otherwise, so each has its place among them (`made_at`).
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from model.domain import AssigningAuthority, Identifier
from node.facts import VOID_REASONS
from node.store import alerts
from node.store.alert_schema import alert
from node.store.clinical_schema import csv_file, dxa_result, observation, person_identifier
from node.store.engine import Connection
from node.store.errors import NoSuchFile
from node.store.upsert import insert

_t = csv_file.c
_PAGE = 10_000


class CsvState(enum.StrEnum):
    """Where a file stands."""

    IMPORTING = "importing"
    HELD = "held"
    """A person decides."""
    RELEASED = "released"
    """A person decided to take it as it is; it is, or will be, imported."""
    REJECTED = "rejected"
    DONE = "done"


class Overtaken(enum.StrEnum):
    """How far the files of its source that were made later, and are imported, leave a file anything to say."""

    NO = "no"
    """There are none."""
    IN_PART = "in part"
    """It may add what is not known yet."""
    WHOLLY = "wholly"
    """Nothing: it or one of them is a snapshot, and what that lacks is deleted. The source can write another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What is known of a file before it is read."""

    sha256: str
    """Digest of content and reading."""
    source: str = ""
    created: dt.datetime | None = None
    """When its writer says it was made (aware); then this is part of the digest."""
    ordered: bool = True
    """Whether a file that was made later goes before it."""
    snapshot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvFile:
    """One dropped file."""

    id: int
    sha256: str
    """Digest of content and reading."""
    recorded_at: dt.datetime
    """When it was first taken; of bytes that came again after others of their source, when they did."""
    state: str
    rows: int
    bad_rows: int
    reason: str
    """Why it is held or rejected; empty otherwise."""
    source: str
    rows_done: int
    written: int
    deleted: int
    made_at: dt.datetime | None
    """Its place among the files of its source; None where that does not matter."""
    snapshot: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenValue:
    """The key of an observation or a DXA result that stands."""

    key: str
    patient: Identifier
    variable: str
    """Empty for a DXA result."""
    region: str
    """Empty for an observation."""
    code: str
    unit: str
    start_at: dt.datetime
    end_at: dt.datetime
    """As stated by the source."""


def open_file(c: Connection, offered: Offered, at: dt.datetime) -> CsvFile:
    """Take up a file: a new one, one that a crash interrupted, or one that was held or rejected and comes again.

    One that a person released keeps its state. So does one that is done, unless it bears no date and others of its
    source were imported since: by coming again it says that its content holds again.
    """
    # A writer whose clock runs ahead must not hold the future against later files.
    made_at = min(offered.created or at, at) if offered.ordered else None
    taken = {"state": CsvState.IMPORTING, "made_at": made_at, "rows_done": 0}
    new = {"sha256": offered.sha256, "source": offered.source, "snapshot": offered.snapshot, "recorded_at": at}
    c.execute(insert(c, csv_file).values(taken | new | {"rows": 0, "bad_rows": 0}).on_conflict_do_nothing())
    same = _t.sha256 == offered.sha256
    unread = sa.update(csv_file).where(same, _t.state.in_([CsvState.HELD, CsvState.REJECTED]))
    c.execute(unread.values(taken | {"reason": ""}))
    if offered.created is None:
        done = sa.update(csv_file).where(same, _t.state == CsvState.DONE, _t.id != _last_done(offered.source))
        c.execute(done.values(taken | {"recorded_at": at, "written": 0, "deleted": 0}))
    return CsvFile(**c.execute(sa.select(csv_file).where(same)).mappings().one())


def overtaken(c: Connection, file: CsvFile) -> Overtaken:
    """How far imports of files that were made later leave the file anything to say."""
    if file.made_at is None:
        return Overtaken.NO
    later = sa.select(_t.snapshot).where(
        _t.source == file.source, _t.state == CsvState.DONE, _t.made_at > file.made_at, _t.id != file.id
    )
    snapshot = c.execute(later.order_by(_t.snapshot.desc()).limit(1)).scalar_one_or_none()
    if snapshot is None:
        return Overtaken.NO
    return Overtaken.WHOLLY if snapshot or file.snapshot else Overtaken.IN_PART


def advance(c: Connection, file_id: int, *, rows_done: int, written: int) -> None:
    """Note how far the import is, in the transaction that wrote these rows."""
    done = {"rows_done": rows_done, "written": _t.written + written}
    c.execute(sa.update(csv_file).where(_t.id == file_id).values(done))


def take_back(c: Connection, file_id: int, *, written: int) -> None:
    """Count what a snapshot took back, in the transaction that did it."""
    done = {"deleted": _t.deleted + written, "written": _t.written + written}
    c.execute(sa.update(csv_file).where(_t.id == file_id).values(done))


def finish(c: Connection, file_id: int, state: CsvState, *, reason: str = "", rows: int = 0, bad_rows: int = 0) -> None:
    """Record how a file ended: done, held or rejected. The latter two are for a person to see."""
    c.execute(
        sa.update(csv_file).where(_t.id == file_id).values(state=state, reason=reason, rows=rows, bad_rows=bad_rows)
    )
    _clear(c, file_id)
    if state is not CsvState.DONE:
        alerts.raise_alert(c, alerts.AlertKind.QUARANTINED, _subject(file_id), f"{state} {reason}")


def decide(c: Connection, file_id: int, state: CsvState) -> Overtaken:
    """A person releases or rejects a held file. How far later ones leave it anything to say.

    Raises:
        NoSuchFile: there is none of this number, it is not held, or it is to be released and has nothing left to say.

    """
    held = sa.update(csv_file).where(_t.id == file_id, _t.state == CsvState.HELD)
    found = c.execute(held.values(state=state).returning(*_t)).mappings().one_or_none()
    if found is None:
        msg = f"no file {file_id} is held; `osteon csv list --state held` shows those that are"
        raise NoSuchFile(msg)
    left = overtaken(c, CsvFile(**found))
    if state is CsvState.RELEASED and left is Overtaken.WHOLLY:
        msg = (
            f"file {file_id} cannot be released: a file of its source that was made later is imported, and one of the "
            f"two is a snapshot; `osteon csv reject {file_id}`, and let the source write a new file"
        )
        raise NoSuchFile(msg)
    _clear(c, file_id)
    return left


def state_of(c: Connection, file_id: int) -> CsvState | None:
    """Where a file stands; None for a number that the ledger does not know."""
    found = c.execute(sa.select(_t.state).where(_t.id == file_id)).scalar_one_or_none()
    return None if found is None else CsvState(found)


def find(c: Connection, *, state: str = "", limit: int = 50) -> tuple[CsvFile, ...]:
    """List files, latest first."""
    wanted = sa.select(csv_file).order_by(_t.recorded_at.desc(), _t.id.desc()).limit(limit)
    if state:
        wanted = wanted.where(_t.state == state)
    return tuple(CsvFile(**row) for row in c.execute(wanted).mappings().all())


def open_values(c: Connection, prefix: str) -> Iterator[OpenValue]:
    """Everything that stands under a key that begins with `prefix` and was not taken back, page by page."""
    for table in (observation, dxa_result):
        last = 0
        while page := c.execute(_page(table, prefix, last)).mappings().all():
            for row in page:
                yield _open_value(row)
            last = page[-1]["id"]


def known(c: Connection, keys: Collection[str]) -> frozenset[str]:
    """Those of these keys under which a value stands or stood, or was taken back."""
    asked = [sa.select(t.c.key).where(t.c.key.in_(list(keys))) for t in (observation, dxa_result) if keys]
    return frozenset(key for wanted in asked for key in c.execute(wanted).scalars())


def observations_at(c: Connection, keys: Collection[str]) -> dict[str, OpenValue]:
    """The observations that stand under these keys and were not taken back."""
    if not keys:
        return {}
    found = c.execute(_standing(observation).where(observation.c.key.in_(list(keys)))).mappings().all()
    return {row["key"]: _open_value(row) for row in found}


def _page(table: sa.Table, prefix: str, after: int) -> sa.Select[tuple[object, ...]]:
    # substr, not LIKE: SQLite's LIKE takes `lab` for `LAB`.
    begins = sa.func.substr(table.c.key, 1, len(prefix)) == prefix
    return _standing(table).where(table.c.id > after, begins).order_by(table.c.id).limit(_PAGE)


def _standing(table: sa.Table) -> sa.Select[tuple[object, ...]]:
    is_dxa = table is dxa_result
    empty = sa.literal("")
    i = person_identifier.c
    return (
        sa.select(
            table.c.id,
            table.c.key,
            i.value.label("patient_id"),
            i.namespace,
            i.universal_id,
            i.universal_id_type,
            (empty if is_dxa else table.c.variable).label("variable"),
            (table.c.region if is_dxa else empty).label("region"),
            (empty if is_dxa else table.c.code).label("code"),
            (empty if is_dxa else table.c.unit).label("unit"),
            (table.c.observed_at if is_dxa else table.c.start_at).label("start_at"),
            (table.c.observed_at if is_dxa else table.c.stated_end_at).label("end_at"),
        )
        .join_from(table, person_identifier, i.id == table.c.identifier_id)
        .where(table.c.superseded_at.is_(None), table.c.reason.not_in(sorted(VOID_REASONS)))
    )


def _open_value(row: sa.RowMapping) -> OpenValue:
    values = dict(row)
    del values["id"]
    issuer = {name: values.pop(name) for name in ("namespace", "universal_id", "universal_id_type")}
    patient = Identifier(value=values.pop("patient_id"), authority=AssigningAuthority(**issuer))
    return OpenValue(patient=patient, **values)


def _last_done(source: str) -> sa.ScalarSelect[int]:
    """The number of the import of this source that holds against all others."""
    done = sa.select(_t.id).where(_t.source == source, _t.state == CsvState.DONE)
    place = sa.func.coalesce(_t.made_at, _t.recorded_at)
    return done.order_by(place.desc(), _t.id.desc()).limit(1).scalar_subquery()


def _subject(file_id: int) -> str:
    return f"file {file_id}"


def _clear(c: Connection, file_id: int) -> None:
    wanted = sa.select(alert.c.id).where(
        alert.c.kind == alerts.AlertKind.QUARANTINED,
        alert.c.subject == _subject(file_id),
        alert.c.cleared_at.is_(None),
    )
    for alert_id in c.execute(wanted).scalars().all():
        alerts.clear(c, alert_id)
