from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from support.ledgers import NOON, source

from node.case import Proof
from node.store import cases, outbox, report_objects, report_versions, sent
from node.store.engine import Ledger
from node.store.errors import DamagedObject, NoSuchCase
from node.store.outbox import DeliveryState
from node.store.schema import outbox_object
from node.store.sent import SentObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What the report builder gives."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    part10: bytes


PAGE = Built(kind="page", sop_class_uid="1.2.7", sop_instance_uid="2.25.1", part10=b"\x00page\xff" * 100)
REPORT = Built(kind="sr", sop_class_uid="1.2.88", sop_instance_uid="2.25.2", part10=b"report")


@pytest.fixture
def case_id(ledger: Ledger) -> int:
    with ledger.begin() as c:
        return cases.receive(c, source()).case_id


def deliver(ledger: Ledger, case_id: int, destination: str, *, at: dt.datetime = NOON) -> bool:
    with ledger.begin() as c:
        return outbox.mark_delivered(c, case_id, 1, destination, proof="c-store", at=at)


def test_objects_keep_bytes_and_order(ledger: Ledger, case_id: int):
    with ledger.begin() as c:
        frozen = report_objects.freeze_once(c, case_id, 1, [PAGE, REPORT])
    assert [(o.kind, o.sop_instance_uid) for o in frozen] == [("page", "2.25.1"), ("sr", "2.25.2")]
    with ledger.read() as c:
        kept = report_objects.objects(c, case_id, 1)
        assert report_objects.objects(c, case_id, 2) == ()
    assert [o.part10 for o in kept] == [PAGE.part10, REPORT.part10]
    assert [o.sha256 for o in kept] == [o.sha256 for o in frozen]


def test_what_is_frozen_stays(ledger: Ledger, case_id: int):
    with ledger.begin() as c:
        first = report_objects.freeze_once(c, case_id, 1, [PAGE, REPORT])
    changed = Built(kind="sr", sop_class_uid="1.2.88", sop_instance_uid="2.25.3", part10=b"rebuilt")
    with ledger.begin() as c:
        assert report_objects.freeze_once(c, case_id, 1, [changed]) == first
        assert [o.part10 for o in report_objects.objects(c, case_id, 1)] == [PAGE.part10, REPORT.part10]
        (second,) = report_objects.freeze_once(c, case_id, 2, [changed])
    assert second.sop_instance_uid == "2.25.3"


def test_one_uid_never_names_two_objects(ledger: Ledger, case_id: int):
    with ledger.begin() as c:
        report_objects.freeze_once(c, case_id, 1, [REPORT])
    with pytest.raises(sa.exc.IntegrityError), ledger.begin() as c:
        report_objects.freeze_once(c, case_id, 2, [REPORT])


def test_nothing_is_frozen_for_an_unknown_case(ledger: Ledger):
    with pytest.raises(NoSuchCase), ledger.begin() as c:
        report_objects.freeze_once(c, 404, 1, [REPORT])


def test_changed_bytes_are_noticed_before_they_are_sent(ledger: Ledger, case_id: int):
    with ledger.begin() as c:
        report_objects.freeze_once(c, case_id, 1, [REPORT])
        c.execute(sa.update(outbox_object).values(part10=b"rep0rt"))
    with ledger.read() as c, pytest.raises(DamagedObject, match=r"2\.25\.2"):
        report_objects.objects(c, case_id, 1)


def test_a_case_is_served_when_its_last_destination_is(ledger: Ledger, case_id: int):
    with ledger.begin() as c:
        outbox.open_deliveries(c, case_id, 1, ["pacs", "archive"])
    assert deliver(ledger, case_id, "pacs") is False
    assert deliver(ledger, case_id, "pacs") is False
    assert deliver(ledger, case_id, "archive") is True
    with ledger.read() as c:
        assert outbox.proofs(c, case_id, 1) == (
            Proof(destination="archive", kind="c-store", at=NOON),
            Proof(destination="pacs", kind="c-store", at=NOON),
        )


