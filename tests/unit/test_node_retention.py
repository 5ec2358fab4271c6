"""Retention: what has served its time goes, what is open for anybody stays, whatever its age."""

import dataclasses
import datetime as dt
import json
import os
import threading
import time
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from support.ledgers import NOON, scored, source

from config.clinical import Clinical
from config.csv_feed import CsvDrop
from config.retention import Retention
from config.settings import Settings, Storage
from dicom_io.spool import Spool
from model.domain import ImageScore, MatchClass, Reason, Sex
from node.amendment import ReviewCode
from node.audit import AuditTrail
from node.case import Delivered, Failed, NotApplicable, Proof, Reported
from node.delivery_record import begin_deliveries
from node.errors import FailureCode, GiveUp
from node.housekeeping import MEDIANS, RETENTION, Housekeeper, ask_now
from node.retention import Keeper, purge_and_tell
from node.store import alerts, cases, duplicates, image_scores, outbox, report_objects, retention, reviews
from node.store.jobs import claim, finish
from node.store.schema import screening_case
from node.tasks import ADVANCE, HOUSEKEEPING, HOUSEKEEPING_LANE, INFER_LANE

LATER = dt.timedelta(days=400)
IMAGE_SCORE = ImageScore(
    logit=0.5, attention=((1.0,),), region=(0, 0, 10, 10), limitations=(), age_years=70.0, sex=Sex.FEMALE
)


@pytest.fixture
def place(ledger, tmp_path):
    """A ledger and spool with the files of its cases, and a keeper whose clock is 400 days on."""
    spool = Spool(tmp_path / "spool")
    drop = tmp_path / "drop"
    settings = Settings(
        storage=Storage(data_dir=tmp_path),
        clinical=Clinical(csv=CsvDrop(folder=drop)),
        retention=Retention(images=7, failed_images=90, reports=30, csv_files=90, audit=365),
    )

    def keeper(after=LATER):
        return Keeper(ledger=ledger, spool=spool, settings=settings, now=lambda: dt.datetime.now(dt.UTC) + after)

    return SimpleNamespace(ledger=ledger, spool=spool, drop=drop, settings=settings, keeper=keeper)


def case_with_file(place, number, content=b"film"):
    """A received case whose bytes lie in the spool."""
    uid = source(number, study=number).reference.sop_instance_uid
    stored = place.spool.store(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        sop_instance_uid=uid,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        dataset=content,
    )
    received = source(number, study=number, file=stored.file)
    with place.ledger.begin() as c:
        return cases.receive(c, received).case_id, received, place.spool.path(stored.file)


def save(place, case):
    with place.ledger.begin() as c:
        cases.save(c, case)


def delivered(case_id, of):
    return Delivered(
        case_id=case_id,
        source=of,
        match=MatchClass.MATCH_ISSUER,
        result=scored(),
        objects=(),
        proofs=(Proof(destination="pacs", kind="commitment", at=NOON),),
    )


def due(place, after=LATER):
    return {one.kind: one.count for one in place.keeper(after).due()}


def test_the_image_of_an_ended_case_goes_after_its_period_and_not_before(place):
    number, of, file = case_with_file(place, 1)
    save(place, delivered(number, of))
    size = file.stat().st_size
    assert due(place, dt.timedelta(days=6))["images"] == 0
    assert due(place, dt.timedelta(days=8))["images"] == 1
    assert file.exists()  # to look changes nothing
    (images, *_) = place.keeper(dt.timedelta(days=8)).purge()
    assert (images.kind, images.count, images.size) == ("images", 1, size)
    assert not file.exists()
    assert due(place)["images"] == 0


@pytest.mark.parametrize("state", ["received", "waiting", "refused", "review", "news"])
def test_nothing_that_is_open_for_anybody_is_deleted_whatever_its_age(place, state):
    number, of, file = case_with_file(place, 1)
    reported = Reported(
        case_id=number,
        source=of,
        match=MatchClass.MATCH_ISSUER,
        result=scored(),
        objects=(),
        destinations=("pacs",),
    )
    if state in ("waiting", "refused"):
        save(place, reported)
        with place.ledger.begin() as c:
            begin_deliveries(c, number, 1, ("pacs",))
            if state == "refused":
                outbox.mark_refused(c, number, 1, "pacs", error="no")
    elif state != "received":
        save(place, delivered(number, of))
        with place.ledger.begin() as c:
            if state == "review":
                reviews.flag(c, number, ReviewCode.AMENDMENT_FAILED)
            else:
                reviews.stir(c, number)
    place.keeper().purge()
    assert file.exists()
    assert due(place)["images"] == 0


