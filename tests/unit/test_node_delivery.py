"""Delivery: to a real SCP, while it is down, when it refuses, and to several destinations."""

from __future__ import annotations

import datetime as dt
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage, EnhancedSRStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, evt
from support.node_parts import TAKEN, pipeline, receive, settings
from support.reporting import Desk, adt, weight

from config.settings import Reception
from dicom_io.spool import Spool
from dicom_io.storage_scp import StorageScp
from node.case import Delivered, Reported
from node.delivery import Deliverer
from node.delivery_record import direct_undirected, resume_delivery
from node.demo.node_process import free_port
from node.errors import Retry
from node.store import cases, jobs, outbox, report_objects, report_versions
from node.store.outbox import DeliveryState
from node.worker import CaseWorker

LATE = TAKEN + dt.timedelta(seconds=601)


class Archive:
    """A real Storage SCP on a port that stays the same while it is down."""

    def __init__(self, folder, ae_title="PACS"):
        self.port = free_port()
        self.received = []
        self._scp = StorageScp(Reception(ae_title=ae_title, port=self.port), Spool(folder), self.received.append)

    def __enter__(self):
        self._scp.start()
        return self

    def __exit__(self, *_):
        self._scp.stop()


def destination(archive, name="pacs"):
    return {"name": name, "ae_title": "PACS", "host": "127.0.0.1", "port": archive.port}


def reported(ledger, tmp_path, *destinations):
    """A case in Reported, and what delivers it."""
    delivery = {"backoff_first": 10, "acse_timeout": 5, "destinations": list(destinations)}
    worker = CaseWorker(ledger=ledger, pipeline=pipeline(ledger, tmp_path, at=LATE, delivery=delivery))
    case = receive(ledger, worker.pipeline.spool)
    with ledger.begin() as c:
        (task,) = jobs.claim(c, "infer", 1, owner="test", lease=60)
    change = worker.advance(task)
    with ledger.begin() as c:
        jobs.finish(c, task)
        change(c)
    return case.case_id, Deliverer(ledger=ledger, settings=settings(delivery=delivery).delivery)


def deliver(ledger, deliverer, name="pacs"):
    with ledger.begin() as c:
        (task,) = jobs.claim(c, f"net:{name}", 1, owner="test", lease=60)
    try:
        change = deliverer.deliver(task)
    except Retry as retry:
        with ledger.begin() as c:
            jobs.retry_later(c, task, after=0, reason=retry.reason)
        raise
    with ledger.begin() as c:
        jobs.finish(c, task)
        change(c)


def load(ledger, case_id):
    with ledger.read() as c:
        return cases.load(c, case_id), outbox.deliveries(c, case_id=case_id)


def test_the_page_goes_first_and_the_proof_is_recorded(ledger, tmp_path):
    with Archive(tmp_path / "pacs") as archive:
        case_id, deliverer = reported(ledger, tmp_path, destination(archive))
        deliver(ledger, deliverer)
    case, _ = load(ledger, case_id)
    assert isinstance(case, Delivered)
    assert [r.reference.sop_instance_uid for r in archive.received] == [o.sop_instance_uid for o in case.objects]
    assert [o.kind for o in case.objects] == ["page", "sr"]
    assert [(p.destination, p.kind) for p in case.proofs] == [("pacs", "c-store")]


# pynetdicom leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_while_the_archive_is_down_the_report_waits_with_growing_pauses(ledger, tmp_path):
    archive = Archive(tmp_path / "pacs")
    case_id, deliverer = reported(ledger, tmp_path, destination(archive))
    pauses = []
    for _ in range(4):
        with pytest.raises(Retry) as retry:
            deliver(ledger, deliverer)
        pauses.append(retry.value.after)
    assert [round(p / (10 * 2**n)) for n, p in enumerate(pauses)] == [1, 1, 1, 1]
    case, (waiting,) = load(ledger, case_id)
    assert isinstance(case, Reported)
    assert (waiting.state, waiting.tries) == (DeliveryState.WAITING, 4)
    with archive:
        deliver(ledger, deliverer)
    assert isinstance(load(ledger, case_id)[0], Delivered)


def test_an_archive_that_says_no_is_put_before_a_person_who_can_try_again(ledger, tmp_path):
    with Archive(tmp_path / "other", ae_title="OTHER") as archive:
        case_id, deliverer = reported(ledger, tmp_path, destination(archive))
        for _ in range(2):
            with pytest.raises(Retry):
                deliver(ledger, deliverer)
        deliver(ledger, deliverer)
    case, (refused,) = load(ledger, case_id)
    assert isinstance(case, Reported)
    assert (refused.state, refused.tries) == (DeliveryState.REFUSED, 3)
    assert refused.error
    with ledger.begin() as c:
        assert resume_delivery(c, case_id) == ("pacs",)
    assert load(ledger, case_id)[1][0].state is DeliveryState.WAITING


