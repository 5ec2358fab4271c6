"""Privacy: planted names, IDs and values never occur in captured logs, ERR segments or error files.

A whole listener and worker run in this process with every logger at DEBUG, and are given what goes well and what goes
wrong: by MLLP, by the drop folder, by DICOM. Beside logs and answers, what an operator reads is searched: alerts, the
history of cases, the list of the inbox, the audit trail.
"""

from __future__ import annotations

import datetime as dt
import io
import logging

import pytest
import structlog
from support.dicom_objects import encode, radiograph_dataset
from support.hospital import await_true, ended
from support.node_parts import CONFIRMED, INSTALLATION, FixedScreener

from config.settings import Delivery, Destination, parse
from dicom_io.spool import Spool
from dicom_io.storage_scu import OutgoingObject, send
from node import places, process
from node.case import Reported
from node.demo import messages
from node.dispatch.local import Dispatcher
from node.listener import Listener
from node.pipeline import Pipeline
from node.store import alerts, cases, inbox
from node.store.engine import open_ledger
from node.tasks import ADVANCE, INFER_LANE
from node.worker import CaseWorker

PLANTED = (
    "QUXLINGER",
    "ZERAPHINA",
    "VORNHÖLZL",
    "ÄGIDIUS",
    "PHI77001",
    "PHI88002",
    "PHIBAD!!",
    "ACCPHI55",
    "VISIT4242",
    "61.7345",
    "163.1945",
    "136.10",
    "GEHEIMWERT",
    "19480312",
    "1948-03-12",
    "1948, 3, 12",
    "19391127",
    "1939-11-27",
    "1939, 11, 27",
)
PERSON = "PID|1||PHI77001^^^HOSP^MR||QUXLINGER^ZERAPHINA^^^^^L||19480312|F"
OTHER = "PID|1||PHI88002^^^HOSP^MR||VORNHÖLZL^ÄGIDIUS^^^^^L||19391127|M"
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1}


def frame(kind, *segments, control="C1", processing="P", charset="UNICODE UTF-8"):
    header = f"MSH|^~\\&|HIS|FAC|OSTEON|RAD|20240301090000+0000||{kind}|{control}|{processing}|2.5.1||||||{charset}"
    return "\r".join([header, *segments, ""]).encode()


def result(*obx, who=PERSON):
    obr = "OBR|1||F1^LAB|34565-2^Vital signs^LN|||20240301080000+0000|||||||||||ACCPHI55||||20240301080000+0000|||F"
    return [who, "PV1|1|O|||||||||||||||||VISIT4242", obr, *obx]


def weight(value, unit="kg", status="F", observed="20240301080000+0000"):
    return f"OBX|1|NM|29463-7^Body weight^LN||{value}|{unit}|||||{status}|||{observed}"


