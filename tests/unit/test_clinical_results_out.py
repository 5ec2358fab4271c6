"""Reports as ORU^R01: who is told what, and what a receiver's answer means. Real ledger, real sockets."""

from __future__ import annotations

import json
import socket
import ssl
import time

import pytest
from support.certificates import authority, signed
from support.hl7_office import Office, tables
from support.hl7_receiver import Receiver, ack, answering, closing
from support.node_parts import settings
from support.reporting import Desk, adt, weight

from config.settings import SettingsError, parse
from dicom_io import wording
from node import places
from node.case_decisions import retry_case
from node.errors import Retry
from node.feeds.er7 import parse as read_er7
from node.result_views import show_results
from node.results_out import ERRORS_BEFORE_A_PERSON, resume, take_back
from node.store import alerts, jobs, result_messages
from node.store.result_messages import ResultState

FIRST, CAP = 1.0, 900.0


def obx(message: bytes, code: str):
    segments = [s for s in read_er7(message).segments if s.id == "OBX"]
    return next(s for s in segments if code in (s.text(3), s.text(3, 4)))


def test_clinical_out_is_off_by_default(ledger, tmp_path):
    desk = Desk(ledger, tmp_path)
    case_id = desk.receive()
    desk.work()
    with ledger.read() as c:
        assert result_messages.listed(c, case_id=case_id) == ()


def test_clinical_out_one_message_per_reported_version_and_receiver_in_the_codes_of_the_sr(ledger, tmp_path):
    with Receiver(answering("AA")) as first, Receiver(answering("CA")) as second:
        office = Office(ledger, tmp_path, first.port, second.port)
        case_id = office.report()
        assert office.send("ris0")
        assert office.send("ris1")
        assert not office.send("ris0")
    assert [(m.state, m.answer) for m in office.messages(case_id)] == [
        (ResultState.SENT, "AA"),
        (ResultState.SENT, "CA"),
    ]
    (message,) = first.received
    read = read_er7(message)
    sr = next(o for o in office.desk.case(case_id).objects if o.kind == "sr")
    assert obx(message, "OS-SR-UID").text(5) == sr.sop_instance_uid
    assert obx(message, "OS-CATEGORY").text(5) == "OS-ABOVE"
    assert obx(message, "OS-P-IMAGE").text(6) == "%"
    assert read.first("PID").text(3) == "0012345"
    assert read.first("OBR").text(25) == "R"
    assert read.header.text(10) == office.messages(case_id)[0].control_id
    assert len(read.header.text(10)) == 20
    assert read_er7(second.received[0]).header.text(10) != read.header.text(10)


def test_clinical_out_says_that_the_training_was_simulated_and_nothing_forbidden(ledger, tmp_path):
    with Receiver(answering("AA")) as receiver:
        office = Office(ledger, tmp_path, receiver.port)
        office.report()
        office.send()
    (message,) = receiver.received
    text = message.decode()
    assert wording.forbidden(text) == ()
    assert "T-score" not in text
    for code in ("OS-SUMMARY", "OS-DISCL"):
        said = obx(message, code).text(5)
        assert "Not for primary diagnosis" in said
    assert [s.text(7) for s in read_er7(message).segments if s.id == "OBX"] == [""] * text.count("\rOBX|")


def test_clinical_out_never_p_or_f(ledger, tmp_path):
    with Receiver(answering("AA")) as receiver:
        office = Office(ledger, tmp_path, receiver.port)
        case_id = office.report()
        office.send()
        with ledger.begin() as c:
            take_back(c, case_id, 1, wrong_patient=False)
        office.send()
    for message in receiver.received:
        read = read_er7(message)
        statuses = {s.text(11) for s in read.segments if s.id == "OBX"} | {read.first("OBR").text(25)}
        assert statuses <= {"R", "O", "D", "W"}


def test_clinical_out_ca_then_aa_and_a_late_aa_of_an_old_message(ledger, tmp_path):
    def reply(link: socket.socket, _message: bytes, control: str) -> None:
        link.sendall(ack("AA", "OLD") + ack("CA", control))
        link.sendall(ack("AA", control))

    with Receiver(reply) as receiver:
        office = Office(ledger, tmp_path, receiver.port)
        case_id = office.report()
        office.send()
    (message,) = office.messages(case_id)
    assert (message.state, message.answer, message.tries) == (ResultState.SENT, "CA", 0)


