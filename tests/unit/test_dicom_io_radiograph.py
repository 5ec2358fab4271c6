"""Header rules, grayscale chain, and what becomes of a file that claims nonsense."""

from io import BytesIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from support.dicom_objects import encode, film, radiograph_dataset, write
from support.shared_data import DICOM, needs_dicom

from dicom_io.acceptance import stated_view
from dicom_io.errors import DicomIoError, HeaderInvalid, PixelDecodeError
from dicom_io.header import read_header
from dicom_io.radiograph import read_radiograph, refusals
from model.domain import Reason, Sex, View

PIXELS = film()


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def lut(data: np.ndarray, first: int, bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [data.size, first, bits])
    item.add_new("LUTData", "OW", data.astype("<u2").tobytes())
    return item


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ()),
        ({"BodyPartExamined": "", "ViewPosition": ""}, ()),
        ({"BodyPartExamined": "THORAX"}, ()),
        ({"BodyPartExamined": "CHEST PA"}, ()),
        ({"BodyPartExamined": "HAND"}, (Reason.BODY_PART,)),
        ({"BodyPartExamined": "TSPINE"}, (Reason.BODY_PART,)),
        ({"BodyPartExamined": "CHEST ABDOMEN"}, (Reason.BODY_PART,)),
        ({"BodyPartExamined": "", "AnatomicRegionSequence": [code("T-D3000", "SRT", "Chest")]}, ()),
        ({"BodyPartExamined": "", "AnatomicRegionSequence": [code("816094009", "SCT", "")]}, ()),
        ({"BodyPartExamined": "", "AnatomicRegionSequence": [code("85562004", "SCT", "Hand")]}, (Reason.BODY_PART,)),
        ({"ViewPosition": "LL"}, (Reason.VIEW_LATERAL,)),
        ({"ViewPosition": "LATERAL"}, (Reason.VIEW_LATERAL,)),
        ({"ViewPosition": "", "ViewCodeSequence": [code("R-10236", "SRT", "left lateral")]}, (Reason.VIEW_LATERAL,)),
        ({"ViewPosition": "", "ViewCodeSequence": [code("399198007", "SCT", "right lateral")]}, (Reason.VIEW_LATERAL,)),
        ({"ViewPosition": "LLD"}, ()),
        ({"Modality": "MG"}, (Reason.MODALITY,)),
        ({"SOPClassUID": uid.SecondaryCaptureImageStorage}, (Reason.MODALITY,)),
        ({"SOPClassUID": uid.DigitalXRayImageStorageForProcessing}, (Reason.FOR_PROCESSING,)),
        ({"PresentationIntentType": "FOR PROCESSING"}, (Reason.FOR_PROCESSING,)),
        ({"SOPClassUID": uid.ComputedRadiographyImageStorage, "Modality": "CR"}, ()),
        ({"NumberOfFrames": 2}, (Reason.MULTIFRAME,)),
        ({"NumberOfFrames": 1}, ()),
        ({"Rows": 0}, (Reason.NO_PIXELS,)),
        ({"PatientSpeciesDescription": "CANINE"}, (Reason.NOT_HUMAN,)),
        ({"PatientSpeciesDescription": "Homo sapiens"}, ()),
        ({"PatientSpeciesCodeSequence": [code("448771007", "SCT", "Canis lupus familiaris")]}, (Reason.NOT_HUMAN,)),
        ({"PatientSpeciesCodeSequence": [code("L-85B00", "SRT", "homo sapiens")]}, ()),
        ({"ManufacturerModelName": "Osteon"}, (Reason.OWN_RESULT,)),
        (
            {"ManufacturerModelName": "Osteon", "SOPClassUID": uid.EnhancedSRStorage, "Modality": "SR", "Rows": None},
            (Reason.OWN_RESULT,),
        ),
        ({"SOPClassUID": uid.ComprehensiveSRStorage, "Modality": "SR"}, (Reason.MODALITY,)),
        ({"ManufacturerModelName": "Osteon phantom"}, ()),
    ],
)
def test_header_rules(change: dict[str, Any], expected: tuple[Reason, ...]) -> None:
    assert refusals(radiograph_dataset(**change)) == expected


FILM = {"SOPClassUID": uid.SecondaryCaptureImageStorage, "Modality": "OT", "ConversionType": "DF"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ()),
        ({"Modality": "CR", "ConversionType": "SI"}, ()),
        ({"ConversionType": "WSD"}, (Reason.MODALITY,)),
        ({"ConversionType": ""}, (Reason.MODALITY,)),
        ({"Modality": "MG"}, (Reason.MODALITY,)),
        ({"BodyPartExamined": "HAND"}, (Reason.BODY_PART,)),
        ({"ManufacturerModelName": "Osteon"}, (Reason.OWN_RESULT,)),
    ],
)
def test_a_scanned_film_passes_the_same_rules_where_it_is_wanted(
    change: dict[str, Any], expected: tuple[Reason, ...]
) -> None:
    dataset = radiograph_dataset(**FILM | change)
    assert refusals(dataset, secondary_capture=True) == expected
    assert refusals(dataset)[0] in (Reason.MODALITY, Reason.OWN_RESULT)


