"""An HL7 receiver that is away is noticed: an alert, `osteon doctor`, and a person's retry."""

from __future__ import annotations

import socket

import pytest
from support.hl7_office import Office, tables
from support.hl7_receiver import Receiver, answering
from support.node_parts import settings

from node import places
from node.case_decisions import retry_case
from node.errors import Retry
from node.finding import Mark
from node.listener import Listener
from node.receiver_check import examine_receivers
from node.results_out import TRIES_BEFORE_ALERT
from node.store import alerts, jobs


def opened(ledger) -> set[tuple[str, str]]:
    with ledger.read() as c:
        return {(one.kind, one.subject) for one in alerts.find(c)}


def vain_tries(office, count):
    for _ in range(count):
        with pytest.raises(Retry):
            office.send()


@pytest.mark.parametrize("answer", ["AA", "AE"])
def test_a_receiver_that_stays_away_raises_one_alert_which_its_next_answer_settles(ledger, tmp_path, answer):
    with Receiver(answering(answer)) as receiver:
        receiver.reply = lambda _link, _message, _control: None  # silent
        office = Office(ledger, tmp_path, receiver.port, timeout=0.05)
        office.report()
        vain_tries(office, TRIES_BEFORE_ALERT - 1)
        assert opened(ledger) == set()
        vain_tries(office, 1)
        assert opened(ledger) == {("RECEIVER_DOWN", "receiver ris0")}
        vain_tries(office, 1)
        with ledger.read() as c:
            assert [one.detail for one in alerts.find(c)] == ["no acknowledgement in time"]
        receiver.reply = answering(answer)
        if answer == "AA":
            assert office.send()
        else:
            vain_tries(office, 1)
    assert opened(ledger) == set()


def test_retry_hurries_a_message_that_waits(tmp_path):
    configured = settings(storage={"data_dir": str(tmp_path)}, **tables(1))
    ledger = places.open_settings_ledger(configured)
    office = Office(ledger, tmp_path, 1)
    case_id = office.report()
    office.desk.deliver(case_id)
    vain_tries(office, 1)
    with ledger.begin() as c:
        (task,) = jobs.claim(c, "hl7:ris0", 1, owner="test", lease=60)
        jobs.retry_later(c, task, after=900, reason="away")
    assert retry_case(configured, case_id) == f"case {case_id} waits: ris0 is tried again now"
    with ledger.read() as c:
        assert jobs.any_due(c, "hl7:ris0")
    ledger.close()


def test_doctor_says_whether_a_receiver_is_reached():
    with socket.create_server(("127.0.0.1", 0)) as listens, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ports = listens.getsockname()[1], taken.getsockname()[1]
        here, away = examine_receivers(settings(**tables(*ports)).results)
    assert (here.mark, here.what) == (Mark.OK, f"HL7 receiver ris0 at 127.0.0.1:{ports[0]} accepts connections")
    assert away.mark is Mark.WARN
    assert f"ris1 at 127.0.0.1:{ports[1]} is not reached: Connection refused" in away.what


def test_a_listener_tells_at_its_start_of_a_receiver_that_left_the_settings(tmp_path):
    quiet = {"storage": {"data_dir": str(tmp_path)}, "reception": {"port": 0}, "clinical": {"mllp": {"enabled": False}}}
    ledger = places.open_settings_ledger(settings(storage={"data_dir": str(tmp_path)}))
    Office(ledger, tmp_path, 1).report()
    ledger.close()
    running = Listener(settings(**quiet))
    running.start()
    running.stop()
    again = places.open_settings_ledger(settings(storage={"data_dir": str(tmp_path)}))
    assert ("RECEIVER_REMOVED", "receiver ris0") in opened(again)
    again.close()
