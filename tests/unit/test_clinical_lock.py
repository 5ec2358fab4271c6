"""Two feeds at once make no patient two, and no image misses what commits while it arrives: on both databases."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from support.csv_drop import Drop, lines, row
from support.hl7 import message, when
from support.hl7 import weight as value
from support.inbox import Ward, ward
from support.reporting import Desk, adt, weight

from model.domain import Mode
from node.case import Reported
from node.csv_intake import LedgerSink
from node.errors import Retry
from node.facts import Change
from node.inbox_consumer import Changed, InboxConsumer
from node.store import clinical, clinical_people, jobs, report_versions, reviews
from node.store import inbox_progress as progress
from node.store.clinical_lock import write_alone
from node.store.clinical_merges import undo_merge
from node.store.clinical_schema import observation, person_demographics, person_identifier
from node.store.clinical_writer import Writer
from node.store.engine import Connection, Ledger, open_ledger
from node.store.inbox import name_of
from node.waking import Waking

PATIENTS = [f"P{number:03d}" for number in range(8)]
AT = when(11)
WAKE = Waking(settle=0.0).by_changes
HELD_SECONDS = 1.0
"""How long a transaction stays open for another one to run into it."""
LIMIT_SECONDS = 60.0


@pytest.fixture
def desk(ledger, tmp_path):
    return Desk(ledger, tmp_path)


class Held:
    """Told in a feed's transaction of what changed: wakes the cases, then keeps the transaction open for a while."""

    def __init__(self) -> None:
        self.told = threading.Event()
        self.release = threading.Event()

    def __call__(self, c: Connection, changes: Sequence[Change]) -> None:
        WAKE(c, changes)
        self.told.set()
        self.release.wait(HELD_SECONDS)


@contextmanager
def running(work: Callable[[], object]) -> Iterator[threading.Thread]:
    """`work` in a thread that is over, and has not failed, when the block ends."""
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield thread
    finally:
        thread.join()
    assert failed == []


def work_off(w: Ward, changed: Changed = WAKE) -> None:
    """Work off all that the inbox holds."""
    InboxConsumer(dataclasses.replace(w.place, changed=changed)).work_off()


def about(patient: str, issuer: str, control: str) -> tuple[bytes, bytes]:
    who = f"PID|1||{patient}^^^{issuer}^MR||FAM{patient}^ANNA^^^^^L||19480312|F"
    event = message("ADT^A08^ADT_A01", "EVN||20250310090000+0000", who, control=f"A{control}")
    height = "OBX|1|NM|8302-2^^LN||1.61|m|||||F|||20250309"
    return event, message("ORU^R01", who, "OBR|1||V1|34565-2^^LN", height, control=f"R{control}")


def file_of(patients: list[str]) -> str:
    return lines(*(row(p, patient_id=p, family_name=f"FAM{p}", given_name="ANNA") for p in patients))


@pytest.mark.parametrize("first", ["file", "messages"])
@pytest.mark.parametrize("issuer", ["HOSP", "HOSP&1.2.276.0.76.4.9&ISO"])
def test_a_file_beside_messages_about_its_patients_makes_no_patient_two(ledger, tmp_path, issuer, first):
    drop, held = Drop(tmp_path / "drop", ledger), Held()
    with ward(ledger) as w:
        w.send(*(frame for n, p in enumerate(PATIENTS) for frame in about(p, issuer, str(n))))
        told = {"file": WAKE, "messages": WAKE, first: held}
        drop.sink = lambda: LedgerSink(ledger, told["file"], now=lambda: drop.at)
        feeds = {"file": lambda: drop(file_of(PATIENTS)), "messages": lambda: work_off(w, told["messages"])}
        with running(feeds.pop(first)):
            assert held.told.wait(LIMIT_SECONDS)
            (other,) = feeds.values()
            other()
        with ledger.read() as c, w.place.inbox.read() as inbox:
            assert progress.held(c, name_of(inbox)) == ()
    assert [file.state for file in drop.imports()] == ["done"]
    assert bearers(ledger) == dict.fromkeys(PATIENTS, 1)
    assert open_versions(ledger) == (len(PATIENTS), 2 * len(PATIENTS))


def bearers(ledger: Ledger) -> dict[str, int]:
    """How many persons bear each number."""
    t = person_identifier.c
    with ledger.read() as c:
        persons = sa.func.count(t.person_id.distinct()).label("persons")
        found = c.execute(sa.select(t.value, persons).group_by(t.value)).all()
    return {one.value: one.persons for one in found}


