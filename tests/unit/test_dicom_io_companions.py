"""The optional objects: off by default, valid, in order, recognised as our own, and true to the image's polarity."""

import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from support.dcmtk import errors_of
from support.dicom_objects import encode, film, radiograph_dataset
from support.report_cases import SIMULATED_MODEL, context, header, radiograph, scored
from support.report_matrix import received
from support.tools import require_tool

from dicom_io import wording
from dicom_io.acceptance import refusals
from dicom_io.document_check import ReportInvalid
from dicom_io.encapsulated_pdf import build_pdf
from dicom_io.envelope import part10
from dicom_io.heat_map import draw_heat_map
from dicom_io.page import draw_page
from dicom_io.page_pdf import page_pdf
from dicom_io.radiograph import read_radiograph
from dicom_io.reference_header import reference_header
from dicom_io.report_check import check_report
from dicom_io.results import BuiltObject, Companion, build_results
from dicom_io.versions import Amends
from dicom_io.words import DISCLAIMER, Language, Phrase
from model.domain import Category, Radiograph, Reason, Scored

KINDS = ["heat-map", "gsps", "pdf", "kos"]
ALL = tuple(Companion)
SERIES = {"page": 9902, "gsps": 9903, "kos": 9904, "pdf": 9906, "heat-map": 9907, "sr": 9901}
POLARITIES = ("MONOCHROME1", "MONOCHROME2")


def source(folder: Path, photometric: str) -> tuple[Path, Radiograph]:
    """A stored film; MONOCHROME1 with inverted values, so that both show the same picture."""
    values = film(240, 200)
    pixels = (4095 - values).astype(np.uint16) if photometric == "MONOCHROME1" else values
    dataset = radiograph_dataset(pixels, PhotometricInterpretation=photometric, Modality="DX")
    path = folder / f"{photometric}.dcm"
    path.write_bytes(encode(dataset))
    return path, read_radiograph(path)


def result(shape: tuple[int, int] = (240, 200), **changes: object) -> Scored:
    return scored(**({"analysed_region": (0, 0, *shape)} | changes))


def build(folder: Path, photometric: str = "MONOCHROME2", **changes: object) -> tuple[BuiltObject, ...]:
    path, taken = source(folder, photometric)
    return build_results(dcmread(path), taken, result(), context(**({"companions": ALL} | changes)))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    folder = tmp_path_factory.mktemp("built")
    return {one.kind: dcmread(BytesIO(one.part10)) for one in build(folder)}


def test_nothing_but_page_and_sr_by_default(tmp_path: Path) -> None:
    assert [one.kind for one in build(tmp_path, companions=())] == ["page", "sr"]


def test_companions_first_sr_last_each_in_a_series_of_its_own(built: dict[str, Dataset]) -> None:
    assert list(built) == ["page", *KINDS, "sr"]
    assert {kind: one.SeriesNumber for kind, one in built.items()} == SERIES
    assert len({one.SeriesInstanceUID for one in built.values()}) == len(built)
    assert len({one.SOPInstanceUID for one in built.values()}) == len(built)


def test_the_evidence_of_the_sr_names_every_companion(built: dict[str, Dataset]) -> None:
    evidence = built["sr"].CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {r.ReferencedSOPInstanceUID for series in evidence for r in series.ReferencedSOPSequence}
    assert {one.SOPInstanceUID for kind, one in built.items() if kind != "sr"} <= named


def test_every_object_is_for_research_and_says_so_in_its_series(built: dict[str, Dataset]) -> None:
    for kind, one in built.items():
        assert one.ContentQualification == "RESEARCH", kind
        assert "NOT FOR DIAGNOSIS" in one.SeriesDescription, kind
        assert len(one.SeriesDescription) <= 64, kind
        assert one.SpecificCharacterSet == "ISO_IR 192", kind


def test_an_object_routed_back_is_known_as_our_own(built: dict[str, Dataset]) -> None:
    for one in built.values():
        assert refusals(one) == (Reason.OWN_RESULT,)


@pytest.mark.parametrize(("language", "photometric"), list(zip(Language, POLARITIES, strict=True)))
def test_each_is_valid_by_dciodvfy_and_all_agree_by_dcentvfy(
    tmp_path: Path, language: Language, photometric: str
) -> None:
    paths = [tmp_path / f"{photometric}.dcm"]
    for one in build(tmp_path, photometric, language=language):
        path = tmp_path / f"{one.kind}.dcm"
        path.write_bytes(one.part10)
        assert errors_of("dciodvfy", "-new", str(path), marks=("Error",)) == []
        paths.append(path)
    noise = "AccessionNumber"  # dcentvfy compares a series' attribute with the study's
    found = errors_of("dcentvfy", *map(str, paths), marks=("Error",))
    assert [line for line in found if noise not in line] == []


