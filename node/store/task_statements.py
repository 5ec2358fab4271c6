"""What every task costs the ledger, as statements built once: to build one takes longer than to run it (measured).

Values that differ from run to run are bound under names that begin with `b_`. What a statement means for a task stands
in `node.store.jobs`, its one user.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from node.store.schema import task as t
from node.store.upsert import insert_into

Later = sa.BindParameter[Any]
"""A value that a statement is given when it is run."""

RELEASED: Final = {"lease_until": None, "owner": None, "crashes": 0, "hinted_at": None}


def ours(task_id: int | Later, fence: int | Later) -> sa.ColumnElement[bool]:
    """The fence; and `doing`, so that a completion whose commit was answered by silence does not count twice."""
    return sa.and_(t.c.id == task_id, t.c.fence == fence, t.c.state == "doing")


def claimable(now: float | Later) -> sa.ColumnElement[bool]:
    """Condition for a task that a claim may take at `now`, seconds since 1970."""
    free = sa.or_(t.c.lease_until.is_(None), t.c.lease_until < now)
    # Literals, so that both databases can prove the partial index covers the query.
    return sa.and_(t.c.state.in_([sa.literal_column("'todo'"), sa.literal_column("'doing'")]), t.c.due_at <= now, free)


_DUE: Final = (
    sa.select(t.c.id).where(t.c.lane == sa.bindparam("b_lane"), claimable(sa.bindparam("b_now"))).order_by(t.c.due_at)
)
"""In the order of the partial index and no further. Else PostgreSQL reads all that is due to sort it or, where any row
will do, the table from its beginning, where the done ones lie."""


def _claim() -> sa.Executable:
    now: Later = sa.bindparam("b_now")
    limit: Later = sa.bindparam("b_limit", type_=sa.Integer)
    # A CTE: PostgreSQL may run a plain IN (SELECT ... LIMIT n FOR UPDATE SKIP LOCKED) twice and exceed n.
    picked = _DUE.limit(limit).with_for_update(skip_locked=True).cte("picked")
    came_back = t.c.state == "todo"  # a task found in `doing` crashed: counted below, and no error of its own
    statement = sa.update(t).where(t.c.id.in_(sa.select(picked.c.id)))
    return statement.values(
        state="doing",
        lease_until=sa.bindparam("b_until"),
        owner=sa.bindparam("b_owner"),
        attempts=t.c.attempts + sa.case((came_back, 1), else_=0),
        crashes=t.c.crashes + 1,
        fence=t.c.fence + 1,
        updated_at=now,
    ).returning(t)


@cache
def touching(dialect: str) -> sa.Insert:
    """Adds a task, or changes the one of its kind and key by what the new row says; for the database of that name."""
    new = insert_into(dialect, t)
    busy = t.c.state == "doing"
    reopened = sa.or_(t.c.state == "done", t.c.state == "dead")  # no IN: it could not be run for many rows at once
    changes = {
        "due_at": sa.case((busy, new.excluded.updated_at), else_=new.excluded.due_at),
        "state": sa.case((busy, "doing"), else_="todo"),
        "attempts": sa.case((reopened, 0), else_=t.c.attempts),
        "crashes": sa.case((reopened, 0), else_=t.c.crashes),
        "lane": new.excluded.lane,
        "hinted_at": None,
        "updated_at": new.excluded.updated_at,
    }
    return new.on_conflict_do_update(index_elements=["kind", "key"], set_=changes)


_DUE_MOVED: Final = t.c.due_at != sa.bindparam("b_due")
_HELD: Final = sa.update(t).where(ours(sa.bindparam("b_id"), sa.bindparam("b_fence")))

ANY_DUE: Final = _DUE.limit(1)
CLAIM: Final = _claim()
CHECKPOINT: Final = _HELD.values(fence=t.c.fence)
"""Changes nothing: it holds the row. A new `updated_at` would hide from `clock_jump` that the due time is another's."""
MOVED: Final = sa.select(_DUE_MOVED).where(t.c.id == sa.bindparam("b_id"))
FINISH: Final = _HELD.values(
    RELEASED
    | {
        "state": sa.case((_DUE_MOVED, "todo"), else_="done"),
        # Round again at once, whatever clock moved it: that one may have been ahead.
        "due_at": sa.case((_DUE_MOVED, sa.bindparam("b_now")), else_=t.c.due_at),
        "attempts": 0,
        "error": None,
        "updated_at": sa.bindparam("b_now"),
    }
)
WAIT: Final = _HELD.values(
    RELEASED
    | {
        "state": "todo",
        "due_at": sa.case((_DUE_MOVED, sa.bindparam("b_now")), else_=sa.bindparam("b_after")),
        "attempts": sa.bindparam("b_attempts"),
        "error": sa.bindparam("b_error"),
        "updated_at": sa.bindparam("b_now"),
    }
)
