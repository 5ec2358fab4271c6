import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report_cases import INPUTS, MODEL, SIMULATED_MODEL, scored

from dicom_io import wording
from model.domain import Category, ClinicalInput, MatchClass, Mode, Quality, Reason, Scored

OUTCOMES = [
    scored(category, mode, model=model, quality=quality, match=match)
    for category, mode, model, quality, match in itertools.product(
        Category, Mode, (MODEL, SIMULATED_MODEL), Quality, MatchClass
    )
]


def sentences(result: Scored) -> list[str]:
    simulated = result.model.simulated_training
    return [
        wording.headline(result),
        wording.advice(result),
        wording.comment(result),
        wording.inputs_used(result),
        wording.missing_because(result),
        wording.match(result.match),
        wording.intended_use(simulated=simulated),
        wording.series_description(page=True, simulated=simulated),
        wording.series_description(page=False, simulated=simulated),
        *map(wording.reason, Reason),
    ]


def test_no_outcome_says_what_is_forbidden() -> None:
    said = {text for result in OUTCOMES for text in sentences(result)}
    assert [text for text in said if wording.forbidden(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "Normal bone density",
        "abnormal film",
        "Negative screen",
        "negative",
        "bones look healthy",
        "osteoporosis ruled out",
        "rules out osteoporosis",
        "no osteoporosis",
        "No evidence of bone loss",
        "T-score -2.7",
        "the patient has osteoporosis",
        "excludes osteoporosis",
    ],
)
def test_forbidden_phrases_are_found(text: str) -> None:
    assert wording.forbidden(text)


def test_cautious_phrases_are_allowed() -> None:
    assert not wording.forbidden("Not flagged; does not exclude low bone density. Osteoporosis: High risk")


@pytest.mark.parametrize(
    ("category", "start"),
    [
        (Category.ABOVE, "Osteoporosis screening: FLAGGED (probability 73.4 %, threshold 32.0 %"),
        (Category.BETWEEN, "Osteoporosis screening: INDETERMINATE (probability 28.1 %, threshold 32.0 %"),
        (Category.BELOW, "Osteoporosis screening: NOT FLAGGED (probability 11.2 %, threshold 32.0 %"),
    ],
)
def test_comment_begins_with_the_outcome_and_ends_with_the_disclaimer(category: Category, start: str) -> None:
    text = wording.comment(scored(category))
    assert text.startswith(start)
    assert text.endswith(wording.DISCLAIMER)
    assert ("does not exclude low bone density" in text) == (category is not Category.ABOVE)


def test_image_only_names_the_reason() -> None:
    text = wording.comment(scored(mode=Mode.IMAGE_ONLY, match=MatchClass.CONFLICT))
    assert "image only, no clinical data (CONFLICT: clinical record contradicts" in text


def test_simulated_training_is_said_everywhere() -> None:
    result = scored(model=SIMULATED_MODEL)
    assert wording.SIMULATED in wording.comment(result)
    assert wording.intended_use(simulated=True).startswith(wording.SIMULATED)
    for page in (True, False):
        description = wording.series_description(page=page, simulated=True)
        assert wording.SIMULATED in description
        assert len(description) <= 64


def test_one_decimal_where_it_suffices_and_more_where_it_does_not() -> None:
    assert wording.percentages(scored()).decisive == "73.4"
    close = scored(Category.BELOW, p_fused=0.31999, t_low=0.9)
    shown = wording.percentages(close)
    assert (shown.decisive, shown.t_high, shown.t_low) == ("31.999", "32.000", None)


def test_value_on_the_threshold_prints_as_the_threshold() -> None:
    shown = wording.percentages(scored(p_fused=0.32))
    assert shown.decisive == shown.t_high == "32.0"


@given(
    threshold=st.floats(0.01, 0.99),
    shift=st.sampled_from([-1e-3, -1e-6, -1e-9, 0.0, 1e-9, 1e-6, 1e-3]),
)
def test_printed_order_is_true_order(threshold: float, shift: float) -> None:
    probability = threshold + shift
    category = Category.ABOVE if probability >= threshold else Category.BELOW
    shown = wording.percentages(scored(category, p_fused=probability, t_high=threshold, t_low=1.0))
    assert (float(shown.decisive) >= float(shown.t_high)) == (probability >= threshold)


def test_indistinguishable_values_raise() -> None:
    with pytest.raises(ValueError, match="cannot be told"):
        wording.percentages(scored(Category.BELOW, p_fused=0.32 - 5.6e-17, t_high=0.32, t_low=1.0))


def test_clinical_values_in_words() -> None:
    age, sex, weight, alp = INPUTS
    assert [wording.value(i) for i in (age, sex, weight, alp)] == ["71 years", "female", "54.5 kg", "missing"]
    assert wording.value(replace(sex, value=0.0)) == "male"
    assert wording.variable("weight") == "Body weight"
    assert wording.variable("urate_serum") == "Urate serum"
    assert wording.value(ClinicalInput(variable="x", value=2.0, unit="1")) == "2"


@pytest.mark.parametrize(
    ("days", "text"), [(0.2, "same day"), (1.2, "1 day before"), (34.2, "34 days before"), (365.0, "12 months before")]
)
def test_age_of_a_value(days: float, text: str) -> None:
    assert wording.value_age(days) == text
