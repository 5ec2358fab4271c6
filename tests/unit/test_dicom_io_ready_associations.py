"""Associations opened ahead: taken by the report they are for, or released unused; never asked of a dead archive."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from pydicom import uid
from pynetdicom import AE, evt
from pynetdicom.events import Event
from support.reception import await_true

from config.settings import Delivery, Destination
from dicom_io import ready_associations
from dicom_io.errors import PeerFault
from dicom_io.ready_associations import ReadyAssociations

MOST = 2
SETTINGS = Delivery(acse_timeout=5.0, dimse_timeout=5.0)
PAGE = (str(uid.SecondaryCaptureImageStorage), str(uid.RLELossless))
SR = (str(uid.EnhancedSRStorage), str(uid.ExplicitVRLittleEndian))
KOS = (str(uid.KeyObjectSelectionDocumentStorage), str(uid.ExplicitVRLittleEndian))


@dataclass(frozen=True)
class Archive:
    to: Destination
    ae: AE
    opened: list[Event]
    released: list[Event]


@pytest.fixture
def archive() -> Iterator[Archive]:
    ae = AE("PACS")
    for sop_class, syntax in (PAGE, SR, KOS):
        ae.add_supported_context(sop_class, [syntax, str(uid.ExplicitVRLittleEndian)])
    opened, released = list[Event](), list[Event]()
    handlers = [(evt.EVT_ESTABLISHED, opened.append), (evt.EVT_RELEASED, released.append)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    to = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=server.server_address[1])
    yield Archive(to=to, ae=ae, opened=opened, released=released)
    ae.shutdown()


@contextlib.contextmanager
def ready_to(archive: Archive) -> Iterator[ReadyAssociations]:
    """With one report sent there already, so that it is known what an association there must be good for."""
    ready = ReadyAssociations(MOST)
    with ready.outbound((PAGE, SR), archive.to, SETTINGS):
        pass
    await_true(lambda: len(archive.released) == 1)
    yield ready
    ready.close()


def test_a_report_takes_the_association_that_was_opened_for_it_and_it_is_released_after_it(archive: Archive):
    with ready_to(archive) as ready:
        ready.prepare(archive.to, SETTINGS)
        await_true(lambda: len(archive.opened) == 2)
        with ready.outbound((SR,), archive.to, SETTINGS) as taken:
            assert taken.open
            assert taken.took.takes(*PAGE)
            assert len(archive.opened) == 2
        await_true(lambda: len(archive.released) == 2)


def test_one_that_is_still_being_opened_is_waited_for(archive: Archive):
    with ready_to(archive) as ready:
        ready.prepare(archive.to, SETTINGS)
        with ready.outbound((PAGE, SR), archive.to, SETTINGS):
            assert len(archive.opened) == 2


def test_what_it_is_not_good_for_gets_one_of_its_own(archive: Archive):
    with ready_to(archive) as ready:
        ready.prepare(archive.to, SETTINGS)
        with ready.outbound((KOS, SR), archive.to, SETTINGS) as own:
            assert own.took.takes(*KOS)
        with ready.outbound((SR,), archive.to, SETTINGS, proving=True):
            await_true(lambda: len(archive.opened) == 4)


def test_nothing_is_opened_ahead_before_it_is_known_what_for_or_for_another_address(archive: Archive):
    ready = ReadyAssociations(MOST)
    ready.prepare(archive.to, SETTINGS)
    with ready.outbound((SR,), archive.to, SETTINGS):
        assert len(archive.opened) == 1
    ready.prepare(archive.to.model_copy(update={"ae_title": "OTHER"}), SETTINGS)
    ready.close()
    assert len(archive.opened) == 1


def test_no_more_wait_than_there_are_senders(archive: Archive):
    with ready_to(archive) as ready:
        for _ in range(10):
            ready.prepare(archive.to, SETTINGS)
        await_true(lambda: len(archive.opened) == 1 + MOST)
    await_true(lambda: len(archive.released) == 1 + MOST)
    assert len(archive.opened) == 1 + MOST


def test_one_that_no_report_takes_is_released(archive: Archive, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ready_associations, "KEPT_SECONDS", 0.2)
    with ready_to(archive) as ready:
        ready.prepare(archive.to, SETTINGS)
        await_true(lambda: len(archive.released) == 2)
        with ready.outbound((SR,), archive.to, SETTINGS):
            assert len(archive.opened) == 3


def test_one_that_the_archive_ended_meanwhile_is_not_used(archive: Archive):
    with ready_to(archive) as ready:
        ready.prepare(archive.to, SETTINGS)
        await_true(lambda: len(archive.opened) == 2)
        archive.opened[1].assoc.abort()
        await_true(lambda: not any(one.archive.open for one in ready._ready))
        with ready.outbound((SR,), archive.to, SETTINGS) as taken:
            assert taken.open
            assert len(archive.opened) == 3


def test_an_archive_that_is_away_is_not_asked_ahead_until_a_report_got_through(archive: Archive):
    with ready_to(archive) as ready:
        archive.ae.shutdown()
        ready.prepare(archive.to, SETTINGS)
        await_true(lambda: not ready._last)
        with pytest.raises(PeerFault), ready.outbound((SR,), archive.to, SETTINGS):
            pass
        ready.prepare(archive.to, SETTINGS)
        assert not any(ready._opening.values())


def test_what_is_opened_while_the_node_stops_is_released_too(archive: Archive):
    with ready_to(archive) as ready:
        ready.prepare(archive.to, SETTINGS)
        ready.close()
        await_true(lambda: not any(ready._opening.values()))
        await_true(lambda: len(archive.opened) == len(archive.released) == 2)
        ready.prepare(archive.to, SETTINGS)
        assert not any(ready._opening.values())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_report_waits_for_one_whose_opening_broke(archive: Archive, monkeypatch: pytest.MonkeyPatch):
    with ready_to(archive) as ready:
        with monkeypatch.context() as broken:
            broken.setattr(ready_associations, "outbound", lambda *_, **__: 1 / 0)
            ready.prepare(archive.to, SETTINGS)
            await_true(lambda: not any(ready._opening.values()))
        with ready.outbound((SR,), archive.to, SETTINGS) as own:
            assert own.open
