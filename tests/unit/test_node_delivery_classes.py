"""Which SR class a destination gets: negotiated, frozen, recorded (structured-report.md 2, acceptance test 2)."""

from __future__ import annotations

import hashlib
from io import BytesIO

import pytest
from pydicom import dcmread, uid
from support.pacs import BOTH, C3D, PAGE, C, E, FakePacs
from support.post import Post
from support.reporting import adt, weight

from node.case import Delivered, Reported
from node.store import alerts, report_objects, sent, variants
from node.store.engine import open_ledger
from node.store.outbox import DeliveryState


@pytest.fixture
def ledger(tmp_path):
    opened = open_ledger(tmp_path / "ledger.db")
    yield opened
    opened.close()


def open_alerts(ledger):
    with ledger.read() as c:
        return {one.kind: one.detail for one in alerts.find(c)}


@pytest.mark.parametrize(
    ("accepts", "gets", "name"),
    [
        ((C3D, C, E), E, "enhanced"),
        ((C, E), E, "enhanced"),
        ((E,), E, "enhanced"),
        ((C,), C, "comprehensive"),
        ((C3D,), C3D, "comprehensive3d"),
        ((C3D, C), C, "comprehensive"),
    ],
)
def test_negotiation_against_scps_accepting(ledger, tmp_path, accepts, gets, name):
    with FakePacs(classes=(PAGE, *accepts)) as pacs:
        post = Post(ledger, tmp_path, pacs.destination())
        case_id = post.report()
        post.settle()
    assert pacs.order == [PAGE, gets]
    case = post.case(case_id)
    assert isinstance(case, Delivered)
    assert [(p.kind, p.sr_class) for p in case.proofs] == [("c-store", name)]
    frozen = next(o for o in case.objects if o.kind == "sr")
    received = pacs.kept[pacs.wire[-1][1]]
    assert received.SOPClassUID == gets
    assert (received.SOPInstanceUID == frozen.sop_instance_uid) is (gets == E)
    assert not open_alerts(ledger)
    with ledger.read() as c:
        assert report_objects.made_here(c, received.SOPInstanceUID)


def test_sc_only_gets_the_page_alone_and_raises_the_alert(ledger, tmp_path):
    with FakePacs(classes=(PAGE,)) as pacs:
        post = Post(ledger, tmp_path, pacs.destination())
        case_id = post.report()
        post.settle()
    case = post.case(case_id)
    assert isinstance(case, Delivered)
    assert pacs.order == [PAGE]
    assert case.proofs[0].sr_class == "none"
    assert open_alerts(ledger) == {"DELIVERY_PARTIAL": f"case {case_id} without sr"}


@pytest.mark.parametrize("accepts", [(), (str(uid.CTImageStorage),)], ids=["verification only", "CT only"])
def test_nothing_accepted_is_refused_with_an_alert_and_never_silence(ledger, tmp_path, accepts):
    with FakePacs(classes=accepts) as pacs:
        post = Post(ledger, tmp_path, pacs.destination())
        case_id = post.report()
        post.until(600)
    assert pacs.wire == []
    refused = post.delivery(case_id)
    assert (refused.state, refused.tries) == (DeliveryState.REFUSED, 3)
    assert "SOP class refused" in refused.error
    assert isinstance(post.case(case_id), Reported)
    assert "SOP class refused" in open_alerts(ledger)["DELIVERY_REFUSED"]


def test_an_sr_goes_alone_where_the_page_is_not_taken_and_a_person_is_told(ledger, tmp_path):
    with FakePacs(classes=(E,)) as pacs:
        post = Post(ledger, tmp_path, pacs.destination())
        case_id = post.report()
        post.settle()
    assert pacs.order == [E]
    assert open_alerts(ledger) == {"DELIVERY_PARTIAL": f"case {case_id} without page"}


def test_an_archive_that_only_speaks_implicit_gets_implicit(ledger, tmp_path):
    with FakePacs(syntaxes=(uid.ImplicitVRLittleEndian,)) as pacs:
        post = Post(ledger, tmp_path, pacs.destination())
        case_id = post.report()
        post.settle()
    page, report = pacs.kept.values()
    assert isinstance(post.case(case_id), Delivered)
    assert report.PatientID == "0012345"
    assert len(page.PixelData) == page.Rows * page.Columns * page.SamplesPerPixel
    with ledger.read() as c:
        frozen = dcmread(BytesIO(report_objects.objects(c, case_id, 1)[0].part10))
    frozen.decompress(generate_instance_uid=False)
    assert page.PixelData == frozen.PixelData