@pytest.mark.parametrize(
    ("position", "expected"),
    [("PA", View.PA), ("AP", View.AP), ("RL", View.LATERAL), ("RLD", View.OTHER), ("", View.UNKNOWN)],
)
def test_stated_view(position: str, expected: View) -> None:
    assert stated_view(radiograph_dataset(ViewPosition=position)) is expected


def test_a_regular_film(tmp_path: Path) -> None:
    film_read = read_radiograph(
        write(tmp_path / "a", radiograph_dataset(WindowCenter="2048", WindowWidth="4096")),
        zone=ZoneInfo("Europe/Berlin"),
    )
    assert film_read.pixels == pytest.approx(PIXELS / 4095.0, abs=1e-6)
    assert film_read.pixels.dtype == np.float32
    assert not film_read.pixels.flags.writeable
    assert (film_read.spacing_mm, film_read.view, film_read.sex) == ((0.143, 0.143), View.PA, Sex.FEMALE)
    assert (film_read.age_years, film_read.bits_stored, film_read.lossy) == (68.0, 12, False)
    assert film_read.acquired_at is not None
    assert film_read.acquired_at.isoformat() == "2024-03-10T10:15:30.250000+01:00"
    assert (film_read.manufacturer, film_read.station, film_read.warnings) == ("ACME", "DX1", ())
    assert film_read.saturated_low == pytest.approx((PIXELS.min() == PIXELS).mean())
    assert film_read.saturated_high == pytest.approx((PIXELS.max() == PIXELS).mean())


@pytest.mark.parametrize(
    "change",
    [
        {"WindowCenter": "1800", "WindowWidth": "900"},
        {"WindowCenter": ["1000", "50"], "WindowWidth": ["800", "10"], "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": "1800", "WindowWidth": "900", "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": "200", "WindowWidth": "700", "RescaleSlope": "0.5", "RescaleIntercept": "-300"},
    ],
)
def test_windows_agree_with_pydicom(tmp_path: Path, change: dict[str, Any]) -> None:
    dataset = radiograph_dataset(**change)
    ours = read_radiograph(write(tmp_path / "a", dataset)).pixels
    theirs = apply_voi_lut(apply_modality_lut(PIXELS, dataset), dataset).astype(np.float64)
    if theirs.max() > theirs.min():
        slope = float(change.get("RescaleSlope", 1))
        low = float(change.get("RescaleIntercept", 0))
        theirs = (theirs - low) / (4095 * slope)
    assert ours == pytest.approx(theirs, abs=2e-3)


def test_lookup_tables_agree_with_pydicom(tmp_path: Path) -> None:
    curve = (np.sqrt(np.arange(3000) / 2999) * 65535).astype(np.uint16)
    dataset = radiograph_dataset(
        VOILUTSequence=[lut(curve, 300, 16)],
        ModalityLUTSequence=[lut(np.arange(4096)[::-1], 0, 16)],
        WindowCenter="1",
        WindowWidth="2",
    )
    dataset.ModalityLUTSequence[0].ModalityLUTType = "US"
    ours = read_radiograph(write(tmp_path / "a", dataset)).pixels
    read = dcmread(tmp_path / "a")
    theirs = apply_voi_lut(apply_modality_lut(PIXELS, read), read, prefer_lut=True) / 65535.0
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_a_window_of_width_one_is_a_threshold(tmp_path: Path) -> None:
    dataset = radiograph_dataset(WindowCenter="1000", WindowWidth="1")
    assert np.array_equal(read_radiograph(write(tmp_path / "a", dataset)).pixels, PIXELS >= 1000)


def test_polarity(tmp_path: Path) -> None:
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    inverted = {
        name: read_radiograph(write(tmp_path / name, radiograph_dataset(**window, **change)))
        for name, change in {
            "mono1": {"PhotometricInterpretation": "MONOCHROME1"},
            "both": {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
            "shape": {"PresentationLUTShape": "INVERSE"},
        }.items()
    }
    for one in inverted.values():
        assert one.pixels == pytest.approx(1 - PIXELS / 4095.0, abs=1e-6)
    assert inverted["both"].warnings == ()
    assert inverted["shape"].warnings == ("PRESENTATION_LUT_CONTRADICTS_PHOTOMETRIC_INTERPRETATION",)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_count(tmp_path: Path, photometric: str) -> None:
    values = PIXELS.copy()
    values[:10] = 0
    values[10:20] = 3
    dataset = radiograph_dataset(values, PhotometricInterpretation=photometric)
    dataset.add_new("PixelPaddingValue", "US", 0)
    dataset.add_new("PixelPaddingRangeLimit", "US", 3)
    found = read_radiograph(write(tmp_path / "a", dataset))
    inside = values[20:].astype(float)
    stretched = (inside - inside.min()) / (inside.max() - inside.min())
    assert not found.pixels[:20].any()
    assert found.pixels[20:] == pytest.approx(1 - stretched if photometric == "MONOCHROME1" else stretched, abs=1e-6)
    assert found.saturated_low == pytest.approx((inside == inside.min()).mean())
    assert found.warnings == ("NO_WINDOW",)


def test_nothing_but_padding_is_refused(tmp_path: Path) -> None:
    dataset = radiograph_dataset(np.zeros((20, 20), np.uint16))
    dataset.add_new("PixelPaddingValue", "US", 0)
    with pytest.raises(PixelDecodeError):
        read_radiograph(write(tmp_path / "a", dataset))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ImagerPixelSpacing": [0, 0]}, None),
        ({"ImagerPixelSpacing": None, "PixelSpacing": [0.2, 0.3]}, (0.2, 0.3)),
        ({"ImagerPixelSpacing": [0.0, 0.1]}, None),
    ],
)
def test_spacing(tmp_path: Path, change: dict[str, Any], expected: tuple[float, float] | None) -> None:
    assert read_radiograph(write(tmp_path / "a", radiograph_dataset(**change))).spacing_mm == expected


