"""A result that is taken back or amended leaves nothing standing at a receiver, whatever it answered on the way."""

from __future__ import annotations

import json

import pytest
from support.dicom_objects import radiograph_dataset
from support.hl7_office import Office, tables
from support.hl7_receiver import Receiver, ack, answering, closing
from support.node_parts import settings
from support.reporting import adt, weight

from node.case_decisions import amend_case, retry_case, withdraw_case
from node.case_views import show_case
from node.errors import Retry
from node.feeds.er7 import parse as read_er7
from node.result_decisions import drop
from node.results_out import ERRORS_BEFORE_A_PERSON, take_back, watch_removed_receivers
from node.store import alerts
from node.store.errors import NoSuchCase
from node.store.result_messages import ResultState

REASON = "joined with another patient's record"
PROBABILITIES = {"OS-P-FUSED", "OS-P-IMAGE", "OS-P-CLIN"}


@pytest.fixture
def site(ledger, ledger_url, tmp_path):
    """Settings and office of a node with so many receivers; without a port, of one that lost them."""
    named = {"database_url": ledger_url} if "://" in ledger_url else {}

    def at(*ports: int):
        configured = settings(storage={"data_dir": str(tmp_path), **named}, **tables(*ports))
        return configured, Office(ledger, tmp_path, *ports)

    return at


def withdraw(configured, case_id, **options):
    return withdraw_case(configured, case_id, reason=REASON, rejection="safety", by="K. Braun", **options)


def opened(office) -> set[tuple[str, str]]:
    with office.ledger.read() as c:
        return {(one.kind, one.subject) for one in alerts.find(c)}


def results(message: bytes) -> dict[str, tuple[str, str]]:
    """(value, OBX-11) of each observation by its code."""
    rows = [s for s in read_er7(message).segments if s.id == "OBX"][1:]
    codes = [s.text(3, 4) or s.text(3) for s in rows]
    assert len(codes) == len(set(codes))
    assert [s.text(1) for s in rows] == [str(n) for n in range(2, len(rows) + 2)]
    return {code: (s.text(5), s.text(11)) for code, s in zip(codes, rows, strict=True)}


def stored_and_hung_up(office, receiver):
    """A case whose result the receiver stored without an answer."""
    case_id = office.report()
    with pytest.raises(Retry):
        office.send()
    assert len(receiver.received) == 1
    return case_id


def refusing(code: str, err: str = ""):
    return lambda link, _message, control: link.sendall(ack(code, control, err=err))


def test_who_stored_the_result_and_refuses_its_repetition_is_told_that_it_is_taken_back(site):
    with Receiver(closing) as receiver:
        configured, office = site(receiver.port)
        case_id = stored_and_hung_up(office, receiver)
        receiver.reply = refusing("AR", "205")
        office.send()
        (message,) = office.messages(case_id)
        assert (message.state, message.uncertain) == (ResultState.REFUSED, True)
        assert message.error == "answered AR 205, it probably has the message from an earlier send"
        assert "ris0 by HL7" in withdraw(configured, case_id)
        receiver.reply = answering("AA")
        while office.send():
            pass
    assert {status for _, status in results(receiver.received[-1]).values()} == {"D"}
    assert office.state(case_id) == ["1R cancelled", "1D sent"]


def test_three_errors_after_a_send_without_an_answer_do_not_say_that_it_is_not_there(site):
    with Receiver(closing) as receiver:
        _, office = site(receiver.port)
        case_id = stored_and_hung_up(office, receiver)
        receiver.reply = refusing("AE")
        for _ in range(ERRORS_BEFORE_A_PERSON - 1):
            with pytest.raises(Retry):
                office.send()
        office.send()
        assert [m.state for m in office.messages(case_id)] == [ResultState.REFUSED]
        with office.ledger.begin() as c:
            assert take_back(c, case_id, 1, wrong_patient=False) == ("ris0",)


def test_who_only_ever_refused_the_result_is_not_told_that_it_is_taken_back(site):
    with Receiver(refusing("AR", "205")) as receiver:
        configured, office = site(receiver.port)
        case_id = office.report()
        office.send()
        assert office.messages(case_id)[0].error == "answered AR 205"
        assert opened(office) == {("RESULT_REFUSED", f"case {case_id}")}
        assert "HL7" not in withdraw(configured, case_id)
    assert office.state(case_id) == ["1R cancelled"]
    assert opened(office) == set()  # nothing of the case is refused any more


def test_what_an_amendment_states_no_more_is_deleted_and_the_retraction_names_all_that_was_ever_told(site):
    with Receiver(answering("AA")) as receiver:
        configured, office = site(receiver.port)
        office.desk.tell(adt(), weight())
        case_id = office.report()
        office.send()
        office.desk.deliver(case_id)
        office.desk.tell(weight(status="D"))
        amend_case(configured, case_id, reason="the weight was another patient's")
        office.desk.work()
        office.send()
        withdraw(configured, case_id, wrong_patient=True)
        office.send()
    first, second, third = map(results, receiver.received)
    assert set(first) >= PROBABILITIES
    assert {status for _, status in first.values()} == {"R"}
    assert {code: said for code, said in second.items() if said[1] == "D"} == {
        "OS-P-FUSED": ("", "D"),
        "OS-P-CLIN": ("", "D"),
    }
    assert second["OS-P-IMAGE"][0]
    assert set(third) == set(first) | set(second)
    assert set(third.values()) == {("", "W")}