def test_clinical_out_ae_is_tried_again_within_bounds_and_then_put_before_a_person(ledger, tmp_path):
    with Receiver(answering("AE")) as receiver:
        office = Office(ledger, tmp_path, receiver.port)
        case_id = office.report()
        for _ in range(ERRORS_BEFORE_A_PERSON - 1):
            with pytest.raises(Retry):
                office.send()
        office.send()
        assert not office.send()
    assert len(set(receiver.received)) == 1
    assert len(receiver.received) == ERRORS_BEFORE_A_PERSON
    (message,) = office.messages(case_id)
    assert (message.state, message.error) == (ResultState.REFUSED, "answered AE")
    with ledger.read() as c:
        (alert,) = alerts.find(c)
    assert (alert.kind, alert.subject) == ("RESULT_REFUSED", f"case {case_id}")


def test_clinical_out_ar_is_put_before_a_person_at_once_who_can_have_it_sent_again(ledger, tmp_path):
    def reply(link: socket.socket, _message: bytes, control: str) -> None:
        link.sendall(ack("AR" if len(receiver.received) == 1 else "AA", control, err="200"))

    with Receiver(reply) as receiver:
        office = Office(ledger, tmp_path, receiver.port)
        case_id = office.report()
        office.send()
        (message,) = office.messages(case_id)
        assert (message.state, message.error, message.answer) == (ResultState.REFUSED, "answered AR 200", "AR")
        with ledger.begin() as c:
            assert resume(c, case_id, {"ris0"}) == ("ris0",)
        office.send()
    assert receiver.received[0] == receiver.received[1]
    assert office.state(case_id) == ["1R sent"]
    with ledger.read() as c:
        assert alerts.find(c) == ()


@pytest.mark.parametrize("case", ["wrong MSA-2", "no reply", "half a reply", "connection lost", "no MLLP"])
def test_clinical_out_wrong_msa2_no_reply_half_a_reply_are_no_success_and_the_resend_is_byte_identical(
    ledger, tmp_path, case
):
    def reply(link: socket.socket, message: bytes, control: str) -> None:
        if len(receiver.received) > 1:
            return link.sendall(ack("AA", control))
        if case == "connection lost":
            return closing(link, message, control)
        answers = {
            "wrong MSA-2": ack("AA", "SOMEBODY-ELSE"),
            "half a reply": ack("AA", control)[:-12],
            "no MLLP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
        }
        return link.sendall(answers.get(case, b""))

    with Receiver(reply) as receiver:
        office = Office(ledger, tmp_path, receiver.port, timeout=0.5)
        case_id = office.report()
        with pytest.raises(Retry) as retry:
            office.send()
        (waiting,) = office.messages(case_id)
        assert (waiting.state, waiting.tries, waiting.uncertain) == (ResultState.WAITING, 1, True)
        assert 0.7 * FIRST < retry.value.after < 1.3 * FIRST
        office.send()
    assert receiver.received[0] == receiver.received[1]
    assert office.state(case_id) == ["1R sent"]


def test_clinical_out_a_reply_cut_over_packets_in_another_version_and_bare_is_understood(ledger, tmp_path):
    def reply(link: socket.socket, _message: bytes, control: str) -> None:
        bare = f"\x0bMSH|^~\\&|R|R|O|O|Mon Mar 10||ACK|9|P|2.3\nMSA|aa|{control}|fine\n\x1c\r".encode()
        for n in range(0, len(bare), 7):
            link.sendall(bare[n : n + 7])
            time.sleep(0.002)

    with Receiver(reply) as receiver:
        office = Office(ledger, tmp_path, receiver.port)
        case_id = office.report()
        office.send()
    assert office.state(case_id) == ["1R sent"]