def test_an_undelivered_version_keeps_the_image_of_a_case_that_was_delivered_elsewhere(place):
    number, of, file = case_with_file(place, 1)
    with place.ledger.begin() as c:
        begin_deliveries(c, number, 1, ("pacs", "second"))
        cases.save(c, delivered(number, of))
    place.keeper().purge()
    assert file.exists()


def test_what_failed_is_kept_for_its_own_period_so_that_retry_works(place):
    number, of, file = case_with_file(place, 1)
    save(place, Failed(case_id=number, source=of, code=FailureCode.PIXEL_DECODE, detail="x"))
    place.keeper(dt.timedelta(days=89)).purge()
    assert file.exists()
    place.keeper(dt.timedelta(days=91)).purge()
    assert not file.exists()


def test_other_bytes_under_the_same_uid_and_the_scores_go_with_the_case(place):
    number, of, file = case_with_file(place, 1)
    other = place.spool.store(
        sop_class_uid=of.reference.sop_class_uid,
        sop_instance_uid=of.reference.sop_instance_uid,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        dataset=b"other film",
    )
    again = source(1, study=1, content=b"other film", file=other.file)
    with place.ledger.begin() as c:
        duplicates.count(c, number, again, differs=True)
        image_scores.keep(c, image_scores.Entry(digest=of.digest, model="m", score=IMAGE_SCORE))
        cases.save(c, NotApplicable(case_id=number, source=of, reasons=(Reason.MODALITY,)))
    place.keeper().purge()
    assert not file.exists()
    assert not place.spool.path(other.file).exists()
    with place.ledger.read() as c:
        assert image_scores.load(c, of.digest, "m") is None


def test_an_image_that_comes_again_after_its_purge_is_kept_for_another_period(place):
    number, of, file = case_with_file(place, 1)
    save(place, delivered(number, of))
    place.keeper().purge()
    _, _, file = case_with_file(place, 1)
    assert file.exists()
    assert due(place)["images"] == 1
    place.keeper().purge()
    assert not file.exists()


def test_a_crash_between_file_and_ledger_is_simply_worked_on_again(place):
    number, of, file = case_with_file(place, 1)
    save(place, delivered(number, of))
    file.unlink()
    (images, *_) = place.keeper().purge()
    assert (images.count, images.size) == (1, 0)
    assert due(place)["images"] == 0


class Meanwhile(Spool):
    """Something happens in the ledger once, after the purge has listed what is due."""

    def __init__(self, place, happens):
        super().__init__(place)
        self.happens = happens

    def size(self, file):
        happens, self.happens = self.happens, lambda: None
        happens()
        return super().size(file)


def purge_while(place, tmp_path, happens):
    keeper = dataclasses.replace(place.keeper(), spool=Meanwhile(tmp_path / "spool", happens))
    return {one.kind: one.count for one in keeper.purge()}


def page_of(number, version):
    uid = f"1.2.3.{number}.{version}"
    return SimpleNamespace(kind="page", sop_class_uid="1.2.840.10008.5.1.4.1.1.7", sop_instance_uid=uid, part10=b"page")


def amend(c, number, case):
    """A second version that is to be sent."""
    report_objects.freeze_once(c, number, 2, [page_of(number, 2)])
    begin_deliveries(c, number, 2, ("pacs",))
    cases.save(c, dataclasses.replace(case, version=2))


def test_the_image_of_a_case_that_is_taken_up_again_during_the_purge_stays(place, tmp_path):
    number, of, file = case_with_file(place, 1)
    other, of_other, other_file = case_with_file(place, 2, b"second film")
    for one, its in ((number, of), (other, of_other)):
        save(place, Failed(case_id=one, source=its, code=FailureCode.PIXEL_DECODE, detail="x"))

    def retried():
        with place.ledger.begin() as c:
            cases.reopen(c, number, kind=ADVANCE, lane=INFER_LANE)

    assert purge_while(place, tmp_path, retried)["images"] == 1
    assert file.exists()
    assert not other_file.exists()
    save(place, Failed(case_id=number, source=of, code=FailureCode.PIXEL_DECODE, detail="again"))
    place.keeper().purge()
    assert not file.exists()


def test_an_image_that_other_bytes_came_for_during_the_purge_goes_with_them_the_next_time(place, tmp_path):
    number, of, file = case_with_file(place, 1)
    save(place, delivered(number, of))
    other = place.spool.store(
        sop_class_uid=of.reference.sop_class_uid,
        sop_instance_uid=of.reference.sop_instance_uid,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        dataset=b"other film",
    )

    def sent():
        with place.ledger.begin() as c:
            again = source(1, study=1, content=b"other film", file=other.file)
            duplicates.count(c, number, again, differs=True)

    assert purge_while(place, tmp_path, sent)["images"] == 0
    assert file.exists()
    place.keeper().purge()
    assert not file.exists()
    assert not place.spool.path(other.file).exists()