FRAMES = (
    frame("ADT^A04^ADT_A01", "EVN|A04|20240301080000+0000", PERSON, "PV1|1|O", control="M1"),
    frame("ADT^A04^ADT_A01", "EVN|A04|20240301080000+0000", OTHER, "PV1|1|O", control="M2"),
    frame("ORU^R01^ORU_R01", *result(weight("61.7345")), control="M3"),
    frame("ORU^R01^ORU_R01", *result(weight("GEHEIMWERT"), weight("136.10", "stone"), weight("6173.45")), control="M4"),
    frame("ORU^R01^ORU_R01", *result(weight("61.7345", status="W")), control="M5"),
    frame("ORU^R01^ORU_R01", *result(weight("61.7345"), who=OTHER.replace("PHI88002", "PHI77001")), control="M6"),
    frame("ORM^O01", PERSON, "ORC|NW|P1|F1", "OBR|1|P1|F1|1^x|||20240301|||||||||||ACCPHI55", control="M7"),
    frame(
        "ADT^A40^ADT_A39", "EVN|A40|20240301", PERSON, "MRG|PHI77001^^^HOSP^MR||||||QUXLINGER^ZERAPHINA", control="M8"
    ),
    frame("ADT^A40^ADT_A39", "EVN|A40|20240301", PERSON, "MRG|||||||QUXLINGER^ZERAPHINA", control="M9"),
    frame("ADT^A47^ADT_A30", "EVN|A47|20240301", OTHER, "MRG|PHIBAD!!^^^HOSP^MR", control="M10"),
    frame("ADT^A08^ADT_A01", "EVN|A08|QUXLINGER", "PID|1||^^^HOSP||QUXLINGER^ZERAPHINA||19480312|F", control="M11"),
    frame("ADT^A08^ADT_A01", PERSON, PERSON.replace("19480312", "GEHEIMWERT"), control="M12", processing="T"),
    frame("ADT^A08^ADT_A01", PERSON, control="M13", charset="NO SUCH SET"),
    frame("ADT^A08^ADT_A01", PERSON, control="M14") + frame("ADT^A08", OTHER, control="M15"),
    frame("ADT^A08^ADT_A01", PERSON, control="").replace(b"|P|", b"||"),
    frame("ADT^A08^ADT_A01", PERSON, control="M16").replace(b"QUX", b"\xff\xfeQUX"),
    frame("QBP^Q22", PERSON, control="M17"),
    frame("ADT^A29^ADT_A21", "EVN|A29|20240301", OTHER, control="M18"),
    b"PID|1||PHI77001^^^HOSP^MR||QUXLINGER^ZERAPHINA",
    b"MSH|^~\\&",
)
CSV_GOOD = (
    "r1,PHI77001,HOSP,1948-03-12,F,QUXLINGER,ZERAPHINA,8302-2,LN,163.1945,cm,2024-03-01T08:00:00+00:00,F",
    "r2,PHI77001,HOSP,1948-03-12,F,QUXLINGER,ZERAPHINA,29463-7,LN,GEHEIMWERT,kg,2024-03-01T08:00:00+00:00,F",
    "r3,PHI77001,HOSP,QUXLINGER,F,QUXLINGER,ZERAPHINA,29463-7,LN,61.7345,kg,2024-03-01T08:00:00+00:00,F",
    "r4,PHI77001,HOSP,1939-11-27,M,VORNHÖLZL,ÄGIDIUS,29463-7,LN,61.7345,kg,2024-03-01T08:00:00+00:00,F",
    "r5,,HOSP,1948-03-12,F,QUXLINGER,ZERAPHINA,29463-7,LN,61.7345,kg,GEHEIMWERT,F",
)
CSV_FILES = 4
CSV_BROKEN = 'r1,PHI77001,HOSP,1948-03-12,F,QUXLINGER,"ZERAPHINA,29463-7,LN,61.7345,kg,2024-03-01T08:00:00+00:00,F'


@pytest.fixture
def logged():
    """Everything any logger says at DEBUG, as the node's own configuration prints it."""
    text = io.StringIO()
    root = logging.getLogger()
    before, handler = root.level, logging.StreamHandler(text)
    process.configure_logging()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    structlog.configure(
        logger_factory=lambda *_: structlog.PrintLogger(text),
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    )
    yield text
    root.removeHandler(handler)
    root.setLevel(before)
    structlog.reset_defaults()


def configured(folder):
    tables = {
        "storage": {"data_dir": folder / "node"},
        "reception": {"port": 0},
        "clinical": {
            "wait": 0,
            "codes": CONFIRMED,
            "mllp": {"port": 0},
            "csv": {"folder": folder / "drop", "poll": 0.1, "settle": 0, "max_bad_rows_percent": 90},
        },
        "delivery": {"destinations": [PACS]},
    }
    return parse(tables, origin="test")


def send_hl7(port):
    answers = []
    for sent in FRAMES:
        try:
            answers += messages.send_mllp(port, [sent], timeout=3)
        except (OSError, ConnectionError):  # what is no message at all may go unanswered
            continue
    return answers


def drop_files(folder):
    header = ",".join(messages.OBSERVATION_COLUMNS)
    incoming = folder / "drop" / "inbox"
    await_true(incoming.is_dir, "the drop folder is there", limit=30)
    (incoming / "QUXLINGER_1.csv").write_text("\n".join([header, *CSV_GOOD, ""]), encoding="utf-8")
    (incoming / "QUXLINGER_2.csv").write_text(f"{header}\n{CSV_BROKEN}\n", encoding="utf-8")
    (incoming / "QUXLINGER_3.csv").write_bytes(b"PK\x03\x04 QUXLINGER ZERAPHINA")
    (incoming / "QUXLINGER_4.csv").write_text(header.replace("unit", "QUXLINGER") + "\n", encoding="utf-8")
    await_true(lambda: len(errors_of(folder)) == CSV_FILES, "every file has its list of errors", limit=60)


