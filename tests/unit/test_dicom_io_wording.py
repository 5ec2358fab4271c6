import itertools
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.phrases import phrases
from support.report_cases import INPUTS, MODEL, SIMULATED_MODEL, scored

from dicom_io import wording, words
from dicom_io.outcomes import NotAnalysed, Statement, Withdrawn
from dicom_io.words import Language
from model.domain import Category, ClinicalInput, MatchClass, Mode, Quality, Reason, Scored

KINDS = tuple(words.COMPANIONS)
STATEMENTS = (
    NotAnalysed(reasons=tuple(Reason), model=MODEL),
    Withdrawn(reason="Clinical data of another person had been joined", model=SIMULATED_MODEL),
)
OUTCOMES = [
    scored(category, mode, model=model, quality=quality, match=match)
    for category, mode, model, quality, match in itertools.product(
        Category, Mode, (MODEL, SIMULATED_MODEL), Quality, MatchClass
    )
]


def sentences(result: Scored, language: Language) -> list[str]:
    simulated = result.model.simulated_training
    return [
        wording.headline(result, language=language),
        wording.advice(result, language=language),
        wording.comment(result, language=language),
        wording.inputs_used(result, language=language),
        *(wording.missing_because(item, result.match, language=language) for item in result.inputs),
        wording.match(result.match, language=language),
        wording.intended_use(simulated=simulated, language=language),
        *(wording.companion_series(kind, simulated=simulated, language=language) for kind in KINDS),
        wording.series_description(simulated=simulated, language=language),
        *(wording.reason(code, language=language) for code in Reason),
    ]


@pytest.mark.parametrize("language", Language)
def test_no_outcome_says_what_is_forbidden(language: Language) -> None:
    said = {text for result in OUTCOMES for text in sentences(result, language)}
    said |= {wording.statement_comment(one, language=language) for one in STATEMENTS}
    assert [text for text in said if wording.forbidden(text)] == []


def test_no_phrase_of_the_table_says_what_is_forbidden() -> None:
    said = [text for phrase in phrases() for text in (phrase.en, phrase.de)]
    assert len(said) > 150
    assert [text for text in said if wording.forbidden(text)] == []


def test_every_phrase_is_complete_in_every_language() -> None:
    for phrase in phrases():
        assert phrase.en.strip()
        assert phrase.de.strip()
        assert set(re.findall(r"{(\w+)}", phrase.en)) == set(re.findall(r"{(\w+)}", phrase.de))


@pytest.mark.parametrize("language", Language)
def test_the_table_covers_every_reason_match_and_category(language: Language) -> None:
    assert all(wording.reason(code, language=language).endswith(".") for code in Reason)
    assert all(wording.match(one, language=language) for one in MatchClass)
    assert len({wording.headline(one, language=language) for one in (*map(scored, Category), *STATEMENTS)}) == 5


@pytest.mark.parametrize(
    "text",
    [
        "Unauffälliger Befund",
        "unauffällig",
        "Normale Knochendichte",
        "Patient gesund",
        "Screening negativ",
        "Osteoporose ausgeschlossen",
        "schließt eine Osteoporose aus",
        "Ausschluss einer Osteoporose",
        "kein Hinweis auf Osteoporose",
        "keine Osteoporose",
        "ohne Befund",
        "kein pathologischer Befund",
        "T-Wert -2,7",
        "hat eine Osteoporose",
        "regelrechte Darstellung",
    ],
)
def test_forbidden_phrases_are_found_in_german(text: str) -> None:
    assert wording.forbidden(text)


def test_cautious_german_phrases_are_allowed() -> None:
    said = "Schwelle nicht erreicht; schließt eine niedrige Knochendichte nicht aus. Es wurde kein Wert ausgegeben."
    assert not wording.forbidden(said)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("said", STATEMENTS)
def test_statement_says_why_what_follows_and_the_disclaimer(said: Statement, language: Language) -> None:
    text = wording.statement_comment(said, language=language)
    assert text.startswith(wording.headline(said, language=language))
    assert text.endswith(wording.disclaimer(language))
    assert wording.advice(said, language=language) in text
    assert (wording.simulated_training(language) in text) == said.model.simulated_training


@pytest.mark.parametrize(("language", "version"), list(itertools.product(Language, (1, 2, 10))))
def test_series_descriptions_fit(language: Language, version: int) -> None:
    for simulated in (True, False):
        for kind in KINDS:
            own = wording.companion_series(
                kind, version if kind != "note" else 1, simulated=simulated, language=language
            )
            assert len(own) <= 64
            assert (wording.simulated_training(language) in own) == simulated
        assert len(wording.series_description(simulated=simulated, language=language)) <= 64


def test_figures_follow_the_language() -> None:
    text = wording.comment(scored(), language=Language.GERMAN)
    assert "SCHWELLE ERREICHT (Wahrscheinlichkeit 73,4 %, Schwelle 32,0 %, unbestimmt ab 25,0 %)" in text


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


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (Language.ENGLISH, "image only, clinical data not applicable to this model"),
        (Language.GERMAN, "nur Bild, klinische Daten auf dieses Modell nicht anwendbar"),
    ],
)
def test_a_complete_record_is_never_called_incomplete(language: Language, said: str) -> None:
    """Model fitted on one sex, patient of the other."""
    man = (INPUTS[0], replace(INPUTS[1], value=0.0), INPUTS[2])
    changes = {"match": MatchClass.MATCH_ISSUER, "reasons": (Reason.OUTSIDE_TRAINING,)}
    complete = scored(Category.BELOW, Mode.IMAGE_ONLY, inputs=man, **changes)
    assert wording.inputs_used(complete, language=language) == said
    assert said in wording.comment(complete, language=language)
    without = replace(complete, inputs=(*man[:2], replace(INPUTS[2], value=None)))
    assert wording.inputs_used(without, language=language) != said


def test_why_a_value_is_missing() -> None:
    sex, weight = ClinicalInput(variable="sex", unit="1"), ClinicalInput(variable="weight", unit="kg")
    for match in MatchClass:
        assert wording.missing_because(sex, match) == "not stated as female or male"
        assert ("look-back" in wording.missing_because(weight, match)) == match.joins


@pytest.mark.parametrize("code", [Reason.OUTSIDE_TRAINING, Reason.SEX_UNKNOWN])
def test_a_clinical_limitation_is_none_of_the_picture_in_german(code: Reason) -> None:
    result = scored(quality=Quality.LIMITED, reasons=(code,))
    assert "Eingangsdaten eingeschränkt" in wording.comment(result, language=Language.GERMAN)
    assert [phrase.de for phrase in phrases() if "Bildqualität" in phrase.de] == []


def test_simulated_training_is_said_everywhere() -> None:
    result = scored(model=SIMULATED_MODEL)
    assert wording.SIMULATED in wording.comment(result)
    assert wording.intended_use(simulated=True).startswith(wording.SIMULATED)
    assert wording.SIMULATED in wording.series_description(simulated=True)


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
