"""Whose an object is, found without reading more of it than that takes."""

import struct
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import uid
from support.dicom_objects import dataset_of, encode, radiograph_dataset

from dicom_io.errors import HeaderInvalid
from dicom_io.header import instance_reference
from dicom_io.received import adopt, identify
from dicom_io.spool import Spool
from dicom_io.syntaxes import NATIVE

UNDEFINED = 0xFFFFFFFF
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
END_OF_SEQUENCE = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def long_element(tag: int, representation: bytes, value: bytes, length: int | None = None) -> bytes:
    """An element of Explicit VR Little Endian with a length of four bytes."""
    size = len(value) if length is None else length
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, representation, 0, size) + value


def film_with(element: bytes, *, before: bytes) -> bytes:
    """A film whose dataset has one more element, where `before` is the next one's tag and VR."""
    dataset = dataset_of(encode(radiograph_dataset()))
    at = dataset.index(before)
    return dataset[:at] + element + dataset[at:]


PATIENT_NAME, STUDY_UID = b"\x10\x00\x10\x00PN", b"\x20\x00\x0d\x00UI"


@pytest.mark.parametrize(
    ("element", "before"),
    [
        (long_element(0x00091002, b"UN", bytes(3_000_000)), PATIENT_NAME),
        (long_element(0x00091002, b"SQ", ITEM * 500_000), PATIENT_NAME),
        (long_element(0x00091002, b"OB", bytes(500_000) + END_OF_SEQUENCE, UNDEFINED), PATIENT_NAME),
        (long_element(0x00191010, b"SQ", ITEM * 100 + END_OF_SEQUENCE, UNDEFINED), STUDY_UID),
    ],
    ids=["bytes", "sequence", "bytes without a length", "sequence without a length"],
)
def test_private_blocks_before_the_uids_are_passed_over(element: bytes, before: bytes) -> None:
    found = identify(BytesIO(film_with(element, before=before)), uid.ExplicitVRLittleEndian)
    assert found == identify(BytesIO(dataset_of(encode(radiograph_dataset()))), uid.ExplicitVRLittleEndian)
    assert found.patient_ids == ("0012345",)


@pytest.mark.parametrize(
    ("element", "before"),
    [
        (long_element(0x00091002, b"SQ", ITEM * 1_000_000 + END_OF_SEQUENCE, UNDEFINED), PATIENT_NAME),
        (long_element(0x00101002, b"SQ", ITEM * 1_000_000 + END_OF_SEQUENCE, UNDEFINED), STUDY_UID),
        (long_element(0x00101002, b"SQ", ITEM * 1_000_000), STUDY_UID),
        (long_element(0x00091002, b"OB", bytes(8_000_000) + END_OF_SEQUENCE, UNDEFINED), PATIENT_NAME),
    ],
    ids=["any sequence", "other identifiers", "other identifiers with a length", "bytes"],
)
def test_a_million_empty_items_before_the_uids_are_refused_before_they_are_all_read(
    tmp_path: Path, element: bytes, before: bytes
) -> None:
    dataset = film_with(element, before=before)
    stream = BytesIO(dataset)
    with pytest.raises(HeaderInvalid, match="more than a megabyte"):
        identify(stream, uid.ExplicitVRLittleEndian)
    assert stream.tell() < 1_100_000
    orphan = stored(Spool(tmp_path), dataset)
    with pytest.raises(HeaderInvalid, match="more than a megabyte"):
        adopt(Spool(tmp_path), orphan)


def stored(spool: Spool, dataset: bytes) -> str:
    film = radiograph_dataset()
    with spool.storing(
        sop_class_uid=str(film.SOPClassUID),
        sop_instance_uid=str(film.SOPInstanceUID),
        transfer_syntax_uid=uid.ExplicitVRLittleEndian,
        dataset=dataset,
    ) as spooled:
        return spooled.file


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda one: one.name)
def test_an_object_is_the_same_in_every_encoding(syntax: uid.UID) -> None:
    film = radiograph_dataset()
    found = identify(BytesIO(dataset_of(encode(film, syntax))), syntax)
    assert found.reference == instance_reference(film)
    assert found.patient_ids == ("0012345",)


def test_a_disk_that_fails_is_no_damaged_object() -> None:
    """The sender must come again: only an object that no retry can mend is answered 0xC000."""

    class Failing(BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        identify(Failing(), uid.ExplicitVRLittleEndian)
