"""kill -9 between each pair of steps of a withdrawal and its delivery, every point once.

    python -m chaos.withdraw_kills [--every N]

A report is made and delivered, or only made; then a person withdraws it. The process that withdraws, states and
delivers dies at its n-th point; a sound one does the same again. Then the case is withdrawn, the archive has the note
first, then page and SR of one superseding version, or nothing at all where nothing had been; and one content per UID.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from chaos import die_at
from chaos.amend_kills import deliver_all, desk_at
from chaos.each_point import Archive, campaign
from chaos.processes import Killable
from support.node_parts import settings as parsed
from support.reporting import Desk

from config.settings import Storage
from dicom_io.received import StoredInstance
from node.case import Withdrawn
from node.case_decisions import withdraw_case
from node.store import outbox, report_versions, sent
from node.store.schema import task as task_table


def prepared(folder: Path, archive: Archive, delivered: bool) -> None:  # noqa: FBT001 - what `each_point` asks for
    """A ledger with a report, delivered or not."""
    desk = desk_at(folder, archive.port)
    desk.receive()
    desk.work()
    if delivered:
        deliver_all(desk)
    desk.ledger.close()


def withdraw_all(folder: Path, desk: Desk) -> None:
    """What a person and the node do."""
    site = parsed(delivery=desk.tables["delivery"]).model_copy(update={"storage": Storage(data_dir=folder)})
    withdraw_case(site, 1, reason="another patient's record", rejection="safety", by="K. Braun")
    desk.work()
    deliver_all(desk)


def doomed(folder: Path, port: int, number: int, trail: Path) -> None:
    """Withdraw and deliver, and die at point `number`."""
    desk = desk_at(folder, port)
    fuse = die_at.Fuse(number, trail)
    die_at.lay_between_commits(fuse)
    fuse.arm()
    withdraw_all(folder, desk)


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
    withdraw_all(folder, desk)
    wrong = audit(desk, archive.received[before:])
    desk.ledger.close()
    return name, wrong


def audit(desk: Desk, received: Sequence[StoredInstance]) -> list[str]:
    """Compare ledger and archive."""
    case = desk.case(1)
    if not isinstance(case, Withdrawn) or not case.stated:
        return [f"the case ended as {case}"]
    if not any('"report.withdrawn"' in file.read_text() for file in (desk.folder / "audit").glob("*.jsonl")):
        return ["the audit trail does not know who withdrew it"]
    with desk.ledger.read() as c:
        numbers = [v.version for v in report_versions.all_of(c, 1)]
        there = [one for one in sent.of_case(c, 1) if one.version == 2]
        states = {d.version: str(d.state) for d in outbox.deliveries(c, case_id=1)}
    had = states[1] == "delivered"
    if numbers != ([1, 2] if had else [1]):
        return [f"versions {numbers}"]
    told = [one.reference.sop_instance_uid for one in received]
    if not had:
        return [f"{len(told)} objects at an archive that had nothing"] * bool(told)
    wrong = []
    kinds = {one.sop_instance_uid: one.kind for one in there}
    order = list(dict.fromkeys(kinds.get(uid, "unknown") for uid in told))
    if order != ["note", "page", "sr"]:
        wrong.append(f"order on the wire: {order}")
    if states[2] != "delivered" or not all(one.stored for one in there):
        wrong.append(f"not all is told: {states}")
    if len({(one.reference.sop_instance_uid, one.digest) for one in received}) != len(set(told)):
        wrong.append("one UID with two contents")
    return wrong


if __name__ == "__main__":
    sys.exit(campaign("withdraw-kills", prepared, die_once))
