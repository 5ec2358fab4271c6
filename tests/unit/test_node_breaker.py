"""A destination that is away, comes back, is paused, or is gone for good."""

from __future__ import annotations

import datetime as dt
import json
import time

import pytest
from support.pacs import PAGE, FakePacs
from support.post import posted, reported_once

from config.settings import parse
from node import case_decisions, delivery_decisions, delivery_views
from node.breaker import Pace, lane_flows, watch_removed
from node.case import Delivered, Failed, Reported
from node.demo.node_process import free_port
from node.store import alerts, delivery_list, destinations, jobs, report_objects
from node.store.destinations import Breaker, DestinationState
from node.store.engine import open_ledger
from node.store.errors import NoSuchCase
from node.store.outbox import DeliveryState

# pynetdicom leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
HOUR = 3600.0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return reported_once(tmp_path_factory.mktemp("made"), "pacs", cases=3)


def state(post, name="pacs"):
    with post.ledger.read() as c:
        return destinations.get(c, name)


def kinds(post):
    with post.ledger.read() as c:
        return {one.kind for one in alerts.find(c)}


def settings(folder, *places):
    tables = {"storage": {"data_dir": str(folder)}, "delivery": {"destinations": list(places)}}
    return parse(tables, origin="test")


def test_it_opens_after_five_connection_failures_asks_by_echo_and_releases_the_backlog_in_order(made, tmp_path):
    pacs = FakePacs(port=free_port())
    with posted(made, tmp_path, pacs.destination()) as post:
        while state(post).breaker is Breaker.CLOSED:
            post.settle()
            post.pass_time(30)
        tried = [reason for kind, _, reason in post.retries if kind == "deliver"]
        assert len(tried) == 5
        assert kinds(post) == {"DESTINATION_DOWN"}
        with post.ledger.read() as c:
            assert not lane_flows(c, "net:pacs")
            assert lane_flows(c, "net:vna")
        post.until(HOUR)
        assert len([1 for kind, *_ in post.retries if kind == "deliver"]) == 5, "no tries while it is open"
        probes = len([1 for kind, *_ in post.retries if kind == "probe"])
        assert 100 <= probes <= 130, "one C-ECHO every 30 s"
        with pacs:
            post.until(60)
            assert state(post).breaker is Breaker.CLOSED
        assert all(isinstance(post.case(case_id), Delivered) for case_id in (1, 2, 3))
        assert kinds(post) == set()
    assert pacs.echoes == 1
    pages = [str(instance) for sop_class, instance, _ in pacs.wire if sop_class == PAGE]
    with_order = [next(o.sop_instance_uid for o in post_objects(made, n) if o.kind == "page") for n in (1, 2, 3)]
    assert pages == with_order


def post_objects(made, case_id):
    ledger = open_ledger(made / "ledger.db")
    try:
        with ledger.read() as c:
            return report_objects.frozen(c, case_id, 1)
    finally:
        ledger.close()


def test_after_72_hours_behind_the_breaker_all_stand_in_the_list(made, tmp_path):
    pacs = FakePacs(port=free_port())
    with posted(made, tmp_path, pacs.destination(), probe_seconds=HOUR) as post:
        post.until(71 * HOUR)
        assert post.delivery(1).state is DeliveryState.WAITING
        post.until(2 * HOUR)
        assert {post.delivery(n).state for n in (1, 2, 3)} == {DeliveryState.REFUSED}
        assert "not reachable for 72 h" in post.delivery(2).error
        assert {"DESTINATION_DOWN", "DELIVERY_REFUSED"} <= kinds(post)
        with pacs:
            post.until(2 * HOUR)
            assert pacs.wire == []
            said = delivery_decisions.retry(settings(tmp_path, pacs.destination()), "pacs", by="K. Braun")
            assert said == "3 deliveries are on their way to pacs again"
            post.offset = dt.timedelta()
            post.settle()
        assert isinstance(post.case(1), Delivered)
        assert "DELIVERY_REFUSED" not in kinds(post)


def test_a_transient_rejection_counts_and_a_refusal_closes_the_breaker(ledger):
    at = dt.datetime.now(dt.UTC)
    with ledger.begin() as c:
        opened = [destinations.count_failure(c, "pacs", limit=5, at=at) for _ in range(7)]
        destinations.answered(c, "pacs")
        assert destinations.get(c, "pacs").breaker is Breaker.OPEN
        destinations.recover(c, "pacs", at=at)
        destinations.recovered(c, "pacs", at=at)
        assert destinations.get(c, "unknown") == DestinationState(name="unknown")
        again = [destinations.count_failure(c, "pacs", limit=5, at=at) for _ in range(5)]
        assert [one.name for one in destinations.all_of(c)] == ["pacs"]
    assert opened == [False] * 4 + [True, False, False]
    assert again == [False] * 4 + [True]


def test_what_waits_is_due_in_the_order_it_was_made_and_named_keys_come_first(ledger):
    with ledger.begin() as c:
        for number, delay in enumerate((50.0, 5.0, 500.0, 0.0)):
            jobs.enqueue(c, "deliver", str(number), lane="net:pacs", delay=delay)
        jobs.enqueue(c, "deliver", "other", lane="net:vna", delay=60)
        assert jobs.make_due(c, "net:pacs", first=["2"]) == 4
    time.sleep(0.01)
    with ledger.begin() as c:
        claimed = jobs.claim(c, "net:pacs", 10, owner="me", lease=60)
        assert [task.key for task in claimed] == ["2", "0", "1", "3"]
        assert jobs.claim(c, "net:vna", 10, owner="me", lease=60) == ()


def test_the_pace_is_bounded_over_all_threads():
    pace, started = Pace(50.0), time.monotonic()
    for _ in range(6):
        pace.wait()
    assert time.monotonic() - started >= 5 / 50


