"""Every invariant is broken once on purpose: a walker that finds nothing proves nothing."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from support.report_cases import MODEL, SIMULATED_MODEL, SOURCE_UID, context, header, radiograph, scored

from dicom_io import codes
from dicom_io.document_check import ReportInvalid
from dicom_io.outcomes import NotAnalysed
from dicom_io.reference_header import reference_header
from dicom_io.report_check import check_report
from dicom_io.results import build_not_analysed, build_results
from dicom_io.statement_check import check_statement
from model.domain import Category, Reason, Scored

BUILT = {c: build_results(header(), radiograph(), scored(c), context()) for c in Category}
REFERENCE = reference_header(header())


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


def continuous(document: Dataset) -> None:
    item(document, "126010").ContinuityOfContent = "CONTINUOUS"


def by_reference(document: Dataset) -> None:
    item(document, "121106").RelationshipType = "INFERRED FROM"


def context_below_a_text(document: Dataset) -> None:
    moved = copy.deepcopy(item(document, "121005"))
    item(document, "121106").ContentSequence = [moved]


def set_category(document: Dataset) -> None:
    item(document, "OS-CATEGORY").ConceptCodeSequence[0].CodeValue = codes.BELOW.value


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
        check_report(
            buffer.getvalue(),
            {"page": page.part10},
            reference=REFERENCE,
            result=result or scored(category),
            context=context(),
        )
    return caught.value.broken


@pytest.mark.parametrize("category", Category)
def test_sound_report_passes(category: Category) -> None:
    page, sr = BUILT[category]
    check_report(sr.part10, {"page": page.part10}, reference=REFERENCE, result=scored(category), context=context())


@pytest.mark.parametrize(
    ("change", "invariant"),
    [
        (continuous, "I0 a container is not SEPARATE"),
        (by_reference, "I0 TEXT by INFERRED FROM"),
        (context_below_a_text, "I0 CODE by HAS OBS CONTEXT"),
        (remove("121071"), "I1 Finding"),
        (set_category, "I1 category code"),
        (set_risk, "I1 risk"),
        (set_text("121106", "Normal bone density."), "I1 forbidden wording in 121106"),
        (set_number("OS-P-FUSED", "31.9"), "I2 printed order"),
        (set_number("OS-P-FUSED", "90.0"), "I2 printed value"),
        (set_unit, "I2 decisive value or threshold"),
        (remove("OS-P-FUSED"), "I2 decisive"),
        (set_number("OS-P-CLIN", "140"), "I3 OS-P-CLIN"),
        (set_number("29463-7", "1e999"), "I3 29463-7"),
        (set_number("OS-P-IMAGE", "12.0"), "I2 printed value"),
        (set_text("121106", "FLAGGED"), "I4 disclaimer missing in 121106"),
        (set_text("OS-DISCL", "Screening"), "I4 disclaimer missing in OS-DISCL"),
        (set_attribute("SeriesDescription", "AI screen"), "I4 disclaimer missing in Series Description"),
        (set_attribute("VerificationFlag", "VERIFIED"), "I5 must be UNVERIFIED"),
        (set_attribute("PreliminaryFlag", "FINAL"), "I5 must be UNVERIFIED"),
        (set_attribute("ContentQualification", "PRODUCT"), "I5 Content Qualification"),
        (set_attribute("CompletionFlag", "PARTIAL"), "I5 a score must be COMPLETE"),
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
        (set_attribute("SOPInstanceUID", SOURCE_UID), "I11 an object carries the UID of the source"),
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
        check_report(b"not dicom", {}, reference=REFERENCE, result=scored(), context=context())


def test_product_needs_its_reason() -> None:
    stated = context(content_qualification="PRODUCT", product_reason="CE 0123", with_page=False)
    (sr,) = build_results(header(), radiograph(), scored(), stated)
    assert dcmread(BytesIO(sr.part10)).ContentQualification == "PRODUCT"
    with pytest.raises(ReportInvalid, match="I5 PRODUCT without its reason"):
        build_results(header(), radiograph(), scored(), replace(stated, product_reason=""))
    with pytest.raises(ReportInvalid, match="I5 simulated training is no PRODUCT"):
        build_results(header(), radiograph(), scored(model=SIMULATED_MODEL), stated)


REFUSED = (Reason.SATURATED,)
SAID = NotAnalysed(reasons=REFUSED, model=MODEL)
STATED = {one.kind: one.part10 for one in build_not_analysed(header(), REFUSED, MODEL, context())}


def statement_broken(change: Callable[[Dataset], None]) -> tuple[str, ...]:
    document = dcmread(BytesIO(STATED["sr"]))
    change(document)
    buffer = BytesIO()
    dcmwrite(buffer, document)
    with pytest.raises(ReportInvalid) as caught:
        check_statement(
            buffer.getvalue(), {"page": STATED["page"]}, reference=REFERENCE, statement=SAID, context=context()
        )
    return caught.value.broken


def take_over(value: str) -> Callable[[Dataset], None]:
    """Smuggle an item of a scored report into the statement."""

    def change(document: Dataset) -> None:
        scored_item = item(dcmread(BytesIO(BUILT[Category.ABOVE][1].part10)), value)
        item(document, "125007").ContentSequence.append(scored_item)

    return change


@pytest.mark.parametrize(
    ("change", "invariant"),
    [
        (take_over("OS-P-FUSED"), "I9 probability"),
        (take_over("122411"), "I9 probability"),
        (take_over("29463-7"), "I9 number"),
        (take_over("121071"), "I1 Finding without a score"),
        (set_category, "I9 category"),
        (set_risk, "I9 risk"),
        (remove("OS-QUAL"), "I9 input quality"),
        (set_attribute("CompletionFlag", "COMPLETE"), "I9 a report without a score is PARTIAL"),
        (set_attribute("CompletionFlagDescription", ""), "I9 a report without a score is PARTIAL"),
        (set_text("121106", "Normal bone density."), "I1 forbidden wording"),
        (remove("111030"), "I6 a group must have one region"),
        (remove("111001"), "I8 model name"),
        (set_attribute("PatientID", "999"), "I7 PatientID"),
    ],
)
def test_each_broken_invariant_of_a_statement_is_named(change: Callable[[Dataset], None], invariant: str) -> None:
    assert any(text.startswith(invariant) for text in statement_broken(change))


def test_not_analysed_says_why_and_nothing_else() -> None:
    document = dcmread(BytesIO(STATED["sr"]))
    comment = item(document, "121106").TextValue
    assert comment.startswith("NOT ANALYSED: Part of the image is saturated.")
    assert item(document, "OS-CATEGORY").ConceptCodeSequence[0].CodeValue == "OS-NOSCORE"
    assert item(document, "OS-QUAL").ConceptCodeSequence[0].CodeValue == "OS-Q-FAIL"
    assert document.CompletionFlag == "PARTIAL"
    assert dcmread(BytesIO(STATED["page"])).BurnedInAnnotation == "YES"


def test_an_image_without_a_size_cannot_be_spoken_of() -> None:
    with pytest.raises(ReportInvalid, match="cannot be built"):
        build_not_analysed(header(Rows=None), REFUSED, MODEL, context())