def test_files_that_an_older_release_named_go_together(place):
    number, of, _ = case_with_file(place, 1)
    for n, name in enumerate(("own.dcm", "other.dcm")):
        place.spool.rename(of.spool_file if n == 0 else case_with_file(place, 2)[1].spool_file, name)
    with place.ledger.begin() as c:
        c.execute(sa.update(screening_case).where(screening_case.c.id == number).values(spool_file="own.dcm"))
        again = source(1, study=1, content=b"other film", file="other.dcm")
        duplicates.count(c, number, again, differs=True)
        cases.save(c, delivered(number, of))
    place.keeper().purge()
    assert not place.spool.holds("own.dcm")
    assert not place.spool.holds("other.dcm")


def test_pages_that_are_made_during_a_purge_are_still_there_to_be_sent(place, tmp_path):
    number, of, _ = case_with_file(place, 1)
    with place.ledger.begin() as c:
        report_objects.freeze_once(c, number, 1, [page_of(number, 1)])
        cases.save(c, delivered(number, of))

    def amended():
        with place.ledger.begin() as c:
            amend(c, number, delivered(number, of))

    assert purge_while(place, tmp_path, amended)["reports"] == 0
    with place.ledger.read() as c:
        assert [one.part10 for one in report_objects.objects(c, number, 2)] == [b"page"]


def test_what_somebody_has_in_hand_when_it_is_let_go_is_asked_for_again_after_him(place):
    """On PostgreSQL nobody waits for the one writer: what the other transaction changes is not seen before it ends."""
    number, of, _ = case_with_file(place, 1)
    with place.ledger.begin() as c:
        report_objects.freeze_once(c, number, 1, [page_of(number, 1)])
        cases.save(c, delivered(number, of))
    now = dt.datetime.now(dt.UTC) + LATER
    over = {"ended_before": now, "failed_before": now}
    with place.ledger.read() as c:
        (image,) = retention.images_due(c, **over, after=0, limit=9)
        assert retention.reports_due(c, ended_before=now, after=0, limit=9) == (number,)
    begun = threading.Event()

    def amended():
        with place.ledger.begin() as c:
            cases.lock_case(c, number)
            begun.set()
            time.sleep(0.3)
            amend(c, number, delivered(number, of))

    other = threading.Thread(target=amended)
    other.start()
    begun.wait(9)
    with place.ledger.begin() as c:
        assert retention.empty_reports(c, (number,), ended_before=now) == 0
    with place.ledger.begin() as c:
        assert not retention.note_image_gone(c, image, now, **over)
    other.join(9)
    with place.ledger.read() as c:
        assert report_objects.whole(c, number, 1)
        assert report_objects.whole(c, number, 2)


def test_pages_keep_uid_and_digest_when_their_bytes_go_and_an_sr_keeps_its_bytes(place):
    number, of, _ = case_with_file(place, 1)
    page = SimpleNamespace(
        kind="page", sop_class_uid="1.2.840.10008.5.1.4.1.1.7", sop_instance_uid="1.2.3.9", part10=b"page"
    )
    report = SimpleNamespace(
        kind="sr", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.22", sop_instance_uid="1.2.3.10", part10=b"sr"
    )
    with place.ledger.begin() as c:
        frozen = report_objects.freeze_once(c, number, 1, [page, report])
        assert report_objects.whole(c, number, 1)
        cases.save(c, delivered(number, of))
    assert due(place)["reports"] == 1
    place.keeper().purge()
    with place.ledger.read() as c:
        assert report_objects.frozen(c, number, 1) == frozen
        assert [one.part10 for one in report_objects.objects(c, number, 1, kind="sr")] == [b"sr"]
        assert not report_objects.whole(c, number, 1)
        assert report_objects.made_here(c, "1.2.3.9")
        assert cases.load(c, number).result == scored()
    assert due(place)["reports"] == 0


def test_without_a_period_reports_are_never_due(place):
    number, of, _ = case_with_file(place, 1)
    built = SimpleNamespace(kind="page", sop_class_uid="1.2.3", sop_instance_uid="1.2.3.9", part10=b"sr")
    with place.ledger.begin() as c:
        report_objects.freeze_once(c, number, 1, [built])
        cases.save(c, delivered(number, of))
    forever = place.settings.model_copy(update={"retention": Retention()})
    keeper = Keeper(ledger=place.ledger, spool=place.spool, settings=forever, now=lambda: NOON + 100 * LATER)
    assert {one.kind: one.count for one in keeper.due()}["reports"] == 0


