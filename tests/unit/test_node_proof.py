"""Proof of delivery (reception-and-delivery.md, acceptance test 15): promised, found, never told, deleted, unknown."""

from __future__ import annotations

import datetime as dt

import pytest
from pydicom.dataset import Dataset
from support.dicom_objects import radiograph_dataset
from support.pacs import PAGE, E, FakePacs
from support.post import posted, reported_once

from node.case import Delivered, Reported
from node.store import alerts, commitments_asked, destinations
from node.store.outbox import DeliveryState

HOUR = 3600.0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return reported_once(tmp_path_factory.mktemp("made"), "pacs", cases=2)


def proofs(post, case_id=1):
    case = post.case(case_id)
    assert isinstance(case, Delivered), case
    return [(p.destination, p.kind, p.sr_class) for p in case.proofs]


def test_commitment_on_the_same_association(made, tmp_path):
    with (
        FakePacs(commitment="same", find=True) as pacs,
        posted(made, tmp_path, pacs.destination(proof="commitment")) as post,
    ):
        post.until(30)
        assert proofs(post) == [("pacs", "commitment", "enhanced")]
        with post.ledger.read() as c:
            asked = commitments_asked.of_delivery(c, 1, 1, "pacs")
    assert [one.transaction_uid for one in asked] == [pacs.asked[0]]
    assert set(pacs.said) <= {0}


@pytest.mark.parametrize("how", ["new", "twice"])
def test_commitment_on_another_association_and_a_duplicate_are_answered_0000(made, tmp_path, how):
    pacs = FakePacs(commitment=how)
    with pacs, posted(made, tmp_path, pacs.destination()) as post:
        door = post.door(tmp_path / "door")
        door.start()
        pacs.node_port = door.port
        post.until(30)
        assert isinstance(post.case(1), Reported | Delivered)
        for thread in pacs._threads:
            thread.join(10)
        post.until(1)
        assert proofs(post) == [("pacs", "commitment", "enhanced")]
        door.stop()
    assert set(pacs.said) == {0}
    assert len(pacs.said) == len(pacs.asked) * (2 if how == "twice" else 1)
    assert pacs.order == [PAGE, E] * 2, "nothing is sent twice"


def test_an_unknown_transaction_is_answered_0000_and_changes_nothing(made, tmp_path):
    pacs = FakePacs(commitment="never")
    with pacs, posted(made, tmp_path, pacs.destination(proof="commitment")) as post:
        door = post.door(tmp_path / "door")
        door.start()
        pacs.node_port = door.port
        post.settle()
        told = Dataset()
        told.TransactionUID = "1.2.3.4"
        told.ReferencedSOPSequence = [_item(instance) for instance in pacs.kept]
        pacs.tell(told, 1)
        post.settle()
        assert post.delivery(1).state is DeliveryState.SENT
        door.stop()
    assert pacs.said == [0]


def test_a_report_that_never_comes_is_asked_for_three_times_then_the_objects_are_read_back(made, tmp_path):
    with (
        FakePacs(commitment="never", find=True) as pacs,
        posted(made, tmp_path, pacs.destination(proof="commitment")) as post,
    ):
        post.until(290)
        assert len(pacs.asked) == 2, "one for each report"
        post.until(2 * 300)
        assert len(pacs.asked) == 6
        assert len(set(pacs.asked)) == 6
        post.until(305)
        assert len(pacs.asked) == 6
        assert proofs(post) == [("pacs", "find", "enhanced")]


def test_auto_never_waits_for_ever_where_commitment_is_offered_and_never_reported(made, tmp_path):
    with FakePacs(commitment="never") as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.until(1000)
        assert proofs(post) == [("pacs", "c-store", "enhanced")]
        with post.ledger.read() as c:
            assert destinations.get(c, "pacs").proof == "c-store"
            assert alerts.find(c) == ()
        case_id = post.report(dataset=radiograph_dataset(number=7, PatientName="Weber^Petra"))
        post.settle()
        assert proofs(post, case_id) == [("pacs", "c-store", "enhanced")], "remembered for a day"
    assert len(pacs.asked) == 6