def test_a_case_is_delivered_only_when_every_destination_has_it(ledger, tmp_path):
    with Archive(tmp_path / "pacs") as first, Archive(tmp_path / "vna") as second:
        case_id, deliverer = reported(ledger, tmp_path, destination(first), destination(second, "vna"))
        deliver(ledger, deliverer, "pacs")
        assert isinstance(load(ledger, case_id)[0], Reported)
        deliver(ledger, deliverer, "vna")
    case, _ = load(ledger, case_id)
    assert isinstance(case, Delivered)
    assert {p.destination for p in case.proofs} == {"pacs", "vna"}


def test_sending_twice_sends_the_same_bytes(ledger, tmp_path):
    with Archive(tmp_path / "pacs") as archive:
        _, deliverer = reported(ledger, tmp_path, destination(archive))
        with ledger.begin() as c:
            (task,) = jobs.claim(c, "net:pacs", 1, owner="test", lease=60)
        deliverer.deliver(task)
        deliverer.deliver(task)
    digests = [r.digest for r in archive.received]
    assert digests[:2] == digests[2:]


def test_reports_made_without_a_destination_go_out_once_there_is_one(ledger, tmp_path):
    with Archive(tmp_path / "pacs") as archive:
        case_id, _ = reported(ledger, tmp_path)
        later = settings(delivery={"destinations": [destination(archive)]}).delivery
        with ledger.begin() as c:
            assert direct_undirected(c, later.destinations) == 1
            assert direct_undirected(c, later.destinations) == 0
        deliver(ledger, Deliverer(ledger=ledger, settings=later))
    assert isinstance(load(ledger, case_id)[0], Delivered)


def test_a_page_that_was_stored_without_its_sr_is_replaced_by_the_next_version(ledger, tmp_path):
    """Page stored and SR refused with A700: version 2 names version 1, of which a page is there."""
    ae = AE("PACS")
    for sop_class in (SecondaryCaptureImageStorage, EnhancedSRStorage, ComprehensiveSRStorage):
        ae.add_supported_context(sop_class)

    def only_pages(event):
        return 0x0000 if event.request.AffectedSOPClassUID == SecondaryCaptureImageStorage else 0xA700

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, only_pages)])
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": server.server_address[1]}
    desk = Desk(ledger, tmp_path, {"delivery": {"acse_timeout": 5, "destinations": [pacs]}})
    case_id = desk.receive()
    desk.work()
    with pytest.raises(Retry, match="A700"):
        deliver(ledger, Deliverer(ledger=ledger, settings=desk.worker().pipeline.settings.delivery))
    ae.shutdown()
    desk.tell(adt(), weight())
    desk.work()
    with ledger.read() as c:
        assert report_versions.released(c, case_id) == (1,)
        first, second = (dcmread(BytesIO(report_objects.objects(c, case_id, v)[-1].part10)) for v in (1, 2))
    (study,) = second.PredecessorDocumentsSequence
    (named,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == first.SOPInstanceUID


def test_the_newest_version_wins_and_an_older_one_is_not_sent_after_it(ledger, tmp_path):
    with Archive(tmp_path / "pacs") as archive:
        desk = Desk(ledger, tmp_path, {"delivery": {"acse_timeout": 5, "destinations": [destination(archive)]}})
        case_id = desk.receive()
        desk.work()
        desk.tell(adt(), weight())
        desk.work()
        with ledger.begin() as c:
            first, second = sorted(jobs.claim(c, "net:pacs", 2, owner="test", lease=60), key=lambda task: task.key)
        deliverer = Deliverer(ledger=ledger, settings=desk.worker().pipeline.settings.delivery)
        with pytest.raises(Retry, match="an older version is still under way"):
            deliverer.deliver(second)
        assert deliverer.deliver(first) is None  # cancelled: nothing is sent
        with ledger.begin() as c:
            jobs.finish(c, first)
        change = deliverer.deliver(second)
        with ledger.begin() as c:
            jobs.finish(c, second)
            change(c)
    case = desk.case(case_id)
    assert isinstance(case, Delivered)
    assert case.version == 2
    assert [r.reference.sop_instance_uid for r in archive.received] == [o.sop_instance_uid for o in case.objects]
