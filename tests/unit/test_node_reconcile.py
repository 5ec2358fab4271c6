"""Reconciliation: every radiograph an archive lists is in exactly one group; what is missing is named or sent again."""

import dataclasses
import datetime as dt
from io import BytesIO
from types import SimpleNamespace

import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from support.ledgers import NOON, scored, source
from support.reporting import Desk, adt, weight

from config.reconciliation import Reconciliation
from config.settings import Delivery, Destination, Settings
from dicom_io.errors import PeerUnavailable
from dicom_io.negotiation import STUDY_ROOT_FIND
from model.domain import MatchClass, Reason
from node.case import Delivered, Failed, NotApplicable, Proof, Withdrawn
from node.delivery_record import begin_deliveries, record_delivered
from node.errors import FailureCode, Retry
from node.reconcile import Reconciler
from node.store import alerts, cases, jobs, outbox, reconciliations, report_objects, report_versions, sent
from node.store.schema import outbox_object
from node.store.sent import SentObject
from node.tasks import DELIVER, deliver_key

DAY = dt.date(2026, 3, 1)
DX = str(uid.DigitalXRayImageStorageForPresentation)
SR = str(uid.EnhancedSRStorage)


def listed(number, *, day="20260301", modality="DX", part="CHEST", sop_class=DX, study=None):
    """One instance as an archive knows it; its UIDs are those of `support.ledgers.source`."""
    of = source(number, study=study or number).reference
    return dataset_of(
        StudyInstanceUID=of.study_uid,
        SeriesInstanceUID=of.series_uid + ("" if modality == "DX" else ".9"),
        SOPInstanceUID=of.sop_instance_uid,
        SOPClassUID=sop_class,
        StudyDate=day,
        Modality=modality,
        BodyPartExamined=part,
    )


def dataset_of(**values):
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


class Archive:
    """A C-FIND SCP as strict as the standard allows: it matches the unique keys of each level and nothing more."""

    def __init__(self, instances):
        self.instances = instances
        self.questions = []

    def __enter__(self):
        ae = AE("PACS")
        ae.add_supported_context(STUDY_ROOT_FIND)
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, self._find)])
        self.port = self._server.server_address[1]
        return self

    def __exit__(self, *_):
        self._server.shutdown()

    def _find(self, event):
        wanted = event.identifier
        self.questions.append((wanted.QueryRetrieveLevel, sorted(e.keyword for e in wanted if e.value)))
        returned = {"STUDY": ["StudyInstanceUID"], "SERIES": ["SeriesInstanceUID", "Modality", "BodyPartExamined"]}
        fields = returned.get(wanted.QueryRetrieveLevel, ["SOPInstanceUID", "SOPClassUID"])
        for values in {tuple(str(one[f].value) for f in fields): one for one in self.instances if _fits(one, wanted)}:
            yield 0xFF00, dataset_of(**dict(zip(fields, values, strict=True)))
        yield 0x0000, None


def _fits(one, wanted):
    keys = ("StudyDate", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    return all(str(one[k].value) == str(wanted[k].value) for k in keys if k in wanted and wanted[k].value)


@pytest.fixture
def place(ledger):
    def reconciler(archive, **settings):
        destination = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=archive.port)
        return Reconciler(
            ledger=ledger,
            settings=Settings(
                delivery=Delivery(destinations=(destination,), acse_timeout=5, dimse_timeout=5),
                reconciliation=Reconciliation(archive="pacs", **settings),
            ),
            now=lambda: dt.datetime(2026, 3, 2, 3, tzinfo=dt.UTC),
        )

    return SimpleNamespace(ledger=ledger, reconciler=reconciler)


def receive(place, number):
    with place.ledger.begin() as c:
        received = cases.receive(c, source(number, study=number))
        return received.case_id, source(number, study=number)


def save(place, case):
    with place.ledger.begin() as c:
        cases.save(c, case)


def delivered_case(place, number):
    """A case whose SR the archive answered for."""
    case_id, of = receive(place, number)
    report = dataset_of(
        StudyInstanceUID=of.reference.study_uid,
        SeriesInstanceUID=f"1.2.3.{number}.8",
        SOPInstanceUID=f"1.2.3.{number}.8.1",
        SOPClassUID=SR,
        StudyDate="20260301",
        Modality="SR",
        BodyPartExamined="",
    )
    with place.ledger.begin() as c:
        built = SimpleNamespace(
            kind="sr", sop_class_uid=SR, sop_instance_uid=str(report.SOPInstanceUID), part10=_part10(report)
        )
        objects = report_objects.freeze_once(c, case_id, 1, [built])
        begin_deliveries(c, case_id, 1, ("pacs",))
        thing = SentObject(
            destination="pacs",
            case_id=case_id,
            version=1,
            kind="sr",
            sop_class_uid=SR,
            sop_instance_uid=str(report.SOPInstanceUID),
        )
        sent.begin(c, [thing])
        sent.answered(c, "pacs", {thing.sop_instance_uid: 0}, {})
        record_delivered(case_id, 1, "pacs", NOON, proof="find")(c)
        proof = Proof(destination="pacs", kind="find", at=NOON)
        cases.save(
            c,
            Delivered(
                case_id=case_id,
                source=of,
                match=MatchClass.MATCH_ISSUER,
                result=scored(),
                objects=objects,
                proofs=(proof,),
            ),
        )
    return case_id, report


