"""The objects of the campaign: outcome x SR class, character sets, defective headers, options, and whole histories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from support.report_cases import MODEL, context, header, radiograph, scored
from support.report_matrix import (
    CHARSETS,
    COPIED,
    DEFECTS,
    OUTCOMES,
    REASONS,
    UNREAD_SETS,
    WITHDRAWN_BECAUSE,
    received,
    source_file,
)

from dicom_io.envelope import Companion
from dicom_io.rejection_note import Rejection, SentVersion, build_rejection_note
from dicom_io.results import BuiltObject, build_not_analysed, build_results, build_withdrawal
from dicom_io.sr_class import SR_CLASSES, in_class
from dicom_io.versions import EarlierDocument, amends
from dicom_io.words import Language

_IMAGE = {
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME1",
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "PixelIntensityRelationship": "LOG",
    "PixelIntensityRelationshipSign": -1,
    "RescaleSlope": 1,
    "RescaleIntercept": 0,
    "RescaleType": "US",
    "PresentationLUTShape": "INVERSE",
    "WindowCenter": 2048,
    "WindowWidth": 4096,
}
"""What a presentation state asks of its image."""
ALL_COMPANIONS = tuple(Companion)
SR_KINDS = ("sr", "note", "kos")
"""Objects with a content tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One file of the campaign."""

    path: Path
    kind: str
    copied: str = ""
    """Element whose errors are the image's own."""
    template: bool = False
    """PixelMed is asked too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """All files, and which of them belong together."""

    subjects: tuple[Subject, ...]
    together: tuple[tuple[Path, ...], ...]


def write_matrix(folder: Path, *, short: bool) -> Matrix:
    """Build and write everything; the short form takes one of each kind."""
    subjects: list[Subject] = []
    together: list[tuple[Path, ...]] = []
    for name, source, built, copied in _reports(short=short):
        written = _write(folder, name, built, copied)
        subjects += written
        if source is not None:
            original = folder / f"{name}.source.dcm"
            original.write_bytes(source_file(source))
            together.append((original, *(s.path for s in written)))
    for sr_class in SR_CLASSES if not short else ("comprehensive3d",):
        history = _write(folder, f"history-{sr_class}", _history(sr_class), "")
        original = folder / f"history-{sr_class}.source.dcm"
        original.write_bytes(source_file(header()))
        subjects += history
        together.append((original, *(s.path for s in history)))
    return Matrix(subjects=tuple(_with_templates(subjects, 1 if short else 13)), together=tuple(together))


Named = tuple[str, Dataset | None, Sequence[BuiltObject], str]


def _reports(*, short: bool) -> Iterator[Named]:
    outcomes = dict(list(OUTCOMES.items())[:1]) if short else OUTCOMES
    for name, result in outcomes.items():
        built = build_results(header(), radiograph(), result, context())
        yield name, header(), (*built, *_other_classes(built[-1])), ""
    refused = build_not_analysed(header(), REASONS, MODEL, context())
    yield "not-analysed", header(), (*refused, *_other_classes(refused[-1])), ""
    every = context(companions=ALL_COMPANIONS, attention_regions=True)
    yield "everything", header(**_IMAGE), build_results(header(**_IMAGE), radiograph(), scored(), every), ""
    german = context(language=Language.GERMAN)
    yield "german", header(), build_results(header(), radiograph(), scored(), german), ""
    yield from _headers("charset", CHARSETS, ("ir87",) if short else CHARSETS, inherit=True)
    yield from _headers("header", DEFECTS, ("nothing-stated",) if short else DEFECTS, inherit=False)


def _headers(
    prefix: str, table: dict[str, dict[str, object]], names: Iterable[str], *, inherit: bool
) -> Iterator[Named]:
    """Each header as it came; where it matters, also with the image's own character set."""
    for name in names:
        source, copied = received(**table[name]), COPIED.get(name, "")
        built = build_results(source, radiograph(), scored(), context())
        yield f"{prefix}-{name}", None if inherit else source, built, copied
        if inherit:
            inherited = build_results(source, radiograph(), scored(), context(inherit_charset=True, with_page=False))
            yield f"{prefix}-{name}-inherited", None, inherited, UNREAD_SETS.get(name, "")


def _other_classes(sr: BuiltObject) -> list[BuiltObject]:
    made = [in_class(sr.part10, uid) for uid in SR_CLASSES.values() if uid != sr.sop_class_uid]
    return [_classed(one.part10, one.sop_class_uid, one.sop_instance_uid) for one in made]


def _classed(part10: bytes, sop_class_uid: str, sop_instance_uid: str) -> BuiltObject:
    return BuiltObject(kind="sr", sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid, part10=part10)


def _history(sr_class: str) -> list[BuiltObject]:
    """First report, amendment, withdrawal and note, as one destination gets them in `sr_class`."""
    wanted = SR_CLASSES[sr_class]
    first = build_results(header(), radiograph(), OUTCOMES["above-image_only"], context())
    second = build_results(header(), radiograph(), scored(), context(amends=_after(first)))
    taken_back = context(amends=_after(first, second))
    third = build_withdrawal(second[-1].part10, WITHDRAWN_BECAUSE, taken_back)
    held: dict[str, tuple[str, str]] = {}
    sent: list[list[BuiltObject]] = []
    for version in (first, second, third):
        own = in_class(version[-1].part10, wanted, earlier=held)
        held[version[-1].sop_instance_uid] = (own.sop_class_uid, own.sop_instance_uid)
        sent.append([*version[:-1], _classed(own.part10, own.sop_class_uid, own.sop_instance_uid)])
    rejected = [
        SentVersion(sr=frozen[-1].part10, objects=tuple((o.sop_class_uid, o.sop_instance_uid) for o in there))
        for frozen, there in zip((first, second), sent, strict=False)
    ]
    note = build_rejection_note(rejected, title=Rejection.PATIENT_SAFETY, reason=WITHDRAWN_BECAUSE, context=taken_back)
    return [*sent[0], *sent[1], note, *sent[2]]


def _after(*versions: Sequence[BuiltObject]):
    return amends(len(versions) + 1, [EarlierDocument(part10=v[-1].part10, released=True) for v in versions])


def _write(folder: Path, name: str, built: Sequence[BuiltObject], copied: str) -> list[Subject]:
    subjects = []
    for number, one in enumerate(built):
        path = folder / f"{name}.{number}.{one.kind}.dcm"
        path.write_bytes(one.part10)
        subjects.append(Subject(path=path, kind=one.kind, copied=copied))
    return subjects


def _with_templates(subjects: Sequence[Subject], count: int) -> Iterator[Subject]:
    """PixelMed takes long: `count` subjects with a tree, spread over the whole matrix; the last one is of a history."""
    trees = [one for one in subjects if one.kind in SR_KINDS and one.kind != "kos"]
    step = max(1, len(trees) // count)
    chosen = {one.path for one in trees[step - 1 :: step][:count]}
    for one in subjects:
        yield Subject(path=one.path, kind=one.kind, copied=one.copied, template=one.path in chosen)
