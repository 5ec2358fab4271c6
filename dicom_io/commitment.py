"""Storage Commitment Push Model (PS3.4 annex J): what is asked and what is reported, as values and as datasets.

Success is said of an instance only while its bytes are on disk with the digest they were received with; who finds that
out is the caller. A message of another peer is judged here and becomes a value or one named error.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom import uid
from pydicom.dataset import Dataset

from dicom_io.element import text
from dicom_io.errors import HeaderInvalid
from dicom_io.uid_grammar import is_uid

PUSH_MODEL: Final = uid.UID("1.2.840.10008.1.20.1")
"""Storage Commitment Push Model SOP Class."""
PUSH_MODEL_INSTANCE: Final = uid.UID("1.2.840.10008.1.20.1.1")
"""Its one well-known instance (PS3.4 J.3.5)."""
REQUEST_ACTION: Final = 1
"""Action Type ID of Request Storage Commitment (PS3.4 J.3.2)."""
ALL_COMMITTED: Final = 1
"""Event Type ID: Storage Commitment Request Successful (PS3.4 J.3.3)."""
SOME_FAILED: Final = 2
"""Event Type ID: Storage Commitment Request Complete, Failures Exist."""


class CommitmentFailure(enum.IntEnum):
    """Failure Reason (0008,1197) of an instance the node does not commit itself to (PS3.4 J.3.3.1.1)."""

    PROCESSING = 0x0110
    """The bytes on disk are not those received, or cannot be read: a person must look."""
    NO_SUCH_OBJECT = 0x0112
    """Never received, or its file is gone: the sender should send it again."""
    CLASS_CONFLICT = 0x0119
    """Here, but of another SOP class than the request says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentItem:
    """One instance of a request."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRequest:
    """What a sender asks the node to keep safe."""

    transaction_uid: str
    items: tuple[CommitmentItem, ...]
    requestor_ae: str
    address: str
    """IP address the request came from."""
    requested_at: dt.datetime
    """Aware, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentResult:
    """What the node found: every instance of the request, the failed ones with their reason."""

    transaction_uid: str
    items: tuple[CommitmentItem, ...]
    failures: Mapping[str, CommitmentFailure]
    """By SOP Instance UID; empty means that every instance is safe."""

    @property
    def event_type(self) -> int:
        """Event Type ID of the N-EVENT-REPORT."""
        return SOME_FAILED if self.failures else ALL_COMMITTED


def requested_items(information: Dataset) -> tuple[str, tuple[CommitmentItem, ...]]:
    """Return (transaction UID, instances) of an N-ACTION's Action Information (PS3.4 table J.3-1).

    Raises:
        HeaderInvalid: no transaction UID, no instance, or something that is no UID.

    """
    transaction = text(information, "TransactionUID")
    items = tuple(
        CommitmentItem(
            sop_class_uid=text(item, "ReferencedSOPClassUID"), sop_instance_uid=text(item, "ReferencedSOPInstanceUID")
        )
        for item in information.get("ReferencedSOPSequence") or ()
    )
    uids = [transaction, *(one for item in items for one in (item.sop_class_uid, item.sop_instance_uid))]
    if not items or not all(map(is_uid, uids)):
        msg = "the commitment request lacks a valid Transaction UID or Referenced SOP Sequence"
        raise HeaderInvalid(msg)
    return transaction, items


def action_information(transaction_uid: str, items: Sequence[CommitmentItem]) -> Dataset:
    """Action Information of the N-ACTION (PS3.4 table J.3-1)."""
    information = Dataset()
    information.TransactionUID = uid.UID(transaction_uid)
    information.ReferencedSOPSequence = [_reference(item) for item in items]
    return information


def event_information(result: CommitmentResult) -> Dataset:
    """Event Information of the N-EVENT-REPORT (PS3.4 table J.3-2); a sequence without items is left out."""
    information = Dataset()
    information.TransactionUID = uid.UID(result.transaction_uid)
    if failed := [_failed(item, result) for item in result.items if item.sop_instance_uid in result.failures]:
        information.FailedSOPSequence = failed
    if safe := [_reference(item) for item in result.items if item.sop_instance_uid not in result.failures]:
        information.ReferencedSOPSequence = safe
    return information


def _reference(item: CommitmentItem) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = uid.UID(item.sop_class_uid)
    reference.ReferencedSOPInstanceUID = uid.UID(item.sop_instance_uid)
    return reference


def _failed(item: CommitmentItem, result: CommitmentResult) -> Dataset:
    reference = _reference(item)
    reference.FailureReason = int(result.failures[item.sop_instance_uid])
    return reference