def test_files_of_the_feed_go_so_long_after_they_were_processed_whatever_their_sender_dated_them(place):
    for folder in ("done", "rejected", "inbox"):
        (place.drop / folder).mkdir(parents=True)
        for name, dated in (("ancient.csv", 0), ("to_come.csv", 2**32)):
            (place.drop / folder / name).write_text("x")
            os.utime(place.drop / folder / name, (dated, dated))
    (place.drop / "rejected/link.csv").symlink_to("nowhere")
    place.keeper(dt.timedelta(days=89)).purge()
    assert len([*place.drop.glob("*/*.csv")]) == 7
    place.keeper(dt.timedelta(days=91)).purge()
    assert sorted(path.name for path in place.drop.glob("*/*")) == ["ancient.csv", "to_come.csv"]
    assert (place.drop / "inbox/ancient.csv").exists()  # nobody has read it yet


def test_old_files_of_quarantine_and_audit_go_and_young_ones_stay(place, tmp_path):
    kept = place.spool.quarantine(b"noise")
    (tmp_path / "audit").mkdir()
    for day in ("2020-01-01", "2999-01-01"):
        (tmp_path / "audit" / f"audit-{day}.jsonl").write_text("{}\n")
    os.utime(place.spool.path(kept), (0, 0))
    place.keeper(dt.timedelta(0)).purge()
    assert not place.spool.path(kept).exists()
    assert [path.name for path in (tmp_path / "audit").iterdir()] == ["audit-2999-01-01.jsonl"]


def test_the_audit_trail_says_what_went(place, tmp_path):
    number, of, _ = case_with_file(place, 1)
    save(place, delivered(number, of))
    audit = AuditTrail(tmp_path / "trail")
    purge_and_tell(place.keeper(), audit)
    audit.flush()
    (path,) = (tmp_path / "trail").iterdir()
    (line,) = map(json.loads, path.read_text().splitlines())
    assert (line["event"], line["kind"], line["count"]) == ("retention.released", "images", 1)


def test_periodic_work_is_done_once_a_day_whoever_asks(ledger):
    done = []
    housekeeper = Housekeeper(ledger=ledger, work={RETENTION: lambda: done.append(1)})
    housekeeper.ask_daily()
    housekeeper.ask_daily()
    with ledger.begin() as c:
        (task,) = claim(c, HOUSEKEEPING_LANE, 8, owner="a", lease=60)
    housekeeper.do(task)
    with ledger.begin() as c:
        assert finish(c, task)
    housekeeper.ask_daily()
    with ledger.begin() as c:
        assert claim(c, HOUSEKEEPING_LANE, 8, owner="a", lease=60) == ()
        ask_now(c, RETENTION)
        (asked,) = claim(c, HOUSEKEEPING_LANE, 8, owner="a", lease=60)
    assert (asked.kind, asked.key, done) == (HOUSEKEEPING, "retention:asked", [1])


def test_periodic_work_that_was_given_up_stands_for_a_person_until_it_succeeds(ledger):
    housekeeper = Housekeeper(ledger=ledger, work={RETENTION: lambda: None})
    housekeeper.ask_daily()
    with ledger.begin() as c:
        (task,) = claim(c, HOUSEKEEPING_LANE, 8, owner="a", lease=60)
        housekeeper.bury(c, task, GiveUp(FailureCode.UNEXPECTED, "OSError at retention.py:1"))
        ((kind, subject),) = [(one.kind, one.subject) for one in alerts.find(c)]
    assert (kind, subject) == ("TASK_DEAD", "retention")
    housekeeper.do(task)
    with ledger.read() as c:
        assert alerts.find(c) == ()


def test_two_listeners_ask_for_an_hourly_job_and_one_does_it_once(ledger):
    done = []
    listeners = [
        Housekeeper(ledger=ledger, work={}, hourly={MEDIANS: lambda name=name: done.append(name)})
        for name in ("one", "two")
    ]
    for listener in (*listeners, *listeners):
        listener.ask_hourly()
    with ledger.begin() as c:
        (task,) = claim(c, HOUSEKEEPING_LANE, 10, owner="one", lease=60)
    listeners[0].do(task)
    with ledger.begin() as c:
        assert finish(c, task)
    listeners[1].ask_hourly()
    with ledger.begin() as c:
        assert claim(c, HOUSEKEEPING_LANE, 10, owner="two", lease=60) == ()
    assert done == ["one"]