def open_versions(ledger: Ledger) -> tuple[int, int]:
    """Of demographics and of values; asserts that no slot has two."""
    d, o = person_demographics.c, observation.c
    with ledger.read() as c:
        people = c.execute(sa.select(d.person_id).where(d.superseded_at.is_(None))).scalars().all()
        keys = c.execute(sa.select(o.key).where(o.superseded_at.is_(None))).scalars().all()
    assert len(set(people)) == len(people)
    assert len(set(keys)) == len(keys)
    return len(people), len(keys)


def test_a_frame_replayed_beside_a_later_one_says_nothing_against_it(ledger):
    """Both correct one value of one patient at the same moment."""
    with ledger.begin() as c:
        clinical.apply(c, [value(60.0)], AT, seq=1)
    looked = threading.Event()

    def later() -> None:
        with ledger.begin() as c:
            writer = Writer(c)
            writer.prepare([value(61.0)])
            looked.set()
            threading.Event().wait(HELD_SECONDS)
            writer.apply([value(61.0)], AT, seq=5)
            writer.flush()

    with running(later):
        assert looked.wait(LIMIT_SECONDS)
        with ledger.begin() as c:
            clinical.apply(c, [value(99.0)], AT, seq=4)
    with ledger.read() as c:
        standing = c.execute(
            sa.select(observation.c.value, observation.c.seq).where(observation.c.superseded_at.is_(None))
        )
        assert standing.all() == [(61.0, 5)]


@pytest.mark.parametrize(
    "command", [lambda c: undo_merge(c, 1, AT), lambda c: clinical_people.restore(c, 1)], ids=["unmerge", "restore"]
)
def test_a_persons_command_waits_for_the_feeds(postgres_cluster, command):
    """It wakes cases: none may be read for, and no fact written, that it does not see."""
    ledger = open_ledger(postgres_cluster.blank_ledger(lambda url: open_ledger(url).close()))
    over = threading.Event()

    def by_hand() -> None:
        with ledger.begin() as c:
            command(c)
        over.set()

    with ledger.begin() as c:
        Writer(c)
        thread = threading.Thread(target=by_hand)
        thread.start()
        assert not over.wait(0.5)
    thread.join()
    assert over.is_set()
    ledger.close()


@pytest.mark.parametrize("wait", [600.0, 0.0])
def test_an_image_that_comes_while_its_values_are_being_written_has_them(ledger, tmp_path, wait):
    """They woke whoever was there before; it comes between that and their commit."""
    desk, held = Desk(ledger, tmp_path, tables={"clinical": {"wait": wait}}), Held()
    with ward(ledger, desk.worker().pipeline.settings) as w:
        w.send(adt(), weight())
        with running(lambda: work_off(w, held)):
            assert held.told.wait(LIMIT_SECONDS)
            case_id = desk.receive(waited=0)
            with running(desk.work) as working:
                working.join(HELD_SECONDS / 4)
                held.release.set()
    desk.work()
    case = desk.case(case_id)
    assert isinstance(case, Reported)
    assert case.result.mode is Mode.IMAGE_AND_CLINICAL
    assert desk.worker().pipeline.join(case.source).missing == ()
    with ledger.read() as c:
        assert [v.version for v in report_versions.all_of(c, case_id)] == [1]


def test_a_correction_that_is_being_written_while_news_are_weighed_is_no_late_data(desk):
    """The worker waits for it: what it then compares with must not be what stood before."""
    held = Held()
    with ward(desk.ledger, desk.worker().pipeline.settings) as w:
        w.send(adt(), weight())
        work_off(w)
        case_id = desk.receive()
        desk.work()
        desk.deliver(case_id)
        w.send(weight("61", at="20240215080000+0000"))
        work_off(w)
        with desk.ledger.begin() as c:
            (task,) = jobs.claim(c, "infer", 1, owner="test", lease=60)
        w.send(weight("64", status="C"))
        with running(lambda: work_off(w, held)):
            assert held.told.wait(LIMIT_SECONDS)
            change = desk.worker().advance(task)
    with desk.ledger.begin() as c:
        assert jobs.finish(c, task)
        change(c)
    desk.work()
    with desk.ledger.read() as c:
        assert reviews.pending(c, case_id).review == "CORRECTED"
        assert report_versions.newest(c, case_id) == 1


def test_values_that_take_long_to_be_written_are_no_error_of_the_image_that_waits_for_them(postgres_cluster, tmp_path):
    url = postgres_cluster.blank_ledger(lambda url: open_ledger(url).close())
    ledger = open_ledger(f"{url}?options=-c%20lock_timeout%3D200ms")
    desk = Desk(ledger, tmp_path)
    desk.receive()
    with ledger.begin() as c:
        (task,) = jobs.claim(c, "infer", 1, owner="test", lease=60)
    with ledger.begin() as c:
        write_alone(c)
        with pytest.raises(Retry, match="clinical data are being written"):
            desk.worker().advance(task)
    ledger.close()