@pytest.mark.parametrize(
    ("syntax", "stated", "expected"),
    [
        (uid.JPEG2000, "", True),
        (uid.JPEG2000, "00", False),
        (uid.JPEG2000Lossless, "01", True),
        (uid.JPEG2000Lossless, "", False),
    ],
)
def test_lossy(tmp_path: Path, syntax: str, stated: str, *, expected: bool) -> None:
    frame = imagecodecs.jpeg2k_encode(PIXELS, bitspersample=12, codecformat="j2k", reversible=True)
    (tmp_path / "a").write_bytes(encode(radiograph_dataset(LossyImageCompression=stated), syntax, frame))
    assert read_radiograph(tmp_path / "a").lossy is expected


@settings(max_examples=120, deadline=None)
@given(st.sampled_from([uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.JPEGLosslessSV1]), st.data())
def test_a_damaged_file_gives_a_radiograph_or_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, syntax: str, data: st.DataObject
) -> None:
    dataset = radiograph_dataset(
        WindowCenter="2048",
        WindowWidth="4096",
        VOILUTSequence=[lut(np.arange(256), 0, 8)],
        ViewCodeSequence=[code("R-10236", "SRT", "x")],
    )
    frame = (
        imagecodecs.jpeg8_encode(PIXELS, bitspersample=12, lossless=True, predictor=1)
        if syntax == uid.JPEGLosslessSV1
        else None
    )
    content = bytearray(encode(dataset, syntax, frame))
    header = content.index(b"\xe0\x7f\x10\x00") + 40
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(128, header))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), header - 60, 300, len(content) - 100]))])
    try:
        refusals(read_header(path))
        found = read_radiograph(path)
    except DicomIoError:
        return
    assert np.isfinite(found.pixels).all()
    assert found.pixels.min() >= 0
    assert found.pixels.max() <= 1


def test_no_dicom_object(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"GIF89a" * 40)
    with pytest.raises(HeaderInvalid):
        read_radiograph(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        read_radiograph(tmp_path / "none")


@needs_dicom
def test_real_films_are_bone_bright() -> None:
    hips = {
        name: read_radiograph(DICOM / f"hip_{name}__RG2.dcm").pixels
        for name in ("jpeg_lossless_sv1", "jpegls_lossless")
    }
    assert np.array_equal(*hips.values())
    lossy = read_radiograph(DICOM / "hip_jpeg_extended_12bit__RG2.dcm")
    assert lossy.lossy
    assert np.abs(lossy.pixels - hips["jpegls_lossless"]).mean() < 0.02
    chest = read_radiograph(DICOM / "chest_pa_f_mono1_15bit_j2k_lossy__RG1.dcm")
    rows, columns = chest.pixels.shape
    spine = chest.pixels[rows // 2, int(columns * 0.5)]
    lung = chest.pixels[int(rows * 0.3), int(columns * 0.25)]
    assert spine > lung
    assert (chest.spacing_mm, chest.view, chest.sex, chest.lossy) == (None, View.PA, Sex.FEMALE, True)
    assert chest.age_years == pytest.approx(64.5, abs=0.1)
    assert Reason.BODY_PART in refusals(read_header(DICOM / "hand_cr_j2k_lossless__Kakadu44.dcm"))
    assert Reason.MODALITY in refusals(read_header(DICOM / "rtimage__pynetdicom.dcm"))


def test_a_dataset_without_file_meta_decodes(tmp_path: Path) -> None:
    part10 = encode(radiograph_dataset(WindowCenter="2048", WindowWidth="4096"))
    (tmp_path / "a").write_bytes(part10[part10.index(b"\x08\x00\x05\x00") :])
    assert read_radiograph(tmp_path / "a").pixels == pytest.approx(PIXELS / 4095.0, abs=1e-6)
    assert dcmread(BytesIO(part10)).file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
