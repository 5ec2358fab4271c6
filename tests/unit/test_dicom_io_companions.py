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
from support.dcmtk import errors_of
from support.dicom_objects import encode, film, radiograph_dataset
from support.report_cases import SIMULATED_MODEL, context, header, radiograph, scored
from support.tools import require_tool

from dicom_io import wording
from dicom_io.acceptance import refusals
from dicom_io.heat_map import draw_heat_map
from dicom_io.page import draw_page
from dicom_io.page_pdf import page_pdf
from dicom_io.radiograph import read_radiograph
from dicom_io.reference_header import reference_header
from dicom_io.results import BuiltObject, Companion, build_results
from dicom_io.words import Language
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
    said = " ".join(t.UnformattedTextValue for t in read["gsps"].GraphicAnnotationSequence[0].TextObjectSequence)
    assert wording.SIMULATED in said
    assert wording.SIMULATED in description(read["kos"])
    pdf = bytes(read["pdf"].EncapsulatedDocument)
    assert wording.SIMULATED in text_of(pdf, tmp_path)