def test_clinical_out_while_the_receiver_is_down_pauses_grow_from_1_s_to_15_min(ledger, tmp_path):
    with Receiver(answering("AA")) as receiver:
        port = receiver.port
    office = Office(ledger, tmp_path, port)
    case_id = office.report()
    pauses = []
    for _ in range(12):
        with pytest.raises(Retry) as retry:
            office.send()
        pauses.append(retry.value.after)
    assert [round(p / min(FIRST * 2**n, CAP)) for n, p in enumerate(pauses)] == [1] * 12
    (message,) = office.messages(case_id)
    assert (message.tries, message.uncertain) == (12, False)


def test_clinical_out_restart_with_an_outstanding_message_sends_the_same_bytes(ledger, tmp_path):
    with Receiver(answering("AA")) as receiver:
        office = Office(ledger, tmp_path, receiver.port)
        case_id = office.report()
        with ledger.begin() as c:
            (task,) = jobs.claim(c, "hl7:ris0", 1, owner="died", lease=0)
        office.sender.send(task)  # the process ends before it could record the answer
        again = Office(ledger, tmp_path, receiver.port)
        again.send()
    assert receiver.received[0] == receiver.received[1]
    assert again.state(case_id) == ["1R sent"]


def test_clinical_out_an_amended_report_is_r_again_with_a_new_control_id(ledger, tmp_path):
    with Receiver(answering("AA")) as receiver:
        office = Office(ledger, tmp_path, receiver.port)
        case_id = office.report()
        office.send()
        office.desk.deliver(case_id)
        office.desk.tell(adt(), weight())
        office.desk.work()
        office.send()
    first, second = map(read_er7, receiver.received)
    assert office.state(case_id) == ["1R sent", "2R sent"]
    assert first.header.text(10) != second.header.text(10)
    assert second.first("OBR").text(25) == "R"
    assert obx(receiver.received[1], "OS-INPUT").text(5) == "OS-IMG-CLIN"


def test_clinical_out_an_amendment_cancels_what_was_not_sent_of_the_version_before(ledger, tmp_path):
    with Receiver(answering("AA")) as receiver:
        office = Office(ledger, tmp_path, receiver.port)
        case_id = office.report()
        office.desk.deliver(case_id)
        office.desk.tell(adt(), weight())
        office.desk.work()
        while office.send():
            pass
    assert office.state(case_id) == ["1R cancelled", "2R sent"]
    assert len(receiver.received) == 1


@pytest.mark.parametrize(("wrong_patient", "status"), [(False, "D"), (True, "W")])
def test_clinical_out_retraction_is_obx11_d_or_w_and_goes_where_the_result_is_or_may_be(
    ledger, tmp_path, wrong_patient, status
):
    with Receiver(answering("AA")) as told, Receiver(closing) as unsure, Receiver(answering("AA")) as untold:
        office = Office(ledger, tmp_path, told.port, unsure.port, untold.port)
        case_id = office.report()
        office.send("ris0")
        with pytest.raises(Retry):
            office.send("ris1")
        with ledger.begin() as c:
            assert take_back(c, case_id, 1, wrong_patient=wrong_patient) == ("ris0", "ris1")
        unsure.reply = answering("AA")
        for name in ("ris0", "ris1", "ris2"):
            while office.send(name):
                pass
    assert untold.received == []
    result, retraction = told.received
    read = read_er7(retraction)
    rows = [s for s in read.segments if s.id == "OBX"]
    assert [s.text(11) for s in rows] == ["O", *[status] * (len(rows) - 1)]
    assert [s.raw(5) for s in rows[1:]] == [""] * (len(rows) - 1)
    assert [(s.raw(3), s.raw(4)) for s in rows] == [
        (s.raw(3), s.raw(4)) for s in read_er7(result).segments if s.id == "OBX"
    ]
    assert read_er7(unsure.received[-1]).segments[-1].text(11) == status
    taken_back = [f"1{status} sent", f"1{status} sent", "1R cancelled", "1R cancelled", "1R sent"]
    assert sorted(office.state(case_id)) == sorted(taken_back)


