"""What the node agrees to at negotiation, by configuration, asked by a real requestor."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import uid
from pynetdicom import AE
from pynetdicom.sop_class import _STORAGE_CLASSES

from config.settings import Reception
from dicom_io.commitment import PUSH_MODEL
from dicom_io.offer import RADIOGRAPHS, RETURNED_RESULTS, VERIFICATION, offered, storage_classes
from dicom_io.spool import Spool
from dicom_io.storage_scp import StorageScp
from dicom_io.syntaxes import TRANSFER_SYNTAXES

FOR_PROCESSING = uid.DigitalXRayImageStorageForProcessing
FIND, MOVE = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2"


def accepted(folder: Path, settings: Reception, asked: list[str]) -> set[str]:
    """Which of `asked` (at most 127) the node accepts."""
    scp = StorageScp(settings, Spool(folder), lambda _: None)
    scp.start()
    try:
        ae = AE("MODALITY")
        for sop_class in [VERIFICATION, *asked]:
            ae.add_requested_context(sop_class)
        association = ae.associate("127.0.0.1", scp.port, ae_title="OSTEON")
        found = {str(context.abstract_syntax) for context in association.accepted_contexts}
        assert len(association.rejected_contexts) + len(found) == len(asked) + 1
        association.release()
    finally:
        scp.stop()
    return found


@pytest.mark.parametrize(
    ("settings", "more"),
    [({}, set()), ({"accept_for_processing": True}, {FOR_PROCESSING}), ({"accept_secondary_capture": True}, set())],
)
def test_every_other_storage_class_is_refused(tmp_path: Path, settings: dict[str, bool], more: set[str]) -> None:
    expected = {VERIFICATION, *RADIOGRAPHS, *RETURNED_RESULTS, *more}
    everything = sorted({str(one) for one in _STORAGE_CLASSES.values()} | {FIND, MOVE, PUSH_MODEL})
    found = accepted(tmp_path / "1", Reception(port=0, **settings), everything[:127])
    found |= accepted(tmp_path / "2", Reception(port=0, **settings), everything[127:])
    assert found == set(map(str, expected))


def test_a_returned_result_is_taken_whatever_the_configuration() -> None:
    assert uid.SecondaryCaptureImageStorage in storage_classes(Reception())
    assert FOR_PROCESSING not in storage_classes(Reception())


def test_every_storage_class_comes_in_every_syntax_the_worker_reads() -> None:
    for sop_class, syntaxes in offered(Reception(accept_for_processing=True))[1:]:
        assert syntaxes == TRANSFER_SYNTAXES, sop_class
