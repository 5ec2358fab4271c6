import copy
import dataclasses
import datetime as dt
import subprocess
import sys
import uuid
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.report_cases import MODEL, SIMULATED_MODEL, SOURCE_UID, context, header, radiograph, scored
from support.shared_data import DICOM, needs_dicom

from dicom_io import codes
from dicom_io.content_items import named, walk
from dicom_io.results import BuiltObject, Installation, ReportInvalid, build_results
from model.domain import Category, MatchClass, Mode, Quality, Reason, Scored

REAL = sorted(DICOM.glob("*.dcm"))


def build(result: Scored | None = None, **changes: object) -> tuple[BuiltObject, ...]:
    return build_results(header(), radiograph(), result or scored(), context(**changes))


def uids(objects: tuple[BuiltObject, ...]) -> list[str]:
    return [o.sop_instance_uid for o in objects]


def test_page_first_sr_last_and_the_sr_names_both_as_evidence() -> None:
    page, sr = build()
    assert [o.kind for o in (page, sr)] == ["page", "sr"]
    document = dcmread(BytesIO(sr.part10))
    assert (document.SOPInstanceUID, document.SOPClassUID) == (sr.sop_instance_uid, sr.sop_class_uid)
    assert document.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert len(document.CurrentRequestedProcedureEvidenceSequence) == 1
    assert "PertinentOtherEvidenceSequence" not in document
    series = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = [r.ReferencedSOPInstanceUID for s in series for r in s.ReferencedSOPSequence]
    assert named == [SOURCE_UID, page.sop_instance_uid]


def test_without_a_page_the_sr_stands_alone() -> None:
    (sr,) = build(with_page=False)
    assert sr.kind == "sr"


def test_same_inputs_same_uids_and_times_alone_differ() -> None:
    first, second = build(), build(at=dt.datetime(2026, 4, 5, 9, 0, 1, tzinfo=dt.UTC))
    assert uids(first) == uids(second)
    a, b = (dcmread(BytesIO(o[-1].part10)) for o in (first, second))
    differing = {e.keyword for e in a if e != b[e.tag]}
    assert differing <= {
        "InstanceCreationDate",
        "InstanceCreationTime",
        "SeriesDate",
        "SeriesTime",
        "ContentDate",
        "ContentTime",
        "ContributingEquipmentSequence",
    }


def test_same_context_gives_the_same_bytes() -> None:
    assert [o.part10 for o in build()] == [o.part10 for o in build()]


@pytest.mark.parametrize(
    ("result", "changes"),
    [
        (scored(p_fused=0.7341), {}),
        (scored(t_high=0.321), {}),
        (scored(model=dataclasses.replace(MODEL, image_sha256="00" * 32)), {}),
        (scored(model=SIMULATED_MODEL), {}),
        (scored(inputs=()), {}),
        (scored(), {"site_name": "Elsewhere"}),
        (scored(), {"node_version": "0.2.0"}),
        (scored(), {"installation": Installation(namespace=uuid.UUID(int=8), serial="OST-0007")}),
    ],
)
def test_anything_else_gives_new_uids(result: Scored, changes: dict[str, object]) -> None:
    once, base = (set(uids(build(r, with_page=False, **c))) for r, c in ((result, changes), (scored(), {})))
    assert not once & base


def test_two_images_of_a_study_get_two_series() -> None:
    other = build_results(header(SOPInstanceUID=f"{SOURCE_UID}.9"), radiograph(), scored(), context())
    series = {dcmread(BytesIO(o.part10)).SeriesInstanceUID for o in (*build(), *other)}
    assert len(series) == 4


