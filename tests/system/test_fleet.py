"""A fleet as its guide describes it: two hosts with `osteon listen` and `osteon work`, one PostgreSQL and one bucket.

One worker is killed in the middle of a case.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from pydicom import dcmread
from support.engines import give_engines
from support.hospital import await_true
from support.postgres import Cluster
from support.s3_server import credentials_file, s3_server

from config.settings import Delivery, Destination, Reception
from dicom_io.received import StoredInstance
from dicom_io.spool import Spool
from dicom_io.storage_scp import StorageScp
from dicom_io.storage_scu import OutgoingObject, send
from node.case import Delivered
from node.demo.node_process import NodeProcess, free_port
from node.demo.phantoms import demo_patients, film
from node.store import cases, duplicates
from node.store.engine import Ledger, open_ledger
from node.store.schema import task as t
from node.tasks import HOUSEKEEPING_LANE, INFER_LANE

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

IMAGES = 4
LEASE = 5.0
CONFIGURATION = """
[storage]
data_dir = {data_dir}
database_url = "{database}"
[reception]
port = {port}
[clinical]
wait = 0
[clinical.mllp]
enabled = false
[delivery]
backoff_first = 0.2
backoff_cap = 0.5
[[delivery.destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs}
proof = "none"
[fleet]
spool = "s3://hospital/osteon"
spool_endpoint = "{endpoint}"
spool_credentials = {credentials}
lease = {lease}
"""


def test_two_listeners_and_two_workers_with_one_killed_in_mid_case_report_every_case_once(
    tmp_path: Path, postgres_cluster: Cluster
) -> None:
    database = postgres_cluster.blank_ledger(lambda url: open_ledger(url).close())
    arrived: list[StoredInstance] = []
    images = films()
    with ExitStack() as running:
        server = running.enter_context(s3_server())
        server.make_bucket("hospital")
        pacs_port = running.enter_context(archive(tmp_path / "pacs", arrived))
        hosts = []
        for name in ("one", "two"):
            folder, port = tmp_path / name, free_port()
            give_engines(folder / "data")
            text = CONFIGURATION.format(
                data_dir=json.dumps(str(folder / "data")),
                database=database,
                port=port,
                pacs=pacs_port,
                endpoint=server.endpoint,
                credentials=json.dumps(str(credentials_file(tmp_path))),
                lease=LEASE,
            )
            hosts.append((folder, text, port))
        listeners = [NodeProcess(f, text, ports=(port,), command="listen") for f, text, port in hosts]
        workers = [NodeProcess(f / "work", text, ports=(), command="work") for f, text, _ in hosts]
        for process in (*listeners, *workers):
            process.start()
            running.callback(process.stop)
        ledger = open_ledger(database)
        running.callback(ledger.close)
        ports = [port for *_, port in hosts]
        senders = [threading.Thread(target=send_all, args=(images, order)) for order in (ports, ports[::-1])]
        for sender in senders:  # two routers: every image comes to both listeners
            sender.start()
        kill_one_in_mid_case(ledger, {one.process.pid for one in workers if one.process is not None})
        for sender in senders:
            sender.join()
        await_true(lambda: delivered(ledger) == IMAGES, "every report is delivered", limit=120)
        with ledger.read() as c:
            assert cases.count_by_state(c)["Delivered"] == len(cases.find(c)) == IMAGES
            assert sum(one.copies for one in duplicates.listed(c)) == IMAGES, "each came once more, the same bytes"
            slots = c.execute(sa.select(t.c.key, t.c.state).where(t.c.lane == HOUSEKEEPING_LANE)).all()
    by_study = Counter(one.reference.study_uid for one in arrived)
    assert len({one.reference.sop_instance_uid for one in arrived}) == 2 * IMAGES, "a page and an SR each, no surplus"
    assert len(by_study) == 1
    assert {state for _, state in slots} == {"done"}
    logs = "".join(one.log.read_text(encoding="utf-8") for one in listeners)
    for name in {key.partition(":")[0] for key, _ in slots}:
        assert len({key for key, _ in slots if key.startswith(f"{name}:")}) <= 2, "two slots where the hour turned"
    days = len(re.findall("retention.released kind=images", logs))
    assert days == len([key for key, _ in slots if key.startswith("retention:")]), "by one of the two, once a slot"


@contextmanager
def archive(folder: Path, arrived: list[StoredInstance]) -> Iterator[int]:
    scp = StorageScp(Reception(ae_title="PACS", port=0), Spool(folder), arrived.append)
    scp.start()
    yield scp.port
    scp.stop()


def films() -> list[OutgoingObject]:
    """One phantom under many UIDs: what is shown is the fleet, not the network."""
    made = film(
        demo_patients(4, 5)[0], number=1, taken_at=dt.datetime(2026, 1, 5, 9, 30, tzinfo=dt.UTC), rows=500, seed=5
    )
    dataset = dcmread(BytesIO(made.object.part10))
    objects = []
    for number in range(1, IMAGES + 1):
        uid = f"{made.object.sop_instance_uid}.{number}"[-64:].lstrip(".0")
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        content = BytesIO()
        dataset.save_as(content)
        objects.append(
            OutgoingObject(sop_class_uid=str(dataset.SOPClassUID), sop_instance_uid=uid, part10=content.getvalue())
        )
    return objects


def send_all(objects: list[OutgoingObject], ports: list[int]) -> None:
    """Half of the images to one listener, the others to the other."""
    for number, port in enumerate(ports):
        node = Destination(name="node", ae_title="OSTEON", host="127.0.0.1", port=port)
        send(objects[number::2], node, Delivery())


def kill_one_in_mid_case(ledger: Ledger, workers: set[int]) -> None:
    """Stop a worker that holds a case, see that it still holds it, and kill it; the others go on."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for pid in holders(ledger) & workers:
            os.kill(pid, signal.SIGSTOP)
            if pid in holders(ledger):
                os.kill(pid, signal.SIGKILL)
                psutil.Process(pid).wait(10)
                return
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.005)
    pytest.fail("no worker was met with a case")


def holders(ledger: Ledger) -> set[int]:
    """Process ids of those that have a case in hand."""
    held = sa.select(t.c.owner).where(t.c.lane == INFER_LANE, t.c.state == "doing", t.c.owner.is_not(None))
    with ledger.read() as c:
        return {int(owner.split("/")[1]) for owner in c.execute(held).scalars().all()}


def delivered(ledger: Ledger) -> int:
    with ledger.read() as c:
        return sum(isinstance(cases.load(c, summary.case_id), Delivered) for summary in cases.find(c))
