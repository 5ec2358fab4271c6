"""The listener on loopback: what it answers is in the ledger, what it adopts, what it refuses to share."""

from __future__ import annotations

import datetime as dt
import socket
import subprocess
import sys
import threading
import time

import pytest
from support.dicom_objects import dataset_of, encode, radiograph_dataset
from support.hl7 import message, pid
from support.hospital import await_true

from config.clinical import Clinical
from config.settings import Delivery, Destination, SettingsError, parse
from dicom_io.spool import Spool
from dicom_io.storage_scu import OutgoingObject, send
from model.domain import AssigningAuthority, Identifier, MatchClass, NameGroup, PatientIdentity, PersonName, Sex
from node import listener as listener_module
from node import schedule
from node.case import Received
from node.demo import messages
from node.listener import Listener
from node.matching import Image, match_patient
from node.store import alerts, cases, jobs
from node.store.engine import open_ledger


def configured(folder, **clinical):
    tables = {"mllp": {"port": 0}, **clinical}
    return parse({"storage": {"data_dir": folder}, "reception": {"port": 0}, "clinical": tables}, origin="test")


@pytest.fixture
def listener(tmp_path):
    running = Listener(configured(tmp_path / "node", csv={"folder": tmp_path / "drop", "poll": 0.1, "settle": 0}))
    running.start()
    yield running
    running.stop()


def store(listener, *datasets):
    objects = [
        OutgoingObject(sop_class_uid=str(d.SOPClassUID), sop_instance_uid=str(d.SOPInstanceUID), part10=encode(d))
        for d in datasets
    ]
    node = Destination(name="node", ae_title="OSTEON", host="127.0.0.1", port=listener.dicom_port)
    send(objects, node, Delivery())


def test_a_listener_tells_by_itself_that_its_disk_is_too_full(tmp_path, monkeypatch):
    """No sender need come for it."""
    monkeypatch.setattr(schedule, "WATCH_SECONDS", 0.1)
    reception = {"port": 0, "reject_at_percent": 0.0001}
    tables = {"storage": {"data_dir": tmp_path}, "reception": reception, "clinical": {"mllp": {"enabled": False}}}
    running = Listener(parse(tables, origin="test"))
    running.start()
    ledger = open_ledger(tmp_path / "ledger.db")

    def told() -> list[tuple[str, str]]:
        with ledger.read() as c:
            return [(a.kind, a.subject) for a in alerts.find(c)]

    await_true(lambda: told() == [("DISK_LOW", "reception")], "an alert")
    running.stop()
    ledger.close()


def listed(folder):
    ledger = open_ledger(folder / "node" / "ledger.db")
    with ledger.read() as c:
        found = cases.find(c)
        tasks = jobs.count_by_state(c)
    ledger.close()
    return found, tasks


def test_what_was_answered_with_success_is_a_case_with_its_task(listener, tmp_path):
    store(listener, radiograph_dataset(number=1), radiograph_dataset(number=2))
    found, tasks = listed(tmp_path)
    assert {c.state for c in found} == {Received.__name__}
    assert tasks["infer", "todo"] == 2


def test_the_same_image_again_is_no_second_case(listener, tmp_path):
    for _ in range(3):
        store(listener, radiograph_dataset(number=1))
    found, tasks = listed(tmp_path)
    assert len(found) == 1
    assert tasks["infer", "todo"] == 1


def test_a_file_stored_before_a_crash_is_adopted_at_the_next_start(tmp_path):
    dataset = radiograph_dataset(number=5)
    spool = Spool(tmp_path / "node" / "spool")
    (tmp_path / "node" / "spool").mkdir(parents=True, exist_ok=True)
    content = encode(dataset)
    spool.store(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        dataset=dataset_of(content),
    )
    running = Listener(configured(tmp_path / "node"))
    running.start()
    running.stop()
    found, _ = listed(tmp_path)
    assert [c.sop_instance_uid for c in found] == [str(dataset.SOPInstanceUID)]


