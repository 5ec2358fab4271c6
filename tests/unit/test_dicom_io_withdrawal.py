"""Design section 15.8: the note names all objects with the right classes; the statement lands in the old series."""

import dataclasses
import uuid
from io import BytesIO

import highdicom as hd
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation
from support.report_cases import MODEL, SIMULATED_MODEL, SOURCE_UID, context, header, limited, radiograph, scored

from dicom_io import codes, wording
from dicom_io.canvas import Canvas
from dicom_io.content_items import named, walk
from dicom_io.page import draw_statement_page
from dicom_io.rejection_note import Rejection, SentVersion, build_rejection_note
from dicom_io.results import BuiltObject, Installation, ReportInvalid, build_results, build_withdrawal
from dicom_io.sr_class import SR_CLASSES, in_class
from dicom_io.versions import EarlierDocument, amends
from dicom_io.withdrawal import read_earlier
from dicom_io.words import Language

REASON = "Joined with the wrong patient's laboratory values"
FIRST = build_results(header(), radiograph(), limited(), context())
SR = FIRST[-1].part10


def after(*documents: bytes, released: bool = True, **changes: object):
    earlier = [EarlierDocument(part10=one, released=released) for one in documents]
    return context(amends=amends(len(documents) + 1, earlier), **changes)


def withdrawn(sr: bytes = SR, reason: str = REASON, **changes: object) -> tuple[BuiltObject, ...]:
    return build_withdrawal(sr, reason, after(sr, **changes))


def read(built: BuiltObject) -> Dataset:
    return dcmread(BytesIO(built.part10))


def coded(document: Dataset, name) -> list[str]:
    return [i.ConceptCodeSequence[0].CodeValue for i in named(list(walk(document)), name)]


PAGE, STATEMENT = withdrawn()


def test_the_statement_takes_the_place_of_the_result_in_its_series() -> None:
    before, document = dcmread(BytesIO(SR)), read(STATEMENT)
    for keyword in ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "SeriesDate", "SeriesTime", "StudyTime"):
        assert document[keyword].value == before[keyword].value
    assert (document.InstanceNumber, document.CompletionFlag) == (2, "PARTIAL")
    predecessor = document.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == before.SOPInstanceUID


def test_it_says_withdrawn_and_holds_no_number_of_the_patient() -> None:
    document = read(STATEMENT)
    items = list(walk(document))
    assert coded(document, codes.CATEGORY) == ["OS-WITHDRAWN"]
    assert coded(document, codes.OSTEOPOROSIS) == ["64957009"]
    comment = named(items, codes.COMMENT)[0].TextValue
    assert comment.startswith(f"RESULT WITHDRAWN: {REASON}. Disregard the earlier result.")
    assert wording.DISCLAIMER in comment
    group = named(items, codes.MEASUREMENT_GROUP)[0]
    assert not [i for i in group.ContentSequence if i.ValueType == "NUM"]
    assert not named(items, codes.FINDING)
    assert not named(items, codes.PATIENT_CHARACTERISTICS)
    assert document.CompletionFlagDescription


def test_patient_study_device_and_frame_are_those_of_the_result() -> None:
    before, document = dcmread(BytesIO(SR)), read(STATEMENT)
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientAge",
        "StudyInstanceUID",
        "AccessionNumber",
    ):
        assert document[keyword].value == before[keyword].value == read(PAGE)[keyword].value
    regions = [named(list(walk(one)), codes.IMAGE_REGION)[0] for one in (before, document)]
    assert regions[0].GraphicData == regions[1].GraphicData
    makers = [[e.Manufacturer for e in one.ContributingEquipmentSequence] for one in (before, document)]
    assert makers[0] == makers[1] == ["Acme", "Highdicom open-source contributors"]
    assert read_earlier(SR).model == MODEL


def drawn_words(monkeypatch: pytest.MonkeyPatch, sr: bytes) -> list[str]:
    """What stands on the page of a withdrawal."""
    drawn: list[Canvas] = []

    def keep(*arguments: object) -> Canvas:
        drawn.append(draw_statement_page(*arguments))
        return drawn[-1]

    monkeypatch.setattr("dicom_io.page.draw_statement_page", keep)
    withdrawn(sr)
    return drawn[0].written


