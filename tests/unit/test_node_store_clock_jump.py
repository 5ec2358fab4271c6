"""A clock set back by an hour: work that was written before is due when it would have been, and healed once."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from node.store import clock_jump, jobs
from node.store.engine import Ledger
from node.store.schema import task as t

HOUR = 3600.0


@pytest.fixture
def set_back(ledger: Ledger) -> Ledger:
    """Written an hour in the future: one task due then, one that waits a day, one that is done, one that is held."""
    with ledger.begin() as c:
        for key, delay in (("now", 0.0), ("later", 24 * HOUR), ("done", 0.0), ("held", 0.0)):
            jobs.enqueue(c, "advance", key, lane="infer", delay=delay)
        claimed = {task.key: task for task in jobs.claim(c, "infer", 9, owner="other", lease=60)}
        assert jobs.finish(c, claimed["done"])
        c.execute(sa.update(t).where(t.c.key == "now").values(state="todo", lease_until=None))
        ahead = {"due_at": t.c.due_at + HOUR, "updated_at": t.c.updated_at + HOUR}
        c.execute(sa.update(t).values(ahead | {"lease_until": t.c.lease_until + HOUR}))
    return ledger


def test_what_was_due_is_due_again_and_a_pause_stays_a_pause(set_back: Ledger) -> None:
    with set_back.begin() as c:
        assert jobs.claim(c, "infer", 9, owner="us", lease=60) == ()
        assert clock_jump.heal(c) == 3
        assert [task.key for task in jobs.claim(c, "infer", 9, owner="us", lease=60)] == ["now"]
        later = jobs.get(c, "advance", "later")
        assert later is not None
        assert c.execute(
            sa.select(t.c.due_at - t.c.updated_at).where(t.c.key == "later")
        ).scalar_one() == pytest.approx(24 * HOUR, abs=5)
        assert jobs.being_done(c, "advance", "held")
        lease = c.execute(sa.select(t.c.lease_until - t.c.updated_at).where(t.c.key == "held")).scalar_one()
        assert lease == pytest.approx(60, abs=5)


def test_whoever_comes_second_finds_nothing_to_do(set_back: Ledger) -> None:
    with set_back.begin() as c:
        assert clock_jump.heal(c) == 3
        assert clock_jump.heal(c) == 0


def test_clocks_of_hosts_that_differ_by_seconds_are_no_jump(ledger: Ledger) -> None:
    with ledger.begin() as c:
        jobs.enqueue(c, "advance", "1", lane="infer")
        c.execute(sa.update(t).values(updated_at=t.c.updated_at + 5, due_at=t.c.due_at + 5))
        assert clock_jump.heal(c) == 0


def test_a_clock_that_only_goes_on_was_not_set_back() -> None:
    watch = clock_jump.ClockWatch()
    assert not watch.went_back()
    assert not watch.went_back()


def test_what_a_clock_ahead_asked_for_during_the_work_goes_round_at_once(ledger: Ledger) -> None:
    """A completion after the clock was set back is dated now, and would hide from `heal` when the rest was written."""
    with ledger.begin() as c:
        for key in ("done", "retried"):
            jobs.enqueue(c, "probe", key, lane="probe")
        done, retried = sorted(jobs.claim(c, "probe", 2, owner="us", lease=60), key=lambda task: task.key)
        c.execute(sa.update(t).values(due_at=t.c.due_at + HOUR, updated_at=t.c.updated_at + HOUR))  # touched by another
        assert jobs.finish(c, done)
        assert jobs.retry_later(c, retried, after=60.0, reason="not yet")
        assert {task.key for task in jobs.claim(c, "probe", 2, owner="us", lease=60)} == {"done", "retried"}


def test_a_checkpoint_after_the_clock_was_set_back_does_not_hide_a_lease_of_the_future(ledger: Ledger) -> None:
    with ledger.begin() as c:
        jobs.enqueue(c, "advance", "1", lane="infer")
        (task,) = jobs.claim(c, "infer", 1, owner="other", lease=60)
        ahead = {name: t.c[name] + HOUR for name in ("due_at", "lease_until", "updated_at")}
        c.execute(sa.update(t).values(ahead))
        jobs.checkpoint(c, task)
        assert clock_jump.any_ahead(c)
        assert clock_jump.heal(c) == 1
        assert not clock_jump.any_ahead(c)
