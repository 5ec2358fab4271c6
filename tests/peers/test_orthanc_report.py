"""Reports stored to Orthanc by C-STORE come back equal by QIDO-RS and WADO-RS, and DCMTK reads every label of them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from support.dcmtk import dsr2html
from support.dicomweb import WebPacs
from support.report_cases import context, header, limited, radiograph, scored
from support.tools import require_tool

from dicom_io import codes, wording
from dicom_io.results import BuiltObject, Companion, build_results
from dicom_io.words import Language
from model.domain import Category, Mode

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

NAME = "Yamada^Tarou=山田^太郎=やまだ^たろう"
LABELS = (
    codes.CATEGORY, codes.INPUTS_USED, codes.COMMENT, codes.P_FUSED, codes.P_IMAGE, codes.P_CLINICAL, codes.THRESHOLD,
    codes.INPUT_QUALITY, codes.DISCLAIMER, codes.MATCH, codes.ALGORITHM_NAME, codes.ALGORITHM_VERSION,
    codes.ALGORITHM_PARAMETERS, codes.OSTEOPOROSIS, codes.SUBJECT_SEX, codes.DATA_SOURCE, codes.QUALITY_FINDING,
    codes.IMAGE_REGION, codes.DEVICE_NAME, codes.PROCEDURE_REPORTED, codes.LANGUAGE,
)  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory):
    require_tool("Orthanc")
    with WebPacs(tmp_path_factory.mktemp("archive")) as running:
        yield running


@pytest.fixture(scope="module")
def stored(archive: WebPacs) -> tuple[BuiltObject, ...]:
    source = header(SpecificCharacterSet="ISO_IR 192", PatientName=NAME)
    objects = build_results(source, radiograph(), limited(), context(companions=tuple(Companion)))
    archive.store(*objects)
    return objects


def keys(one: BuiltObject) -> tuple[str, str, str]:
    read = dcmread(BytesIO(one.part10), stop_before_pixels=True)
    return read.StudyInstanceUID, read.SeriesInstanceUID, read.SOPInstanceUID


def differing(first: Dataset, second: Dataset) -> list[str]:
    tags = {*first.keys(), *second.keys()}
    return [str(tag) for tag in sorted(tags) if tag not in first or tag not in second or first[tag] != second[tag]]


def test_every_object_is_found_by_qido_with_name_and_number(archive: WebPacs, stored: tuple[BuiltObject, ...]) -> None:
    found = archive.qido(f"studies/{keys(stored[0])[0]}/series?includefield=all")
    numbers = sorted(int(one["00200011"]["Value"][0]) for one in found)
    assert numbers == [9901, 9902, 9903, 9904, 9906, 9907]
    (study,) = archive.qido(f"studies?StudyInstanceUID={keys(stored[0])[0]}&includefield=all")
    # The other groups come as "^" from DICOMweb 1.7; WADO, below, gives them back as they are.
    assert study["00100010"]["Value"][0]["Alphabetic"] == "Yamada^Tarou"


def test_every_object_comes_back_equal_by_wado(archive: WebPacs, stored: tuple[BuiltObject, ...]) -> None:
    for one in stored:
        sent, got = dcmread(BytesIO(one.part10)), dcmread(BytesIO(archive.wado(*keys(one))))
        assert differing(sent, got) == [], one.kind
        assert got.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert dcmread(BytesIO(stored[0].part10)).file_meta.TransferSyntaxUID == RLELossless


def test_dsr2html_of_what_came_back_contains_every_label(
    archive: WebPacs, stored: tuple[BuiltObject, ...], tmp_path: Path
) -> None:
    report = tmp_path / "sr.dcm"
    report.write_bytes(archive.wado(*keys(stored[-1])))
    text = dsr2html(report)
    for label in LABELS:
        assert label.meaning in text
    for said in (wording.DISCLAIMER, wording.headline(limited()), wording.advice(limited())):
        assert said in text


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("category", Category)
def test_each_outcome_reads_in_its_language(category: Category, language: Language, tmp_path: Path) -> None:
    result = scored(category, Mode.IMAGE_ONLY)
    (report,) = build_results(header(), radiograph(), result, context(with_page=False, language=language))
    path = tmp_path / "sr.dcm"
    path.write_bytes(report.part10)
    text = dsr2html(path)
    assert wording.comment(result, language=language) in text
    assert codes.LANGUAGES[language].meaning in text
    assert wording.forbidden(text) == ()