def _part10(dataset):
    from dicom_io.envelope import part10  # noqa: PLC0415 - highdicom takes a second to import

    dataset.file_meta = Dataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    return part10(dataset)


def test_reconciliation_image_withheld_from_the_node_and_sr_deleted_at_the_pacs_both_appear_coverage_figure_exact(
    place,
):
    kept, kept_report = delivered_case(place, 1)
    lost, _ = delivered_case(place, 2)
    refused, of = receive(place, 3)
    save(place, NotApplicable(case_id=refused, source=of, reasons=(Reason.AGE_UNDER,)))
    failed, of = receive(place, 4)
    save(place, Failed(case_id=failed, source=of, code=FailureCode.PIXEL_DECODE, detail="x"))
    receive(place, 5)
    with Archive([*(listed(n) for n in range(1, 7)), kept_report]) as archive:
        coverage = place.reconciler(archive).reconcile(DAY)
    assert (coverage.expected, coverage.received, coverage.reported, coverage.under_way) == (6, 5, 2, 1)
    assert coverage.not_applicable == {"AGE_UNDER": 1}
    assert coverage.failed == {"PIXEL-DECODE": 1}
    assert coverage.never_received == (source(6, study=6).reference.sop_instance_uid,)
    assert coverage.missing_reports == (lost,)
    assert coverage.percent == pytest.approx(100 * 3 / 6)
    with place.ledger.read() as c:
        assert reconciliations.kept(c, DAY, "pacs") == {
            **coverage.document(),
            "never_received": list(coverage.never_received),
            "missing_reports": [lost],
        }
        (alert,) = [a for a in alerts.find(c) if a.kind == "COVERAGE"]
        assert alert.detail == "50.0 %, never received 1, reports missing 1"
        task = jobs.get(c, DELIVER, deliver_key(lost, 1, "pacs"))
        assert task is not None
        assert task.state == "todo"
        assert outbox.one(c, lost, 1, "pacs").state == "waiting"
        assert outbox.one(c, kept, 1, "pacs").state == "delivered"


def test_what_is_no_chest_radiograph_of_that_day_is_not_expected(place):
    others = [
        listed(1, part="HAND"),
        listed(2, day="20260228"),
        listed(3, modality="CT"),
        listed(4, sop_class=str(uid.DigitalXRayImageStorageForProcessing)),
    ]
    with Archive([*others, listed(5, part=""), listed(6, part="Thorax PA")]) as archive:
        coverage = place.reconciler(archive).reconcile(DAY)
        stated_only = place.reconciler(archive, unknown_body_part=False).reconcile(DAY)
    assert coverage.expected == 2
    assert stated_only.expected == 1


def test_a_day_without_radiographs_has_no_percentage_and_no_alert(place):
    with Archive([]) as archive:
        coverage = place.reconciler(archive).reconcile(DAY)
    assert (coverage.expected, coverage.percent) == (0, None)
    with place.ledger.read() as c:
        assert alerts.find(c) == ()


def test_the_alert_goes_once_the_images_have_come(place):
    with Archive([listed(1)]) as archive:
        place.reconciler(archive).reconcile(DAY)
        number, of = receive(place, 1)
        save(place, NotApplicable(case_id=number, source=of, reasons=(Reason.VIEW_LATERAL,)))
        assert place.reconciler(archive).reconcile(DAY).percent == 100
    with place.ledger.read() as c:
        assert alerts.find(c) == ()


def test_each_night_looks_at_the_last_days_and_an_archive_that_is_down_is_asked_again(place):
    with Archive([listed(1)]) as archive:
        place.reconciler(archive).nightly()
        with place.ledger.read() as c:
            assert reconciliations.kept(c, DAY, "pacs")["expected"] == 1
            assert reconciliations.kept(c, DAY - dt.timedelta(days=1), "pacs")["expected"] == 0
    gone = place.reconciler(archive)
    with pytest.raises(Retry):
        gone.nightly()
    with pytest.raises(PeerUnavailable):
        gone.reconcile(DAY)


def test_every_question_names_the_unique_keys_of_the_levels_above(place):
    with Archive([listed(1)]) as archive:
        place.reconciler(archive).reconcile(DAY)
    assert ("SERIES", ["QueryRetrieveLevel", "SpecificCharacterSet", "StudyInstanceUID"]) in archive.questions
    above = ["QueryRetrieveLevel", "SeriesInstanceUID", "SpecificCharacterSet", "StudyInstanceUID"]
    assert ("IMAGE", above) in archive.questions


