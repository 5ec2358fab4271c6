"""Who may connect and who may associate: the decision behind an A-ASSOCIATE-RJ and its reason (PS3.8 9.3.4), as values.

Permanent for what only a person can change (AE titles, addresses), transient for what passes (limits, disk, draining):
senders give up on the first and come again after the second. Whoever wants to know of it is an `Observer`; nothing here
logs, stores or sends.
"""

from __future__ import annotations

import enum
import ipaddress
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from config.settings import Peer, Reception

CONNECTIONS_PER_ASSOCIATION: Final = 4
"""Connections tolerated for each association allowed: balancers probe, and rejected senders linger a moment."""
OF_A_STRANGER: Final = 4
"""Connections of an address that no peer may come from: enough for a monitor's probes, and to be told why."""
LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who came. Make it with `caller`; the titles are as sent, but printable and at most 64 characters."""

    calling: str = ""
    """Calling AE title; empty when the connection ended before one was said."""
    called: str = ""
    address: str
    """IP address; an IPv4 one is written as IPv4 also where it came through a dual-stack socket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Result, source and reason of an A-ASSOCIATE-RJ, with the word under which it is logged."""

    result: int
    source: int
    reason: int
    word: str


class Rejection(enum.Enum):
    """Every way an association is refused."""

    CALLED_AE = Verdict(result=1, source=1, reason=7, word="called_ae_not_recognised")
    """Permanent, service-user."""
    CALLING_AE = Verdict(result=1, source=1, reason=3, word="calling_ae_not_recognised")
    """Permanent, service-user."""
    ADDRESS = Verdict(result=1, source=1, reason=3, word="address_not_allowed")
    """Permanent; the standard has no reason of its own for an address."""
    LIMIT = Verdict(result=2, source=3, reason=2, word="local_limit_exceeded")
    """Transient, service-provider (presentation)."""
    PEER_LIMIT = Verdict(result=2, source=3, reason=2, word="peer_limit_exceeded")
    """Transient: this address has its share of associations open."""
    DISK = Verdict(result=2, source=3, reason=2, word="disk_low")
    """Transient: the spool's file system is above `reception.reject_at_percent`."""
    DRAINING = Verdict(result=2, source=3, reason=2, word="draining")
    """Transient: the node is being stopped and comes back."""
    FAULT = Verdict(result=2, source=3, reason=1, word="internal_fault")
    """Transient, temporary congestion: the decision itself failed. Nobody is let in by a defect of ours."""


class Drop(enum.Enum):
    """Every way a connection ends before it is an association, or for what it sent in one."""

    NO_REQUEST = "no_association_request"
    """Closed, or silent until the ARTIM timer: a load balancer, a port scanner, a half-open socket."""
    UNREADABLE = "association_request_unreadable"
    """What came is no A-ASSOCIATE-RQ of PS3.8 9.3.2, or carries blank or non-ASCII AE titles."""
    TLS_ON_PLAIN = "tls_on_plain_port"
    """A TLS handshake came where DICOM is spoken as it is."""
    TOO_MANY = "too_many_connections"
    """More connections at once than the node will hold open, in all or of this address."""
    TLS = "tls_handshake_failed"
    """On the TLS port: old protocol, weak suite, no or unknown client certificate, or no TLS at all."""
    FAILED = "connection_failed"
    """The connection broke while it was being set up."""
    PDU = "pdu_invalid"
    """Aborted: a PDU of an established association is too long, or its items do not fit it."""
    MESSAGE = "dimse_message_invalid"
    """Aborted: a message cannot be decoded, e.g. for a UID of 65 characters in its command set."""


class StoreFailure(enum.Enum):
    """Every C-STORE that was not answered with Success; the status is in PS3.4 B.2.3."""

    NO_SPACE = "store_a700_no_space"
    NOT_RECORDED = "store_a700_not_recorded"
    """The ledger did not commit, or the file system failed."""
    MISMATCH = "store_a900_mismatch"
    NOT_UNDERSTOOD = "store_c000_not_understood"


class Observer(Protocol):
    """Is told of every contact, in the thread of the association: it must neither block nor raise."""

    def accepted(self, who: Caller) -> None:
        """An association was admitted."""

    def rejected(self, who: Caller, why: Rejection) -> None:
        """An association was refused."""

    def dropped(self, who: Caller, why: Drop) -> None:
        """A connection ended before it was an association."""

    def not_stored(self, who: Caller, why: StoreFailure) -> None:
        """A C-STORE was answered with a failure status."""


