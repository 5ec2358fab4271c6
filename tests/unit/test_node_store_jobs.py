from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa

from node.store import jobs
from node.store.engine import Connection, Ledger
from node.store.errors import LostLease
from node.store.jobs import Task
from node.store.owners import is_gone, new_owner
from node.store.schema import task as table

LONG = 60.0


def add(ledger: Ledger, key: str = "1", *, delay: float = 0.0, lane: str = "infer") -> bool:
    with ledger.begin() as c:
        return jobs.enqueue(c, "advance", key, lane=lane, delay=delay, payload={"v": 1})


def take(ledger: Ledger, limit: int = 1, *, owner: str = "me", lease: float = LONG) -> tuple[Task, ...]:
    with ledger.begin() as c:
        return jobs.claim(c, "infer", limit, owner=owner, lease=lease)


def seen(ledger: Ledger, key: str = "1") -> Task:
    with ledger.read() as c:
        found = jobs.get(c, "advance", key)
    assert found is not None
    return found


def enqueue_and_break(c: Connection) -> None:
    jobs.enqueue(c, "advance", "1", lane="infer")
    raise ZeroDivisionError


def enqueue_and_checkpoint(c: Connection, task: Task) -> None:
    jobs.enqueue(c, "deliver", "1", lane="net:pacs")
    jobs.checkpoint(c, task)


def let_lease_end(ledger: Ledger) -> None:
    """Bring a lease to its end without waiting for it."""
    with ledger.begin() as c:
        c.execute(sa.update(table).where(table.c.state == "doing").values(lease_until=time.time() - 1))


def make_due(ledger: Ledger) -> None:
    with ledger.begin() as c:
        c.execute(sa.update(table).where(table.c.state == "todo").values(due_at=time.time() - 1))


def test_enqueue_is_idempotent_and_says_whether_it_was_new(ledger: Ledger):
    assert add(ledger) is True
    assert add(ledger, lane="other") is False
    found = seen(ledger)
    assert (found.lane, found.state, found.payload, found.attempts) == ("infer", "todo", {"v": 1}, 0)


def test_a_task_of_a_rolled_back_transaction_does_not_exist(ledger: Ledger):
    with pytest.raises(ZeroDivisionError), ledger.begin() as c:
        enqueue_and_break(c)
    assert take(ledger) == ()


def test_claim_takes_due_tasks_of_its_lane_oldest_first(ledger: Ledger):
    for key in ("1", "2", "3"):
        add(ledger, key)
    add(ledger, "later", delay=LONG)
    add(ledger, "elsewhere", lane="net:pacs")
    with ledger.read() as c:
        assert jobs.any_due(c, "infer")
        assert not jobs.any_due(c, "hl7")
    assert [task.key for task in take(ledger, 2)] == ["1", "2"]
    assert [task.key for task in take(ledger, 5)] == ["3"]
    assert take(ledger, 5) == ()
    assert take(ledger, 0) == ()
    with ledger.read() as c:
        assert not jobs.any_due(c, "infer")


def test_finish_ends_a_task_for_good(ledger: Ledger):
    add(ledger)
    (task,) = take(ledger)
    assert (task.attempts, task.crashes, task.fence, task.state) == (1, 1, 1, "doing")
    with ledger.begin() as c:
        assert jobs.finish(c, task)
    assert seen(ledger).state == "done"
    assert add(ledger) is False
    assert take(ledger) == ()


def test_an_expired_lease_is_taken_over_and_the_stale_completion_is_dropped_whole(ledger: Ledger):
    add(ledger)
    (first,) = take(ledger, owner="slow")
    let_lease_end(ledger)
    (second,) = take(ledger, owner="quick")
    assert (second.fence, second.attempts, second.crashes) == (2, 1, 2)
    for stale in (jobs.finish, lambda c, t: jobs.retry_later(c, t, after=0, reason="r")):
        with ledger.begin() as c:
            assert stale(c, first) is False
    for stale in (jobs.fail, jobs.bury):
        with ledger.begin() as c:
            assert stale(c, first, error="e") is False
    assert seen(ledger).state == "doing"
    with ledger.begin() as c:
        assert jobs.finish(c, second) is True
    assert (seen(ledger).state, seen(ledger).crashes) == ("done", 0)


def test_a_completion_whose_answer_was_lost_does_not_count_twice(ledger: Ledger):
    add(ledger)
    (task,) = take(ledger)
    with ledger.begin() as c:
        assert jobs.finish(c, task)
    with ledger.begin() as c:
        assert not jobs.finish(c, task)


