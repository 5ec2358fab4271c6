import datetime as dt
import itertools
import re
from dataclasses import replace
from io import BytesIO

import cv2
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from support.phrases import phrases
from support.report_cases import (
    INPUTS,
    MODEL,
    SIMULATED_MODEL,
    SOURCE_UID,
    context,
    header,
    limited,
    radiograph,
    scored,
)

from dicom_io import canvas, wording
from dicom_io.envelope import part10
from dicom_io.outcomes import NotAnalysed, Statement, Withdrawn
from dicom_io.page import build_page, build_statement_page, draw_page, draw_statement_page
from dicom_io.page_film import shrunk
from dicom_io.reference_header import reference_header
from dicom_io.versions import Amends
from dicom_io.withdrawal import LONGEST_REASON
from dicom_io.words import Language
from model.domain import Category, ClinicalInput, MatchClass, Mode, Quality, Reason, Scored

OUTCOMES = list(itertools.product(Category, Mode))


def words(result: Scored, **changes: object) -> str:
    clean = reference_header(header(**changes)).dataset
    return "\n".join(draw_page(clean, radiograph(), result, context()).written)


def page(result: Scored | None = None, **changes: object) -> Dataset:
    clean = reference_header(header(**changes)).dataset
    built = build_page(clean, radiograph(), result or scored(), context(), digest="d")
    return dcmread(BytesIO(part10(built)))


@pytest.mark.parametrize(("category", "mode"), OUTCOMES)
def test_page_says_category_probability_threshold_and_disclaimer(category: Category, mode: Mode) -> None:
    result = scored(category, mode)
    said = words(result)
    shown = wording.percentages(result)
    for text in (
        wording.headline(result),
        wording.advice(result),
        f"{shown.decisive} %",
        f"threshold {shown.t_high} %",
    ):
        assert text in said
    assert wording.DISCLAIMER in said.replace("\n", " ")
    assert wording.SIMULATED not in said
    assert wording.forbidden(said) == ()


def test_page_says_whose_it_is_and_which_model_spoke() -> None:
    said = words(scored())
    for text in ("Müller, Änne", "0012345", "1955-02-12", "A2026-0815", "2026-04-04 10:15", "St. Example Hospital"):
        assert text in said
    for text in ("Osteon chest film model 1.4.0", "3f3f3f3f3f3f", "2026-04-04 10:20 (UTC+0200)"):
        assert text in said


def test_inputs_tell_age_source_and_what_is_missing() -> None:
    said = words(scored())
    for text in ("54.5 kg", "34 days before, HL7 ORU^R01 MSG00017", "Alkaline phosphatase", "no usable value"):
        assert text in said
    unmatched = words(scored(mode=Mode.IMAGE_ONLY, match=MatchClass.AMBIGUOUS))
    assert "Several clinical records could fit" in unmatched
    assert "missing" in unmatched


JOINED = (INPUTS[0], INPUTS[1], replace(INPUTS[2], source="HL7 ORU^R01 20260301083012345678"))
"""As the screener gives them, with a message control id of 20 characters."""


@pytest.mark.parametrize("match", MatchClass)
@pytest.mark.parametrize("language", Language)
def test_an_image_only_page_says_once_and_in_full_that_the_values_were_not_used(
    language: Language, match: MatchClass
) -> None:
    clean = reference_header(header()).dataset
    weight = JOINED[2] if match.joins else ClinicalInput(variable="weight", unit="kg")
    found = scored(Category.BELOW, Mode.IMAGE_ONLY, match=match, inputs=(*JOINED[:2], weight))
    written = draw_page(clean, radiograph(), found, context(language=language)).written
    unused = {
        Language.ENGLISH: "Not used: image-only result.",
        Language.GERMAN: "Nicht verwendet: Ergebnis nur aus dem Bild.",
    }[language]
    assert written.count(unused) == 1
    assert [line for line in written if "…" in line] == []
    assert any(line.endswith("20260301083012345678") for line in written) == match.joins
    fused = draw_page(clean, radiograph(), scored(), context(language=language)).written
    assert unused not in fused


def test_a_sex_that_is_missing_is_not_looked_back_for() -> None:
    without = (INPUTS[0], ClinicalInput(variable="sex", unit="1"), INPUTS[2])
    changes = {"inputs": without, "reasons": (Reason.SEX_UNKNOWN,), "quality": Quality.LIMITED}
    for match in (MatchClass.MATCH_ISSUER, MatchClass.UNKNOWN_PATIENT):
        said = words(scored(Category.BELOW, Mode.IMAGE_ONLY, match=match, **changes), PatientSex="O")
        assert "not stated as female or male" in said
        assert "look-back" not in said
        assert "sex: other" in said
    assert "sex not stated" in words(scored(), PatientSex="")