def test_a_new_result_of_the_same_image_stays_in_the_sr_series() -> None:
    results = (scored(), scored(p_fused=0.8))
    first, second = (dcmread(BytesIO(build(r, with_page=False)[-1].part10)) for r in results)
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Änne"),
        ("ISO_IR 192", "Иванова^Анна"),
        ("GB18030", "Wang^Xiao=王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ],
)
def test_patient_and_study_are_the_images(charset: str | list[str], name: str) -> None:
    source = header(SpecificCharacterSet=charset, PatientName=name, ReferringPhysicianName="")
    before = copy.deepcopy(source)
    for built in build_results(source, radiograph(), scored(), context()):
        ds = dcmread(BytesIO(built.part10))
        assert str(ds.PatientName) == name
        for keyword in ("PatientID", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber", "StudyTime"):
            assert ds[keyword].value == source[keyword].value
    assert source == before


def test_errors_and_warnings_carry_no_patient_data() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build_results(header(PatientName="Solo"), radiograph(), scored(), context(with_page=False))
    assert not [w for w in caught if "Solo" in str(w.message)]
    with pytest.raises(ReportInvalid) as raised:
        build_results(header(SOPInstanceUID=None), radiograph(), scored(), context())
    assert str(raised.value) == "cannot be built (ValueError)"


def test_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        context(at=dt.datetime(2026, 4, 4))  # noqa: DTZ001 - that is the point


PROBABILITIES = st.one_of(
    st.floats(0.0, 1.0), st.floats(0.0, 1.0, width=32).map(np.float32), st.sampled_from([0, 1, np.float64(0.5)])
)


@st.composite
def results(draw: st.DrawFn) -> Scored:
    """Any result the domain allows: its own category, values on and just beside each threshold, numpy numbers."""
    low, high = sorted(draw(st.tuples(st.floats(0.02, 0.98), st.floats(0.02, 0.98))))
    near = st.builds(lambda at, by: min(max(at + by, 0.0), 1.0), st.sampled_from([low, high]), st.sampled_from(BESIDE))
    decisive = draw(st.one_of(PROBABILITIES, near))
    zone = draw(st.booleans())
    t_low = low if zone else 1.0
    category = Category.ABOVE if decisive >= high else Category.BETWEEN if decisive >= t_low else Category.BELOW
    mode = draw(st.sampled_from(Mode))
    numbers = {"p_image": decisive}
    if mode is Mode.IMAGE_AND_CLINICAL:
        numbers = {"p_fused": decisive, "p_image": draw(PROBABILITIES), "p_clinical": draw(PROBABILITIES)}
    changes = {"quality": draw(st.sampled_from(Quality)), "reasons": tuple(draw(st.sets(st.sampled_from(Reason))))}
    match = draw(st.sampled_from([m for m in MatchClass if m.joins or mode is Mode.IMAGE_ONLY]))
    region = draw(st.tuples(*[st.integers(-50, 900)] * 4))
    return scored(category, mode, t_low=t_low, t_high=high, match=match, analysed_region=region, **numbers, **changes)


BESIDE = (-1e-9, 0.0, 1e-9)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(result=results(), regions=st.booleans())
def test_any_result_that_the_domain_allows_gives_a_valid_sr_whose_values_read_back_equal(
    result: Scored,
    regions: bool,  # noqa: FBT001 - hypothesis gives it by name
) -> None:
    try:
        (sr,) = build(result, with_page=False, attention_regions=regions)
    except ReportInvalid:  # only where no printable number of decimals tells the value from its threshold
        distances = [abs(result.probability - limit) for limit in (result.t_high, result.t_low)]
        assert 0 < min(distance for distance in distances if distance) < 1e-13
        return
    document = dcmread(BytesIO(sr.part10))
    items = list(walk(document))
    for name, value in (
        (codes.P_FUSED, result.p_fused),
        (codes.P_IMAGE, result.p_image),
        (codes.P_CLINICAL, result.p_clinical),
        (codes.THRESHOLD, result.t_high),
    ):
        found = [float(i.MeasuredValueSequence[0].NumericValue) for i in named(items, name)]
        assert found == ([] if value is None else [pytest.approx(100 * float(value), abs=0.051)])
    parameters = dict(i.TextValue.split("=", 1) for i in named(items, codes.ALGORITHM_PARAMETERS))
    assert float(parameters["threshold"]) == result.t_high
    finding = [i.ConceptCodeSequence[0].CodeValue for i in named(items, codes.FINDING)]
    assert (codes.OSTEOPOROSIS.value in finding) == (result.probability >= result.t_high)


@pytest.mark.parametrize("number", ["p_image", "p_fused"])
def test_a_truth_value_is_no_probability(number: str) -> None:
    with pytest.raises(ReportInvalid):
        build(scored(**{number: True}), with_page=False)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(result=results(), category=st.sampled_from(Category))
def test_a_category_that_is_not_the_numbers_own_is_refused(result: Scored, category: Category) -> None:
    if category is result.category:
        return
    with pytest.raises(ReportInvalid):
        build(dataclasses.replace(result, category=category), with_page=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, np.bool_(1)])
def test_clinical_value_that_is_no_number_is_refused(value: float) -> None:
    inputs = (dataclasses.replace(scored().inputs[2], value=value),)
    with pytest.raises(ReportInvalid):
        build(scored(inputs=inputs), with_page=False)


@pytest.mark.filterwarnings("ignore::UserWarning")
@needs_dicom
@pytest.mark.parametrize("path", REAL, ids=lambda p: p.stem)
def test_real_headers_give_a_report(path: Path) -> None:
    source: Dataset = dcmread(path, stop_before_pixels=True)
    shape = (int(source.get("Rows", 64)), int(source.get("Columns", 64)))
    film = radiograph(pixels=np.full(shape, 0.5, np.float32))
    built = build_results(source, film, scored(analysed_region=(0, 0, *shape)), context(with_page=path.stem < "h"))
    assert built[-1].kind == "sr"


def test_importing_results_loads_no_torch() -> None:
    code = "import sys, dicom_io.results; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
