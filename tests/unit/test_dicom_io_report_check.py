"""Every invariant is broken once on purpose: a walker that finds nothing proves nothing."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from support.report_cases import SIMULATED_MODEL, context, header, radiograph, scored

from dicom_io import codes
from dicom_io.reference_header import reference_header
from dicom_io.report_check import ReportInvalid, check_report
from dicom_io.results import build_results
from model.domain import Category, Scored

BUILT = {c: build_results(header(), radiograph(), scored(c), context()) for c in Category}
REFERENCE = reference_header(header()).dataset


def walk(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        yield child
        yield from walk(child)


def item(document: Dataset, value: str) -> Dataset:
    return next(i for i in walk(document) if i.ConceptNameCodeSequence[0].CodeValue == value)


def set_text(value: str, text: str) -> Callable[[Dataset], None]:
    def change(document: Dataset) -> None:
        item(document, value).TextValue = text

    return change


def set_number(value: str, number: str) -> Callable[[Dataset], None]:
    def change(document: Dataset) -> None:
        item(document, value).MeasuredValueSequence[0].NumericValue = number

    return change


def set_unit(document: Dataset) -> None:
    item(document, "122411").MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = "1"


def set_attribute(keyword: str, value: str) -> Callable[[Dataset], None]:
    def change(document: Dataset) -> None:
        setattr(document, keyword, value)

    return change


def set_risk(document: Dataset) -> None:
    item(document, "64859006").ConceptCodeSequence[0].CodeValue = codes.LOW_RISK.value


def remove(value: str) -> Callable[[Dataset], None]:
    def change(document: Dataset) -> None:
        group = item(document, "125007")
        kept = [i for i in group.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue != value]
        group.ContentSequence = kept

    return change


def set_region(*points: float) -> Callable[[Dataset], None]:
    def change(document: Dataset) -> None:
        item(document, "111030").GraphicData = list(points)

    return change


def drop_evidence(document: Dataset) -> None:
    series = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence = series[:1]


def broken(
    change: Callable[[Dataset], None], *, result: Scored | None = None, category: Category = Category.ABOVE
) -> tuple[str, ...]:
    page, sr = BUILT[category]
    document = dcmread(BytesIO(sr.part10))
    change(document)
    buffer = BytesIO()
    dcmwrite(buffer, document)
    with pytest.raises(ReportInvalid) as caught:
        check_report(buffer.getvalue(), page.part10, header=REFERENCE, result=result or scored(category))
    return caught.value.broken


@pytest.mark.parametrize("category", Category)
def test_sound_report_passes(category: Category) -> None:
    page, sr = BUILT[category]
    check_report(sr.part10, page.part10, header=REFERENCE, result=scored(category))


@pytest.mark.parametrize(
    ("change", "invariant"),
    [
        (remove("121071"), "I1 Finding"),
        (set_risk, "I1 risk"),
        (set_text("121106", "Normal bone density."), "I1 forbidden wording in 121106"),
        (set_number("OS-P-FUSED", "31.9"), "I2 printed order"),
        (set_number("OS-P-FUSED", "90.0"), "I2 printed value"),
        (set_unit, "I2 decisive value or threshold"),
        (remove("OS-P-FUSED"), "I2 decisive"),
        (set_number("OS-P-CLIN", "140"), "I3 OS-P-CLIN"),
        (set_text("121106", "FLAGGED"), "I4 disclaimer missing in 121106"),
        (set_text("OS-DISCL", "Screening"), "I4 disclaimer missing in OS-DISCL"),
        (set_attribute("SeriesDescription", "AI screen"), "I4 disclaimer missing in Series Description"),
        (set_attribute("VerificationFlag", "VERIFIED"), "I5 must be UNVERIFIED"),
        (set_attribute("PreliminaryFlag", "FINAL"), "I5 must be UNVERIFIED"),
        (set_attribute("ContentQualification", "PRODUCT"), "I5 Content Qualification"),
        (remove("111030"), "I6 a group must have one region"),
        (set_region(0, 0, 9, 0, 9, 9, 0, 9), "I6 region is not closed"),
        (set_region(0, 0, 999, 0, 9, 9, 0, 0), "I6 region leaves the image"),
        (set_region(-1, 0, 9, 0, 9, 9, -1, 0), "I6 region leaves the image"),
        (set_attribute("PatientID", "999"), "I7 PatientID differs"),
        (set_attribute("AccessionNumber", ""), "I7 AccessionNumber differs"),
        (set_attribute("ManufacturerModelName", "Other"), "I7 object cannot be recognised"),
        (drop_evidence, "I7 a referenced object"),
        (remove("111002"), "I8 model hash"),
        (remove("111001"), "I8 model name"),
        (set_attribute("SoftwareVersions", "node 1"), "I8 model name"),
    ],
)
def test_each_broken_invariant_is_named(change: Callable[[Dataset], None], invariant: str) -> None:
    assert any(text.startswith(invariant) for text in broken(change))


def test_finding_below_the_threshold_is_refused() -> None:
    def add_finding(document: Dataset) -> None:
        flagged = item(dcmread(BytesIO(BUILT[Category.ABOVE][1].part10)), "121071")
        item(document, "125007").ContentSequence.append(flagged)

    assert any(text.startswith("I1 Finding") for text in broken(add_finding, category=Category.BELOW))


@pytest.mark.parametrize(
    ("result", "invariant"),
    [
        (scored(Category.BELOW, p_fused=0.734), "I1 category contradicts probability"),
        (scored(Category.BETWEEN, p_fused=0.112), "I1 category contradicts the indeterminate zone"),
    ],
)
def test_category_that_contradicts_the_numbers_is_refused(result: Scored, invariant: str) -> None:
    with pytest.raises(ReportInvalid) as caught:
        build_results(header(), radiograph(), result, context(with_page=False))
    assert invariant in str(caught.value)


def test_missing_simulated_statement_is_refused() -> None:
    simulated = scored(model=replace(SIMULATED_MODEL))
    found = broken(lambda _: None, result=simulated)
    assert sum(text.startswith("I4") for text in found) == 4


def test_garbage_is_refused_without_patient_data() -> None:
    with pytest.raises(ReportInvalid, match="I0 cannot be read back"):
        check_report(b"not dicom", None, header=REFERENCE, result=scored())