def test_of_two_destinations_that_end_at_once_exactly_one_sees_the_case_served(ledger: Ledger):
    served: list[bool] = []
    for number in range(10):
        with ledger.begin() as c:
            case_id = cases.receive(c, source(number + 1)).case_id
            outbox.open_deliveries(c, case_id, 1, ["a", "b"])
        threads = [
            threading.Thread(target=lambda name, case: served.append(deliver(ledger, case, name)), args=(name, case_id))
            for name in ("a", "b")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(served) == [False] * 10 + [True] * 10


def test_a_refusal_stands_for_a_person_until_taken_up(ledger: Ledger, case_id: int):
    with ledger.begin() as c:
        outbox.open_deliveries(c, case_id, 1, ["archive", "pacs"])
        outbox.mark_tried(c, case_id, 1, "pacs", error="no association")
        outbox.mark_tried(c, case_id, 1, "pacs", error="no association")
        outbox.mark_refused(c, case_id, 1, "pacs", error="SOP class refused")
    assert deliver(ledger, case_id, "archive") is False
    with ledger.begin() as c:
        (refused,) = outbox.deliveries(c, state=DeliveryState.REFUSED)
        assert (refused.destination, refused.tries, refused.error) == ("pacs", 2, "SOP class refused")
        outbox.wait_again(c, case_id, 1, "pacs")
        (waiting,) = outbox.deliveries(c, case_id=case_id, state=DeliveryState.WAITING)
        assert (waiting.tries, waiting.proof) == (0, None)
    assert deliver(ledger, case_id, "pacs") is True


def test_a_refusal_does_not_take_back_that_an_earlier_send_was_not_answered(ledger: Ledger, case_id: int):
    """The destination may have the report: an amendment must name it."""
    with ledger.begin() as c:
        outbox.open_deliveries(c, case_id, 1, ["pacs"])
        assert outbox.begin_send(c, case_id, 1, "pacs") is False
        outbox.mark_tried(c, case_id, 1, "pacs", error="no answer", uncertain=True)
        outbox.mark_refused(c, case_id, 1, "pacs", error="association rejected")
        assert report_versions.released(c, case_id) == (1,)


def test_what_was_delivered_and_is_not_kept_may_be_there_all_the_same(ledger: Ledger, case_id: int):
    with ledger.begin() as c:
        outbox.open_deliveries(c, case_id, 1, ["archive", "pacs", "third"])
    for destination in ("archive", "pacs"):
        deliver(ledger, case_id, destination)
    with ledger.begin() as c:
        outbox.send_again(c, case_id, 1, "archive", error="not found")
        outbox.mark_refused(c, case_id, 1, "pacs", error="not kept")
        outbox.mark_refused(c, case_id, 1, "third", error="SOP class refused")
        found = {d.destination: (d.state, d.uncertain) for d in outbox.deliveries(c, case_id=case_id)}
    assert found == {
        "archive": (DeliveryState.WAITING, True),
        "pacs": (DeliveryState.REFUSED, True),
        "third": (DeliveryState.REFUSED, False),
    }


def test_opening_deliveries_again_changes_none(ledger: Ledger, case_id: int):
    with ledger.begin() as c:
        outbox.open_deliveries(c, case_id, 1, ["pacs"])
    deliver(ledger, case_id, "pacs")
    with ledger.begin() as c:
        outbox.open_deliveries(c, case_id, 1, ["pacs", "archive"])
        states = [(d.destination, d.state) for d in outbox.deliveries(c, case_id=case_id, version=1)]
    assert states == [("archive", DeliveryState.WAITING), ("pacs", DeliveryState.DELIVERED)]


def test_an_unknown_delivery_cannot_end(ledger: Ledger, case_id: int):
    with pytest.raises(NoSuchCase, match="no delivery to pacs"):
        deliver(ledger, case_id, "pacs")


def meant(case_id: int, *instances: str) -> list[SentObject]:
    known = {"destination": "pacs", "case_id": case_id, "version": 1, "kind": "page", "sop_class_uid": "1.2.7"}
    return [SentObject(**known, sop_instance_uid=instance) for instance in instances]


def at_pacs(c: sa.Connection, case_id: int) -> dict[str, tuple[int, bool, int | None]]:
    """(sends, stored, status) by instance."""
    found = sent.of_case(c, case_id, destination="pacs")
    return {one.sop_instance_uid: (one.sends, one.stored, one.status) for one in found}


def test_of_several_objects_each_has_its_own_sends_and_answer(ledger: Ledger, case_id: int):
    with ledger.begin() as c:
        sent.assign(c, meant(case_id, "1", "2"))
        sent.begin(c, meant(case_id, "2", "3"))
        sent.assign(c, meant(case_id, "3", "4"))
        sent.begin(c, meant(case_id, "3"))
        sent.answered(c, "pacs", {"2": 0x0000}, {"3": 0xA700, "unknown": 0xA700})
    with ledger.read() as c:
        noted = {"1": (0, False, None), "2": (1, True, 0x0000), "3": (2, False, 0xA700), "4": (0, False, None)}
        assert at_pacs(c, case_id) == noted
        assert sent.of_case(c, case_id, destination="archive") == ()
        assert len(sent.of_case(c, case_id)) == 4


def test_nothing_to_send_and_no_answer_change_nothing(ledger: Ledger, case_id: int):
    with ledger.begin() as c:
        sent.assign(c, [])
        sent.begin(c, [])
        sent.answered(c, "pacs", {}, {})
        outbox.open_deliveries(c, case_id, 1, [])
        assert sent.of_case(c, case_id) == ()
        assert outbox.deliveries(c, case_id=case_id) == ()


def test_a_send_that_was_cancelled_under_way_stays_cancelled(ledger: Ledger, case_id: int):
    with ledger.begin() as c:
        outbox.open_deliveries(c, case_id, 1, ["archive", "pacs"])
        assert outbox.begin_send(c, case_id, 1, "pacs") is False
        outbox.cancel_before(c, case_id, 2)
        outbox.mark_sent(c, case_id, 1, "pacs", proof="find", at=NOON)
        cancelled, other = outbox.one(c, case_id, 1, "pacs"), outbox.one(c, case_id, 1, "archive")
    assert (cancelled.state, cancelled.proof, cancelled.sent_at) == (DeliveryState.CANCELLED, "find", NOON)
    assert (cancelled.uncertain, other.uncertain, other.sent_at) == (True, False, None)