class Unobserved:
    """The observer where nobody looks."""

    def accepted(self, who: Caller) -> None:
        """Nothing."""

    def rejected(self, who: Caller, why: Rejection) -> None:
        """Nothing."""

    def dropped(self, who: Caller, why: Drop) -> None:
        """Nothing."""

    def not_stored(self, who: Caller, why: StoreFailure) -> None:
        """Nothing."""


class Living(Hashable, Protocol):
    """What holds a place: an association, which is a thread."""

    def is_alive(self) -> bool:
        """Whether it still runs."""


class Lobby:
    """Bounds the connections that are no association yet; each holds two threads until it says something or times out.

    Judged by the address alone, for nothing else is known yet. Strangers share a quarter of the room, so that whoever
    finds the port keeps nobody out who is listed; and of the listed each has a share, as it has of the associations.
    """

    def __init__(self, settings: Reception) -> None:
        self._networks = _networks(settings.peers) if settings.peers else LOOPBACK
        self._strangers = settings.maximum_associations
        self._all = CONNECTIONS_PER_ASSOCIATION * settings.maximum_associations
        self._of_one = CONNECTIONS_PER_ASSOCIATION * settings.maximum_associations_per_peer

    def has_room(self, address: str, held: Iterable[str]) -> bool:
        """Whether one more connection from `address` is taken while those of the addresses `held` stand."""
        standing: Counter[str] = Counter()
        for one, count in Counter(held).items():
            standing[plain_address(one)] += count
        mine = standing[plain_address(address)]
        if standing.total() >= self._all:
            return False
        if self._expects(address):
            return mine < self._of_one
        strangers = sum(count for one, count in standing.items() if not self._expects(one))
        return mine < OF_A_STRANGER and strangers < self._strangers

    def _expects(self, address: str) -> bool:
        host = _host(address)
        return any(host in network for network in self._networks)


class Door:
    """Decides on each requestor and counts who is inside. Safe for many threads."""

    def __init__(self, settings: Reception, disk_low: Callable[[], bool]) -> None:
        self._settings = settings
        self._disk_low = disk_low
        self._lock = threading.Lock()
        self._inside: dict[Living, str] = {}
        self._draining = False

    def admit(self, association: Living, *, called: str, calling: str, address: str) -> Rejection | None:
        """Why it is refused, or None: then it holds a place until its thread ends."""
        return judge(self._settings, called=called, calling=calling, address=address) or self._take_place(
            association, plain_address(address)
        )

    def drain(self) -> None:
        """Refuse everybody from now on, transiently."""
        with self._lock:
            self._draining = True

    def occupied(self) -> bool:
        """Whether an admitted association still runs."""
        with self._lock:
            return any(association.is_alive() for association in self._inside)

    def _take_place(self, association: Living, address: str) -> Rejection | None:
        low = self._disk_low()
        with self._lock:
            self._inside = {one: where for one, where in self._inside.items() if one.is_alive()}
            if self._draining:
                return Rejection.DRAINING
            if low:
                return Rejection.DISK
            if len(self._inside) >= self._settings.maximum_associations:
                return Rejection.LIMIT
            mine = sum(where == address for where in self._inside.values())
            if mine >= self._settings.maximum_associations_per_peer:
                return Rejection.PEER_LIMIT
            self._inside[association] = address
            return None


def judge(settings: Reception, *, called: str, calling: str, address: str) -> Rejection | None:
    """Why a requestor is refused whatever the load, or None. Padding of AE titles is not significant (PS3.5 6.2)."""
    if called.strip(" ") != settings.ae_title:
        return Rejection.CALLED_AE
    host = _host(address)
    if not settings.peers:
        return None if any(host in network for network in LOOPBACK) else Rejection.ADDRESS
    known = [peer for peer in settings.peers if peer.ae_title == calling.strip(" ")]
    if not known:
        return Rejection.CALLING_AE
    return None if any(host in network for network in _networks(known)) else Rejection.ADDRESS


def caller(address: str, *, calling: str | bytes = "", called: str | bytes = "") -> Caller:
    """Who came, safe to log and to keep: a scanner may put anything into a title."""
    return Caller(calling=_printable(calling), called=_printable(called), address=plain_address(address))


def plain_address(address: str) -> str:
    """The address without a zone, IPv4 as IPv4."""
    return str(_host(address))


def _networks(peers: Iterable[Peer]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(network) for peer in peers for network in peer.networks)


def _printable(title: str | bytes) -> str:
    text = title.decode("latin-1") if isinstance(title, bytes) else title
    return text[:16].strip(" ").encode("unicode_escape").decode("ascii")


def _host(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IPv4 peer of a dual-stack socket appears as `::ffff:a.b.c.d`."""
    host = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        return host.ipv4_mapped
    return host