@pytest.mark.parametrize("missing", ["BodyPartExamined", "PatientOrientation", "ImagerPixelSpacing", "PatientSex"])
def test_a_poor_header_still_gives_all_of_them(missing: str) -> None:
    cheap = tuple(kind for kind in ALL if kind is not Companion.PDF)
    objects = build_results(header(**{missing: None}), radiograph(), scored(), context(companions=cheap))
    assert [one.kind for one in objects] == ["page", *cheap, "sr"]


def test_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = build(tmp_path), build(tmp_path)
    assert [one.part10 for one in first] == [one.part10 for one in second]


def rendered(*arguments: str, to: Path) -> npt.NDArray[np.float64]:
    """What DCMTK shows, as numbers."""
    require_tool(arguments[0])
    subprocess.run([*arguments, str(to)], check=True, capture_output=True, timeout=60)
    return np.asarray(Image.open(to), np.float64)


@pytest.mark.parametrize("photometric", POLARITIES)
def test_gsps_rendered_with_dcmp2pgm_correlates_with_the_source(tmp_path: Path, photometric: str) -> None:
    """MONOCHROME1 and MONOCHROME2 sources: GSPS rendered with `dcmp2pgm` correlate > +0.99."""
    state = next(one for one in build(tmp_path, photometric, companions=(Companion.GSPS,)) if one.kind == "gsps")
    path, taken = tmp_path / f"{photometric}.dcm", source(tmp_path, photometric)[1]
    (tmp_path / "state.dcm").write_bytes(state.part10)
    plain = rendered("dcm2pnm", "+Wm", str(path), to=tmp_path / "plain.pgm")
    laid = rendered("dcmp2pgm", "-p", str(tmp_path / "state.dcm"), str(path), to=tmp_path / "laid.pgm")
    assert np.corrcoef(plain.ravel(), laid.ravel())[0, 1] > 0.99
    assert np.corrcoef(taken.pixels.ravel(), laid.ravel())[0, 1] > 0.99


WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
SHOWN = ("2048.0", "4096.0", None, None)
"""Centre, width, explanation and function in the presentation state."""
ODD_GRAYSCALE: dict[str, tuple[dict[str, object], tuple[str | None, ...] | None]] = {
    "two windows": ({"WindowCenter": [2048, 1000], "WindowWidth": [4096, 500]}, SHOWN),
    "two windows with one explanation": (
        {"WindowCenter": [2048, 1000], "WindowWidth": [4096, 500], "WindowCenterWidthExplanation": "NORMAL"},
        SHOWN,
    ),
    "two windows, each explained": (
        {"WindowCenter": [2048, 1], "WindowWidth": [4096, 1], "WindowCenterWidthExplanation": ["NORMAL", "HARD"]},
        ("2048.0", "4096.0", "NORMAL", None),
    ),
    "one explanation": (WINDOW | {"WindowCenterWidthExplanation": "NORMAL"}, ("2048.0", "4096.0", "NORMAL", None)),
    "80 characters of explanation": (WINDOW | {"WindowCenterWidthExplanation": "A" * 80}, SHOWN),
    "empty window": ({"WindowCenter": "", "WindowWidth": ""}, None),
    "width 0": (WINDOW | {"WindowWidth": 0}, None),
    "width below 0": (WINDOW | {"WindowWidth": -5}, None),
    "width below 1": (WINDOW | {"WindowWidth": 0.5}, ("2048.0", "1.0", None, None)),
    "centre alone": ({"WindowCenter": 2048}, None),
    "width alone": ({"WindowWidth": 4096}, None),
    "more centres than widths": ({"WindowCenter": [2048, 1000], "WindowWidth": 4096}, SHOWN),
    "empty function": (WINDOW | {"VOILUTFunction": ""}, SHOWN),
    "unknown function": (WINDOW | {"VOILUTFunction": "FOO"}, SHOWN),
    "sigmoid": (WINDOW | {"VOILUTFunction": "SIGMOID"}, ("2048.0", "4096.0", None, "SIGMOID")),
    "no LUT in the sequence": (WINDOW | {"VOILUTSequence": Sequence([])}, SHOWN),
    "a LUT without data": ({"VOILUTSequence": Sequence([Dataset()])}, None),
    "intercept without slope": (WINDOW | {"RescaleIntercept": -1024}, SHOWN),
    "slope 0": (WINDOW | {"RescaleIntercept": 0, "RescaleSlope": 0, "RescaleType": "US"}, SHOWN),
    "empty rescale": (WINDOW | dict.fromkeys(("RescaleIntercept", "RescaleSlope", "RescaleType"), ""), SHOWN),
}
"""What `grayscale` tolerates, and what of it is left of a presentation state's VOI LUT."""


