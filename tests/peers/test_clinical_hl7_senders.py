"""Senders that share no code with Osteon: 1,000 messages each, 1,000 AA, 1,000 stored and worked off."""

from __future__ import annotations

import os
import subprocess
from collections import Counter

import pytest
from support.hl7 import message, pid
from support.hospital import await_true
from support.npm import PEERS, require_modules
from support.tools import require_tool

from config.settings import parse
from node.clinical_feed import ClinicalFeed
from node.store import inbox
from node.store import inbox_progress as progress
from node.store.engine import open_ledger
from node.store.inbox import open_inbox

pytestmark = pytest.mark.timeout(300)

MESSAGES = 1000
ADT = message("ADT^A08^ADT_A01", "EVN|A08|20250310080000", pid(), control="CONTROL_ID")


class Node:
    """The HL7 feed as a node runs it."""

    def __init__(self, folder):
        self.ledger = open_ledger(folder / "ledger.db")
        self.inbox = open_inbox(folder / "ledger.db")
        self.feed = ClinicalFeed(self.ledger, self.inbox, parse({"clinical": {"mllp": {"port": 0}}}, origin="test"))
        self.feed.start()

    def stored(self):
        with self.inbox.read() as c:
            return inbox.listed(c, limit=10_000)

    def worked_off(self):
        with self.inbox.read() as c:
            name = inbox.name_of(c)
        with self.ledger.read() as c:
            return progress.position(c, name), progress.held(c, name)

    def stop(self):
        self.feed.stop()
        self.inbox.close()
        self.ledger.close()


@pytest.fixture
def node(tmp_path):
    running = Node(tmp_path)
    yield running
    running.stop()


def check(node, told):
    """Each of the messages was answered AA in its turn, is stored once, and is worked off."""
    assert Counter(code for code, _ in told) == {"AA": MESSAGES}
    stored = node.stored()
    assert [info.control_id for info in reversed(stored)] == [control for _, control in told]
    assert len({info.sha256 for info in stored}) == MESSAGES
    assert {info.ack_code for info in stored} == {"AA"}
    await_true(lambda: node.worked_off() == (stored[0].seq, ()), "the inbox is worked off")


@pytest.mark.parametrize("client", ["node-hl7-client", "medplum", "medplum-pipelined", "simple-hl7"])
def test_clinical_npm_senders_1000_messages_1000_aa_1000_stored(node, client, tmp_path_factory, tmp_path):
    modules = require_modules(tmp_path_factory.getbasetemp() / "npm-peers")
    (tmp_path / "adt.hl7").write_bytes(ADT)
    command = ["node", PEERS / "send_hl7.cjs", client, node.feed.port, MESSAGES, tmp_path / "adt.hl7"]
    environment = os.environ | {"NODE_PATH": str(modules)}
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    check(node, [tuple(line.split()) for line in done.stdout.splitlines()])


@pytest.mark.parametrize("loose", [True, False], ids=["loose", "with VT and FS"])
def test_clinical_mllp_send_of_debian_1000_messages_1000_aa_1000_stored(node, tmp_path, loose):
    require_tool("mllp_send")
    file = tmp_path / "many.hl7"
    frames = [ADT.replace(b"CONTROL_ID", f"P{n}".encode()) for n in range(MESSAGES)]
    if loose:
        file.write_bytes(b"\r\n".join(frame.strip().replace(b"\r", b"\r\n") for frame in frames) + b"\r\n")
    else:
        file.write_bytes(b"".join(b"\x0b" + frame + b"\x1c\r" for frame in frames))
    command = ["mllp_send", *(["--loose"] if loose else []), "--file", str(file), "--port", str(node.feed.port)]
    done = subprocess.run([*command, "127.0.0.1"], capture_output=True, check=True, timeout=240)
    replies = [part.split(b"|") for part in done.stdout.split(b"\rMSA|")[1:]]
    check(node, [(reply[0].decode(), reply[1].split(b"\r")[0].decode()) for reply in replies])
