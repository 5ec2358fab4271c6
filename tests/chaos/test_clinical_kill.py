"""kill -9 of a real node while HL7 senders send: nothing that was answered is lost, and resending is deduplicated."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
from pathlib import Path

import pytest
from chaos import die_at
from chaos.processes import Killable
from support.hl7 import message, pid
from support.hospital import await_true
from support.inbox import CLINICAL, tables, ward
from support.mllp import Peer, block

from node.demo.node_process import NodeProcess, free_port
from node.inbox_consumer import BATCH
from node.store import alerts, inbox
from node.store import inbox_progress as progress
from node.store.engine import Ledger, open_ledger
from node.store.inbox import open_inbox
from node.store.inbox_schema import frame

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

KILLS = 3
SENDERS = 4
CONFIGURATION = """
[storage]
data_dir = "{folder}"
[reception]
port = {dicom}
[clinical.mllp]
port = {mllp}
"""


class Sender(threading.Thread):
    """Sends its messages one after the other, each again until it is answered AA, as interface engines do."""

    def __init__(self, number: int, port: int) -> None:
        super().__init__(name=f"sender-{number}", daemon=True)
        self._number = number
        self._port = port
        self.enough = threading.Event()
        self.answered: list[str] = []
        self.sent = 0

    def run(self) -> None:
        while not self.enough.is_set():
            with contextlib.suppress(OSError):
                self._send_over_one_link()
            self.enough.wait(0.05)

    def _send_over_one_link(self) -> None:
        peer = Peer(self._port)
        with contextlib.closing(peer.socket):
            while not self.enough.is_set():
                control = f"{self._number}-{len(self.answered)}"
                peer.send(block(adt(control)))
                self.sent += 1
                if peer.answer() != ["AA", control]:
                    return
                self.answered.append(control)


def adt(control: str) -> bytes:
    return message("ADT^A08^ADT_A01", pid(f"7{control.replace('-', '0')}1"), control=control)


def test_clinical_kill_9_between_receipt_and_ack_no_loss_resend_deduplicated(tmp_path) -> None:
    dicom, mllp = free_port(), free_port()
    text = CONFIGURATION.format(folder=tmp_path / "node", dicom=dicom, mllp=mllp)
    node = NodeProcess(tmp_path, text, ports=(dicom, mllp), command="listen")
    node.start()
    senders = [Sender(number, mllp) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    for _ in range(KILLS):
        before = sum(len(sender.answered) for sender in senders)
        await_true(lambda least=before + 25: sum(len(s.answered) for s in senders) >= least, "messages are answered")
        node.kill()
        node.start()
    for sender in senders:
        sender.enough.set()
        sender.join(30)
    answered = {control for sender in senders for control in sender.answered}
    ledger, frames = open_ledger(tmp_path / "node" / "ledger.db"), open_inbox(tmp_path / "node" / "ledger.db")
    try:
        await_true(lambda: worked_off(ledger, frames), "the inbox is worked off")
        with frames.read() as c:
            stored = [row[0] for row in c.execute(frame.select().with_only_columns(frame.c.control_id)).all()]
        assert answered <= set(stored), "an answered message is lost"
        assert len(stored) == len(set(stored)), "a resent message is stored twice"
        assert len(stored) <= len(answered) + SENDERS, "at most the message on the wire of each sender is unanswered"
        assert sum(sender.sent for sender in senders) >= len(answered)
    finally:
        frames.close()
        ledger.close()
        node.stop()


VALUE = "OBX|1|NM|29463-7^^LN||61.5|kg|||||F|||20250309"
TABLES = (*CLINICAL, "feed_remark", "quarantined_frame")


def history() -> list[bytes]:
    """Two batches of frames that each write, count, void or wait for a person."""
    changed = (VALUE, VALUE.replace("61.5", "62.5"), VALUE.replace("|F|", "|D|"), VALUE.replace("|F|", "|W|"))
    results = [
        message("ORU^R01", pid(f"70{n % 5}01"), "OBR|1||V1|34565-2^^LN", changed[n % 4], control=f"r{n}")
        for n in range(BATCH)
    ]
    merge = message("ADT^A40^ADT_A39", pid("70101"), "MRG|70201^^^HOSP^MR", control="m")
    unused = message("SIU^S12", pid(), control="u")
    nobody = message("ADT^A08", "PID|1||7654321||X^Y", control="n")
    return [*results, merge, unused, nobody, adt("1-1")]


def prepared(folder: Path) -> None:
    """An inbox full of frames beside an empty ledger."""
    ledger = open_ledger(folder / "ledger.db")
    with ward(ledger) as here:
        here.send(*history())
    ledger.close()


def work_off(folder: Path) -> tuple[dict[str, list[tuple[object, ...]]], list[tuple[str, str, int]]]:
    """Work off what is left; the tables, and the alerts with their counts."""
    ledger = open_ledger(folder / "ledger.db")
    with ward(ledger) as here:
        here.consumer.work_off()
    with ledger.read() as c:
        raised = sorted((a.kind, a.subject, a.count) for a in alerts.find(c))
    found = tables(ledger, TABLES)
    ledger.close()
    return found, raised


def test_clinical_kill_9_between_clinical_write_and_cursor(tmp_path) -> None:
    """Whatever the point at which the consumer dies, the tables end as if it had not: no row twice, none missing."""
    (tmp_path / "prepared").mkdir()
    prepared(tmp_path / "prepared")
    shutil.copytree(tmp_path / "prepared", tmp_path / "whole")
    expected = work_off(tmp_path / "whole")
    assert all(expected[0][table] for table in ("observation", "person_alias", "feed_remark", "quarantined_frame"))
    points = []
    for number in itertools.count():
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "prepared", folder)
        trail = folder / "trail"
        trail.touch()
        doomed = Killable(die_at.consumer, folder / "ledger.db", number, trail)
        doomed.start()
        ended = doomed.await_end(60)
        doomed.kill()
        if ended == 0:
            break
        assert ended == -9, trail.read_text()
        points.append(trail.read_text().splitlines()[-1])
        assert work_off(folder) == expected, f"died {points[-1]}"
    of_one_batch = ["cursor", "clinical write", "commit"]
    steps = [point.removeprefix("after ") for point in points if point.startswith("after ")]
    assert steps == of_one_batch * 2, "every point of both batches, in the order of the write"


def worked_off(ledger: Ledger, frames: Ledger) -> bool:
    with frames.read() as c:
        name, newest = inbox.name_of(c), inbox.listed(c, limit=1)[0].seq
    with ledger.read() as c:
        return progress.position(c, name) == newest and progress.held(c, name) == ()
