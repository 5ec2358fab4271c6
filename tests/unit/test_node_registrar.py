"""What becomes of stored objects: new, the same again, other bytes under one UID, own results, a file that was gone."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from support.dicom_objects import dataset_of, encode, radiograph_dataset
from support.hospital import await_true
from support.node_parts import TAKEN, pipeline, receive
from support.postgres import Cluster

from config.settings import Delivery, Destination, Settings, parse
from dicom_io.content_digest import is_intact
from dicom_io.header import instance_reference, patient_ids
from dicom_io.received import StoredInstance
from dicom_io.spool import Spool
from dicom_io.storage_scu import OutgoingObject, send
from model.domain import Reason
from node.audit import AuditTrail
from node.case import Failed, NotApplicable, Reported
from node.case_views import show_case
from node.dispatch.local import Dispatcher
from node.errors import FailureCode
from node.listener import Listener
from node.registrar import Registrar
from node.store import cases, duplicates, jobs, report_objects
from node.store.engine import Ledger, open_ledger
from node.store.schema import case_patient, screening_case
from node.tasks import ADVANCE, INFER_LANE
from node.worker import CaseWorker

LATE = TAKEN + dt.timedelta(seconds=601)


def registrar(ledger: Ledger, folder: Path) -> Registrar:
    return Registrar(ledger=ledger, spool=Spool(folder / "spool"), audit=AuditTrail(folder / "audit"))


def take(registrar: Registrar, dataset: Dataset, *, calling: str = "MODALITY") -> StoredInstance:
    """Store and record an object as the Storage SCP does."""
    content = encode(dataset)
    with registrar.spool.storing(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        dataset=dataset_of(content),
    ) as spooled:
        stored = StoredInstance(
            reference=instance_reference(dataset),
            spool_file=spooled.file,
            digest=spooled.digest,
            calling_ae=calling,
            peer_address="127.0.0.1",
            received_at=TAKEN,
            patient_ids=patient_ids(dataset),
        )
        registrar.record(stored)
    return stored


def audited(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text("utf-8").splitlines()]


@contextmanager
def working(ledger: Ledger, folder: Path) -> Iterator[None]:
    """A worker of this ledger, in this process."""
    worker = CaseWorker(ledger=ledger, pipeline=pipeline(ledger, folder, at=LATE))
    dispatcher = Dispatcher(ledger, {ADVANCE: worker.advance}, {INFER_LANE: 1}, poll=0.02, on_dead=worker.bury)
    dispatcher.start()
    try:
        yield
    finally:
        dispatcher.stop()


def state(ledger: Ledger, sop_instance_uid: str) -> object:
    with ledger.read() as c:
        return cases.by_uid(c, sop_instance_uid)


def test_the_same_bytes_are_counted_and_other_bytes_are_kept(ledger: Ledger, tmp_path: Path) -> None:
    desk = registrar(ledger, tmp_path)
    film = radiograph_dataset(number=1)
    first = take(desk, film)
    assert take(desk, film) == first
    film.PatientID = "another patient"
    other = take(desk, film)
    take(desk, film)
    desk.audit.flush()
    with ledger.read() as c:
        case = cases.by_uid(c, first.reference.sop_instance_uid)
        found = duplicates.listed(c, case_id=1)
        assert cases.spool_files(c) == {first.spool_file, other.spool_file}
        assert jobs.count_by_state(c) == {(INFER_LANE, "todo"): 1}
    assert case.source.digest == first.digest
    assert {(d.differs, d.copies, d.digest) for d in found} == {(False, 1, first.digest), (True, 2, other.digest)}
    for stored in (first, other):
        assert desk.spool.path(stored.spool_file).is_file()
    receipts = [line["receipt"] for line in audited(tmp_path / "audit")]
    assert receipts == ["new", "same", "differs", "differs"]
    assert list(desk.spool.orphans([first.spool_file, other.spool_file])) == []


def test_a_case_whose_file_was_gone_goes_on_when_it_comes_again(ledger: Ledger, tmp_path: Path) -> None:
    desk = registrar(ledger, tmp_path)
    film = radiograph_dataset(number=1, PatientName="Weber^Petra")
    stored = take(desk, film)
    instance = stored.reference.sop_instance_uid
    desk.spool.remove(stored.spool_file)
    with working(ledger, tmp_path):
        await_true(lambda: isinstance(state(ledger, instance), Failed), "it fails", limit=30)
        assert state(ledger, instance).code is FailureCode.SPOOL_MISSING
        other = radiograph_dataset(number=1, PatientName="Weber^Petra", StudyID="2")
        take(desk, other)  # other bytes are no substitute
        assert isinstance(state(ledger, instance), Failed)
        take(desk, film)
        await_true(lambda: isinstance(state(ledger, instance), Reported), "it is reported", limit=30)
    with ledger.read() as c:
        assert "its file was received again" in [event.reason for event in cases.history(c, 1)]


RETURNED = {
    "sr": {"sop_class": uid.EnhancedSRStorage, "Modality": "SR"},
    "page": {"sop_class": uid.SecondaryCaptureImageStorage, "Modality": "OT", "ConversionType": "WSD"},
    "pr": {"sop_class": uid.GrayscaleSoftcopyPresentationStateStorage, "Modality": "PR"},
    "kos": {"sop_class": uid.KeyObjectSelectionDocumentStorage, "Modality": "KO"},
}


@pytest.mark.parametrize("accept", [False, True])
def test_own_results_end_as_own_and_foreign_ones_as_not_applicable(
    ledger: Ledger, tmp_path: Path, *, accept: bool
) -> None:
    steps = pipeline(ledger, tmp_path, at=LATE, reception={"accept_secondary_capture": accept})
    for number, (kind, change) in enumerate(RETURNED.items(), start=1):
        own = radiograph_dataset(number=number, ManufacturerModelName="Osteon", **change)
        foreign = radiograph_dataset(number=number + 50, **change)
        for dataset, expected in ((own, Reason.OWN_RESULT), (foreign, Reason.MODALITY)):
            ended = steps.advance(receive(ledger, steps.spool, dataset)).case
            assert isinstance(ended, NotApplicable), kind
            assert ended.reasons[0] is expected, kind


def test_an_own_result_that_the_archive_changed_is_known_by_its_uid(ledger: Ledger, tmp_path: Path) -> None:
    steps = pipeline(ledger, tmp_path, at=LATE, reception={"accept_secondary_capture": True})
    source = receive(ledger, steps.spool)
    coerced = radiograph_dataset(number=9, Manufacturer="PACS", Modality="OT", ConversionType="DF")
    coerced.SOPClassUID = uid.SecondaryCaptureImageStorage
    page = OutgoingPage(str(coerced.SOPInstanceUID))
    with ledger.begin() as c:
        report_objects.freeze_once(c, source.case_id, 1, [page])
    ended = steps.advance(receive(ledger, steps.spool, coerced)).case
    assert isinstance(ended, NotApplicable)
    assert ended.reasons == (Reason.OWN_RESULT,)


class OutgoingPage:
    kind, sop_class_uid, part10 = "page", str(uid.SecondaryCaptureImageStorage), b"frozen"

    def __init__(self, sop_instance_uid: str) -> None:
        self.sop_instance_uid = sop_instance_uid


@pytest.mark.parametrize("accept", [False, True])
def test_a_scanned_film_is_screened_only_where_it_is_wanted(ledger: Ledger, tmp_path: Path, *, accept: bool) -> None:
    steps = pipeline(ledger, tmp_path, at=LATE, reception={"accept_secondary_capture": accept})
    film = radiograph_dataset(sop_class=uid.SecondaryCaptureImageStorage, Modality="OT", ConversionType="DF")
    ended = steps.advance(receive(ledger, steps.spool, film)).case
    assert isinstance(ended, NotApplicable) is not accept


def configured(folder: Path) -> Settings:
    tables = {"storage": {"data_dir": folder}, "reception": {"port": 0}, "clinical": {"mllp": {"enabled": False}}}
    return parse(tables, origin="test")


def test_other_content_is_answered_with_success_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = configured(tmp_path / "node")
    running = Listener(settings)
    running.start()
    try:
        for study_id in ("1", "1", "2"):
            film = radiograph_dataset(number=1, StudyID=study_id)
            one = OutgoingObject(
                sop_class_uid=str(film.SOPClassUID), sop_instance_uid=str(film.SOPInstanceUID), part10=encode(film)
            )
            node = Destination(name="node", ae_title="OSTEON", host="127.0.0.1", port=running.dicom_port)
            send([one], node, Delivery())
    finally:
        running.stop()
    capsys.readouterr()
    show_case(settings, 1, as_json=False)
    shown = capsys.readouterr().out
    assert "received again 1x: same bytes" in shown
    assert "received again 1x: OTHER BYTES under the same UID, kept for you" in shown
    assert [line["receipt"] for line in audited(tmp_path / "node" / "audit") if "receipt" in line] == [
        "new",
        "same",
        "differs",
    ]
    show_case(settings, 1, as_json=True)
    assert isinstance(json.loads(capsys.readouterr().out)["received_again"][1]["file"], str)


def of_an_older_version(ledger: Ledger, desk: Registrar, stored: StoredInstance) -> str:
    """Rewrite a case as a version with SHA-256 would have left it; its file's old name."""
    content = desk.spool.path(stored.spool_file).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    old = f"{digest[:2]}/{stored.reference.sop_instance_uid}-{digest[:16]}.dcm"
    desk.spool.rename(stored.spool_file, old)
    with ledger.begin() as c:
        case = cases.by_uid(c, stored.reference.sop_instance_uid)
        source = dataclasses.replace(case.source, digest=f"sha256:{digest}", spool_file=old)
        cases.save(c, dataclasses.replace(case, source=source))
        c.execute(sa.update(screening_case).values(digest=f"sha256:{digest}", spool_file=old))
    return old


