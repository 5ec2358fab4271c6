"""A report that is being written is foretold: an association is made ready, unless nothing may go there."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path

import pytest
from support.reporting import Desk

from config.settings import Delivery, Destination
from dicom_io.ready_associations import ReadyAssociations
from node.dispatch.hints import Heard, NoHints
from node.foretold import Foretold
from node.store import destinations, jobs, notices
from node.store.engine import Ledger
from node.tasks import INFER_LANE

PACS = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)


class Said(NoHints):
    """Says once what it was given."""

    def __init__(self, *said: str) -> None:
        self.said = said

    def follow(self, lanes: object, heard: Heard, stopping: threading.Event) -> None:  # noqa: ARG002
        for one in self.said:
            heard(one)


class Prepared(ReadyAssociations):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def prepare(self, to: Destination, settings: Delivery) -> None:  # noqa: ARG002
        self.asked.append(to.name)


def prepared(ledger: Ledger, *said: str) -> tuple[list[str], list[str]]:
    """(destinations prepared, lanes passed on)."""
    ready, heard = Prepared(), list[str]()
    settings = Delivery(destinations=(PACS,))
    hints = Foretold(hints=Said(*said), ledger=ledger, settings=settings, ready=ready)
    hints.follow({"infer"}, heard.append, threading.Event())
    return ready.asked, heard


def test_what_is_foretold_is_prepared_and_the_rest_is_passed_on(sqlite_ledger: Ledger):
    assert prepared(sqlite_ledger, "infer", "soon:pacs", "soon:removed", "net:pacs") == (
        ["pacs"],
        ["infer", "net:pacs"],
    )


def test_a_paused_destination_is_left_alone(sqlite_ledger: Ledger):
    with sqlite_ledger.begin() as c:
        destinations.pause(c, "pacs", at=dt.datetime.now(dt.UTC), why="upgrade")
    assert prepared(sqlite_ledger, "soon:pacs") == ([], [])


@pytest.mark.parametrize(("report_on", "expected"), [(("above", "between", "below"), {"soon:pacs"}), ((), set())])
def test_a_case_that_will_be_reported_foretells_it(
    sqlite_ledger: Ledger, tmp_path: Path, report_on: tuple[str, ...], expected: set[str]
):
    rung: set[str] = set()
    sqlite_ledger.announce(by_notice=False, then=rung.update)
    desk = Desk(sqlite_ledger, tmp_path, {"report": {"report_on": report_on}})
    worker = desk.worker()
    desk.receive()
    with sqlite_ledger.begin() as c:
        (task,) = jobs.claim(c, INFER_LANE, 1, owner="test", lease=60)
    rung.clear()
    worker.advance(task)
    assert rung == expected


def test_on_a_server_nothing_is_foretold(ledger: Ledger):
    rung: set[str] = set()
    ledger.announce(by_notice=False, then=rung.update)
    notices.foretell(ledger, ("pacs",))
    assert rung == ({"soon:pacs"} if ledger.file else set())