def test_an_amendment_deletes_nothing_where_the_version_before_never_came(site):
    with Receiver(answering("AA")) as receiver:
        configured, office = site(receiver.port)
        office.desk.tell(adt(), weight())
        case_id = office.report()
        office.desk.deliver(case_id)
        office.desk.tell(weight(status="D"))
        amend_case(configured, case_id, reason="the weight was another patient's")
        office.desk.work()
        while office.send():
            pass
    (only,) = map(results, receiver.received)
    assert {status for _, status in only.values()} == {"R"}
    assert "OS-P-FUSED" not in only


def test_a_refused_retraction_has_its_own_alert_until_it_is_taken_up_again(site, capsys):
    with Receiver(answering("AA", "AR", "AA")) as receiver:
        configured, office = site(receiver.port)
        case_id = office.report()
        office.send()
        withdraw(configured, case_id)
        office.send()
        assert office.state(case_id) == ["1R sent", "1D refused"]
        assert opened(office) == {("RETRACTION_REFUSED", f"case {case_id} at ris0")}
        capsys.readouterr()
        show_case(configured, case_id, as_json=False)
        assert "to ris0 by HL7: taken back, refused, 1 failed tries  answered AR" in capsys.readouterr().out
        assert "ris0" in retry_case(configured, case_id)
        assert opened(office) == set()
        office.send()
    assert office.state(case_id) == ["1R sent", "1D sent"]


def test_a_refusal_of_what_was_cancelled_meanwhile_alerts_nobody(site):
    def reply(link, _message, control):
        if not office.state(case_id)[1:]:
            with office.ledger.begin() as c:
                take_back(c, case_id, 1, wrong_patient=False)
        link.sendall(ack("AR", control))

    with Receiver(reply) as receiver:
        _, office = site(receiver.port)
        case_id = office.report()
        office.send()
    assert "1R cancelled" in office.state(case_id)
    assert opened(office) == set()


def test_a_receiver_that_left_the_settings_is_said_everywhere_until_it_is_given_up(site, tmp_path):
    with Receiver(answering("AA")) as receiver:
        _, office = site(receiver.port)
        told = office.report()
        office.send()
    waiting = office.desk.receive(radiograph_dataset(number=2, PatientName="Weber^Petra"))
    office.desk.work()
    without, _ = site()
    assert "ris0 is not in the settings" in retry_case(without, waiting)
    assert "ris0 by HL7" in withdraw(without, told, wrong_patient=True)
    assert opened(office) == {("RECEIVER_REMOVED", "receiver ris0")}
    with office.ledger.read() as c:
        (alert,) = alerts.find(c)
    assert alert.detail == "2 messages wait, 1 of them take a result back"
    with pytest.raises(NoSuchCase, match="is in the settings"):
        drop(settings(**tables(1)), "ris0", reason="r", by="b")
    said = drop(without, "ris0", reason="replaced", by="K. Braun")
    assert said == f"2 messages to ris0 are given up; not taken back there: case {told}"
    assert office.state(told) == ["1R sent", "1W cancelled"]
    assert office.messages(waiting)[0].error == "given up by K. Braun: replaced"
    assert opened(office) == set()
    with pytest.raises(NoSuchCase, match="nothing waits for ris0"):
        drop(without, "ris0", reason="r", by="b")
    (trail,) = (tmp_path / "audit").glob("*.jsonl")
    line = json.loads(trail.read_text().splitlines()[-1])
    assert (line["event"], line["receiver"], line["by"]) == ("results.dropped", "ris0", "K. Braun")


def test_what_a_removed_receiver_refused_stays_refused_and_is_taken_up_when_it_is_back(site):
    with Receiver(answering("AR")) as receiver:
        configured, office = site(receiver.port)
        case_id = office.report()
        office.desk.deliver(case_id)
        office.send()
    without, _ = site()
    said = retry_case(without, case_id)
    assert said.startswith(f"case {case_id} waits: ris0 is not in the settings; put it back, or `osteon results drop")
    assert office.state(case_id) == ["1R refused"]
    assert opened(office) == {("RESULT_REFUSED", f"case {case_id}")}
    with office.ledger.begin() as c:
        watch_removed_receivers(c, set())
    assert ("RECEIVER_REMOVED", "receiver ris0") in opened(office)
    with office.ledger.begin() as c:
        watch_removed_receivers(c, {"ris0"})
    assert "on its way again to ris0" in retry_case(configured, case_id)
    assert opened(office) == set()
