"""What of the ledger's cases may be let go: asked and noted here, carried out by `node.retention`.

What is due is listed first and let go case by case, while people and workers go on. Whoever lets something go
therefore holds the rows of its cases, and asks once more whether it is due.

A case has ended when nothing is open for it: no delivery or message under way or refused, nothing for a person to look
at, no news to weigh. What is only cancelled or given up by a person does not count as open. A case, its history, its
results and the digests of its objects are never deleted, nor are its SRs: a withdrawal or an amendment, however late,
is made from the SR of every version.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from node.case import Delivered, Failed
from node.store import postgresql
from node.store.cases import lock_case
from node.store.engine import Connection
from node.store.result_schema import result_message
from node.store.schema import delivery, duplicate_instance, outbox_object, screening_case
from node.store.version_schema import image_score

OPEN_DELIVERIES = ("waiting", "sent", "refused")
OPEN_MESSAGES = ("waiting", "refused")
_LIVE_STATES = ("Received", "ImageScored", "Matched", "Screened", "Reported")

_case, _object = screening_case.c, outbox_object.c
_COMPANION = _object.kind != "sr"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptImage:
    """The files of one ended case."""

    case_id: int
    digest: str
    files: tuple[str, ...]
    """Its own first, then other bytes that came under its UID."""


def images_due(
    c: Connection, *, ended_before: dt.datetime, failed_before: dt.datetime, after: int, limit: int
) -> tuple[KeptImage, ...]:
    """Images whose time is over, of cases numbered beyond `after`, in their order."""
    wanted = _images_over(ended_before, failed_before).where(_case.id > after)
    return _kept_images(c, wanted.order_by(_case.id).limit(limit))


def note_image_gone(
    c: Connection, image: KeptImage, at: dt.datetime, *, ended_before: dt.datetime, failed_before: dt.datetime
) -> bool:
    """Note that the files of a case go, its image's scores with them; the caller deletes them before the commit.

    False, and nothing is noted, where they are to stay: the case was taken up again since it was listed, or has other
    files by now. Periods as for `images_due`.
    """
    # A mount may stall in the deletion. Were the lock gone before the file, another host that receives the same bytes
    # would say that they are kept.
    postgresql.without_limits(c)
    lock_case(c, image.case_id)
    if _kept_images(c, _images_over(ended_before, failed_before).where(_case.id == image.case_id)) != (image,):
        return False
    c.execute(sa.update(screening_case).where(_case.id == image.case_id).values(image_purged_at=at))
    c.execute(sa.delete(image_score).where(image_score.c.digest == image.digest))
    return True


def reports_due(c: Connection, *, ended_before: dt.datetime, after: int, limit: int) -> tuple[int, ...]:
    """Cases numbered beyond `after` whose pages and other companions are older than their time."""
    wanted = _reports_over(ended_before).where(_case.id > after)
    return tuple(c.execute(wanted.order_by(_case.id).limit(limit)).scalars().all())


def empty_reports(c: Connection, case_ids: Sequence[int], *, ended_before: dt.datetime) -> int:
    """Let go the bytes of pages and other companions; UIDs and digests stay, and so do all SRs. Of how many cases.

    Of these only where it is due still, as `reports_due` says it: a version that was made since it was listed is yet to
    be sent. A case that somebody else has in hand is left for the next time.
    """
    held = sa.select(_case.id).where(_case.id.in_(case_ids)).with_for_update(skip_locked=True)
    rows = c.execute(held).scalars().all()
    # A statement of its own: it sees what was committed until the rows were held (PostgreSQL, READ COMMITTED).
    due = c.execute(_reports_over(ended_before).where(_case.id.in_(rows))).scalars().all()
    c.execute(sa.update(outbox_object).where(_object.case_id.in_(due), _COMPANION).values(part10=b""))
    return len(due)


def _images_over(ended_before: dt.datetime, failed_before: dt.datetime) -> sa.Select[int, str, str]:
    failed = _case.state == Failed.__name__
    over = sa.or_(
        sa.and_(failed, _case.updated_at < failed_before),
        sa.and_(sa.not_(failed), _case.state.not_in(_LIVE_STATES), _case.updated_at < ended_before),
    )
    wanted = sa.select(_case.id, _case.digest, _case.spool_file)
    return wanted.where(_case.image_purged_at.is_(None), over, *_nothing_open())


def _reports_over(ended_before: dt.datetime) -> sa.Select[int]:
    kept = sa.exists().where(_object.case_id == _case.id, _COMPANION, sa.func.length(_object.part10) > 0)
    over = sa.and_(_case.state.not_in(_LIVE_STATES), _case.updated_at < ended_before)
    return sa.select(_case.id).where(over, kept, *_nothing_open())


def _kept_images(c: Connection, wanted: sa.Select[int, str, str]) -> tuple[KeptImage, ...]:
    rows = c.execute(wanted).all()
    others = _other_files(c, [row.id for row in rows])
    return tuple(
        KeptImage(case_id=row.id, digest=row.digest, files=(row.spool_file, *others.get(row.id, ()))) for row in rows
    )


def _nothing_open() -> tuple[sa.ColumnElement[bool], ...]:
    deliveries = sa.exists().where(delivery.c.case_id == _case.id, delivery.c.state.in_(OPEN_DELIVERIES))
    messages = sa.exists().where(result_message.c.case_id == _case.id, result_message.c.state.in_(OPEN_MESSAGES))
    # News about a case without a report is never weighed; it must not keep the image for ever.
    news = sa.or_(_case.stirred_at.is_not(None), _case.amend_asked.is_not(None))
    asked = sa.and_(_case.state == Delivered.__name__, news)
    return _case.review == "", sa.not_(asked), sa.not_(deliveries), sa.not_(messages)


def _other_files(c: Connection, case_ids: Sequence[int]) -> dict[int, list[str]]:
    table = duplicate_instance.c
    wanted = sa.select(table.case_id, table.spool_file).where(
        table.case_id.in_(case_ids), table.spool_file.is_not(None)
    )
    found: dict[int, list[str]] = {}
    for case_id, file in c.execute(wanted.order_by(table.id)):
        found.setdefault(case_id, []).append(file)
    return found
