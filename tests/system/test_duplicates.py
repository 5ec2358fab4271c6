"""Twenty images sent twenty times, by several senders at once, through the whole node: twenty reports."""

from __future__ import annotations

import datetime as dt
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from support.dcmtk import dcmsend
from support.dicom_objects import radiograph_dataset, write
from support.hospital import await_true
from support.node_parts import pipeline
from support.tools import require_tool

from config.settings import Reception, parse
from dicom_io.received import StoredInstance
from dicom_io.spool import Spool
from dicom_io.storage_scp import StorageScp
from node.case import Delivered
from node.demo.node_process import free_port
from node.dispatch.local import Dispatcher
from node.listener import Listener
from node.store import cases, duplicates
from node.store.engine import Ledger, open_ledger
from node.tasks import ADVANCE, INFER_LANE
from node.worker import CaseWorker

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

IMAGES = 20
TIMES = 20
SENDERS = 4


def test_twenty_images_sent_twenty_times_make_twenty_cases_and_twenty_reports(tmp_path: Path) -> None:
    require_tool("dcmsend")
    arrived: list[StoredInstance] = []
    pacs_port = free_port()
    pacs = StorageScp(Reception(ae_title="PACS", port=pacs_port), Spool(tmp_path / "pacs"), arrived.append)
    pacs.start()
    node = Listener(configured(tmp_path, pacs_port))
    node.start()
    ledger = open_ledger(tmp_path / "node" / "ledger.db")
    worker = started_worker(ledger, tmp_path, pacs_port)
    try:
        send_all(node.dicom_port, tmp_path)
        await_true(lambda: delivered(ledger) == IMAGES, "every report is delivered", limit=120)
        dcmsend(node.dicom_port, *sorted(tmp_path.glob("film*.dcm")), called="OSTEON")  # and once more, afterwards
    finally:
        worker.stop()
        node.stop()
        pacs.stop()
    with ledger.read() as c:
        assert cases.count_by_state(c)["Delivered"] == len(cases.find(c)) == IMAGES
        again = duplicates.listed(c)
    ledger.close()
    assert {(d.differs, d.copies) for d in again} == {(False, TIMES)}
    assert len(again) == IMAGES
    assert len(list((tmp_path / "node" / "spool").rglob("*.dcm"))) == IMAGES
    assert len({one.reference.sop_instance_uid for one in arrived}) == len(arrived) == 2 * IMAGES
    assert set(Counter(one.reference.study_uid for one in arrived).values()) == {2}  # one page, one SR


def configured(folder: Path, pacs_port: int) -> object:
    tables = {
        "storage": {"data_dir": folder / "node"},
        "reception": {"port": 0},
        "clinical": {"mllp": {"enabled": False}},
        "delivery": destinations(pacs_port),
    }
    return parse(tables, origin="test")


def destinations(port: int) -> dict[str, object]:
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port}
    return {"destinations": [pacs], "backoff_first": 0.2, "backoff_cap": 0.5}


def started_worker(ledger: Ledger, folder: Path, pacs_port: int) -> Dispatcher:
    now = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)  # it stands still: later than every reception
    steps = pipeline(
        ledger, folder / "node", at=now, clinical={"mllp": {"enabled": False}}, delivery=destinations(pacs_port)
    )
    worker = CaseWorker(ledger=ledger, pipeline=steps)
    dispatcher = Dispatcher(ledger, {ADVANCE: worker.advance}, {INFER_LANE: 1}, poll=0.05, on_dead=worker.bury)
    dispatcher.start()
    return dispatcher


def send_all(port: int, folder: Path) -> None:
    """`TIMES` rounds by DCMTK, `SENDERS` at once, half of them in reverse order."""
    films = [
        write(folder / f"film{n:02d}.dcm", radiograph_dataset(number=n, PatientName="Weber^Petra"))
        for n in range(1, IMAGES + 1)
    ]
    command = ["dcmsend", "-aec", "OSTEON", "-aet", "MODALITY", "127.0.0.1", str(port)]
    for first in range(0, TIMES, SENDERS):
        rounds = [films if (first + n) % 2 else films[::-1] for n in range(SENDERS)]
        running = [subprocess.Popen([*command, *map(str, order)]) for order in rounds]
        assert [process.wait(timeout=120) for process in running] == [0] * SENDERS


def delivered(ledger: Ledger) -> int:
    with ledger.read() as c:
        return sum(isinstance(cases.load(c, summary.case_id), Delivered) for summary in cases.find(c))
