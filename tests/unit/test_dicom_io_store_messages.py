"""Our own reading and writing of C-STORE command sets against pynetdicom's."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import UID
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from support.raw_dicom import DX, command_set

from dicom_io.store_messages import encode_response, parse_request

uids = st.lists(st.integers(0, 10**9), min_size=2, max_size=5).map(lambda parts: ".".join(map(str, parts)))
words = st.integers(0, 0xFFFF)


def theirs(primitive: C_STORE, kind: type) -> bytes:
    message = kind()
    message.primitive_to_message(primitive)
    return encode(message.command_set, is_implicit_vr=True, is_little_endian=True)


@settings(max_examples=50, deadline=None)
@given(uids, uids, words, words.filter(lambda status: status < 0xFF00))
def test_a_response_is_byte_for_byte_pynetdicoms(sop_class: str, instance: str, message_id: int, status: int):
    response = C_STORE()
    response.MessageIDBeingRespondedTo = message_id
    response.AffectedSOPClassUID, response.AffectedSOPInstanceUID = UID(sop_class), UID(instance)
    response.Status = status
    assert encode_response(response) == theirs(response, C_STORE_RSP)


def test_a_response_that_says_more_is_left_to_pynetdicom():
    response = C_STORE()
    response.MessageIDBeingRespondedTo, response.Status = 1, 0xC000
    response.ErrorComment = "why"
    assert encode_response(response) is None
    assert encode_response(C_STORE()) is None


@settings(max_examples=50, deadline=None)
@given(uids, uids, words, st.sampled_from([0, 1, 2]))
def test_a_request_is_understood_as_pynetdicom_does(sop_class: str, instance: str, message_id: int, priority: int):
    request = C_STORE()
    request.MessageID, request.Priority = message_id, priority
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = UID(sop_class), UID(instance)
    request.DataSet = BytesIO(b"1234")
    found = parse_request(memoryview(b"\3" + theirs(request, C_STORE_RQ)), 3)
    assert found is not None
    assert isinstance(found, C_STORE_RQ)
    assert (*found.uids, found.context_id) == (sop_class, instance, 3)
    got = found.message_to_primitive()
    assert (got.MessageID, got.Priority, got.is_valid_request) == (message_id, priority, True)
    assert (got.AffectedSOPClassUID, got.AffectedSOPInstanceUID) == (sop_class, instance)
    assert found.command_set.AffectedSOPInstanceUID == instance


def request_with(**changes: bytes) -> bytes:
    elements = {
        0x0002: DX.encode() + b"\0" * (len(DX) % 2),
        0x0100: struct.pack("<H", 1),
        0x0110: struct.pack("<H", 7),
        0x0700: struct.pack("<H", 0),
        0x0800: struct.pack("<H", 1),
        0x1000: b"1.2.3\0",
    } | {int(name[1:], 16): value for name, value in changes.items()}
    return command_set(*sorted(elements.items()))


@pytest.mark.parametrize(
    "unusual",
    [
        request_with(x0100=struct.pack("<H", 0x30)),  # C-ECHO
        request_with(x0800=struct.pack("<H", 0x0101)),  # no dataset
        request_with(x1000=b"1." + b"2" * 64),  # 66 characters
        request_with(x1000=b"../../etc/passwd"),
        request_with(x1000=b""),
        request_with(x1030=b"MOVER "),  # part of a C-MOVE
        request_with(x0110=b"1"),
        request_with()[:-1],
        request_with() + b"\0",
        b"",
    ],
)
def test_what_is_unusual_is_left_to_pynetdicom(unusual: bytes):
    assert parse_request(memoryview(b"\3" + request_with()), 1) is not None
    assert parse_request(memoryview(b"\3" + unusual), 1) is None


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 150), st.binary(max_size=4))
def test_no_bytes_break_it(noise: bytes, at: int, other: bytes):
    parse_request(memoryview(b"\3" + noise), 1)
    sound = bytearray(b"\3" + request_with())
    sound[at : at + len(other)] = other
    parse_request(memoryview(sound), 1)