@pytest.mark.parametrize("odd", ODD_GRAYSCALE)
def test_an_odd_window_costs_no_report_and_gives_a_valid_presentation_state(odd: str, tmp_path: Path) -> None:
    stated, shown = ODD_GRAYSCALE[odd]
    states = context(companions=(Companion.GSPS,), with_page=False)
    gsps, sr = build_results(received(**stated), radiograph(), scored(), states)
    assert (gsps.kind, sr.kind) == ("gsps", "sr")
    (tmp_path / "state.dcm").write_bytes(gsps.part10)
    assert errors_of("dciodvfy", "-new", str(tmp_path / "state.dcm"), marks=("Error",)) == []
    state = dcmread(BytesIO(gsps.part10))
    keywords = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction")
    found = [
        tuple(None if k not in voi else str(voi[k].value) for k in keywords)
        for voi in state.get("SoftcopyVOILUTSequence", [])
    ]
    assert found == ([] if shown is None else [shown])
    rescaled = [str(state[k].value) for k in ("RescaleIntercept", "RescaleSlope", "RescaleType") if k in state]
    assert rescaled == (["-1024.0", "1.0", "US"] if odd == "intercept without slope" else [])


def table(bits: int, *, packed: bool = False) -> Sequence:
    """A LUT of 4096 entries that rises with the square, as an image's header holds it."""
    entries = (np.linspace(0, 1, 4096) ** 2 * ((1 << bits) - 1)).astype("<u2")
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, bits])
    item.add_new("LUTData", "OW", (entries.astype(np.uint8) if packed else entries).tobytes())
    item.ModalityLUTType = "US"
    return Sequence([item])


@pytest.mark.parametrize(
    "stated",
    [
        {"VOILUTSequence": table(12)},
        {"VOILUTSequence": table(16)},
        {"VOILUTSequence": table(8)},
        {"VOILUTSequence": table(8, packed=True)},
        {"VOILUTSequence": table(12), "WindowCenter": 100, "WindowWidth": 50},
        {"ModalityLUTSequence": table(16), "WindowCenter": 20000, "WindowWidth": 30000},
        {"RescaleIntercept": -1024, "RescaleSlope": 1, "RescaleType": "US", "WindowCenter": 1000, "WindowWidth": 3000},
        {"WindowCenter": 2000, "WindowWidth": 0.5},
    ],
)
def test_the_film_looks_under_the_presentation_state_as_it_was_read(stated: dict[str, object], tmp_path: Path) -> None:
    """Where highdicom shows a LUT of 12 bits nearly black, loses a Modality LUT, or refuses a LUT beside a window."""
    path = tmp_path / "film.dcm"
    path.write_bytes(encode(radiograph_dataset(film(240, 200), Modality="DX", **stated)))
    taken = read_radiograph(path)
    asked = context(companions=(Companion.GSPS,), with_page=False)
    state = build_results(dcmread(path), taken, result(), asked)[0].part10
    (tmp_path / "state.dcm").write_bytes(state)
    assert errors_of("dciodvfy", "-new", str(tmp_path / "state.dcm"), marks=("Error",)) == []
    laid = rendered("dcmp2pgm", "-p", str(tmp_path / "state.dcm"), str(path), to=tmp_path / "laid.pgm")
    assert np.abs(laid - taken.pixels * 255).mean() < 1


