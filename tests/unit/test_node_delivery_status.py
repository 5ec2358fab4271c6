"""Delivery matrix (reception-and-delivery.md, acceptance test 14): each answer, the number of sends, same bytes."""

from __future__ import annotations

import datetime as dt

import pytest
from support.pacs import PAGE, E, FakePacs
from support.post import posted, reported_once

from node.case import Delivered, Reported
from node.store import alerts, jobs, sent
from node.store.outbox import DeliveryState

HOUR = 3600.0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return reported_once(tmp_path_factory.mktemp("made"), "pacs")


def to_sr(status):
    """The page is stored, the SR is answered with `status`."""
    return lambda sop_class, _sends: status if sop_class == E else 0


def of_sr(pacs):
    return [(instance, digest) for sop_class, instance, digest in pacs.wire if sop_class == E]


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007, 0xB0FF, 0x0111])
def test_stored_with_or_without_warning_is_sent_once(made, tmp_path, status):
    with FakePacs(answer=to_sr(status)) as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.until(HOUR)
        assert isinstance(post.case(1), Delivered)
        with post.ledger.read() as c:
            assert {one.sop_class_uid: (one.sends, one.status) for one in sent.of_case(c, 1)} == {
                PAGE: (1, 0),
                E: (1, status),
            }
    assert pacs.order == [PAGE, E]


@pytest.mark.parametrize("status", [0xA700, 0xA702, 0x0110, 0x0213, -1])
def test_out_of_resources_and_aborts_are_retried_per_instance_with_backoff_and_the_same_bytes(made, tmp_path, status):
    def twice(sop_class, sends):
        return status if sop_class == E and sends < 2 else 0

    with FakePacs(answer=twice) as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.until(HOUR)
        assert isinstance(post.case(1), Delivered)
        pauses = [after for kind, after, _ in post.retries if kind == "deliver"]
    assert pacs.order == [PAGE, E, E, E], "SR last on the wire, the page not again"
    assert len(set(of_sr(pacs))) == 1
    assert [round(after / (10 * 2**n)) for n, after in enumerate(pauses)] == [1, 1]


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0xC123, 0x0117, 0x0122, 0x0124])
def test_a_refusal_is_tried_three_times_then_stands_for_a_person_with_its_own_text(made, tmp_path, status):
    with FakePacs(answer=to_sr(status)) as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.until(80 * HOUR)
        refused = post.delivery(1)
        assert isinstance(post.case(1), Reported)
        with post.ledger.read() as c:
            (alert,) = alerts.find(c)
    assert pacs.order == [PAGE, E, E, E]
    assert len(set(of_sr(pacs))) == 1
    assert (refused.state, refused.refusals) == (DeliveryState.REFUSED, 3)
    assert f"{status:04X}" in refused.error
    assert (alert.kind, alert.subject) == ("DELIVERY_REFUSED", "destination pacs")


@pytest.mark.parametrize(
    ("status", "state", "sends"),
    [
        (0xA770, DeliveryState.DELIVERED, 1),
        (0xA774, DeliveryState.DELIVERED, 1),
        (0xA771, DeliveryState.REFUSED, 1),
        (0xA773, DeliveryState.REFUSED, 1),
        (0xA772, DeliveryState.REFUSED, 3),
    ],
)
def test_the_rejection_statuses_of_dcm4chee(made, tmp_path, status, state, sends):
    """structured-report.md section 6: a rejected object is not sent again, a class conflict is a bug."""
    with FakePacs(answer=to_sr(status)) as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.until(HOUR)
        assert post.delivery(1).state is state
    assert len(of_sr(pacs)) == sends


def test_refusals_in_a_row_are_counted_and_not_the_tries_of_an_outage(made, tmp_path):
    """An archive that was busy for a while and then says no once is asked again."""

    def busy_then_no(sop_class, sends):
        return {0: 0xA700, 1: 0xA700, 2: 0xA700, 3: 0xC000}.get(sends, 0) if sop_class == E else 0

    with FakePacs(answer=busy_then_no) as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.until(HOUR)
        assert isinstance(post.case(1), Delivered)
    assert len(of_sr(pacs)) == 5


def test_an_archive_that_has_no_room_for_four_hours_gets_it_then(made, tmp_path):
    room = [False]
    answer = lambda sop_class, _: 0xA700 if sop_class == E and not room[0] else 0  # noqa: E731
    with FakePacs(answer=answer) as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.until(4 * HOUR)
        tries = len(of_sr(pacs))
        room[0] = True
        post.until(HOUR)
        assert isinstance(post.case(1), Delivered)
    assert 26 <= tries <= 36, "10 s doubling to 10 min, +- 20 %: 6 tries in 10 min, then one every 10 min"
    assert len(of_sr(pacs)) == tries + 1
    assert len(set(of_sr(pacs))) == 1


def test_after_72_hours_it_stands_in_the_list_with_its_bytes_and_a_person_takes_it_up(made, tmp_path):
    from node.delivery_record import resume_delivery  # noqa: PLC0415

    answer = [0xA700]
    with (
        FakePacs(answer=lambda sop_class, _: answer[0] if sop_class == E else 0) as pacs,
        posted(made, tmp_path, pacs.destination(), backoff_first=1800, backoff_cap=1800) as post,
    ):
        post.until(71 * HOUR)
        assert post.delivery(1).state is DeliveryState.WAITING
        post.until(2 * HOUR)
        overdue = post.delivery(1)
        answer[0], sends = 0, len(of_sr(pacs))
        post.until(4 * HOUR)
        assert len(of_sr(pacs)) == sends, "it returned after 73 h: a person decides"
        with post.ledger.begin() as c:
            assert resume_delivery(c, 1) == ("pacs",)
        post.offset = dt.timedelta()
        post.settle()
        assert isinstance(post.case(1), Delivered)
    assert overdue.state is DeliveryState.REFUSED
    assert overdue.error.startswith("tried for 72 h: ")
    assert len(set(of_sr(pacs))) == 1


def test_a_delivery_that_was_dropped_or_cancelled_is_not_sent(made, tmp_path):
    from node.store import outbox  # noqa: PLC0415

    with FakePacs() as pacs, posted(made, tmp_path, pacs.destination()) as post:
        with post.ledger.begin() as c:
            outbox.drop(c, 1, 1, "pacs", error="given up")
        post.settle()
        with post.ledger.read() as c:
            assert jobs.get(c, "deliver", "1|1|pacs").state == "done"
    assert pacs.wire == []
