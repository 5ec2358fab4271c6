"""The same report in another SR class: two UIDs change, nothing else, and the same arguments name the same object."""

from io import BytesIO

import highdicom as hd
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.report_cases import context, header, limited, radiograph, scored

from dicom_io.results import build_results
from dicom_io.sr_class import SR_CLASSES, in_class
from dicom_io.versions import EarlierDocument, amends

PAGE, SR = build_results(header(), radiograph(), limited(), context())
OTHERS = [uid for uid in SR_CLASSES.values() if uid != SR.sop_class_uid]


def read(part10: bytes) -> Dataset:
    return dcmread(BytesIO(part10))


def predecessors(part10: bytes) -> list[tuple[str, str]]:
    return [
        (str(r.ReferencedSOPClassUID), str(r.ReferencedSOPInstanceUID))
        for study in read(part10).PredecessorDocumentsSequence
        for series in study.ReferencedSeriesSequence
        for r in series.ReferencedSOPSequence
    ]


def second_version() -> bytes:
    after = amends(2, [EarlierDocument(part10=SR.part10, released=True)])
    return build_results(header(), radiograph(), scored(), context(amends=after))[-1].part10


def test_the_frozen_class_gives_the_frozen_bytes() -> None:
    same = in_class(SR.part10, SR.sop_class_uid)
    assert (same.part10, same.sop_instance_uid) == (SR.part10, SR.sop_instance_uid)


@pytest.mark.parametrize("wanted", OTHERS)
def test_another_class_changes_two_uids_and_nothing_else(wanted: str) -> None:
    before, after = read(SR.part10), read(in_class(SR.part10, wanted).part10)
    assert {e.keyword for e in after if e != before[e.tag]} == {"SOPClassUID", "SOPInstanceUID"}
    assert {e.tag for e in after} == {e.tag for e in before}
    assert after.file_meta.MediaStorageSOPClassUID == after.SOPClassUID == wanted
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    evidence = [entry[2] for entry in hd.sr.srread(BytesIO(in_class(SR.part10, wanted).part10)).get_evidence()]
    assert PAGE.sop_instance_uid in evidence


def test_same_inputs_same_uid_and_bytes_and_another_class_another_uid() -> None:
    once, again = ([in_class(SR.part10, uid) for uid in SR_CLASSES.values()] for _ in range(2))
    assert [c.part10 for c in once] == [c.part10 for c in again]
    assert len({c.sop_instance_uid for c in once}) == 3
    assert all(len(c.sop_instance_uid) <= 64 for c in once)


def test_predecessors_are_those_the_destination_holds() -> None:
    frozen = second_version()
    v1 = in_class(SR.part10, SR_CLASSES["comprehensive3d"])
    held = {SR.sop_instance_uid: (v1.sop_class_uid, v1.sop_instance_uid)}
    assert predecessors(frozen) == [(SR.sop_class_uid, SR.sop_instance_uid)]
    for name in SR_CLASSES.values():
        sent = in_class(frozen, name, earlier=held)
        assert predecessors(sent.part10) == [(v1.sop_class_uid, v1.sop_instance_uid)]
        assert sent.sop_instance_uid != read(frozen).SOPInstanceUID


def test_a_predecessor_held_as_frozen_changes_nothing() -> None:
    frozen = second_version()
    held = {SR.sop_instance_uid: (SR.sop_class_uid, SR.sop_instance_uid)}
    assert in_class(frozen, SR.sop_class_uid, earlier=held).part10 == frozen


@pytest.mark.parametrize(("part10", "wanted"), [(PAGE.part10, OTHERS[0]), (SR.part10, PAGE.sop_class_uid)])
def test_what_is_no_sr_is_refused(part10: bytes, wanted: str) -> None:
    with pytest.raises(ValueError, match=r"not (a structured report|one of the three)"):
        in_class(part10, wanted)
