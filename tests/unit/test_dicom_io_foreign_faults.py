"""Faults that pynetdicom meets are told in codes, counted, and leave no thread dead."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import pytest
from pynetdicom.pdu_primitives import P_DATA
from support.raw_dicom import COMMAND, DX, LAST, RawSender, command_set, pdu, value
from support.reception import await_true, serving

from dicom_io.foreign_faults import speak_in_codes

PATHS = ["auto", "off"]
UID_65 = b"1.2." + b"3" * 61 + b"\0"


def store_request_with(instance: bytes) -> bytes:
    return command_set(
        (0x0002, DX.encode() + b"\0" * (len(DX) % 2)),
        (0x0100, struct.pack("<H", 1)),
        (0x0110, struct.pack("<H", 7)),
        (0x0700, struct.pack("<H", 0)),
        (0x0800, struct.pack("<H", 1)),
        (0x1000, instance),
    )


@pytest.mark.parametrize("path", PATHS)
def test_a_uid_of_65_characters_in_the_command_is_counted_and_logged_with_a_code(tmp_path: Path, path: str, capfd):
    with serving(tmp_path, fast_path=path) as (running, memory):
        with RawSender(running.port) as sender:
            wire = pdu(4, value(1, COMMAND | LAST, store_request_with(UID_65))) + pdu(4, value(1, LAST, bytes(100)))
            sender.socket.sendall(wire)
            assert sender.closed_by_peer()
        who = memory.await_word("dimse_message_invalid")
        assert who.address == "127.0.0.1"
        await_true(lambda: memory.words.count("dimse_message_invalid") == 1)
    written = "".join(capfd.readouterr())
    assert "DIMSE-MESSAGE-INVALID" in written
    assert "Traceback" not in written
    assert "33333" not in written


def test_an_association_that_breaks_the_pdu_grammar_is_counted_once(tmp_path: Path):
    with serving(tmp_path) as (running, memory):
        with RawSender(running.port) as sender:
            sender.socket.sendall(pdu(4, struct.pack(">IB", 100, 1) + b"short"))
            assert sender.closed_by_peer()
        memory.await_word("pdu_invalid")
        assert memory.words.count("pdu_invalid") == 1


@pytest.mark.parametrize("path", PATHS)
def test_a_message_that_meets_a_release_is_dropped_and_the_upper_layer_lives_on(tmp_path: Path, path: str):
    """An answer that is ready after the release: Evt9 outside Sta6 and Sta8."""
    with serving(tmp_path, fast_path=path) as (running, _):
        with RawSender(running.port) as sender:
            (association,) = running._plain.active_associations
            provider = association.dul
            await_true(lambda: association.is_established and provider.state_machine.current_state == "Sta6")
            provider.state_machine.current_state = "Sta7"
            provider.send_pdu(P_DATA())
            await_true(provider.to_provider_queue.empty)
            provider.state_machine.current_state = "Sta6"
            assert provider.is_alive()
            assert sender.echo() == 0
            sender.release()
        with RawSender(running.port) as other:
            assert other.echo() == 0
            other.release()


def test_what_pynetdicom_logs_is_one_coded_line_without_its_text(capfd):
    speak_in_codes()
    speak_in_codes()
    logger = logging.getLogger("pynetdicom.somewhere")
    try:
        raise ValueError("DOE^JANE")  # noqa: EM101, TRY301
    except ValueError:
        logger.exception("Received DOE^JANE")
    logger.warning("DOE^JANE")
    written = "".join(capfd.readouterr())
    assert written.count("PYNETDICOM-FAULT") == 1
    assert "ValueError" in written
    assert "JANE" not in written
