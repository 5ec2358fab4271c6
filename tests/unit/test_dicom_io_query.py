"""C-FIND and QIDO-RS: questions, answers, and what each failure means for the next step."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from support.pacs import FakePacs

from config.settings import Delivery, Destination
from dicom_io.echo_scu import verify
from dicom_io.errors import PeerRefused, PeerUnavailable
from dicom_io.negotiation import STUDY_ROOT_FIND
from dicom_io.qido import search
from dicom_io.query_scu import queries

SETTINGS = Delivery(acse_timeout=10.0, dimse_timeout=10.0)


@contextmanager
def archive(answers: list[tuple[int, Dataset | None]], asked: list[Dataset]) -> Iterator[Destination]:
    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        yield from answers

    ae = AE("PACS")
    ae.add_supported_context(STUDY_ROOT_FIND)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    try:
        yield Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=server.server_address[1])
    finally:
        ae.shutdown()


def study(uid: str) -> Dataset:
    found = Dataset()
    found.StudyInstanceUID = uid
    return found


def test_a_question_is_a_level_with_keys_and_gives_what_matches() -> None:
    asked: list[Dataset] = []
    with (
        archive([(0xFF00, study("1.2")), (0xFF01, study("1.3")), (0, None)], asked) as pacs,
        queries(pacs, SETTINGS) as q,
    ):
        found = q.find("STUDY", {"StudyDate": "20260301-20260302", "ModalitiesInStudy": ["CR", "DX"], "PatientID": ""})
    assert [one.StudyInstanceUID for one in found] == ["1.2", "1.3"]
    assert asked[0].QueryRetrieveLevel == "STUDY"
    assert asked[0].StudyDate == "20260301-20260302"
    assert list(asked[0].ModalitiesInStudy) == ["CR", "DX"]
    assert asked[0].PatientID == ""


def test_answers_beyond_the_limit_are_not_waited_for() -> None:
    with archive([(0xFF00, study(f"1.{n}")) for n in range(50)], []) as pacs, queries(pacs, SETTINGS) as q:
        assert len(q.find("STUDY", {"StudyInstanceUID": ""}, limit=3)) == 3


@pytest.mark.parametrize(("status", "error"), [(0xA700, PeerUnavailable), (0xA900, PeerRefused), (0xC001, PeerRefused)])
def test_a_declined_question_has_its_status(status: int, error: type[Exception]) -> None:
    with (
        archive([(status, None)], []) as pacs,
        queries(pacs, SETTINGS) as q,
        pytest.raises(error, match=f"{status:04X}") as raised,
    ):
        q.find("IMAGE", {"SOPInstanceUID": "1.2"})
    assert raised.value.status == status


def test_who_answers_no_questions_says_so_and_who_answers_an_echo_is_there() -> None:
    with FakePacs() as pacs:
        to = Destination(**pacs.destination())
        with pytest.raises(PeerRefused, match="SOP class refused"), queries(to, SETTINGS):
            pass
        verify(to, SETTINGS)
    assert pacs.echoes == 1


# pynetdicom leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nobody_there_is_not_connected() -> None:
    with FakePacs() as pacs:
        to = Destination(**pacs.destination())
    for ask in (lambda: verify(to, SETTINGS), lambda: queries(to, SETTINGS).__enter__()):
        with pytest.raises(PeerUnavailable) as raised:
            ask()
        assert not raised.value.connected


@contextmanager
def service(status: int, body: bytes, seen: list[tuple[str, str | None]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Authorization")))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/dicom-web/"
    finally:
        server.shutdown()
        server.server_close()


def place(url: str, **more: object) -> Destination:
    return Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=104, qido_url=url, **more)  # type: ignore[arg-type]


def test_qido_asks_with_the_same_keys_and_authorises_itself(tmp_path) -> None:
    body = json.dumps([{"0020000D": {"vr": "UI", "Value": ["1.2"]}}]).encode()
    token, seen = tmp_path / "token", []
    token.write_text("Bearer abc\n")
    with service(200, body, seen) as url:
        to = place(url, qido_authorization=token)
        (found,) = search(to, SETTINGS, "STUDY", {"StudyDate": "20260301", "PatientID": ""}, limit=5)
    assert found.StudyInstanceUID == "1.2"
    assert seen == [("/dicom-web/studies?StudyDate=20260301&includefield=PatientID&limit=5", "Bearer abc")]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b"", PeerRefused),
        (404, b"", PeerRefused),
        (503, b"", PeerUnavailable),
        (200, b"<html>", PeerUnavailable),
        (200, b"[3]", PeerUnavailable),
    ],
)
def test_what_a_service_answers_instead(status: int, body: bytes, error: type[Exception]) -> None:
    with service(status, body, []) as url, pytest.raises(error, match="QIDO-RS"):
        search(place(url), SETTINGS, "IMAGE", {"SOPInstanceUID": "1.2"})


def test_no_content_is_nothing_found_and_no_address_is_refused() -> None:
    with service(204, b"", []) as url:
        assert search(place(url), SETTINGS, "IMAGE", {"SOPInstanceUID": "1.2"}) == ()
    with pytest.raises(PeerUnavailable) as gone:
        search(place(url), SETTINGS, "IMAGE", {"SOPInstanceUID": "1.2"})
    assert not gone.value.connected
    with pytest.raises(PeerRefused, match="qido_url"):
        search(place("ftp://pacs"), SETTINGS, "IMAGE", {"SOPInstanceUID": "1.2"})