def test_limits_are_worded() -> None:
    said = words(limited())
    assert "LIMITED, interpret with caution" in said
    assert wording.reason(Reason.LOSSY) in said.replace("\n", " ")


def test_many_inputs_take_one_line_each_and_at_last_are_counted() -> None:
    eight = tuple(replace(INPUTS[2], variable=f"lab_{n}") for n in range(8))
    said = words(scored(inputs=eight))
    assert all(f"Lab {n}" in said for n in range(8))
    assert "more in the structured report" not in said
    many = tuple(replace(INPUTS[2], variable=f"lab_{n}") for n in range(30))
    said = words(scored(inputs=many))
    shown = sum(f"Lab {n}\n" in said for n in range(30))
    assert shown > 6
    assert f"and {30 - shown} more in the structured report" in said


def test_simulated_banner_is_red_on_top_and_bottom() -> None:
    result = scored(model=SIMULATED_MODEL)
    assert words(result).count(wording.SIMULATED) == 2
    pixels = page(result).pixel_array
    assert pixels.shape == (1300, 1000, 3)
    assert tuple(pixels[2, 2]) == tuple(pixels[1297, 2]) == canvas.RED
    assert tuple(page().pixel_array[2, 2]) == canvas.SLATE


def test_categories_differ_in_black_and_white() -> None:
    grey = [
        page(scored(c, p_fused=0.5, t_low=0.2, t_high=0.7)).pixel_array[226:412, :, :].mean(axis=2) for c in Category
    ]
    assert all(np.abs(a - b).mean() > 1 for a, b in itertools.combinations(grey, 2))


def test_secondary_capture_attributes() -> None:
    ds = page()
    assert ds.file_meta.TransferSyntaxUID == RLELossless
    assert (ds.Modality, ds.SeriesNumber, ds.ConversionType, ds.BurnedInAnnotation) == ("OT", 9902, "WSD", "YES")
    assert list(ds.ImageType) == ["DERIVED", "SECONDARY", "OTHER"]
    assert (ds.PhotometricInterpretation, ds.BitsStored, ds.BodyPartExamined) == ("RGB", 8, "CHEST")
    assert ds.ManufacturerModelName == "Osteon"
    assert ds.ContentQualification == "RESEARCH"
    assert ds.SourceImageSequence[0].ReferencedSOPInstanceUID == header().SOPInstanceUID
    assert (ds.StudyTime, ds.ContentTime, ds.TimezoneOffsetFromUTC) == ("101530", "102031", "+0200")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Иванова^Анна", "Иванова, Анна"),
        ("Παππά^Άννα^Ω", "Παππά, Άννα Ω"),
        ("Wang^Xiao=王^小东", "Wang, Xiao"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "山田 太郎"),
        ("Hong^Gildong=洪^吉洞=홍^길동", "洪 吉洞"),
        ("=王^小东", "王 小东"),
        ("^Anna", "Anna"),
        ("Smith^^", "Smith"),
        ("\tTab  Bar^Be\u00a0Ce", "Tab Bar, Be Ce"),
        ("Mu\u0308ller^A\u0308nne", "Müller, Änne"),
        ("X=\ufa19\u8c37^\u304b\u3099", "\ufa19\u8c37 が"),
    ],
)
def test_names_the_typeface_has_are_drawn(name: str, shown: str) -> None:
    assert shown in words(scored(), SpecificCharacterSet="ISO_IR 192", PatientName=name).split("\n")


def test_name_that_cannot_be_drawn_gives_way_to_the_id() -> None:
    said = words(scored(), SpecificCharacterSet="ISO_IR 192", PatientName="ܐܒܓ^ܕܗܘ")
    assert "ID 0012345" in said
    assert "name cannot be drawn here" in said
    assert "?" not in said


def test_empty_identity_is_said() -> None:
    said = words(scored(), PatientName=None, PatientID=None, StudyDate=None, StudyTime=None, AccessionNumber=None)
    for text in ("ID not stated", "name not stated", "study date not stated", "no accession number"):
        assert text in said


