"""N-EVENT-REPORT on an association of our own: what each answer of the requestor means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pynetdicom import AE, evt

from config.settings import Delivery
from dicom_io.commitment import PUSH_MODEL, CommitmentFailure, CommitmentItem, CommitmentResult
from dicom_io.commitment_report import Requestor, report_to
from dicom_io.errors import PeerRefused, PeerUnavailable

ITEM = CommitmentItem(sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1", sop_instance_uid="1.2.3")
RESULT = CommitmentResult(transaction_uid="1.2.9", items=(ITEM,), failures={"1.2.3": CommitmentFailure.NO_SUCH_OBJECT})


@contextmanager
def requestor(
    *, status: int = 0x0000, role: bool = True, sop_class: str = PUSH_MODEL, limit: int = 10
) -> Iterator[tuple[int, list[str]]]:
    seen: list[str] = []

    def told(event: evt.Event) -> tuple[int, None]:
        seen.append(str(event.event_information.FailedSOPSequence[0].ReferencedSOPInstanceUID))
        return status, None

    ae = AE("SENDER")
    ae.maximum_associations = limit
    ae.add_supported_context("1.2.840.10008.1.1")
    ae.add_supported_context(sop_class, scu_role=False if role else None, scp_role=True if role else None)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, told)])
    try:
        yield server.server_address[1], seen
    finally:
        server.shutdown()


def report(port: int) -> None:
    to = Requestor(ae_title="SENDER", host="127.0.0.1", port=port)
    report_to(RESULT, to, calling="OSTEON", settings=Delivery(acse_timeout=5, dimse_timeout=5))


def test_success_is_success() -> None:
    with requestor() as (port, seen):
        report(port)
    assert seen == ["1.2.3"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status": 0x0112}, "answered 0112"),
        ({"role": False}, "SCP role"),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.2"}, "Storage Commitment refused"),
    ],
)
def test_what_a_person_must_mend(change: dict[str, object], says: str) -> None:
    with requestor(**change) as (port, _), pytest.raises(PeerRefused, match=says):
        report(port)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # pynetdicom leaves a refused socket open
def test_nobody_there_is_tried_again() -> None:
    with requestor() as (port, _):
        pass
    with pytest.raises(PeerUnavailable):
        report(port)