def test_checkpoint_undoes_the_transaction_of_a_worker_that_lost_its_lease(ledger: Ledger):
    add(ledger)
    (first,) = take(ledger)
    with ledger.begin() as c:
        jobs.checkpoint(c, first)
    let_lease_end(ledger)
    take(ledger, owner="other")
    with pytest.raises(LostLease, match=f"task {first.id} "), ledger.begin() as c:
        enqueue_and_checkpoint(c, first)
    with ledger.read() as c:
        assert jobs.get(c, "deliver", "1") is None


def test_a_heartbeat_keeps_a_lease_and_gives_none_back(ledger: Ledger):
    add(ledger)
    (first,) = take(ledger)
    let_lease_end(ledger)
    with ledger.begin() as c:
        jobs.renew(c, [first], lease=LONG)
    assert take(ledger, owner="other") == ()
    let_lease_end(ledger)
    (second,) = take(ledger, owner="other")
    let_lease_end(ledger)
    with ledger.begin() as c:
        jobs.renew(c, [first], lease=LONG)
    (third,) = take(ledger, owner="third")
    assert (second.fence, third.fence) == (2, 3)


def test_retry_waits_and_is_no_failure(ledger: Ledger):
    add(ledger)
    for _ in range(20):
        make_due(ledger)
        (task,) = take(ledger)
        with ledger.begin() as c:
            assert jobs.retry_later(c, task, after=LONG, reason="archive is down")
        assert take(ledger) == ()
    found = seen(ledger)
    assert (found.state, found.attempts, found.crashes, found.error) == ("todo", 0, 0, "archive is down")
    assert found.due_at > time.time()


def test_eight_errors_are_the_end(ledger: Ledger):
    add(ledger)
    spent = []
    for _ in range(8):
        make_due(ledger)
        (task,) = take(ledger)
        spent.append(jobs.exhausted(task))
        with ledger.begin() as c:
            assert jobs.fail(c, task, error="KeyError")
        assert take(ledger) == ()
    assert spent == [False] * 7 + [True]


def test_crashes_are_counted_at_the_claim_and_are_no_errors(ledger: Ledger):
    add(ledger)
    counted = []
    for _ in range(4):
        (task,) = take(ledger)
        counted.append((task.crashes, task.attempts))
        let_lease_end(ledger)
    assert counted == [(1, 1), (2, 1), (3, 1), (4, 1)]


def test_a_completed_round_forgets_crashes(ledger: Ledger):
    add(ledger)
    take(ledger)
    let_lease_end(ledger)
    (task,) = take(ledger)
    with ledger.begin() as c:
        jobs.retry_later(c, task, after=0, reason="not yet")
    (task,) = take(ledger)
    assert (task.crashes, task.attempts) == (1, 1)


def test_touch_adds_a_missing_task_and_moves_a_waiting_one(ledger: Ledger):
    with ledger.begin() as c:
        jobs.touch(c, "advance", "1", lane="infer", delay=LONG)
    assert take(ledger) == ()
    with ledger.begin() as c:
        jobs.touch(c, "advance", "1", lane="infer")
    assert [task.key for task in take(ledger)] == ["1"]


def test_touch_all_touches_each_by_its_delay(ledger: Ledger):
    add(ledger)
    with ledger.begin() as c:
        jobs.touch_all(c, "advance", {}, lane="infer")
        jobs.touch_all(c, "advance", {"1": LONG, "2": 0.0, "3": 0.0}, lane="infer")
    assert sorted(task.key for task in take(ledger, 3)) == ["2", "3"]
    assert seen(ledger).state == "todo"


@pytest.mark.parametrize("end", ["done", "dead"])
def test_touch_opens_an_ended_task_with_fresh_counters(ledger: Ledger, end: str):
    add(ledger)
    (task,) = take(ledger)
    with ledger.begin() as c:
        assert jobs.finish(c, task) if end == "done" else jobs.bury(c, task, error="e")
        jobs.touch(c, "advance", "1", lane="infer")
    (again,) = take(ledger)
    assert (again.attempts, again.crashes, again.fence) == (1, 1, 2)