@pytest.mark.parametrize(
    ("t_low", "t_high", "p"), [(0.0, 0.01, 0.005), (0.97, 0.99, 0.98), (0.5, 0.5, 0.5), (0.0, 1.0, 1.0)]
)
def test_extreme_thresholds_stay_on_the_page(t_low: float, t_high: float, p: float) -> None:
    category = Category.ABOVE if p >= t_high else Category.BETWEEN
    picture = draw_page(
        reference_header(header()).dataset,
        radiograph(),
        scored(category, p_fused=p, t_low=t_low, t_high=t_high),
        context(),
    ).image
    edge = np.asarray(picture)[420:640, 965:]
    assert (edge == 255).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"attention": ()},
        {"attention": ((0.0, 0.0), (0.0, 0.0))},
        {"attention": ((0.5, 0.5),)},
        {"analysed_region": (100, 50, 300, 250)},
        {"analysed_region": (0, 0, 0, 0)},
    ],
)
def test_odd_attention_maps_and_regions_are_drawn_or_left_out(changes: dict[str, object]) -> None:
    assert words(scored(**changes))


@pytest.mark.parametrize("shape", [(16, 16), (64, 3000), (3000, 64)])
def test_any_film_fits(shape: tuple[int, int]) -> None:
    film = radiograph(pixels=np.zeros(shape, np.float32))
    clean = reference_header(header()).dataset
    assert draw_page(clean, film, scored(analysed_region=(0, 0, *shape)), context()).image.size == (1000, 1300)


def test_overlong_texts_are_shortened_but_the_disclaimer_never() -> None:
    model = replace(MODEL, name="m" * 200, calibration_id="c" * 200)
    said = words(scored(model=model), PatientName="A" * 33 + "^" + "B" * 30)
    assert "…" in said
    assert wording.DISCLAIMER in said.replace("\n", " ")


AMENDED = Amends(
    version=2,
    predecessors=(("1", "2", "3", "4"),),
    previous_at=dt.datetime(2026, 4, 4, 7, 0, tzinfo=dt.UTC),
    replaced_at=dt.datetime(2026, 4, 4, 7, 0, tzinfo=dt.UTC),
)
STATEMENTS = (
    NotAnalysed(reasons=(Reason.PARTIAL_CHEST, Reason.LOW_CONTRAST), model=MODEL),
    Withdrawn(reason="Clinical data of another person had been joined.", model=SIMULATED_MODEL),
)


def statement_words(said: Statement, language: Language, **changes: object) -> str:
    clean = reference_header(header()).dataset
    return " ".join(draw_statement_page(clean, said, context(language=language, **changes)).written)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("said", STATEMENTS)
def test_page_without_a_result_says_why_and_holds_no_probability(said: Statement, language: Language) -> None:
    text = statement_words(said, language)
    for wanted in (wording.headline(said, language=language), wording.advice(said, language=language)):
        assert wanted in text
    for why in wording.because(said, language=language):
        assert why in text
    assert wording.disclaimer(language) in text
    assert " %" not in text
    assert wording.forbidden(text) == ()


def test_amended_and_withdrawn_pages_name_what_they_replace() -> None:
    clean = reference_header(header()).dataset
    line = "Version 2, replaces the result of 2026-04-04 09:00"
    assert line in draw_page(clean, radiograph(), scored(), context(amends=AMENDED)).written
    assert line in statement_words(STATEMENTS[1], Language.ENGLISH, amends=AMENDED)


LONGEST = {
    Language.ENGLISH: "The laboratory values that were joined to this image belong to another person of this name. ",
    Language.GERMAN: "Die zugeordneten Laborwerte gehören zu einer anderen Person gleichen Namens (Umlaute: ÄÖÜß). ",
}


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("capital", [False, True])
def test_the_longest_reason_of_a_withdrawal_stands_on_the_page_in_full(language: Language, *, capital: bool) -> None:
    reason = (LONGEST[language] * 12)[:LONGEST_REASON]
    reason = reason.upper() if capital else reason
    clean = reference_header(header()).dataset
    drawn = draw_statement_page(clean, Withdrawn(reason=reason, model=MODEL), context(language=language))
    assert " ".join(reason.split()) in " ".join(drawn.written)
    assert [line for line in drawn.written if "…" in line] == []
    boxes = [m for m in drawn.marks if isinstance(m, canvas.Words)]
    last, below = (next(i for i, m in enumerate(boxes) if text in m.text) for text in (reason.split()[-1], SOURCE_UID))
    assert boxes[last].at[1] < boxes[below].at[1] - boxes[below].size