@pytest.mark.parametrize("photometric", POLARITIES)
def test_captures_show_the_film_as_viewers_do(tmp_path: Path, photometric: str) -> None:
    """SC pixels correlate > +0.99 with the source's plain rendering."""
    path, taken = source(tmp_path, photometric)
    plain = rendered("dcm2pnm", "+Wm", str(path), to=tmp_path / "plain.pgm")
    blank = result(attention=())
    picture = np.asarray(draw_heat_map(taken, blank, context()).image.convert("L"), np.float64)
    top, width = 92, round(200 * 1024 / 240)
    shown = picture[top : top + 1024, :width]
    again = np.asarray(Image.fromarray(plain).resize((width, 1024), Image.Resampling.BOX), np.float64)
    assert np.corrcoef(shown.ravel(), again.ravel())[0, 1] > 0.99


def test_presentation_state_holds_field_and_outline_inside_the_image(built: dict[str, Dataset]) -> None:
    annotation = built["gsps"].GraphicAnnotationSequence[0]
    shapes = annotation.GraphicObjectSequence
    assert len(shapes) >= 2
    for shape in shapes:
        points = np.array(shape.GraphicData).reshape(-1, 2)
        assert tuple(points[0]) == tuple(points[-1])
        assert (points >= 0).all()
        assert (points <= (200, 240)).all()
        assert len(points) < 200
    said = " ".join(t.UnformattedTextValue for t in annotation.TextObjectSequence)
    assert "marks no finding" in said
    assert "NOT FOR PRIMARY DIAGNOSIS" in said


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("shape", [(400, 320), (300, 1200), (1200, 200)])
def test_heat_map_has_its_warning_and_disclaimer_in_full(shape: tuple[int, int], language: Language) -> None:
    taken = radiograph(pixels=np.full(shape, 0.5, np.float32))
    simulated = result(shape, model=SIMULATED_MODEL)
    drawn = draw_heat_map(taken, simulated, context(language=language))
    said = " ".join(drawn.written)
    wanted = {"en": "AI attention map - NOT FOR DIAGNOSIS", "de": "KI-Aufmerksamkeitskarte - NICHT ZUR DIAGNOSE"}
    assert drawn.written[0] == wanted[language]
    assert wording.disclaimer(language) in said
    assert wording.simulated_training(language) in said
    assert wording.forbidden(said) == ()


def test_heat_map_is_strongest_where_the_attention_is() -> None:
    taken = radiograph(pixels=np.full((400, 320), 0.5, np.float32))
    drawn = np.asarray(draw_heat_map(taken, result((400, 320)), context()).image, np.int16)
    amber = drawn[92:1116, :, 0] - drawn[92:1116, :, 2]
    middle, corner = amber[480:540, 380:440].mean(), amber[:60, :60].mean()
    assert middle > 60 > corner


def description(note: Dataset) -> str:
    """Key Object Description (113012, DCM)."""
    return next(
        i.TextValue
        for i in note.ContentSequence
        if i.get("ConceptNameCodeSequence", [Dataset()])[0].get("CodeValue") == "113012"
    )


def test_key_objects_point_at_image_and_page_and_give_no_verdict(built: dict[str, Dataset]) -> None:
    note = built["kos"]
    assert note.ConceptNameCodeSequence[0].CodeValue == "113000"
    named = [i for i in note.ContentSequence if i.ValueType in ("IMAGE", "COMPOSITE")]
    assert [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in named] == [
        "1.2.826.0.1.3680043.8.498.77.3.1",
        built["page"].SOPInstanceUID,
    ]
    assert not any("ConceptNameCodeSequence" in i for i in named)
    assert wording.DISCLAIMER in description(note)


@pytest.mark.parametrize(("with_page", "named"), [(True, "and the page of the result"), (False, "screened by AI. Opp")])
def test_key_objects_speak_of_the_page_only_where_there_is_one(*, with_page: bool, named: str) -> None:
    asked = context(companions=(Companion.KOS,), with_page=with_page)
    built = {one.kind: one for one in build_results(header(), radiograph(), scored(), asked)}
    note = dcmread(BytesIO(built["kos"].part10))
    assert named in description(note)
    assert len([i for i in note.ContentSequence if i.ValueType == "IMAGE"]) == (2 if with_page else 1)