@pytest.mark.parametrize("call", ["touch", "poke"])
def test_what_happens_while_a_task_is_done_makes_it_go_round_again(ledger: Ledger, call: str):
    add(ledger)
    (task,) = take(ledger)
    with ledger.begin() as c:
        if call == "poke":
            assert jobs.poke(c, "advance", "1")
        else:
            jobs.touch(c, "advance", "1", lane="infer", delay=LONG)
    assert seen(ledger).state == "doing"
    assert take(ledger) == ()
    with ledger.begin() as c:
        assert jobs.finish(c, task)
    (again,) = take(ledger)
    with ledger.begin() as c:
        assert jobs.finish(c, again)
    assert seen(ledger).state == "done"


def test_a_poke_between_the_look_and_the_wait_is_not_lost(ledger: Ledger):
    """The data arrive after the handler looked for them and before it said Retry: it must look again at once."""
    add(ledger)
    (task,) = take(ledger)
    with ledger.begin() as c:
        jobs.poke(c, "advance", "1")
    with ledger.begin() as c:
        jobs.retry_later(c, task, after=LONG, reason="waits for clinical data")
    assert len(take(ledger)) == 1


def test_poke_makes_a_waiting_task_due_and_leaves_an_ended_one(ledger: Ledger):
    add(ledger, delay=LONG)
    with ledger.begin() as c:
        assert jobs.poke(c, "advance", "1")
        assert not jobs.poke(c, "advance", "unknown")
    (task,) = take(ledger)
    with ledger.begin() as c:
        jobs.finish(c, task)
        assert not jobs.poke(c, "advance", "1")
    assert take(ledger) == ()


def test_only_a_person_takes_up_a_dead_task(ledger: Ledger):
    add(ledger)
    (task,) = take(ledger)
    with ledger.begin() as c:
        assert not jobs.operator_retry(c, task.id)
        assert jobs.bury(c, task, error="gave up")
    assert take(ledger) == ()
    with ledger.read() as c:
        assert [(dead.key, dead.error) for dead in jobs.dead_tasks(c)] == [("1", "gave up")]
        assert jobs.count_by_state(c) == {("infer", "dead"): 1}
    with ledger.begin() as c:
        assert jobs.operator_retry(c, task.id)
        assert not jobs.operator_retry(c, task.id)
    (again,) = take(ledger)
    assert (again.attempts, again.crashes) == (1, 1)


def test_a_slot_key_runs_once_with_two_schedulers(ledger: Ledger):
    won = []

    def fire() -> None:
        for slot in range(10):
            with ledger.begin() as c:
                won.append(jobs.enqueue(c, "periodic", f"sweep:{slot}", lane="housekeeping"))

    threads = [threading.Thread(target=fire) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 10 + [True] * 10


def test_eight_claimers_never_exceed_their_limit_nor_share_a_task(ledger: Ledger):
    for number in range(60):
        add(ledger, str(number))
    taken: list[tuple[Task, ...]] = []

    def claim_until_empty(owner: str) -> None:
        while claimed := take(ledger, 3, owner=owner):
            taken.append(claimed)

    threads = [threading.Thread(target=claim_until_empty, args=(f"owner{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while claimed := take(ledger, 3):  # SKIP LOCKED may leave a row to nobody at the very end; the next look takes it
        taken.append(claimed)
    assert max(len(claimed) for claimed in taken) <= 3
    assert sorted(int(task.key) for claimed in taken for task in claimed) == list(range(60))


def test_leases_of_dead_processes_of_this_host_end_at_start(ledger: Ledger):
    script = "from node.store.owners import new_owner; print(new_owner())"
    gone = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()
    for key in ("dead", "alive", "elsewhere"):
        add(ledger, key)
    owners = (gone, new_owner(), f"another-host/{os.getpid()}/0/abcd")
    for owner in owners:
        take(ledger, owner=owner)
    with ledger.begin() as c:
        assert jobs.release_dead_owners(c) == 1
    (task,) = take(ledger, 5)
    assert (task.key, task.crashes, task.fence) == ("dead", 2, 2)


def test_a_reused_process_number_is_not_mistaken_for_its_first_owner():
    host, pid, started, nonce = new_owner().rsplit("/", 3)
    assert (host, int(pid)) == (socket.gethostname()[:60], os.getpid())
    assert not is_gone(f"{host}/{pid}/{started}/{nonce}")
    ticks, boot = started.split("-")  # of the host, so that a clock that is set kills nobody
    assert is_gone(f"{host}/{pid}/{int(ticks) - 100}-{boot}/{nonce}")
    assert is_gone(f"{host}/{pid}/{ticks}-another/{nonce}")
    assert not is_gone("somebody")