def test_an_archive_that_is_no_destination_is_named(place):
    with Archive([]) as archive:
        wrong = place.reconciler(archive)
    settings = wrong.settings.model_copy(update={"reconciliation": Reconciliation(archive="other")})
    with pytest.raises(LookupError, match=r"reconciliation.archive: 'other'"):
        Reconciler(ledger=place.ledger, settings=settings, now=wrong.now).reconcile(DAY)


class Meanwhile(Archive):
    """Something happens in the ledger just before it is asked for one image."""

    def __init__(self, instances, happens):
        super().__init__(instances)
        self.happens = happens

    def _find(self, event):
        if event.identifier.get("SOPInstanceUID"):
            self.happens()
        yield from super()._find(event)


def test_a_report_that_is_withdrawn_while_the_archive_is_asked_is_not_sent_again(place):
    case_id, _ = delivered_case(place, 1)
    _, of = receive(place, 1)
    withdrawn = Withdrawn(
        case_id=case_id, source=of, version=1, reason="wrong", rejection="safety", by="K. Braun", at=NOON
    )
    with Meanwhile([listed(1)], lambda: save(place, withdrawn)) as archive:
        place.reconciler(archive).reconcile(DAY)
    with place.ledger.read() as c:
        assert outbox.one(c, case_id, 1, "pacs").state == "delivered"
        assert all(one.stored for one in sent.of_case(c, case_id))


def test_an_older_version_is_never_sent_again_when_the_newest_was_refused(place):
    case_id, _ = delivered_case(place, 1)
    with place.ledger.begin() as c:
        begin_deliveries(c, case_id, 2, ("pacs",))
        outbox.mark_refused(c, case_id, 2, "pacs", error="A771")
        case = cases.load(c, case_id)
        cases.save(c, dataclasses.replace(case, version=2))
    with Archive([listed(1)]) as archive:
        assert place.reconciler(archive).reconcile(DAY).missing_reports == ()
    with place.ledger.read() as c:
        assert outbox.one(c, case_id, 1, "pacs").state == "delivered"


def test_a_report_whose_page_was_let_go_is_not_looked_for_and_ends_no_night(place):
    case_id, _ = delivered_case(place, 1)
    page = outbox_object.insert().values(
        case_id=case_id,
        version=1,
        position=9,
        kind="page",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.7",
        sop_instance_uid="1.2.3.1.9.1",
        sha256="0" * 64,
        part10=b"",
        frozen_at=NOON,
    )
    with place.ledger.begin() as c:
        c.execute(page)
    with Archive([listed(1)]) as archive:
        assert place.reconciler(archive).reconcile(DAY).missing_reports == ()


def test_a_report_that_an_archive_loses_night_after_night_is_put_before_a_person(place):
    case_id, _ = delivered_case(place, 1)
    with Archive([listed(1)]) as archive:
        for _ in range(3):
            assert place.reconciler(archive).reconcile(DAY).missing_reports == (case_id,)
            with place.ledger.begin() as c:
                record_delivered(case_id, 1, "pacs", NOON, proof="find")(c)
                sent.answered(c, "pacs", {"1.2.3.1.8.1": 0}, {})
        place.reconciler(archive).reconcile(DAY)
    with place.ledger.read() as c:
        assert outbox.one(c, case_id, 1, "pacs").state == "refused"
        assert "DELIVERY_REFUSED" in {one.kind for one in alerts.find(c)}
        assert report_versions.released(c, case_id) == (1,)  # it answered for it all the same


def test_a_report_that_the_archive_does_not_show_has_left_the_node_and_its_amendment_names_it(place, tmp_path):
    desk = Desk(place.ledger, tmp_path)
    case_id = desk.receive()
    desk.work()
    desk.deliver(case_id)
    case = desk.case(case_id)
    of, (report,) = case.source.reference, [one for one in case.objects if one.kind == "sr"]
    thing = SentObject(
        destination="pacs",
        case_id=case_id,
        version=1,
        kind="sr",
        sop_class_uid=report.sop_class_uid,
        sop_instance_uid=report.sop_instance_uid,
    )
    with place.ledger.begin() as c:
        sent.begin(c, [thing])
        sent.answered(c, "pacs", {thing.sop_instance_uid: 0}, {})
    image = listed(1)
    image.StudyInstanceUID, image.SeriesInstanceUID = of.study_uid, of.series_uid
    image.SOPInstanceUID, image.SOPClassUID = of.sop_instance_uid, of.sop_class_uid
    with Archive([image]) as archive:
        assert place.reconciler(archive).reconcile(DAY).missing_reports == (case_id,)
    with place.ledger.read() as c:
        assert outbox.one(c, case_id, 1, "pacs").state == "waiting"
        assert report_versions.released(c, case_id) == (1,)
    desk.tell(adt(), weight())
    desk.work()
    with place.ledger.read() as c:
        (amended,) = report_objects.objects(c, case_id, 2, kind="sr")
        assert report_versions.fate(c, case_id, 1) == "superseded"
    (study,) = dcmread(BytesIO(amended.part10)).PredecessorDocumentsSequence
    (named,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == report.sop_instance_uid