def test_clinical_out_a_retraction_on_another_host_waits_for_the_result_that_is_still_under_way(ledger, tmp_path):
    waited: list[str] = []

    def reply(link: socket.socket, _message: bytes, control: str) -> None:
        if len(receiver.received) == 1:  # the first host waits for this answer; a second one takes the next task
            with ledger.begin() as c:
                take_back(c, case_id, 1, wrong_patient=True)
            try:
                office.send()
            except Retry as retry:
                waited.append(retry.reason)
        link.sendall(ack("AA", control))

    with Receiver(reply) as receiver:
        office = Office(ledger, tmp_path, receiver.port, timeout=60.0)
        case_id = office.report()
        assert office.send()
        assert waited == ["another message of the case is under way"]
        assert office.state(case_id) == ["1R sent", "1W waiting"]
        assert office.send()
    assert [read_er7(m).segments[-1].text(11) for m in receiver.received] == ["R", "W"]
    assert office.state(case_id) == ["1R sent", "1W sent"]


def test_clinical_out_a_retraction_does_not_wait_for_a_host_that_died_while_it_sent(ledger, tmp_path):
    with Receiver(answering("AA")) as receiver:
        office = Office(ledger, tmp_path, receiver.port)
        case_id = office.report()
        with ledger.begin() as c:
            (task,) = jobs.claim(c, "hl7:ris0", 1, owner="died", lease=0)
        office.sender.send(task)
        with ledger.begin() as c:
            take_back(c, case_id, 1, wrong_patient=False)
        while office.send():
            pass
    assert [read_er7(m).segments[-1].text(11) for m in receiver.received] == ["R", "D"]
    assert office.state(case_id) == ["1R cancelled", "1D sent"]


def test_clinical_out_speaks_tls_and_checks_the_receivers_certificate(ledger, tmp_path):
    ours, other = authority(tmp_path / "ours"), authority(tmp_path / "other")
    pair = signed(tmp_path / "ours", ours)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with Receiver(answering("AA"), context) as receiver:
        stranger = Office(ledger, tmp_path, receiver.port, tls=True, ca=str(other.certificate))
        case_id = stranger.report()
        with pytest.raises(Retry, match="no TLS"):
            stranger.send()
        assert receiver.received == []
        friend = Office(ledger, tmp_path, receiver.port, tls=True, ca=str(ours.certificate))
        friend.send()
    assert friend.state(case_id) == ["1R sent"]


def test_clinical_out_logs_hold_no_patient_data(ledger, tmp_path, capsys):
    with Receiver(answering("AR")) as receiver:
        office = Office(ledger, tmp_path, receiver.port)
        office.report()
        office.send()
    shown = "".join(capsys.readouterr())
    assert "result.refused" in shown
    assert not [word for word in ("0012345", "Weber", "WEBER", "Petra", "19550620") if word in shown]


def test_clinical_out_retry_takes_refused_messages_up_again(tmp_path):
    configured = settings(storage={"data_dir": str(tmp_path)}, **tables(1))
    ledger = places.open_settings_ledger(configured)
    with Receiver(answering("AR")) as receiver:
        office = Office(ledger, tmp_path, receiver.port)
        case_id = office.report()
        office.send()
    ledger.close()
    assert "ris0" in retry_case(configured, case_id)


def test_clinical_out_settings_refuse_keys_without_tls_and_two_receivers_of_one_name():
    one = {"name": "ris", "host": "h"}
    with pytest.raises(SettingsError, match="plain text"):
        parse({"results": {"receivers": [{**one, "ca": "ca.pem"}]}}, origin="test")
    with pytest.raises(SettingsError, match="share a name"):
        parse({"results": {"receivers": [one, one]}}, origin="test")
    with pytest.raises(SettingsError, match="procedure"):
        parse({"results": {"procedure": "no code"}}, origin="test")


def test_clinical_out_osteon_results_lists_what_is_open_and_names_no_patient(tmp_path, capsys):
    configured = settings(storage={"data_dir": str(tmp_path)}, **tables(1))
    ledger = places.open_settings_ledger(configured)
    with Receiver(answering("AR")) as receiver:
        office = Office(ledger, tmp_path, receiver.port)
        case_id = office.report()
        office.send()
    ledger.close()
    capsys.readouterr()
    show_results(configured, case_id=None, everything=False, limit=10, as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["case"], row["receiver"], row["state"], row["answer"]) == (case_id, "ris0", "refused", "AR")
    show_results(configured, case_id=None, everything=True, limit=10, as_json=False)
    shown = capsys.readouterr().out
    assert "answered AR" in shown
    assert "0012345" not in shown
