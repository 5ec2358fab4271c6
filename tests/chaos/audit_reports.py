"""What lies in the archive, against the ledger and against what the hospital told: one newest report for each film.

The archive's own files are read, with pydicom; the ledger with plain SQL. A report is surplus when nobody told anything
that it could be for, contradictory when it stands beside a newer one that does not name it as its predecessor (PS3.3
C.17.2.3), and unproved when the archive did not itself say or show that it keeps it.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from chaos.audit import Findings
from chaos.films import Film
from chaos.ledger_file import Row, rows
from chaos.wire import DX
from pydicom import Dataset, dcmread
from support.dicom_objects import dataset_of

SR = "1.2.840.10008.5.1.4.1.1.88.22"
BODY_WEIGHT = "29463-7"
PROOFS = ("commitment", "find")

Version = tuple[int, int]
"""Case and version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An SR that lies in the archive, by what it says itself."""

    uid: str
    version: int
    image: str
    """SOP Instance UID of the film it is about."""
    weight: float | None
    """Kilograms it rests on."""
    predecessors: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the hospital sent and told, all of it acknowledged."""

    films: Mapping[str, Film]
    weights: Mapping[str, list[float]]
    """By Patient ID."""
    amended_by_person: Counter[int]
    """By case: how often the operator had it amended after its work had died."""


def audit_reports(found: Findings, place: Path | str, archive: Path, expected: Expected) -> None:
    """Compare; every case has come to its end."""
    frozen = {row["sop_instance_uid"]: row for row in rows(place, "SELECT * FROM outbox_object")}
    kept: dict[str, set[str]] = defaultdict(set)
    copies = 0
    for path in archive.glob("*.dcm"):
        uid, digest, _ = path.stem.split("_")
        kept[uid].add(digest)
        copies += 1
    digests = {uid: hashlib.sha256(dataset_of(row["part10"])).hexdigest() for uid, row in frozen.items()}
    found.note("archive_unknown", sorted(set(kept) - set(frozen)))
    found.note("archive_other_bytes", [u for u, there in kept.items() if u in digests and there != {digests[u]}])
    _deliveries(found, place, frozen, set(kept))
    cases = {
        row["id"]: row["sop_instance_uid"] for row in rows(place, "SELECT id, sop_instance_uid FROM screening_case")
    }
    by_image: dict[str, list[Report]] = defaultdict(list)
    for uid in sorted(set(kept) & {uid for uid, row in frozen.items() if row["sop_class_uid"] == SR}):
        report = _read(archive, uid, frozen[uid]["version"])
        by_image[report.image].append(report)
    _reports(found, by_image, {image: case for case, image in cases.items()}, expected)
    amended = {row["case_id"] for row in frozen.values() if row["version"] > 1}
    found.counted |= {"reports": len(by_image), "amended": len(amended)}
    found.counted |= {"archived_objects": len(kept), "repeated_sends": copies - len(kept)}
    found.counted |= _answers(archive)


def _deliveries(found: Findings, place: Path | str, frozen: Mapping[str, Row], kept: set[str]) -> None:
    """The newest version of each report is delivered, proved, and there; an older one that is not was cancelled."""
    deliveries = rows(place, "SELECT case_id, version, state, proof, error FROM delivery")
    newest: dict[int, int] = {}
    for row in deliveries:
        newest[row["case_id"]] = max(row["version"], newest.get(row["case_id"], 0))
    unproved, proofs = [], Counter[str]()
    delivered: set[Version] = set()
    for row in deliveries:
        is_newest = row["version"] == newest[row["case_id"]]
        if row["state"] == "delivered":
            delivered.add((row["case_id"], row["version"]))
            proofs[str(row["proof"])] += 1
        if (row["state"] == "delivered" and row["proof"] not in PROOFS) or (
            row["state"] != "delivered" and (is_newest or row["state"] != "cancelled")
        ):
            unproved.append(f"case {row['case_id']} version {row['version']} {row['state']} by {row['proof']}")
    found.note("unproved", unproved)
    missing = [u for u, row in frozen.items() if (row["case_id"], row["version"]) in delivered and u not in kept]
    found.note("archive_missing", missing)
    found.counted |= {f"proved_by_{kind}": number for kind, number in sorted(proofs.items())}


def _reports(
    found: Findings, by_image: Mapping[str, list[Report]], case_of: Mapping[str, int], expected: Expected
) -> None:
    for image, reports in by_image.items():
        ordered = sorted(reports, key=lambda one: one.version)
        film = expected.films.get(image)
        weights = expected.weights.get(film.patient, []) if film is not None else []
        allowed = 1 + bool(weights) + expected.amended_by_person[case_of.get(image, 0)]
        if film is None or not film.screened or len({one.weight for one in ordered}) != len(ordered) > 1:
            found.note("surplus", [f"{image}: {len(ordered)} reports"])
        elif len(ordered) > allowed or ordered[-1].version > allowed:
            found.note("surplus", [f"{image}: version {ordered[-1].version}, {allowed} allowed"])
        if not ordered[-1].predecessors >= {one.uid for one in ordered[:-1]}:
            found.note("contradictory", [image])
        if (ordered[-1].weight not in weights) if weights else (ordered[-1].weight is not None):
            found.note("other_evidence", [f"{image}: {ordered[-1].weight}, told {weights}"])
    found.note("no_report", sorted({u for u, film in expected.films.items() if film.screened} - set(by_image)))


def _read(archive: Path, uid: str, version: int) -> Report:
    document = dcmread(next(archive.glob(f"{uid}_*.dcm")))
    evidence = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    references = [item for series in evidence for item in series.ReferencedSOPSequence]
    image = {str(one.ReferencedSOPInstanceUID) for one in references if one.ReferencedSOPClassUID == DX}
    weights = [value for code, value in _numbers(document) if code == BODY_WEIGHT]
    return Report(
        uid=uid,
        version=version,
        image=",".join(sorted(image)),
        weight=weights[0] if weights else None,
        predecessors=frozenset(_predecessors(document)),
    )


def _predecessors(document: Dataset) -> Iterator[str]:
    for study in document.get("PredecessorDocumentsSequence", []):
        for series in study.ReferencedSeriesSequence:
            yield from (str(one.ReferencedSOPInstanceUID) for one in series.ReferencedSOPSequence)


def _numbers(item: Dataset) -> Iterator[tuple[str, float]]:
    """Code and value of every number in an SR's tree."""
    for child in item.get("ContentSequence", []):
        if child.ValueType == "NUM" and child.get("MeasuredValueSequence"):
            yield child.ConceptNameCodeSequence[0].CodeValue, float(child.MeasuredValueSequence[0].NumericValue)
        yield from _numbers(child)


def _answers(archive: Path) -> dict[str, int]:
    file = archive / "answers"
    given = Counter(file.read_text().split()) if file.exists() else Counter[str]()
    return {f"archive_{answer}": number for answer, number in sorted(given.items())}
