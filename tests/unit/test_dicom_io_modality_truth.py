"""Golden values of the one pixel pipeline: what a modality stored, and what the screener sees of it, number by number.

Four stored values in one row; the expected display values are worked out by hand from PS3.3 C.7.6.3, C.11.1 and C.11.2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from support.dicom_objects import dataset_start, encode, radiograph_dataset, write

from dicom_io.header import patient_identity, read_header
from dicom_io.radiograph import read_radiograph, refusals
from model.domain import Reason, Sex, View

CONTRADICTION = "PRESENTATION_LUT_CONTRADICTS_PHOTOMETRIC_INTERPRETATION"


def film(*stored: int, bits: int = 12, **change: Any) -> Dataset:
    """One row of stored values, in the smallest cell of 8 or 16 bits."""
    allocated = 8 if bits <= 8 else 16
    cells = np.array([stored], np.int64).astype(np.uint16)
    dataset = radiograph_dataset(cells, BitsAllocated=allocated, BitsStored=bits, HighBit=bits - 1, **change)
    if allocated == 8:
        dataset.PixelData = cells.astype(np.uint8).tobytes()
    return dataset


def shown(tmp_path: Path, dataset: Dataset) -> list[float]:
    return [round(float(value), 4) for value in read_radiograph(write(tmp_path / "a.dcm", dataset)).pixels[0]]


@pytest.mark.parametrize("bits", range(8, 17))
def test_every_depth_spans_zero_to_one(tmp_path: Path, bits: int) -> None:
    top = (1 << bits) - 1
    window = {"WindowCenter": str(1 << (bits - 1)), "WindowWidth": str(1 << bits)}
    assert shown(tmp_path, film(0, top // 3, 2 * (top // 3), top, bits=bits, **window)) == pytest.approx(
        [0.0, (top // 3) / top, 2 * (top // 3) / top, 1.0], abs=1e-4
    )
    assert read_radiograph(tmp_path / "a.dcm").bits_stored == bits


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted", "remark"),
    [
        ("MONOCHROME2", None, False, ()),
        ("MONOCHROME2", "IDENTITY", False, ()),
        ("MONOCHROME2", "INVERSE", True, (CONTRADICTION,)),
        ("MONOCHROME1", None, True, ()),
        ("MONOCHROME1", "INVERSE", True, ()),
        ("MONOCHROME1", "IDENTITY", True, (CONTRADICTION,)),
    ],
)
def test_polarity(tmp_path: Path, photometric: str, shape: str | None, *, inverted: bool, remark: tuple[str]) -> None:
    change = {"PhotometricInterpretation": photometric, "WindowCenter": "2048", "WindowWidth": "4096"}
    change |= {"PresentationLUTShape": shape} if shape else {}
    values = shown(tmp_path, film(0, 819, 4095, 2457, **change))
    assert values == ([1.0, 0.8, 0.0, 0.4] if inverted else [0.0, 0.2, 1.0, 0.6])
    assert read_radiograph(tmp_path / "a.dcm").warnings == remark


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"WindowCenter": "100.5", "WindowWidth": "101"}, [0.0, 0.5, 1.0, 1.0]),
        ({"WindowCenter": "100", "WindowWidth": "100", "VOILUTFunction": "LINEAR_EXACT"}, [0.0, 0.5, 1.0, 1.0]),
        ({"WindowCenter": "100", "WindowWidth": "100", "VOILUTFunction": "SIGMOID"}, [0.018, 0.5, 0.982, 1.0]),
        (
            {"WindowCenter": "0", "WindowWidth": "200", "VOILUTFunction": "LINEAR_EXACT",
             "RescaleSlope": "2", "RescaleIntercept": "-200"},
            [0.0, 0.5, 1.0, 1.0],
        ),
        (
            {"WindowCenter": "-100", "WindowWidth": "100", "VOILUTFunction": "LINEAR_EXACT",
             "RescaleSlope": "-1", "RescaleIntercept": "0"},
            [1.0, 0.5, 0.0, 0.0],
        ),
        ({"WindowCenter": "100", "WindowWidth": "0"}, [0.0, 0.0256, 0.0513, 1.0]),
        ({}, [0.0, 0.0256, 0.0513, 1.0]),
        ({"RescaleSlope": "0", "RescaleIntercept": "7"}, [0.0, 0.0256, 0.0513, 1.0]),
    ],
)  # fmt: skip
def test_rescale_and_window(tmp_path: Path, change: dict[str, str], expected: list[float]) -> None:
    assert shown(tmp_path, film(0, 100, 200, 3900, **change)) == pytest.approx(expected, abs=1e-3)


def lut(first: int, bits: int, *values: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), first, bits])
    item.add_new("LUTData", "OW", np.array(values, "<u2").tobytes())
    return item


def test_look_up_tables_come_before_rescale_and_window(tmp_path: Path) -> None:
    change = {
        "ModalityLUTSequence": [lut(10, 16, 0, 1, 2, 3)],
        "VOILUTSequence": [lut(0, 10, 1023, 512, 256, 0)],
        "RescaleSlope": "9",
        "WindowCenter": "1",
        "WindowWidth": "1",
    }
    # 5 lies below the first entry and 99 above the last: both ends hold (PS3.3 C.11.1.1).
    assert shown(tmp_path, film(5, 11, 12, 99, **change)) == pytest.approx([1.0, 0.5005, 0.2502, 0.0], abs=1e-4)


def test_a_table_of_words_with_too_few_entries_is_none(tmp_path: Path) -> None:
    """Two entries a word there are of 8 bits only: its words as bytes would show the film nearly black."""
    cut = lut(0, 12, *range(0, 4096, 2))
    cut.LUTDescriptor = [4096, 0, 12]
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    values = shown(tmp_path, film(0, 819, 4095, 2457, VOILUTSequence=[cut], **window))
    assert values == pytest.approx([0.0, 0.2, 1.0, 0.6], abs=1e-3)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_signed_values(tmp_path: Path, bits: int) -> None:
    half = 1 << (bits - 1)
    window = {"WindowCenter": "0", "WindowWidth": str(2 * half)}
    values = [-half, -1, 0, half - 1]
    cells = [value & ((1 << bits) - 1) for value in values]
    found = shown(tmp_path, film(*cells, bits=bits, PixelRepresentation=1, **window))
    assert found == pytest.approx([(value + half) / (2 * half - 1) for value in values], abs=1e-4)


def test_overlay_bits_above_the_stored_ones_are_not_seen(tmp_path: Path) -> None:
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    assert shown(tmp_path, film(0xF000, 0x8000 | 819, 0x1000 | 4095, 2457, **window)) == [0.0, 0.2, 1.0, 0.6]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_in_both_polarities(tmp_path: Path, photometric: str) -> None:
    dataset = film(4095, 0, 819, 2457, PhotometricInterpretation=photometric, WindowCenter="2048", WindowWidth="4096")
    dataset.add_new("PixelPaddingValue", "US", 4095)
    assert shown(tmp_path, dataset) == ([0.0, 1.0, 0.8, 0.4] if photometric == "MONOCHROME1" else [0.0, 0.0, 0.2, 0.6])


def test_of_many_frames_none_is_screened(tmp_path: Path) -> None:
    dataset = film(0, 1, 2, 3, NumberOfFrames=2)
    dataset.PixelData *= 2
    assert refusals(dataset) == (Reason.MULTIFRAME,)
    assert len(shown(tmp_path, dataset)) == 4


ABSENT = ("ViewPosition", "BodyPartExamined", "PatientSex", "PatientAge", "PatientBirthDate", "ImagerPixelSpacing")


def test_what_is_missing_is_unknown_and_never_guessed(tmp_path: Path) -> None:
    dataset = film(0, 1, 2, 3)
    for keyword in ABSENT:
        delattr(dataset, keyword)
    dataset.PixelSpacing = [0, 0]
    found = read_radiograph(write(tmp_path / "a.dcm", dataset))
    assert (found.view, found.sex, found.age_years, found.spacing_mm) == (View.UNKNOWN, Sex.UNKNOWN, None, None)
    assert refusals(dataset) == ()


@pytest.mark.parametrize(("stated", "years"), [(b"062Y", 62.0), (b"062 ", 62.0), (b"62", 62.0), (b"744M", 62.0)])
def test_age_without_its_unit_is_years(tmp_path: Path, stated: bytes, years: float) -> None:
    part10 = encode(film(0, 1, 2, 3, PatientBirthDate=""))
    element = b"\x10\x00\x10\x10AS"
    assert element + b"\x04\x00068Y" in part10
    (tmp_path / "a.dcm").write_bytes(
        part10.replace(element + b"\x04\x00068Y", element + len(stated).to_bytes(2, "little") + stated)
    )
    assert read_radiograph(tmp_path / "a.dcm").age_years == pytest.approx(years, abs=0.01)


def test_an_iso_2022_name_does_not_disturb_the_pixels(tmp_path: Path) -> None:
    dataset = film(0, 819, 4095, 2457, WindowCenter="2048", WindowWidth="4096", PatientName="Yamada^Tarou=山田^太郎")
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    assert shown(tmp_path, dataset) == [0.0, 0.2, 1.0, 0.6]
    assert patient_identity(read_header(tmp_path / "a.dcm")).name.ideographic.family == "山田"


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("kept", ["dataset", "meta"])
def test_stored_form_without_preamble_or_file_meta(tmp_path: Path, syntax: str, kept: str) -> None:
    part10 = encode(film(0, 819, 4095, 2457, WindowCenter="2048", WindowWidth="4096"), syntax)
    start = dataset_start(part10) if kept == "dataset" else 132
    (tmp_path / "a.dcm").write_bytes(part10[start:])
    found = read_radiograph(tmp_path / "a.dcm").pixels[0]
    assert [round(float(value), 4) for value in found] == [0.0, 0.2, 1.0, 0.6]
