"""Meets every connection of the Storage SCP: admits or rejects its request, and tells of those that never made one.

The decision is `admission`'s. This module speaks pynetdicom's events, so that both listening ports, plain and TLS, and
both receive paths are met alike. AE titles that break PS3.5 6.2 (NUL padding, control characters) are read leniently:
they end in a rejection with its reason, not in an unexplained abort. Blank and non-ASCII ones cannot be decoded; such a
request is aborted by the upper layer (PS3.8 9.3.8) and shown with the bytes that came.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, Final, cast

import structlog
from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE

from config.settings import Reception
from dicom_io.admission import Caller, Door, Drop, Observer, Rejection, caller

_A_ASSOCIATE_RQ: Final = 0x01
_CALLED: Final = slice(10, 26)
_CALLING: Final = slice(26, 42)
"""Where the titles stand in an A-ASSOCIATE-RQ PDU (PS3.8 table 9-11)."""

_log = structlog.get_logger()


class Doorman:
    """The event handlers of admission. `observer` hears of every contact, `disk_low` says when to reject for space."""

    def __init__(self, settings: Reception, *, disk_low: Callable[[], bool], observer: Observer) -> None:
        self._door = Door(settings, disk_low)
        self._observer = observer
        self._lock = threading.Lock()
        self._unread: weakref.WeakKeyDictionary[Association, tuple[Drop, Caller]] = weakref.WeakKeyDictionary()

    def handlers(self) -> list[tuple[Any, Callable[[Event], None]]]:
        """What to bind on each server."""
        _config.VALIDATORS["AE"] = _any_title
        return [
            (evt.EVT_DATA_RECV, self._first_pdu),
            (evt.EVT_REQUESTED, self._admit),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]

    def drain(self) -> None:
        """Reject everybody from now on, transiently."""
        self._door.drain()

    def occupied(self) -> bool:
        """Whether an admitted association still runs."""
        return self._door.occupied()

    def dropped(self, address: str, why: Drop) -> None:
        """Tell of a connection that a server ended before it was one of pynetdicom's."""
        self._tell_dropped(caller(address), why)

    def broken(self, association: Association, why: Drop) -> None:
        """Tell of an association that is aborted for what its requestor sent; before a request, once it is closed."""
        requestor, acceptor = association.requestor, association.acceptor
        address, calling, called = str(requestor.address), str(requestor.ae_title), str(acceptor.ae_title)
        if requestor.primitive is None:
            with self._lock:
                self._unread[association] = why, caller(address)
            return
        self._tell_dropped(caller(address, calling=calling, called=called), why)

    def _first_pdu(self, event: Event) -> None:
        """EVT_DATA_RECV: remember the titles of a request as they came, should nobody be able to decode it."""
        event.assoc.unbind(evt.EVT_DATA_RECV, self._first_pdu)
        data = event.data
        called, calling = (data[_CALLED], data[_CALLING]) if data[0] == _A_ASSOCIATE_RQ else (b"", b"")
        who = caller(str(event.assoc.requestor.address), called=called, calling=calling)
        with self._lock:
            self._unread[event.assoc] = Drop.UNREADABLE, who

    def _admit(self, event: Event) -> None:
        """EVT_REQUESTED: reject before negotiation, or count the association in."""
        association = event.assoc
        with self._lock:
            self._unread.pop(association, None)
        request = cast(A_ASSOCIATE, association.requestor.primitive)
        called, calling = str(request.called_ae_title), str(request.calling_ae_title)
        address = str(association.requestor.address)
        who = caller(address, called=called, calling=calling)
        try:
            rejection = self._door.admit(association, called=called, calling=calling, address=address)
        except Exception:  # noqa: BLE001 - outermost callback: pynetdicom would go on and accept
            _log.exception("association.undecided", called=who.called, calling=who.calling, peer=who.address)
            rejection = Rejection.FAULT
        if rejection is None:
            _log.info("association.accepted", called=who.called, calling=who.calling, peer=who.address)
            self._observer.accepted(who)
            return
        self._reject(association, who, rejection)

    def _reject(self, association: Association, who: Caller, rejection: Rejection) -> None:
        verdict = rejection.value
        _log.warning(
            "association.rejected", reason=verdict.word, called=who.called, calling=who.calling, peer=who.address
        )
        association.acse.send_reject(verdict.result, verdict.source, verdict.reason)
        self._observer.rejected(who, rejection)
        association.kill()

    def _closed(self, event: Event) -> None:
        """EVT_CONN_CLOSE: a connection without a request is a dropped one; every other end has been told of already.

        Its association's thread still waits for the request, for the whole of `reception.acse_timeout`, and holds a
        place as long: it is woken.
        """
        association = event.assoc
        if association.requestor.primitive is not None:
            return
        if association.dul.to_user_queue.empty():  # else what is in it wakes the thread
            association.dul.to_user_queue.put(None)
        nothing = Drop.NO_REQUEST, caller(str(association.requestor.address))
        with self._lock:
            why, who = self._unread.pop(association, nothing)
        self._tell_dropped(who, why)

    def _tell_dropped(self, who: Caller, why: Drop) -> None:
        # A balancer probes every few seconds: that is no warning.
        report = _log.info if why is Drop.NO_REQUEST else _log.warning
        report("connection.dropped", reason=why.value, called=who.called, calling=who.calling, peer=who.address)
        self._observer.dropped(who, why)


def _any_title(_value: object) -> tuple[bool, str]:
    """In place of pynetdicom's check of AE titles: who is wrong is told so by a rejection."""
    return True, ""
