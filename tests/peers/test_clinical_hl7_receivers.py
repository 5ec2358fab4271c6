"""Receivers that share no code with Osteon take the messages about reports: AA each time, the name intact."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
from contextlib import contextmanager

import hl7
import pytest
from hl7.mllp import start_hl7_server
from support.dicom_objects import radiograph_dataset
from support.hl7_office import Office
from support.npm import PEERS, require_modules

from node.demo.node_process import free_port
from node.store.engine import open_ledger
from node.store.result_messages import ResultState

pytestmark = pytest.mark.timeout(300)


@contextmanager
def npm_server(server, folder):
    """One of the npm servers; yields its port and a function that ends it and gives what it understood."""
    modules, port = require_modules(folder / "npm-peers"), free_port()
    command = ["node", str(PEERS / "receive_hl7.cjs"), server, str(port)]
    running = subprocess.Popen(
        command, env=os.environ | {"NODE_PATH": str(modules)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout is not None
        first = running.stdout.readline().strip()
        assert first == "ready", running.communicate(timeout=10)[1][-500:]
        yield port, running
    finally:
        running.kill()
        running.communicate()


def office(tmp_path, port):
    """One report of a patient with an umlaut, an apostrophe and separators in her name."""
    office = Office(open_ledger(tmp_path / "ledger.db"), tmp_path, port, timeout=10.0)
    film = radiograph_dataset(SpecificCharacterSet="ISO_IR 192", PatientName="Müller-O'Neil^Änne^M&M")
    case_id = office.desk.receive(film)
    office.desk.work()
    return office, case_id


def check(office, case_id, answers=("AA",)):
    (message,) = office.messages(case_id)
    assert (message.state, message.tries) == (ResultState.SENT, 0)
    assert message.answer in answers
    return message


@pytest.mark.parametrize("server", ["node-hl7-server", "medplum", "medplum-enhanced", "simple-hl7"])
def test_clinical_npm_servers_accept_the_message(server, tmp_path_factory, tmp_path):
    with npm_server(server, tmp_path_factory.getbasetemp()) as (port, running):
        desk, case_id = office(tmp_path, port)
        desk.send()
        understood = json.loads(running.stdout.readline())
    message = check(desk, case_id, ("CA",) if server == "medplum-enhanced" else ("AA",))
    assert understood["control"] == message.control_id
    assert understood["name"] == "Müller-O'Neil"
    assert understood["status"] == "R"
    assert "Not for primary diagnosis" in understood["summary"]
    desk.ledger.close()


def test_clinical_python_hl7_server_accepts_the_message(tmp_path):
    received, ready, port = [], threading.Event(), free_port()

    async def take(reader, writer):
        while not reader.at_eof():
            try:
                message = await reader.readmessage()
            except asyncio.IncompleteReadError:
                break
            received.append(message)
            writer.writemessage(message.create_ack())
            await writer.drain()
        writer.close()

    async def serve():
        stop = asyncio.Event()
        running.append((asyncio.get_running_loop(), stop))
        async with await start_hl7_server(take, port=port, encoding="utf-8"):
            ready.set()
            await stop.wait()

    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        desk, case_id = office(tmp_path, port)
        desk.send()
    finally:
        running[0][0].call_soon_threadsafe(running[0][1].set)
        thread.join()
    check(desk, case_id)
    (message,) = received
    assert isinstance(message, hl7.Message)
    assert message.extract_field("PID", 1, 5, 1, 1) == "Müller-O'Neil"
    assert message.extract_field("PID", 1, 5, 1, 3) == "M&M"
    assert message.extract_field("OBR", 1, 25) == "R"
    desk.ledger.close()