def test_a_pause_holds_over_a_restart_and_costs_no_patience(made, tmp_path):
    with FakePacs() as pacs, posted(made, tmp_path, pacs.destination()) as post:
        site = settings(tmp_path, pacs.destination())
        assert delivery_decisions.pause(site, "pacs", reason="migration", by="K. Braun").startswith("pacs is paused")
        assert delivery_decisions.pause(site, "pacs", reason="migration", by="K. Braun") == "pacs is paused already"
        post.until(100 * HOUR)
        assert pacs.wire == []
        assert {post.delivery(n).state for n in (1, 2, 3)} == {DeliveryState.WAITING}
        assert delivery_decisions.resume(site, "pacs", by="K. Braun") == "pacs goes on"
        assert delivery_decisions.resume(site, "pacs", by="K. Braun") == "pacs is not paused"
        post.settle()
        assert isinstance(post.case(3), Delivered)
        with pytest.raises(NoSuchCase, match="no destination is called 'nobody'"):
            delivery_decisions.pause(site, "nobody", reason="r", by="b")
    (trail,) = (tmp_path / "audit").glob("*.jsonl")
    events = [json.loads(line) for line in trail.read_text().splitlines()]
    assert [(e["event"], e["destination"], e["by"]) for e in events] == [
        ("deliveries.paused", "pacs", "K. Braun"),
        ("deliveries.resumed", "pacs", "K. Braun"),
    ]


def test_a_destination_removed_from_the_settings_stands_in_the_list_until_it_is_dropped(made, tmp_path, capsys):
    with posted(made, tmp_path) as post:
        site = settings(tmp_path)
        with post.ledger.begin() as c:
            watch_removed(c, [])
        assert kinds(post) == {"DESTINATION_REMOVED"}
        delivery_views.show_deliveries(site, name="", limit=50, as_json=True)
        (row,) = json.loads(capsys.readouterr().out)["destinations"]
        assert (row["destination"], row["configured"], row["waiting"]) == ("pacs", False, 3)
        delivery_views.show_deliveries(site, name="", limit=2, as_json=False)
        shown = capsys.readouterr().out
        assert "removed" in shown
        assert "and 1 more" in shown
        with pytest.raises(NoSuchCase, match="is in the settings"):
            delivery_decisions.drop(
                settings(tmp_path, FakePacs().destination() | {"port": 1}), "pacs", reason="r", by="b"
            )
        said = delivery_decisions.drop(site, "pacs", reason="archive is gone", by="K. Braun")
        assert said == "3 deliveries to pacs are given up"
        case = post.case(1)
        assert isinstance(case, Failed)
        assert case.code == "NOT-DELIVERED"
        assert kinds(post) == set()
        with post.ledger.read() as c:
            (counted,) = delivery_list.counts(c)
        assert (counted.dropped, counted.waiting) == (3, 0)
        with pytest.raises(NoSuchCase, match="nothing waits for pacs"):
            delivery_decisions.drop(site, "pacs", reason="r", by="b")


def test_adding_a_removed_destination_again_settles_it(made, tmp_path):
    with FakePacs() as pacs, posted(made, tmp_path, pacs.destination()) as post:
        assert isinstance(post.case(1), Reported)
        with post.ledger.begin() as c:
            watch_removed(c, [])
            watch_removed(c, ["pacs"])
        assert kinds(post) == set()
        post.settle()
        assert isinstance(post.case(1), Delivered)


def shown(folder, capsys, *places):
    capsys.readouterr()
    delivery_views.show_deliveries(settings(folder, *places), name="", limit=50, as_json=False)
    return capsys.readouterr().out


def test_a_destination_is_not_called_reachable_from_its_first_failure_on(made, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    pacs = FakePacs(port=free_port())
    with posted(made, tmp_path, pacs.destination()) as post:
        assert "reachable" in shown(tmp_path, capsys, pacs.destination())
        post.send()
        said = shown(tmp_path, capsys, pacs.destination())
        assert "not answering, 1 try failed" in said
        assert "reachable" not in said
        with pacs:
            post.pass_time(600)
            post.settle()
        assert "reachable" in shown(tmp_path, capsys, pacs.destination())


def test_retry_of_a_case_that_waits_has_it_tried_now_or_says_what_it_waits_for(made, tmp_path):
    pacs = FakePacs(port=free_port())
    site = settings(tmp_path, pacs.destination())
    with posted(made, tmp_path, pacs.destination()) as post:
        post.settle()
        assert post.due() == 0, "all of it waits for its next try"
        assert case_decisions.retry_case(site, 2) == "case 2 waits: pacs is tried again now"
        with pacs:
            assert post.due() == 1
        assert isinstance(post.case(2), Delivered)
        delivery_decisions.pause(site, "pacs", reason="migration", by="K. Braun")
        assert "`osteon deliveries resume pacs --by WHO`" in case_decisions.retry_case(site, 1)
        assert "`osteon deliveries drop pacs --reason" in case_decisions.retry_case(settings(tmp_path), 1)
        with pytest.raises(NoSuchCase, match="there is nothing to retry"):
            case_decisions.retry_case(site, 2)


def test_retry_of_a_case_behind_the_breaker_asks_the_destination_now(made, tmp_path):
    pacs = FakePacs(port=free_port())
    with posted(made, tmp_path, pacs.destination(), probe_seconds=HOUR) as post:
        while state(post).breaker is Breaker.CLOSED:
            post.settle()
            post.pass_time(30)
        with pacs:
            assert post.due() == 0
            said = case_decisions.retry_case(settings(tmp_path, pacs.destination()), 1)
            assert said.startswith("case 1 waits: pacs does not answer; it is asked now")
            post.settle()
        assert isinstance(post.case(1), Delivered)