def test_an_image_of_an_older_version_is_known_again_by_its_own_digest(ledger: Ledger, tmp_path: Path) -> None:
    desk, film = registrar(ledger, tmp_path), radiograph_dataset(number=1)
    stored = take(desk, film)
    old = of_an_older_version(ledger, desk, stored)
    take(desk, film)
    with ledger.read() as c:
        assert [(d.differs, d.copies) for d in duplicates.listed(c)] == [(False, 1)]
        assert cases.spool_files(c) == {old}
    assert list(desk.spool.orphans([])) == [old]
    film.PatientID = "another patient"
    other = take(desk, film)
    with ledger.read() as c:
        (kept,) = duplicates.listed(c, differing=True)
    assert (kept.spool_file, kept.digest[:7]) == (other.spool_file, "sha256:")
    assert is_intact(desk.spool.path(other.spool_file), kept.digest)


def test_a_file_of_an_older_version_that_was_gone_is_back_under_its_own_name(ledger: Ledger, tmp_path: Path) -> None:
    desk, film = registrar(ledger, tmp_path), radiograph_dataset(number=1)
    old = of_an_older_version(ledger, desk, take(desk, film))
    desk.spool.remove(old)
    take(desk, film)
    with ledger.read() as c:
        case = cases.load(c, 1)
    assert case.source.spool_file == old
    assert is_intact(desk.spool.path(old), case.source.digest)


