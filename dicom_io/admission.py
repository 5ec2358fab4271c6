"""Who may associate: the decision behind an A-ASSOCIATE-RJ and its reason (PS3.8 9.3.4), as plain values.

Permanent for what only a person can change (AE titles, addresses), transient for what passes (limit, draining): senders
give up on the first and come again after the second.
"""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass

from config.settings import Reception

_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


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
    DRAINING = Verdict(result=2, source=3, reason=2, word="draining")
    """Transient: the node is being stopped and comes back."""


def judge(settings: Reception, *, called: str, calling: str, address: str) -> Rejection | None:
    """Why a requestor is refused whatever the load, or None. Padding of AE titles is not significant (PS3.5 6.2)."""
    if called.strip() != settings.ae_title:
        return Rejection.CALLED_AE
    host = _host(address)
    if not settings.peers:
        return None if any(host in network for network in _LOOPBACK) else Rejection.ADDRESS
    known = [peer for peer in settings.peers if peer.ae_title == calling.strip()]
    if not known:
        return Rejection.CALLING_AE
    networks = (ipaddress.ip_network(network) for peer in known for network in peer.networks)
    return None if any(host in network for network in networks) else Rejection.ADDRESS


def _host(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IPv4 peer of a dual-stack socket appears as `::ffff:a.b.c.d`."""
    host = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        return host.ipv4_mapped
    return host
