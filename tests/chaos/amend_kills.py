"""kill -9 between each pair of steps of an amendment and its delivery, every point once.

    python -m chaos.amend_kills [--every N]

A report is made, delivered or not; then clinical data come. A process that amends and delivers
dies at its n-th point; a sound one goes on. Then there must be two versions and no more, the second the newest one at
the archive, naming the first exactly if that may have left, one content per UID, and nothing the ledger does not know.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import sqlalchemy as sa
from chaos import die_at
from chaos.each_point import Archive, campaign
from chaos.processes import Killable
from pydicom import dcmread
from support.reporting import PACS, Desk, adt, weight

from dicom_io.received import StoredInstance
from node.case import Delivered
from node.delivery import Deliverer
from node.errors import Retry
from node.store import jobs, report_objects, report_versions
from node.store.engine import open_ledger
from node.store.schema import task as task_table

ROUNDS = 40


def prepared(folder: Path, archive: Archive, sent: bool) -> None:  # noqa: FBT001 - what `each_point` asks for
    """A ledger with a first report, delivered or not, and clinical data that amend it."""
    desk = desk_at(folder, archive.port)
    desk.receive()
    desk.work()
    if sent:
        deliver_all(desk)
    desk.tell(adt(), weight())
    desk.ledger.close()


def desk_at(folder: Path, port: int) -> Desk:
    """The node over the ledger in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    delivery = {"destinations": [{**PACS, "port": port}], "backoff_first": 0.01, "backoff_cap": 0.01}
    return Desk(open_ledger(folder / "ledger.db"), folder, {"delivery": delivery})


def doomed(folder: Path, port: int, number: int, trail: Path) -> None:
    """Amend and deliver, and die at point `number`."""
    desk = desk_at(folder, port)
    fuse = die_at.Fuse(number, trail)
    die_at.lay_between_commits(fuse)
    fuse.arm()
    desk.work()
    deliver_all(desk)


def deliver_all(desk: Desk) -> None:
    """Bring everything that is due to the archive, as the delivery lane does."""
    deliverer = Deliverer(ledger=desk.ledger, settings=desk.worker().pipeline.settings.delivery)
    for _ in range(ROUNDS):
        with desk.ledger.begin() as c:
            tasks = jobs.claim(c, "net:pacs", 2, owner="chaos", lease=60)
        if not tasks:
            return
        for one in tasks:
            try:
                change = deliverer.deliver(one)
            except Retry as retry:
                with desk.ledger.begin() as c:
                    jobs.retry_later(c, one, after=0.05, reason=retry.reason)
                time.sleep(0.06)
                continue
            with desk.ledger.begin() as c:
                if jobs.finish(c, one) and change is not None:
                    change(c)


def die_once(folder: Path, number: int, archive: Archive) -> tuple[str, list[str]]:
    """Die at point `number`; its name (empty: there are not so many), and what was wrong after it."""
    before = len(archive.received)
    trail = folder / "trail"
    trail.touch()
    process = Killable(doomed, folder, archive.port, number, trail)
    process.start()
    died = process.await_end(60.0) == -9
    name = trail.read_text().splitlines()[-1] if died else ""
    process.kill()
    desk = desk_at(folder, archive.port)
    with desk.ledger.begin() as c:  # what the start of a node does for a dead process of its host
        c.execute(sa.update(task_table).where(task_table.c.state == "doing").values(lease_until=None))
    desk.work()
    deliver_all(desk)
    wrong = audit(desk, archive.received[before:])
    desk.ledger.close()
    return name, wrong


def audit(desk: Desk, received: Sequence[StoredInstance]) -> list[str]:
    """Compare ledger and archive."""
    wrong = []
    case = desk.case(1)
    if not isinstance(case, Delivered) or case.version != 2:
        return [f"the case ended as {type(case).__name__}, version {getattr(case, 'version', None)}"]
    with desk.ledger.read() as c:
        numbers = [v.version for v in report_versions.all_of(c, 1)]
        frozen = {o.sop_instance_uid: v for v in numbers for o in report_objects.objects(c, 1, v)}
        documents = [dcmread(BytesIO(d.part10)) for d in report_versions.documents(c, 1)]
        released = report_versions.released(c, 1)
    if numbers != [1, 2]:
        wrong.append(f"versions {numbers}")
    sent = [one.reference.sop_instance_uid for one in received]
    if unknown := set(sent) - frozen.keys():
        wrong.append(f"{len(unknown)} objects at the archive that the ledger does not know")
    if not {uid for uid, version in frozen.items() if version == 2} <= set(sent):
        wrong.append("the second version is not complete at the archive")
    order = [frozen[uid] for uid in sent if uid in frozen]
    if order != sorted(order):
        wrong.append(f"an older version was sent after a newer one: {order}")
    if len({(one.reference.sop_instance_uid, one.digest) for one in received}) != len(set(sent)):
        wrong.append("one UID with two contents")
    named = [
        r.ReferencedSOPInstanceUID
        for study in documents[1].get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for r in series.ReferencedSOPSequence
    ]
    if named != ([documents[0].SOPInstanceUID] if 1 in released else []):
        wrong.append("the predecessors named are not the versions that left")
    return wrong


if __name__ == "__main__":
    sys.exit(campaign("amend-kills", prepared, die_once))