@pytest.mark.parametrize(
    ("modality", "sop_class"),
    [("DX", DigitalXRayImageStorageForPresentation), ("CR", ComputedRadiographyImageStorage)],
)
def test_the_page_names_the_image_as_what_it_is(modality: str, sop_class: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as SR, which the document is that it was read from; two films of a study differ by their UID."""
    source = header(SOPClassUID=sop_class, Modality=modality)
    sr = build_results(source, radiograph(), limited(), context(with_page=False))[-1].part10
    parts = [part for line in drawn_words(monkeypatch, sr) for part in line.split("   |   ")]
    assert modality in parts
    assert "SR" not in parts
    assert f"Image {SOURCE_UID}" in parts


def test_nothing_but_the_frozen_report_is_needed_and_its_own_model_is_named() -> None:
    (sr,) = build_results(header(), radiograph(), scored(model=SIMULATED_MODEL), context(with_page=False))
    _, statement = build_withdrawal(sr.part10, REASON, after(sr.part10, node_version="7.0.0"))
    document = read(statement)
    assert list(document.SoftwareVersions) == ["node 7.0.0", f"model 0.1.0 sha256:{'3f' * 6}"]
    assert wording.SIMULATED in named(list(walk(document)), codes.COMMENT)[0].TextValue
    parameters = [i.TextValue for i in named(list(walk(document)), codes.ALGORITHM_PARAMETERS)]
    assert "threshold=0.32" in parameters
    assert f"image_model_sha256={'3f' * 32}" in parameters


def test_after_a_software_upgrade_the_statement_still_lands_in_the_old_series() -> None:
    elsewhere = Installation(namespace=uuid.UUID(int=99), serial="OTHER")
    document = read(withdrawn(installation=elsewhere, site_name="New name")[-1])
    assert document.SeriesInstanceUID == dcmread(BytesIO(SR)).SeriesInstanceUID
    assert document.InstitutionName == "St. Example Hospital"


def test_a_reissued_identical_result_has_a_new_uid() -> None:
    statement = STATEMENT.part10
    once_more = after(SR, statement)
    assert once_more.revision == 1
    again = build_results(header(), radiograph(), limited(), once_more)
    assert not {o.sop_instance_uid for o in again} & {o.sop_instance_uid for o in (*FIRST, PAGE, STATEMENT)}
    assert read(again[-1]).InstanceNumber == 3


def test_the_revision_alone_changes_every_uid() -> None:
    taken = after(SR)
    raised = dataclasses.replace(taken, amends=dataclasses.replace(taken.amends, revision=1))
    once, twice = (build_results(header(), radiograph(), limited(), c) for c in (taken, raised))
    assert not {o.sop_instance_uid for o in once} & {o.sop_instance_uid for o in twice}


def test_a_withdrawal_run_twice_names_the_same_objects() -> None:
    assert [o.sop_instance_uid for o in withdrawn()] == [PAGE.sop_instance_uid, STATEMENT.sop_instance_uid]


@pytest.mark.parametrize(
    ("reason", "why"),
    [("", "1 to 1024"), ("  \n", "1 to 1024"), ("x" * 1025, "1 to 1024"), ("Prior DXA was normal", "'normal'")],
)
def test_an_unusable_reason_is_refused_in_words_for_the_person(reason: str, why: str) -> None:
    with pytest.raises(ReportInvalid, match=why):
        withdrawn(reason=reason)


@pytest.mark.parametrize(
    ("then", "model", "now"),
    [
        ({}, SIMULATED_MODEL, {"content_qualification": "PRODUCT", "product_reason": "CE 0123"}),
        ({}, MODEL, {"content_qualification": "PRODUCT", "product_reason": "CE 0123"}),
        ({"content_qualification": "PRODUCT", "product_reason": "CE 0123"}, MODEL, {}),
    ],
    ids=["a pilot by a demonstration bundle", "a pilot by the bundle of today", "a product that is no longer one"],
)
def test_what_is_withdrawn_is_research_or_product_as_it_was_whatever_the_site_writes_now(then, model, now) -> None:
    built = build_results(header(), radiograph(), scored(model=model), context(**then))
    sr = built[-1].part10
    was = dcmread(BytesIO(sr)).ContentQualification
    objects = tuple((one.sop_class_uid, one.sop_instance_uid) for one in built)
    note = build_rejection_note(
        [SentVersion(sr=sr, objects=objects)], title=Rejection.QUALITY, reason=REASON, context=after(sr, **now)
    )
    assert [read(one).ContentQualification for one in (note, *withdrawn(sr, **now))] == [was] * 3


def test_nothing_before_it_or_no_report_cannot_be_withdrawn() -> None:
    with pytest.raises(ReportInvalid):
        build_withdrawal(SR, REASON, context())
    with pytest.raises(ReportInvalid):
        build_withdrawal(FIRST[0].part10, REASON, after(SR))


def note(objects=None, *, title: Rejection = Rejection.PATIENT_SAFETY, **changes: object) -> BuiltObject:
    known = tuple((o.sop_class_uid, o.sop_instance_uid) for o in FIRST) if objects is None else objects
    return build_rejection_note([SentVersion(sr=SR, objects=known)], title=title, reason=REASON, context=after(SR))


def rejected(built: BuiltObject) -> dict[str, tuple[str, str]]:
    """Instance -> class as named in the tree, and series as named in the evidence."""
    document = read(built)
    classes = {
        str(r.ReferencedSOPInstanceUID): str(r.ReferencedSOPClassUID)
        for i in document.ContentSequence
        for r in i.get("ReferencedSOPSequence", [])
    }
    series = {
        str(r.ReferencedSOPInstanceUID): str(s.SeriesInstanceUID)
        for study in document.CurrentRequestedProcedureEvidenceSequence
        for s in study.ReferencedSeriesSequence
        for r in s.ReferencedSOPSequence
    }
    return {uid: (classes[uid], series[uid]) for uid in classes}


def test_the_note_names_every_object_with_its_class_and_series() -> None:
    built = note()
    assert rejected(built) == {o.sop_instance_uid: (o.sop_class_uid, str(read(o).SeriesInstanceUID)) for o in FIRST}
    assert SOURCE_UID not in rejected(built)
    document = read(built)
    assert (document.Modality, document.SeriesNumber) == ("KO", 9990)
    assert document.ContinuityOfContent == "SEPARATE"
    assert document.TimezoneOffsetFromUTC == "+0200"
    assert str(document.PatientName) == "Müller^Änne"
    hd.ko.KeyObjectSelectionDocument.from_dataset(document)


@pytest.mark.parametrize("wanted", SR_CLASSES.values())
def test_the_sop_class_in_the_reference_is_the_one_sent_to_that_destination(wanted: str) -> None:
    sent = in_class(SR, wanted)
    named_there = rejected(note(((sent.sop_class_uid, sent.sop_instance_uid),)))
    assert named_there == {sent.sop_instance_uid: (wanted, str(dcmread(BytesIO(SR)).SeriesInstanceUID))}


@pytest.mark.parametrize(("title", "code"), [(Rejection.PATIENT_SAFETY, "113037"), (Rejection.QUALITY, "113001")])
def test_title_and_reason_and_no_modifier(title: Rejection, code: str) -> None:
    document = read(note(title=title))
    assert document.ConceptNameCodeSequence[0].CodeValue == code
    texts = {i.ConceptNameCodeSequence[0].CodeValue: i.TextValue for i in document.ContentSequence if "TextValue" in i}
    assert texts["113012"] == REASON
    assert "113011" not in texts


def test_trap_h15_references_have_no_concept_name() -> None:
    references = [i for i in read(note()).ContentSequence if i.ValueType in ("COMPOSITE", "IMAGE")]
    assert len(references) == 2
    assert not [i for i in references if "ConceptNameCodeSequence" in i]


def test_destinations_with_the_same_objects_share_a_note_and_others_do_not() -> None:
    assert note().part10 == note().part10
    assert note().sop_instance_uid != note(title=Rejection.QUALITY).sop_instance_uid
    page_only = ((FIRST[0].sop_class_uid, FIRST[0].sop_instance_uid),)
    assert note().sop_instance_uid != note(page_only).sop_instance_uid


@pytest.mark.parametrize(("language", "plain"), [("en", "Rejection note: AI"), ("de", "Storno: KI")])
def test_a_note_about_a_result_of_simulated_training_says_so(language: str, plain: str) -> None:
    spoken = Language(language)
    for model in (MODEL, SIMULATED_MODEL):
        (sr,) = build_results(header(), radiograph(), scored(model=model), context(with_page=False))
        sent = SentVersion(sr=sr.part10, objects=((sr.sop_class_uid, sr.sop_instance_uid),))
        built = build_rejection_note(
            [sent], title=Rejection.QUALITY, reason=REASON, context=after(sr.part10, language=spoken)
        )
        described = read(built).SeriesDescription
        assert (wording.simulated_training(spoken) in described) == model.simulated_training
        assert described.startswith(plain) == (not model.simulated_training)
        assert len(described) <= 64


def test_one_note_may_name_several_versions() -> None:
    second = build_results(header(), radiograph(), scored(), after(SR))
    versions = [
        SentVersion(sr=v[-1].part10, objects=tuple((o.sop_class_uid, o.sop_instance_uid) for o in v))
        for v in (FIRST, second)
    ]
    built = build_rejection_note(
        versions, title=Rejection.PATIENT_SAFETY, reason=REASON, context=after(SR, second[-1].part10)
    )
    assert set(rejected(built)) == {o.sop_instance_uid for o in (*FIRST, *second)}


def test_a_note_about_nothing_or_about_something_else_is_refused() -> None:
    with pytest.raises(ReportInvalid, match="nothing to reject"):
        note(())
    with pytest.raises(ReportInvalid, match="does not know"):
        note(((FIRST[0].sop_class_uid, "1.2.3"),))
