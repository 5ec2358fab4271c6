"""The screener: order of refusals, who may contribute what, two modes, limitations; every outcome a value."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from support.model_parts import CLINICAL, FUSION
from support.small_screener import radiograph, small_screener, upright

from dicom_io import wording
from model.bundle import BundleError
from model.domain import (
    Category,
    ClinicalRecord,
    ImageScore,
    MatchClass,
    Mode,
    NotAssessed,
    Observation,
    Quality,
    Radiograph,
    Reason,
    Scored,
    Sex,
    View,
)
from model.fusion import OperatingPoints, shift
from model.screener import Screener, load_screener

WEIGHT = Observation(
    variable="weight",
    value=52.0,
    unit="kg",
    age_days=34.0,
    observation_id=7,
    source="HL7 ORU^R01 MSG00017",
    code="29463-7",
    observed_at=dt.datetime(2026, 3, 1, 8, 30, tzinfo=dt.UTC),
)
MATCHED = ClinicalRecord(match=MatchClass.MATCH_ISSUER, age_years=70.0, sex=Sex.FEMALE, observations=(WEIGHT,))
NO_RECORD = ClinicalRecord(match=MatchClass.UNKNOWN_PATIENT)
IMAGE = ImageScore(
    logit=0.8, attention=((0.5, 0.5),), region=(0, 0, 9, 9), limitations=(), age_years=71.0, sex=Sex.FEMALE
)


@pytest.fixture(scope="module")
def screener() -> Screener:
    return small_screener()


@pytest.fixture(scope="module")
def film():
    return upright()


@pytest.fixture(scope="module")
def scored(screener, film) -> Scored:
    result = screener.screen(radiograph(film), MATCHED)
    assert isinstance(result, Scored)
    return result


def test_an_accepted_film_with_a_matched_record_is_fused(scored, screener):
    p_raw, _ = CLINICAL.probability(age_years=71, sex=Sex.FEMALE, weight_kg=52)
    assert scored.mode is Mode.IMAGE_AND_CLINICAL
    assert scored.p_clinical == pytest.approx(FUSION.clinical_only(p_raw), abs=1e-12)
    assert (scored.t_low, scored.t_high) == (0.25, 0.32)
    assert scored.model == screener.facts
    assert scored.quality is Quality.PASS
    assert scored.reasons == ()
    assert [c.tool for c in scored.comparators] == ["OST", "OSTA"]


def test_inputs_carry_their_provenance(scored):
    age, sex, weight = scored.inputs
    assert (age.variable, age.value, age.unit, age.source) == ("age", 71.0, "a", "DICOM header")
    assert (sex.variable, sex.value, sex.source) == ("sex", 1.0, "DICOM header")
    assert (weight.value, weight.unit, weight.age_days) == (52.0, "kg", 34.0)
    assert (weight.source, weight.code, weight.observed_at) == (WEIGHT.source, "29463-7", WEIGHT.observed_at)


def test_attention_and_region_describe_the_analysed_film(scored, film):
    assert sum(map(sum, scored.attention)) == pytest.approx(1)
    assert len({len(row) for row in scored.attention}) == 1
    top, left, bottom, right = scored.analysed_region
    assert 0 <= top < bottom <= film.shape[0]
    assert 0 <= left < right <= film.shape[1]


def test_the_same_case_gives_the_same_result_and_screen_is_both_parts(screener, film, scored):
    image = screener.image_part(radiograph(film))
    assert screener.combine(image, MATCHED) == scored
    assert screener.screen(radiograph(film), MATCHED) == scored


def test_a_sex_that_the_clinical_model_never_saw_is_answered_from_the_image_and_said(screener):
    women = replace(CLINICAL, means=(1.0, *CLINICAL.means[1:]))
    own = replace(screener, bundle=replace(screener.bundle, clinical=women))
    man = own.combine(replace(IMAGE, sex=Sex.MALE), replace(MATCHED, sex=Sex.MALE))
    assert (man.mode, man.p_clinical) == (Mode.IMAGE_ONLY, None)
    assert man.reasons == (Reason.OUTSIDE_TRAINING,)
    assert own.combine(IMAGE, MATCHED).mode is Mode.IMAGE_AND_CLINICAL


def test_without_weight_the_image_decides_by_its_own_thresholds(screener):
    result = screener.combine(IMAGE, replace(MATCHED, observations=()))
    assert result.mode is Mode.IMAGE_ONLY
    assert (result.p_clinical, result.p_fused) == (None, None)
    assert result.probability == pytest.approx(FUSION.image_only(0.8), abs=1e-12)
    assert (result.t_low, result.t_high) == (0.22, 0.36)
    assert [i.variable for i in result.inputs if i.value is None] == ["weight"]
    assert result.comparators == ()


@pytest.mark.parametrize("match", [m for m in MatchClass if not m.joins])
def test_a_record_that_did_not_match_contributes_nothing(screener, match):
    result = screener.combine(IMAGE, replace(MATCHED, match=match))
    assert result.mode is Mode.IMAGE_ONLY
    assert result.match is match
    assert result.inputs[2].value is None
    assert result.comparators == ()
    nameless = replace(IMAGE, age_years=None)
    assert screener.combine(nameless, replace(MATCHED, match=match)).reasons == (Reason.AGE_UNKNOWN,)


def test_age_and_sex_come_from_the_matched_record_when_the_header_has_none(screener):
    result = screener.combine(replace(IMAGE, age_years=None, sex=Sex.UNKNOWN), MATCHED)
    assert result.mode is Mode.IMAGE_AND_CLINICAL
    assert [(i.value, i.source) for i in result.inputs[:2]] == [(70.0, "clinical record"), (1.0, "clinical record")]


@pytest.mark.parametrize(
    ("age", "reasons"),
    [
        (50.0, None),
        (49.99, (Reason.AGE_UNDER,)),
        (None, (Reason.AGE_UNKNOWN,)),
        (math.nan, (Reason.AGE_UNKNOWN,)),
        (-1.0, (Reason.AGE_UNKNOWN,)),
    ],
)
def test_eligibility_by_age(screener, film, age, reasons):
    result = screener.screen(radiograph(film, age_years=age), NO_RECORD)
    assert isinstance(result, Scored) if reasons is None else result.reasons == reasons
    assert reasons is None or isinstance(result, NotAssessed)


def test_a_site_may_raise_the_age_limit_and_not_lower_it(screener):
    assert Screener(screener.bundle, 72.0).combine(IMAGE, MATCHED).reasons == (Reason.AGE_UNDER,)
    young = replace(IMAGE, age_years=45.0)
    assert Screener(screener.bundle, 40.0).combine(young, MATCHED).reasons == (Reason.AGE_UNDER,)


@pytest.mark.parametrize("sex", [Sex.UNKNOWN, Sex.OTHER])
def test_an_unknown_sex_is_image_only_and_limited(screener, sex):
    result = screener.combine(replace(IMAGE, sex=sex), replace(MATCHED, sex=Sex.UNKNOWN))
    assert result.mode is Mode.IMAGE_ONLY
    assert result.quality is Quality.LIMITED
    assert result.reasons == (Reason.SEX_UNKNOWN,)


def test_limitations_are_collected_once(screener, film):
    heavy = replace(MATCHED, observations=(replace(WEIGHT, value=140.0),))
    result = screener.screen(radiograph(film, lossy=True, view=View.AP), heavy)
    assert result.quality is Quality.LIMITED
    assert result.reasons == (Reason.LOSSY, Reason.AP_VIEW, Reason.OUTSIDE_TRAINING)


def test_a_stated_lateral_is_refused(screener, film):
    assert screener.screen(radiograph(film, view=View.LATERAL), MATCHED).reasons == (Reason.VIEW_LATERAL,)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (lambda film: film[:100], Reason.TOO_SMALL),
        (np.zeros_like, Reason.NOISE_OR_BLANK),
        (lambda film: 1 - film, Reason.INVERTED),
        (np.rot90, Reason.ROTATED_90),
    ],
)
def test_an_unfit_picture_is_not_assessed_and_carries_no_score(screener, film, picture, reason):
    result = screener.screen(radiograph(picture(film)), MATCHED)
    assert isinstance(result, NotAssessed)
    assert reason in result.reasons or result.reasons == (Reason.NOT_CHEST,)
    assert result.measurements


def test_age_is_judged_before_the_picture(screener, film):
    result = screener.screen(radiograph(np.zeros_like(film), age_years=30.0), MATCHED)
    assert result == NotAssessed(reasons=(Reason.AGE_UNDER,), measurements=(("age_years", 30.0),))


def test_a_probability_exactly_at_the_threshold_is_above(screener):
    p = FUSION.image_only(IMAGE.logit)
    fusion = replace(FUSION, image_points=OperatingPoints(t_low=p / 2, t_high=p))
    exact = Screener(replace(screener.bundle, fusion=fusion))
    assert exact.combine(IMAGE, NO_RECORD).category is Category.ABOVE
    assert exact.combine(replace(IMAGE, logit=IMAGE.logit - 1e-9), NO_RECORD).category is Category.BETWEEN


ANY_RECORD = st.builds(
    ClinicalRecord,
    match=st.sampled_from(MatchClass),
    age_years=st.none() | st.floats(allow_nan=True),
    sex=st.sampled_from(Sex),
    observations=st.just(()) | st.builds(lambda v: (replace(WEIGHT, value=v),), st.floats(allow_nan=True)),
)
PIXELS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=300),
    elements=st.floats(0, 1, width=32),
    fill=st.just(0.5),
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(pixels=PIXELS, record=ANY_RECORD, age=st.none() | st.floats(allow_nan=True), sex=st.sampled_from(Sex))
def test_any_picture_and_person_gives_a_value(screener, pixels, record, age, sex):
    _check_outcome(screener.screen(radiograph(pixels, age_years=age, sex=sex), record))


@settings(max_examples=60, deadline=None)
@given(record=ANY_RECORD, logit=st.floats(-1e9, 1e9), age=st.none() | st.floats(allow_nan=True))
def test_any_score_and_record_give_a_value(screener, record, logit, age):
    _check_outcome(screener.combine(replace(IMAGE, logit=logit, age_years=age), record))


def test_demo_bundle_gives_a_value_for_any_picture():
    screener = load_screener(None)
    rng = np.random.default_rng(0)
    pictures = [upright(), rng.random((450, 500)), np.zeros((400, 400)), np.ones((1, 1)), np.eye(700)]
    for pixels in pictures:
        _check_outcome(screener.screen(radiograph(pixels), MATCHED))


def test_demo_bundle_ships_the_golden_clinical_model():
    shipped = load_screener(None).bundle.clinical
    for sex, age, weight, expected in (
        (Sex.FEMALE, 55, 60, 0.131),
        (Sex.FEMALE, 80, 45, 0.803),
        (Sex.MALE, 80, 55, 0.375),
    ):
        p, _ = shipped.probability(age_years=age, sex=sex, weight_kg=weight)
        assert p == pytest.approx(expected, abs=2e-3)


def test_a_folder_without_a_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError):
        load_screener(tmp_path)


def _check_outcome(result):
    if isinstance(result, Scored):
        assert math.isfinite(result.probability)
        assert (result.quality is Quality.LIMITED) == bool(result.reasons)
    else:
        assert result.reasons
        assert all(math.isfinite(value) for _, value in result.measurements)


def test_radiographs_are_what_the_screener_takes(film):
    assert isinstance(radiograph(film), Radiograph)


@pytest.mark.parametrize("site", [0.01, 0.04, 0.2, 0.58])
def test_no_category_depends_on_the_sites_prevalence(screener, site):
    shifted = replace(screener, prevalence=site)
    for logit in np.linspace(-6, 6, 61):
        for record in (MATCHED, NO_RECORD):
            image = replace(IMAGE, logit=float(logit))
            own, shown = screener.combine(image, record), shifted.combine(image, record)
            assert shown.category is own.category
            assert shown.prevalence == site
            assert (shown.probability >= shown.t_high) == (own.probability >= own.t_high)
            assert shown.probability == pytest.approx(shift(own.probability, fitted=0.2, site=site))
            assert shown.t_low == pytest.approx(shift(own.t_low, fitted=0.2, site=site))


@pytest.mark.parametrize("site", [None, 0.01, 0.58])
@pytest.mark.parametrize("apart", [-2, -1, 0, 1, 2])
def test_a_probability_at_its_threshold_decides_and_prints_alike(screener, site, apart):
    """A threshold is the probability of a film, recomputed to the last bits by another engine on another day."""
    own = screener.combine(IMAGE, NO_RECORD).probability
    near = own + apart * math.ulp(own)
    points = OperatingPoints(t_low=near / 2, t_high=near)
    bundle = replace(screener.bundle, fusion=replace(screener.bundle.fusion, image_points=points))
    result = replace(screener, bundle=bundle, prevalence=site).combine(IMAGE, NO_RECORD)
    assert (result.category, result.probability) == (Category.ABOVE, result.t_high)
    shown = wording.percentages(result)
    assert shown.decisive == shown.t_high