def test_a_page_without_a_picture_names_the_image() -> None:
    for said in STATEMENTS:
        assert f"Image {SOURCE_UID}" in statement_words(said, Language.ENGLISH)


@pytest.mark.parametrize("said", STATEMENTS)
def test_statement_page_is_a_capture_like_any_other(said: Statement) -> None:
    clean = reference_header(header()).dataset
    built = dcmread(BytesIO(part10(build_statement_page(clean, said, context(amends=AMENDED), digest="d"))))
    assert (built.SeriesNumber, built.pixel_array.shape) == (9902, (1300, 1000, 3))
    assert built.SeriesDescription.startswith("v2 ")


@pytest.mark.parametrize(("category", "mode"), OUTCOMES)
def test_german_page_has_no_english_sentence_and_a_decimal_comma(category: Category, mode: Mode) -> None:
    clean = reference_header(header()).dataset
    result = limited(category=category, mode=mode, prevalence=0.1)
    written = draw_page(clean, radiograph(), result, context(language=Language.GERMAN)).written
    said = " ".join(written)
    assert wording.disclaimer(Language.GERMAN) in said
    assert wording.advice(result, language=Language.GERMAN) in said
    assert f"{wording.percentages(result).decisive.replace('.', ',')} %" in said
    assert wording.forbidden(said) == ()
    english = [
        phrase.en for phrase in phrases() if phrase.en != phrase.de and "{" not in phrase.en and len(phrase.en) > 5
    ]
    assert [text for text in english if text in written] == []


def test_no_text_leaves_the_page_or_its_place() -> None:
    long = "Wolfeschlegelsteinhausenbergerdorff^Maximiliane Alexandra Tea"
    model = replace(MODEL, name="m" * 60, calibration_id="c" * 60)
    many = tuple(replace(INPUTS[2], variable=f"quite_a_long_name_{n}", source="s" * 60) for n in range(9))
    clean = reference_header(header(PatientName=long, PatientID="9" * 64)).dataset
    for language in Language:
        drawn = draw_page(clean, radiograph(), limited(model=model, inputs=many), context(language=language))
        for mark in drawn.marks:
            if isinstance(mark, canvas.Words):
                assert mark.at[0] >= 0, mark.text
                assert mark.at[0] + mark.width <= 1000 - 24, mark.text
                assert mark.size >= canvas.SMALLEST, mark.text


def test_words_do_not_lie_over_one_another() -> None:
    """Five seconds of reading: no line of the page covers another, in any outcome and language."""
    clean = reference_header(header()).dataset
    for (category, mode), language in itertools.product(OUTCOMES, Language):
        drawn = draw_page(clean, radiograph(), limited(category=category, mode=mode), context(language=language))
        boxes = [
            (m.at[0], m.at[1] - 0.7 * m.size, m.at[0] + m.width, m.at[1])
            for m in drawn.marks
            if isinstance(m, canvas.Words)
        ]
        for a, b in itertools.combinations(boxes, 2):
            across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            assert across <= 1 or down <= 1, (category, mode, language, a, b)


def test_a_probability_never_prints_as_certainty() -> None:
    assert "0.04 %" in words(scored(Category.BELOW, p_fused=0.0004))
    assert "99.99 %" in words(scored(p_fused=0.9999))


@pytest.mark.parametrize(
    "changes",
    [
        {"p_image": 0.9998, "p_fused": 0.9},
        {"p_image": 0.000053, "p_clinical": 0.99987, "p_fused": 0.9},
        {"p_fused": 0.2, "t_low": 0.0003, "t_high": 0.0004},
    ],
)
def test_nothing_beside_the_decisive_probability_prints_as_certainty_either(changes: dict[str, float]) -> None:
    written = " ".join(words(scored(**changes)).split("\n"))
    assert not re.search(r"\b(0|100)\.0+ %", written)


@pytest.mark.parametrize("size", [(1000, 1219), (400, 488), (199, 243), (3, 2), (2100, 2500)])
def test_the_film_is_opencvs_area_mean_to_one_grey_level(size: tuple[int, int]) -> None:
    """Smaller and larger than the image."""
    pixels = np.random.default_rng(5).random((2480, 2034), dtype=np.float32)
    pixels[:900] = np.linspace(0, 1, 2034, dtype=np.float32)
    film = shrunk(radiograph(pixels=pixels), size)
    direct = (cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) * 255).astype(np.uint8)
    assert film.shape == (size[1], size[0], 3)
    assert np.abs(film.astype(int) - direct[:, :, None]).max() <= 1
