"""What an administrator does about a contact that ended in trouble: one line, and the TOML where that mends it.

Judged against the settings of now, so that what has been mended already says so. Words only; nothing is changed.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
from dataclasses import dataclass

from config.fields import MAX_AE_TITLE
from config.settings import Reception
from dicom_io.admission import Drop, Rejection, StoreFailure, judge
from node.store.peers import Contact


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """How to mend one kind of trouble."""

    problem: str
    """What was wrong, with the values of both sides."""
    remedy: str
    toml: str = ""
    """What to write into the configuration, where that is the remedy. Never what would shut out other senders."""


def advise(contact: Contact, reception: Reception) -> Advice:
    """Explain one outcome other than `accepted`."""
    if contact.outcome in _OF_POLICY:
        return _policy(contact, reception)
    if contact.outcome == Drop.TLS_ON_PLAIN.value:
        return _tls_on_plain(reception)
    problem, remedy = _PLAIN.get(contact.outcome, (contact.outcome, "see deploy/docs/operate.md"))
    return Advice(problem=problem, remedy=remedy)


def _policy(contact: Contact, reception: Reception) -> Advice:
    calling, called, address = contact.calling_ae, contact.called_ae, contact.address
    if _ip(address) is None:
        return Advice(problem="many callers at once, not told apart", remedy="look for a port scanner in this network")
    now = judge(reception, called=called, calling=calling, address=address)
    if now is None:
        return Advice(
            problem=f"{_OF_POLICY[contact.outcome]} then",
            remedy="mended: this configuration admits it; restart the node if it still runs on the old one",
        )
    match now:
        case Rejection.CALLED_AE:
            return _called(called, reception)
        case Rejection.CALLING_AE:
            return _calling(calling, address, reception)
        case _:
            return _address(calling, address, reception)


def _called(called: str, reception: Reception) -> Advice:
    own = reception.ae_title
    problem = f"called AE {_quoted(called)} is not this node; the node is {_quoted(own)}"
    if "\\" in called:
        return Advice(problem=problem, remedy=f"the sender pads or mistypes the title; set it to {own} there")
    if called.casefold() == own.casefold():
        return Advice(problem=problem, remedy=f"upper and lower case count; set the called AE to {own} at the sender")
    remark = "; to rename the node by reception.ae_title instead would shut out every sender that calls it as it is now"
    return Advice(
        problem=problem, remedy=f"set the called AE to {own} at the sender{remark if _usable(called) else ''}"
    )


def _calling(calling: str, address: str, reception: Reception) -> Advice:
    problem = f"calling AE {_quoted(calling)} from {address} is not in reception.peers"
    if not _usable(calling):
        return Advice(problem=problem, remedy="the title is no valid AE title; correct it at the sender")
    near = difflib.get_close_matches(calling.upper(), [peer.ae_title.upper() for peer in reception.peers], n=1)
    hint = f"; it resembles {_quoted(near[0])}, is one of them a typo?" if near else ""
    return Advice(problem=problem, remedy=f"add it if it is a sender of yours{hint}", toml=_peer(calling, [address]))


def _address(calling: str, address: str, reception: Reception) -> Advice:
    known = [peer for peer in reception.peers if peer.ae_title == calling]
    if not known:
        return Advice(
            problem=f"{address} is not this machine, and reception.peers is empty: only loopback is admitted",
            remedy="add the senders; loopback then needs an entry of its own",
            toml=_peer(calling, [address]) if _usable(calling) else "",
        )
    networks = [network for peer in known for network in peer.networks]
    return Advice(
        problem=f"calling AE {_quoted(calling)} came from {address}, which is in none of {', '.join(networks)}",
        remedy="extend its networks if the sender has moved",
        toml=_peer(calling, [*networks, address]),
    )


def _tls_on_plain(reception: Reception) -> Advice:
    problem = "it spoke TLS to the plain port"
    if reception.tls.enabled:
        return Advice(problem=problem, remedy=f"point the sender to reception.tls.port ({reception.tls.port})")
    return Advice(
        problem=problem,
        remedy="switch TLS off at the sender; or enable [reception.tls] and point the sender to reception.tls.port",
    )


def _peer(title: str, networks: list[str]) -> str:
    written = json.dumps([str(ipaddress.ip_network(network)) for network in networks])
    return f"[[reception.peers]]\nae_title = {_quoted(title)}\nnetworks = {written}"


def _usable(title: str) -> bool:
    """Whether it may be written into the configuration; an escape in it was a control character."""
    return 0 < len(title) <= MAX_AE_TITLE and "\\" not in title


def _quoted(text: str) -> str:
    """As TOML and as a person writes it."""
    return json.dumps(text) if _usable(text) else f'"{text}"'


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None


_OF_POLICY = {
    Rejection.CALLED_AE.value.word: "the called AE title was not the node's",
    Rejection.CALLING_AE.value.word: "the calling AE title was not listed",
    Rejection.ADDRESS.value.word: "the address was not listed",
}

_PLAIN = {
    Rejection.LIMIT.value.word: (
        "all associations were in use; the sender was told to come again",
        "raise reception.maximum_associations if it happens often",
    ),
    Rejection.PEER_LIMIT.value.word: (
        "this address had its share of associations open; the sender was told to come again",
        "raise reception.maximum_associations_per_peer, or let the sender close idle associations",
    ),
    Rejection.DISK.value.word: (
        "the disk was fuller than reception.reject_at_percent; the sender was told to come again",
        "free space below storage.data_dir; reception resumes by itself",
    ),
    Rejection.DRAINING.value.word: (
        "the node was being stopped; the sender was told to come again",
        "nothing to do",
    ),
    Rejection.FAULT.value.word: (
        "the node could not decide whether to admit it; the sender was told to come again",
        "see association.undecided in the log, check the disk, and report it to us",
    ),
    Drop.NO_REQUEST.value: (
        "connections without an association request: a load balancer, a monitor or a port scanner",
        "nothing to do, unless this address should send images: then it does not speak DICOM here",
    ),
    Drop.UNREADABLE.value: (
        "the association request could not be read; AE titles blank or not ASCII, or no DICOM at all",
        "set both AE titles at the sender; a web browser, a monitor by HTTP or a port scanner ends here too",
    ),
    Drop.TOO_MANY.value: (
        "too many connections at once",
        "look for a sender that opens connections without using them, or for a port scanner",
    ),
    Drop.TLS.value: (
        "the TLS handshake failed",
        "the sender needs TLS 1.2 (ECDHE, AES-GCM) or 1.3, and a certificate of reception.tls.client_ca if that is set",
    ),
    Drop.FAILED.value: ("the connection broke while it was set up", "look at the network between sender and node"),
    Drop.PDU.value: (
        "aborted: it sent a PDU longer than agreed, or one whose items do not fit it",
        "the sender's or a firewall's DICOM stack is at fault; report it to its vendor with the time of the log line",
    ),
    Drop.MESSAGE.value: (
        "aborted: a message could not be decoded, for instance a UID longer than 64 characters in a C-STORE request",
        "look at the UIDs of the study it sent at that time; report it to the sender's vendor",
    ),
    StoreFailure.NO_SPACE.value: (
        "C-STORE answered 0xA700, no space; the sender keeps the image and comes again",
        "free space below storage.data_dir; objects beyond reception.maximum_object_mb are answered so too",
    ),
    StoreFailure.NOT_RECORDED.value: (
        "C-STORE answered 0xA700, the ledger or the disk failed; the sender keeps the image and comes again",
        "see store.failed in the log; `osteon doctor` checks ledger and disk",
    ),
    StoreFailure.MISMATCH.value: (
        "C-STORE answered 0xA900: the object's UIDs are not those of the request",
        "the sender or a router rewrites UIDs in one place only; report it to its vendor",
    ),
    StoreFailure.NOT_UNDERSTOOD.value: (
        "C-STORE answered 0xC000: no UIDs could be read; the bytes are kept in spool/quarantine",
        "look at the object with dcmdump; report it to the sender's vendor",
    ),
}