def errors_of(folder):
    return list((folder / "drop").rglob("*.errors.csv"))


def send_images(port):
    person = {
        "PatientName": "QUXLINGER^ZERAPHINA",
        "PatientID": "PHI77001",
        "PatientBirthDate": "19480312",
        "AccessionNumber": "ACCPHI55",
    }
    films = (
        radiograph_dataset(number=1, **person),
        radiograph_dataset(number=2, **person | {"PatientName": "VORNHÖLZL^ÄGIDIUS", "PatientBirthDate": "19391127"}),
        radiograph_dataset(number=3, **person, Rows=4000),
        radiograph_dataset(number=4, **person, BodyPartExamined="QUXLINGER"),
        radiograph_dataset(number=5, **person | {"PatientID": "UNKNOWN", "PatientAge": "ZERAPHINA"[:4]}),
    )
    objects = [
        OutgoingObject(sop_class_uid=str(d.SOPClassUID), sop_instance_uid=str(d.SOPInstanceUID), part10=encode(d))
        for d in films
    ]
    send(objects, Destination(name="node", ae_title="OSTEON", host="127.0.0.1", port=port), Delivery())
    return len(films)


def work_off(settings, films):
    """A worker's steps until no case is open; the archive is not there."""
    ledger = open_ledger(settings.storage.data_dir / "ledger.db")
    pipeline = Pipeline(
        ledger=ledger,
        spool=Spool(places.spool_directory(settings)),
        screener=FixedScreener(),
        settings=settings,
        installation=INSTALLATION,
        node_version="0.0",
        now=lambda: dt.datetime.now(dt.UTC),
    )
    worker = CaseWorker(ledger=ledger, pipeline=pipeline)

    def settled():
        with ledger.read() as c:
            found = [cases.load(c, s.case_id) for s in cases.find(c)]
        return len(found) == films and all(ended(case) or isinstance(case, Reported) for case in found)

    dispatcher = Dispatcher(ledger, {ADVANCE: worker.advance}, {INFER_LANE: 1}, poll=0.02, on_dead=worker.bury)
    dispatcher.start()
    await_true(settled, "every case has its outcome", limit=60)
    dispatcher.stop()
    ledger.close()


def read_by_operators(settings):
    """Alerts, histories and lists, as text."""
    data = settings.storage.data_dir
    ledger, frames = open_ledger(data / "ledger.db"), places.open_settings_inbox(settings)
    with ledger.read() as c:
        found = cases.find(c)
        histories = [cases.history(c, s.case_id) for s in found]
        told = repr([found, histories, alerts.find(c, include_cleared=True)])
    with frames.read() as c:
        told += repr(inbox.listed(c))
    ledger.close()
    frames.close()
    trail = "".join(p.read_text(encoding="utf-8") for p in (data / "audit").rglob("*") if p.is_file())
    return told, trail


def leaks(text):
    return [word for word in PLANTED if word.casefold() in text.casefold()]


def test_planted_names_ids_and_values_never_occur_in_captured_logs_err_segments_or_error_files(tmp_path, logged, capfd):
    settings = configured(tmp_path)
    listener = Listener(settings)
    listener.start()
    try:
        answers = send_hl7(listener.mllp_port)
        drop_files(tmp_path)
        films = send_images(listener.dicom_port)
        work_off(settings, films)
    finally:
        listener.stop()
    told, trail = read_by_operators(settings)
    printed = "".join(capfd.readouterr())
    errors = [p.read_text(encoding="utf-8") for p in errors_of(tmp_path)]
    acknowledged = b"\n".join(answers).decode("utf-8", errors="replace")

    assert len(answers) >= 15
    assert "|AE|" in acknowledged
    assert "\rERR|" in acknowledged
    assert "MATCH_CONFLICT" in told
    assert "QUARANTINED" in told
    assert "hl7_processed" in logged.getvalue()
    assert leaks(acknowledged) == []
    assert leaks("".join(errors)) == []
    assert leaks(logged.getvalue()) == []
    assert leaks(printed) == []
    assert leaks(told) == []
    assert leaks(trail) == []