def test_auto_takes_the_first_that_is_offered(made, tmp_path):
    with FakePacs(find=True) as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.settle()
        assert proofs(post) == [("pacs", "find", "enhanced")]
    with FakePacs() as pacs, posted(made, tmp_path / "b", pacs.destination()) as post:
        post.settle()
        assert proofs(post) == [("pacs", "c-store", "enhanced")]
    with FakePacs(commitment="refuse", find=True) as pacs, posted(made, tmp_path / "c", pacs.destination()) as post:
        post.settle()
        assert proofs(post) == [("pacs", "find", "enhanced")]


def test_none_asks_for_nothing_and_is_delivered_unproved(made, tmp_path):
    with (
        FakePacs(commitment="same", find=True) as pacs,
        posted(made, tmp_path, pacs.destination(proof="none")) as post,
    ):
        post.settle()
        assert proofs(post) == [("pacs", "c-store", "enhanced")]
    assert pacs.asked == []


@pytest.mark.parametrize("ahead", [dt.timedelta(), dt.timedelta(hours=1)], ids=["", "and-the-clock-is-set-back"])
def test_an_object_deleted_between_send_and_proof_is_sent_again_with_the_same_bytes_by_commitment(
    made, tmp_path, ahead
):
    pacs = FakePacs(commitment="same")

    def lose_the_first_sr():
        if len(pacs.asked) == 0:
            pacs.kept.pop(next(uid for sop_class, uid, _ in pacs.wire if sop_class == E))
            post.offset -= ahead

    pacs.before_commitment = lose_the_first_sr
    with pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.offset += ahead
        post.until(60)
        assert proofs(post) == [("pacs", "commitment", "enhanced")]
        assert post.delivery(1).resends == 1
    first = next((uid, digest) for sop_class, uid, digest in pacs.wire if sop_class == E)
    again = [(uid, digest) for sop_class, uid, digest in pacs.wire if sop_class == E and uid == first[0]]
    assert len(again) == 2
    assert len(set(again)) == 1
    assert pacs.order.count(PAGE) == 2, "only what is missing is sent again"


def test_an_object_that_is_not_found_is_looked_for_some_times_then_sent_again(made, tmp_path):
    pacs = FakePacs(find=True)
    pacs.hides = lambda kept: kept.SOPClassUID == E and pacs.sends(kept.SOPInstanceUID) == 1
    with pacs, posted(made, tmp_path, pacs.destination(proof="find")) as post:
        post.until(HOUR)
        assert proofs(post) == [("pacs", "find", "enhanced")]
        delivery = post.delivery(1)
    pauses = [after for kind, after, reason in post.retries if kind == "prove" and "not found" in reason]
    assert sorted(set(pauses)) == [2.0, 10.0, 60.0, 300.0]
    assert delivery.resends == 1
    assert len({digest for sop_class, _, digest in pacs.wire if sop_class == E}) == 2, "two cases, one SR each"
    assert pacs.order.count(E) == 4


def test_an_archive_that_never_keeps_it_is_put_before_a_person(made, tmp_path):
    pacs = FakePacs(find=True)
    with pacs, posted(made, tmp_path, pacs.destination(proof="find")) as post:
        pacs.kept = _Black()
        post.until(3 * HOUR)
        refused = post.delivery(1)
        assert isinstance(post.case(1), Reported)
        with post.ledger.read() as c:
            assert {one.kind for one in alerts.find(c)} == {"DELIVERY_REFUSED"}
    assert refused.state is DeliveryState.REFUSED
    assert refused.error.startswith("sent 4 times and not kept")


def test_a_kind_that_is_not_offered_is_an_alert_and_ends_before_a_person(made, tmp_path):
    with (
        FakePacs(commitment="never") as pacs,
        posted(made, tmp_path, pacs.destination(proof="find"), backoff_first=1800, backoff_cap=1800) as post,
    ):
        post.until(HOUR)
        assert post.delivery(1).state is DeliveryState.SENT
        with post.ledger.read() as c:
            assert {one.kind for one in alerts.find(c)} == {"PROOF_MISSING"}
        post.until(73 * HOUR)
        assert post.delivery(1).state is DeliveryState.REFUSED
        assert post.delivery(1).error.startswith("stored, not proved")
    assert pacs.order == [PAGE, E] * 2


class _Black(dict):
    """Keeps nothing."""

    def __setitem__(self, key, value):
        pass


def _item(instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = E, instance
    return item