def test_a_second_listener_on_the_same_data_is_refused(listener, tmp_path):
    with pytest.raises(SettingsError, match=r"storage\.data_dir"):
        Listener(configured(tmp_path / "node"))


def person_known(folder, identity):
    ledger = open_ledger(folder / "node" / "ledger.db")
    with ledger.read() as c:
        outcome = match_patient(c, Image(identity=identity), Clinical())
    ledger.close()
    return outcome.match is MatchClass.MATCH_ISSUER


def test_hl7_is_answered_after_it_is_stored_and_then_worked_off(listener, tmp_path):
    adt = message("ADT^A08", "EVN|A08|20250310080000+0000", pid("4711", "WEBER^PETRA^^^^^L", "19550620"))
    (answer,) = messages.send_mllp(listener.mllp_port, [adt])
    assert b"\rMSA|AA|C1" in answer
    visit = a_visit("4711", "HOSP")
    await_true(lambda: person_known(tmp_path, visit.identity), "the person is known", limit=20)


def test_a_csv_file_is_taken_from_the_drop_folder(listener, tmp_path):
    visit = a_visit("0815", "HOSP")
    inbox = tmp_path / "drop" / "inbox"
    await_true(inbox.is_dir, "the drop folder is there", limit=20)
    (inbox / "vitals.csv").write_text(messages.observations_csv([visit]), encoding="utf-8")
    done = tmp_path / "drop" / "done"
    await_true(lambda: person_known(tmp_path, visit.identity), "the person is known", limit=20)
    await_true(lambda: any(done.glob("*.csv")), "the file was put away", limit=20)  # after its rows are committed
    assert [p.name for p in done.glob("*.csv")] == ["vitals.csv"]


def a_visit(value, namespace):
    identity = PatientIdentity(
        identifiers=(Identifier(value=value, authority=AssigningAuthority(namespace=namespace)),),
        name=PersonName(alphabetic=NameGroup(family="WEBER", given="PETRA")),
        birth_date=dt.date(1955, 6, 20),
        sex=Sex.FEMALE,
    )
    measured = dt.datetime(2025, 3, 1, 8, tzinfo=dt.UTC)
    return messages.Visit(identity=identity, weight_kg=61.0, height_cm=163.0, measured_at=measured, accession="A1")


def test_what_is_stopped_does_not_wait_for_each_other():
    together, ended = threading.Barrier(3, timeout=10), []

    def broken():
        together.wait()
        raise OSError

    def slow():
        together.wait()
        time.sleep(0.1)
        ended.append("slow")

    with pytest.raises(OSError):  # noqa: PT011 - any will do
        listener_module._at_once(broken, slow, together.wait)
    assert ended == ["slow"]


def test_an_address_that_is_not_ours_names_the_host_and_one_that_is_taken_the_port():
    """192.0.2.1 is nobody's (RFC 5737)."""
    with pytest.raises(
        SettingsError, match=r"^clinical\.mllp\.host: 192\.0\.2\.1 cannot be listened on.*an address of"
    ):
        listener_module._bind(
            lambda: socket.create_server(("192.0.2.1", 0)).close(), "clinical.mllp", host="192.0.2.1", port=0
        )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"^reception\.port: {port} on 127\.0\.0\.1 .*change the port"):
            listener_module._bind(
                lambda: socket.create_server(("127.0.0.1", port)).close(), "reception", host="127.0.0.1", port=port
            )


@pytest.mark.parametrize("module", ["node.listener", "node.cli", "node.serve"])
def test_the_listener_loads_no_torch_no_decoder_no_pandas_and_nothing_of_a_fleet(module):
    heavy = ("torch", "torchvision", "pandas", "imagecodecs", "cv2", "fsspec", "s3fs", "botocore", "celery", "kombu")
    heavy += ("pydicom.sr", "sqlalchemy.dialects.postgresql")  # 16 MB of code dictionaries; the other database's half
    code = f"import sys, {module}; print(sorted(m for m in {heavy} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