def text_of(pdf: bytes, folder: Path) -> str:
    (folder / "page.pdf").write_bytes(pdf)
    done = subprocess.run(
        [require_tool("pdftotext"), str(folder / "page.pdf"), "-"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return " ".join(done.stdout.split())


def test_encapsulated_pdf_is_the_page_as_text(built: dict[str, Dataset], tmp_path: Path) -> None:
    document = built["pdf"]
    assert document.MIMETypeOfEncapsulatedDocument == "application/pdf"
    pdf = bytes(document.EncapsulatedDocument)
    assert len(pdf) % 2 == 0
    said = text_of(pdf[: document.EncapsulatedDocumentLength], tmp_path)
    for text in ("Doe, Jane", "FLAGGED", "73.4 %", "threshold 32.0 %", "Body weight", wording.DISCLAIMER):
        assert text in said


@pytest.mark.parametrize("name", ["Yamada^Tarou=山田^太郎=やまだ^たろう", "Иванова^Анна"])
def test_pdf_holds_names_of_every_script_of_the_page(name: str, tmp_path: Path) -> None:
    clean = reference_header(header(SpecificCharacterSet="ISO_IR 192", PatientName=name)).dataset
    canvas = draw_page(clean, radiograph(), scored(Category.BELOW), context())
    said = text_of(page_pdf(canvas, title="t", language="en", at=context().at), tmp_path)
    groups = name.split("=")
    assert groups[0].split("^")[0] in said
    assert all(part in said.replace(" ", "") for part in (groups[1].split("^") if len(groups) > 1 else ()))


def test_sr_and_page_do_not_change_when_a_model_is_simulated_but_say_it_everywhere(tmp_path: Path) -> None:
    path, taken = source(tmp_path, "MONOCHROME2")
    simulated = replace(result(), model=SIMULATED_MODEL)
    objects = build_results(dcmread(path), taken, simulated, context(companions=ALL))
    read = {one.kind: dcmread(BytesIO(one.part10)) for one in objects}
    assert [kind for kind, one in read.items() if wording.SIMULATED not in one.SeriesDescription] == []
    assert wording.SIMULATED in read["gsps"].ContentDescription
    assert wording.SIMULATED in read["pdf"].DocumentTitle
    said = " ".join(t.UnformattedTextValue for t in read["gsps"].GraphicAnnotationSequence[0].TextObjectSequence)
    assert wording.SIMULATED in said
    assert wording.SIMULATED in description(read["kos"])
    pdf = bytes(read["pdf"].EncapsulatedDocument)
    assert wording.SIMULATED in text_of(pdf, tmp_path)


def test_what_names_the_overlay_gives_no_verdict(built: dict[str, Dataset]) -> None:
    assert built["gsps"].ContentDescription == "AI osteoporosis overlay - NOT FOR DIAGNOSIS"


@pytest.mark.parametrize("language", Language)
def test_names_of_every_kind_say_that_the_training_was_simulated_in_any_version(language: Language) -> None:
    asked = context(language=language, companions=ALL, amends=Amends(version=2))
    objects = build_results(header(), radiograph(), scored(model=SIMULATED_MODEL), asked)
    for one in objects:
        described = dcmread(BytesIO(one.part10)).SeriesDescription
        assert wording.simulated_training(language) in described, one.kind
        assert described.startswith("v2 ") == (one.kind != "sr")
        assert len(described) <= 64


@pytest.mark.parametrize("keyword", ["SeriesDescription", "DocumentTitle", "ContentDescription"])
def test_a_companion_that_does_not_say_it_is_refused(keyword: str) -> None:
    simulated = scored(model=SIMULATED_MODEL)
    kinds = (Companion.GSPS, Companion.PDF)
    objects = build_results(header(), radiograph(), simulated, context(companions=kinds))
    altered = {}
    for one in objects[:-1]:
        read = dcmread(BytesIO(one.part10))
        if keyword in read and one.kind in kinds:
            read[keyword].value = "Osteoporosis result"
        altered[one.kind] = part10(read)
    with pytest.raises(ReportInvalid) as caught:
        check_report(
            objects[-1].part10,
            altered,
            reference=reference_header(header()),
            result=simulated,
            context=context(companions=kinds),
        )
    assert all(text.startswith("I4") for text in caught.value.broken)
    assert len(caught.value.broken) == (2 if keyword == "SeriesDescription" else 1)


def test_a_pdf_whose_disclaimer_is_cut_is_refused_without_a_page_too(monkeypatch: pytest.MonkeyPatch) -> None:
    long = Phrase(en=DISCLAIMER.en * 5, de=DISCLAIMER.de)
    monkeypatch.setattr("dicom_io.words.DISCLAIMER", long)
    clean = reference_header(header()).dataset
    with pytest.raises(ReportInvalid, match="I4 disclaimer missing on the page"):
        build_pdf(clean, radiograph(), scored(), context(with_page=False), digest="d")