def test_a_pinned_class_is_the_only_one(ledger, tmp_path):
    with FakePacs() as pacs, FakePacs(classes=(PAGE, E)) as vna:
        pinned = pacs.destination(sr_class="comprehensive3d"), vna.destination("vna", sr_class="comprehensive3d")
        post = Post(ledger, tmp_path, *pinned)
        post.report()
        post.settle()
    assert pacs.order == [PAGE, C3D]
    assert vna.order == [PAGE]
    assert "DELIVERY_PARTIAL" in open_alerts(ledger)


def test_a_variant_is_frozen_once_before_it_is_sent_and_retries_send_identical_bytes_also_after_restart(tmp_path):
    busy = lambda sop_class, sends: 0xA700 if sop_class == C and sends < 2 else 0  # noqa: E731
    ledger = open_ledger(tmp_path / "ledger.db")
    with FakePacs(classes=(PAGE, C, C3D), answer=busy) as pacs:
        post = Post(ledger, tmp_path, pacs.destination())
        case_id = post.report()
        post.settle()
        uid_sent = pacs.wire[-1][1]
        with ledger.read() as c:
            frozen = variants.find(c, uid_sent)
        ledger.close()
        ledger = open_ledger(tmp_path / "ledger.db")
        again = Post(ledger, tmp_path, pacs.destination())
        again.pass_time(86_400)
        again.until(3600)
    of_sr = [(instance, digest) for sop_class, instance, digest in pacs.wire if sop_class == C]
    assert len(of_sr) == 3
    assert len(set(of_sr)) == 1
    assert frozen.part10[128:132] == b"DICM"
    assert frozen.sha256 == hashlib.sha256(frozen.part10).hexdigest()
    assert pacs.order.count(PAGE) == 1, "what it answered for is not sent again"
    assert isinstance(again.case(case_id), Delivered)
    ledger.close()


def test_a_peer_that_no_longer_takes_the_class_gets_a_new_object_with_a_new_uid(ledger, tmp_path):
    with FakePacs(classes=(PAGE, E), answer=lambda sop_class, _: 0xA700 if sop_class == E else 0) as pacs:
        post = Post(ledger, tmp_path, pacs.destination())
        case_id = post.report()
        post.settle()
    pacs.classes = (PAGE, C)
    with pacs:
        post.until(60)
    assert pacs.order == [PAGE, E, C]
    assert pacs.wire[1][1] != pacs.wire[2][1]
    with ledger.read() as c:
        there = {one.sop_class_uid: (one.sends, one.stored) for one in sent.of_case(c, case_id)}
    assert there == {PAGE: (1, True), E: (1, False), C: (1, True)}


def test_the_next_version_keeps_the_class_and_names_the_predecessor_the_archive_holds(ledger, tmp_path):
    with FakePacs(classes=(PAGE, C)) as pacs:
        post = Post(ledger, tmp_path, pacs.destination())
        case_id = post.report()
        post.settle()
        pacs.classes = (PAGE, E, C)
    with pacs:
        post.desk.tell(adt(), weight())
        post.desk.work()
        post.settle()
    assert pacs.order == [PAGE, C, PAGE, C]
    first, second = (pacs.kept[instance] for sop_class, instance, _ in pacs.wire if sop_class == C)
    (named,) = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert (named.ReferencedSOPClassUID, named.ReferencedSOPInstanceUID) == (C, first.SOPInstanceUID)
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert post.case(case_id).version == 2


def test_every_proposal_holds_the_three_classes_in_both_transfer_syntaxes():
    from dicom_io.negotiation import proposal  # noqa: PLC0415

    pairs = proposal([(PAGE, str(uid.RLELossless)), (E, str(uid.ExplicitVRLittleEndian))], proving=False)
    assert {(one, str(syntax)) for one in (E, C, C3D) for syntax in BOTH} < set(pairs)
    assert (PAGE, str(uid.RLELossless)) in pairs
    assert len(pairs) == len(set(pairs)) == 9
