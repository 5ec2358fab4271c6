"""A real Orthanc as the archive: it commits itself, is asked by C-FIND and by QIDO-RS, loses an object, and is told."""

from __future__ import annotations

import datetime as dt
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.node_parts import settings as parsed
from support.pacs import NOTE, PAGE, E
from support.post import Post, posted, reported_once
from support.tools import require_tool

from config.settings import Delivery, Destination, Storage
from dicom_io.qido import search
from dicom_io.query_scu import queries
from node.case import Delivered, Withdrawn
from node.case_decisions import withdraw_case
from node.demo.node_process import free_port
from node.demo.orthanc import AE_TITLE, OrthancPacs
from node.store import sent
from node.store.outbox import DeliveryState

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
LIMIT = dt.timedelta(seconds=90)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    require_tool("Orthanc")
    return reported_once(tmp_path_factory.mktemp("made"), "pacs")


class Ward:
    """An Orthanc that knows the node, and the node's delivering half with an open door."""

    def __init__(self, made: Path, folder: Path) -> None:
        self.made, self.folder = made, folder
        self.port, self.http, self.door_port = free_port(), free_port(), free_port()
        self.orthanc = OrthancPacs(
            folder / "orthanc",
            dicom_port=self.port,
            http_port=self.http,
            node_ae="OSTEON",
            node_port=self.door_port,
            dicomweb=DICOMWEB.exists(),
        )

    def place(self, **settings: str) -> dict[str, object]:
        return {"name": "pacs", "ae_title": AE_TITLE, "host": "127.0.0.1", "port": self.port, **settings}

    def forget(self, sop_class: str) -> None:
        for instance in self.orthanc.instances(SOPClassUID=sop_class):
            url = f"http://127.0.0.1:{self.http}/instances/{instance}"
            urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=20).close()


@pytest.fixture
def ward(made, tmp_path) -> Iterator[Ward]:
    one = Ward(made, tmp_path)
    with one.orthanc:
        yield one


def delivered(post: Post) -> list[tuple[str, str]]:
    """Do what is due until the case is delivered; its proofs."""
    end = dt.datetime.now(dt.UTC) + LIMIT
    while not isinstance(case := post.case(1), Delivered):
        assert dt.datetime.now(dt.UTC) < end, case
        post.settle()
    return [(p.kind, p.sr_class) for p in case.proofs]


def test_orthanc_commits_itself_on_an_association_of_its_own_and_gets_again_what_it_lost(ward):
    with posted(ward.made, ward.folder / "a", ward.place()) as post:
        door = post.door(ward.folder / "door", port=ward.door_port)
        door.start()
        post.send()
        assert post.delivery(1).state is DeliveryState.SENT
        ward.forget(E)
        assert delivered(post) == [("commitment", "enhanced")]
        assert post.delivery(1).resends == 1
        with post.ledger.read() as c:
            assert {one.kind: one.sends for one in sent.of_case(c, 1)} == {"page": 1, "sr": 2}
        door.stop()
    assert len(ward.orthanc.instances(SOPClassUID=E)) == 1


@pytest.mark.parametrize("proof", ["find", "qido"])
def test_orthanc_is_asked_for_every_object(ward, proof):
    if proof == "qido" and not DICOMWEB.exists():
        require_tool("libOrthancDicomWeb.so")
    place = ward.place(proof=proof, qido_url=f"http://127.0.0.1:{ward.http}/dicom-web")
    with posted(ward.made, ward.folder / "a", place) as post:
        assert delivered(post) == [(proof, "enhanced")]
    to, settings = Destination(**place), Delivery()
    study = post_study(ward)
    with queries(to, settings) as asked:
        assert len(asked.find("SERIES", {"StudyInstanceUID": study, "SeriesInstanceUID": "", "Modality": ""})) == 2
        assert asked.find("STUDY", {"StudyInstanceUID": "1.2.3"}) == ()
        (found,) = asked.find("STUDY", {"StudyInstanceUID": study, "PatientID": "", "StudyDate": ""})
        assert found.PatientID == "0012345"
    if proof == "qido":
        assert len(search(to, settings, "IMAGE", {"StudyInstanceUID": study, "Modality": ""})) == 2
        assert search(to, settings, "STUDY", {"StudyInstanceUID": "1.2.3"}) == ()


def post_study(ward: Ward) -> str:
    (instance,) = ward.orthanc.instances(SOPClassUID=E)
    return str(ward.orthanc.tags(instance)["StudyInstanceUID"])


def test_orthanc_gets_note_page_and_superseding_report_of_a_withdrawal(ward):
    with posted(ward.made, ward.folder / "a", ward.place(proof="find")) as post:
        delivered(post)
        site = parsed(delivery=post.desk.tables["delivery"])
        site = site.model_copy(update={"storage": Storage(data_dir=ward.folder / "a")})
        withdraw_case(site, 1, reason="another patient's values were used", rejection="safety", by="K. Braun")
        post.desk.work()
        post.settle()
        assert isinstance(post.case(1), Withdrawn)
        assert post.delivery(1, 2).state is DeliveryState.DELIVERED
    assert {c: len(ward.orthanc.instances(SOPClassUID=c)) for c in (NOTE, PAGE, E)} == {NOTE: 1, PAGE: 2, E: 2}
