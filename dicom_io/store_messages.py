"""The command sets of C-STORE, read and written without pydicom (PS3.7 6.3.1, 9.3.1: Implicit VR Little Endian).

pynetdicom builds a data set of pydicom for each, which costs more CPU than to receive and keep a small image. What
looks in any way unusual is left to it: other elements, other messages, UIDs that break the grammar, error comments.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode
from pynetdicom.pdu_primitives import P_DATA

from dicom_io.uid_grammar import is_uid

_ELEMENT: Final = struct.Struct("<HHI")
_SHORT: Final = struct.Struct("<H")
_C_STORE_RQ: Final = 0x0001
_C_STORE_RSP: Final = 0x8001
_NO_DATASET: Final = 0x0101
_MEDIUM: Final = 0x0000
_WHOLE_COMMAND: Final = b"\x03"
"""Message control header (PS3.8 E.2): command, last fragment."""
_VALUE_HEADER: Final = 6
_NEEDED: Final = frozenset({0x0002, 0x0100, 0x0110, 0x0800, 0x1000})
_KNOWN: Final = _NEEDED | {0x0000, 0x0700}
"""Elements of group 0000; a C-STORE that is part of a C-MOVE has more, and is left to pynetdicom."""


class StoreRequest(C_STORE_RQ):
    """A C-STORE-RQ whose dataset is still to come; stands in for pynetdicom's, which it is for everybody else."""

    def __init__(self, command: bytes, context_id: int, fields: dict[int, bytes]) -> None:
        self.context_id = context_id
        self.encoded_command_set = BytesIO(command)
        self.data_set = BytesIO()
        self._data_set_path = None
        self._data_set_file = None
        self._fields = fields
        self.uids = _text(fields[0x0002]), _text(fields[0x1000])
        """SOP Class and SOP Instance UID, as the sender says."""

    def goes_to(self, file: Any) -> None:
        """The dataset is to be written to `file`, as pynetdicom does with its own temporary file."""
        self._data_set_file = file

    @property
    def command_set(self) -> Dataset:  # type: ignore[override]
        """As pynetdicom would have it, for who wants to look at it."""
        return decode(BytesIO(self.encoded_command_set.getvalue()), is_implicit_vr=True, is_little_endian=True)

    def message_to_primitive(self) -> C_STORE:
        """The request as the Storage SCP gets it."""
        primitive = C_STORE()
        primitive.MessageID = _number(self._fields[0x0110])
        primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = map(UID, self.uids)
        primitive.Priority = _number(self._fields.get(0x0700, _SHORT.pack(_MEDIUM)))
        primitive.DataSet = self.data_set
        primitive._context_id = self.context_id  # noqa: SLF001 - as pynetdicom's own does
        primitive._dataset_path = self._data_set_path  # noqa: SLF001
        primitive._dataset_file = self._data_set_file  # noqa: SLF001
        return primitive


def parse_request(value: memoryview, context_id: int) -> StoreRequest | None:
    """A presentation data value, if it is the whole command set of a plain C-STORE request."""
    if not value or value[0] != _WHOLE_COMMAND[0]:
        return None
    command = value[1:]
    fields = _fields(command)
    if fields is None or not _NEEDED <= fields.keys() <= _KNOWN:
        return None
    if _number(fields[0x0100]) != _C_STORE_RQ or _number(fields[0x0800]) == _NO_DATASET:
        return None
    if not all(is_uid(_text(fields[number])) for number in (0x0002, 0x1000)):
        return None
    return StoreRequest(bytes(command), context_id, fields)


def encode_response(response: C_STORE) -> bytes | None:
    """The command set of a C-STORE response; None if it says more than its status."""
    answered, status = response.MessageIDBeingRespondedTo, response.Status
    more = any(getattr(response, keyword) for keyword in C_STORE.STATUS_OPTIONAL_KEYWORDS)
    if answered is None or status is None or more:
        return None
    elements = b"".join(
        (
            _uid_element(0x0002, str(response.AffectedSOPClassUID or "")),
            _short_element(0x0100, _C_STORE_RSP),
            _short_element(0x0120, answered),
            _short_element(0x0800, _NO_DATASET),
            _short_element(0x0900, status),
            _uid_element(0x1000, str(response.AffectedSOPInstanceUID or "")),
        )
    )
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(elements)) + elements


def answer_quickly(association: Association) -> None:
    """Let the plain responses of an association go out by `encode_response`."""
    dimse = association.dimse
    stock = dimse.send_msg

    def send(primitive: Any, context_id: int) -> None:
        command = encode_response(primitive) if isinstance(primitive, C_STORE) else None
        if command is None or 0 < dimse.maximum_pdu_size < len(command) + _VALUE_HEADER:
            stock(primitive, context_id)
            return
        data = P_DATA()
        data.presentation_data_value_list.append((context_id, _WHOLE_COMMAND + command))
        dimse.dul.send_pdu(data)

    dimse.send_msg = send  # type: ignore[method-assign]


def _fields(command: memoryview) -> dict[int, bytes] | None:
    found: dict[int, bytes] = {}
    at = 0
    while at + _ELEMENT.size <= len(command):
        group, number, length = _ELEMENT.unpack_from(command, at)
        at += _ELEMENT.size
        if group or number in found or at + length > len(command):
            return None
        found[number] = bytes(command[at : at + length])
        at += length
    numbers = (found.get(number, b"12") for number in (0x0100, 0x0110, 0x0700, 0x0800))
    return found if at == len(command) and all(len(one) == _SHORT.size for one in numbers) else None


def _number(value: bytes) -> int:
    return int(_SHORT.unpack(value)[0])


def _text(value: bytes) -> str:
    return value.decode("latin-1").rstrip("\0 ")


def _short_element(number: int, value: int) -> bytes:
    return _ELEMENT.pack(0, number, _SHORT.size) + _SHORT.pack(value)


def _uid_element(number: int, uid: str) -> bytes:
    content = uid.encode("ascii")
    content += b"\0" * (len(content) % 2)
    return _ELEMENT.pack(0, number, len(content)) + content