def test_an_orphan_that_cannot_be_read_keeps_no_other_from_being_adopted(ledger: Ledger, tmp_path: Path) -> None:
    desk = registrar(ledger, tmp_path)
    take(desk, radiograph_dataset(number=1))
    desk.spool.path("00").mkdir(exist_ok=True)
    desk.spool.path("00/1.2.3-0000000000000000.dcm").mkdir()  # reading it is an OSError, as on a bad sector
    fresh = registrar(open_ledger(tmp_path / "other.db"), tmp_path)
    assert fresh.adopt_orphans() == 1
    fresh.ledger.close()


def test_nuls_in_identifiers_and_titles_are_left_out_on_both_databases(ledger: Ledger, tmp_path: Path) -> None:
    film = radiograph_dataset(number=1)
    film[Tag("PatientID")] = RawDataElement(Tag("PatientID"), "LO", 6, b"00\x00123", 0, False, True)  # noqa: FBT003
    take(registrar(ledger, tmp_path), film, calling="DX1\0\0")
    with ledger.read() as c:
        assert cases.load(c, 1).source.calling_ae == "DX1"
        assert set(c.execute(sa.select(case_patient.c.patient_id)).scalars()) == {"00123", "123"}


def test_an_orphan_that_the_database_cannot_hold_keeps_no_other_from_being_adopted(
    postgres_cluster: Cluster, tmp_path: Path
) -> None:
    desk = registrar(open_ledger(tmp_path / "other.db"), tmp_path)
    take(desk, radiograph_dataset(number=1))
    take(desk, radiograph_dataset(number=2, SeriesInstanceUID="1.2"))
    desk.ledger.close()
    fresh = registrar(open_ledger(postgres_cluster.empty_database()), tmp_path)
    with fresh.ledger.begin() as c:
        c.exec_driver_sql("ALTER TABLE screening_case ALTER COLUMN series_uid TYPE varchar(3)")
    assert fresh.adopt_orphans() == 1
    with fresh.ledger.read() as c:
        assert cases.load(c, 1).source.reference.series_uid == "1.2"
    fresh.ledger.close()


def test_an_orphan_of_an_older_version_is_adopted_by_its_own_digest(ledger: Ledger, tmp_path: Path) -> None:
    desk, film = registrar(ledger, tmp_path), radiograph_dataset(number=1)
    stored = take(desk, film)
    content = desk.spool.path(stored.spool_file).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    old = f"{digest[:2]}/{stored.reference.sop_instance_uid}-{digest[:16]}.dcm"
    desk.spool.rename(stored.spool_file, old)
    fresh = registrar(open_ledger(tmp_path / "other.db"), tmp_path)
    assert fresh.adopt_orphans() == 1
    with fresh.ledger.read() as c:
        assert cases.load(c, 1).source.digest == f"sha256:{digest}"
    fresh.ledger.close()
