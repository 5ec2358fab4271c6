"""What `osteon inbox` shows and does. Headers, codes and counts; a message itself only where it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from config.settings import Settings
from node import places
from node.clinical_feed import workplace
from node.feeds.er7 import HL7Error
from node.feeds.hl7_encoding import decode
from node.feeds.inbox import read
from node.feeds.outcome import TROUBLE_FREE, Outcome
from node.inbox_consumer import Workplace, dismiss, replay
from node.store import inbox
from node.store import inbox_progress as progress
from node.store.errors import NoSuchCase
from node.store.inbox import FrameInfo

MINIMUM_WIDTH = 120
"""Columns of the tables, also where there is no terminal to ask: a cut time or address tells nothing."""

_REASONS = {
    "NO_ID": "PID-3 or MRG-1 names no issuer (see clinical.mllp.default_issuer), or nobody",
    "UNTRUSTED_ISSUER": "the identifier's issuer is not one of the trusted clinical.issuers",
    "IDENTIFIER_CONFLICT": "one message names identifiers of two persons, or a number that two persons share; the "
    "sender, or a merge, has to clear it up",
    "IDENTITY_CONFLICT": "values came with the demographics of somebody else; ask the sender whose they are",
    "SELF_MERGE": "a merge of a patient into the same one; ask the sender",
    "MERGE_CYCLE": "the merge would close a circle; see `osteon person merges`",
    "MERGE_CONFLICT": "the patient was merged into somebody else before; see `osteon person merges`",
    "REVIEW": "an ADT event that moves things between patients (MSH-9) and is never carried out; note it, then dismiss",
    "UNEXPECTED": "an error of the node: see its log, replay after an upgrade",
    "HL7": "refused, or not readable by the settings of now: `osteon inbox --feeds` says what mends it",
}
"""What a message waits for, or was refused for, by the first word of each code."""
_REMEDIES = {
    Outcome.ADDRESS: "add its network to clinical.mllp.networks, if it is to send",
    Outcome.TOO_MANY: "raise clinical.mllp.max_connections, or find who holds them",
    Outcome.TOO_MANY_OF_PEER: "raise clinical.mllp.max_connections_per_peer, or let the sender reuse its connection",
    Outcome.TLS: "compare certificates and clinical.mllp.tls; plain text is refused on a TLS port",
    Outcome.NO_PROTOCOL: "this port speaks HL7 over MLLP only",
    Outcome.OVERSIZE: "raise clinical.mllp.max_frame_bytes, or send less in one message",
    Outcome.CONTROL_ID_REUSED: "give each message its own control ID (MSH-10)",
    Outcome.NOT_STORED: "free disk space, or start the database",
    Outcome.FAILED: "an error of the node: see its log",
    f"{Outcome.REFUSED}-100": "the sender leaves out a segment; `osteon inbox` names it",
    f"{Outcome.REFUSED}-101": "the sender leaves out a field; `osteon inbox` names it",
    f"{Outcome.REFUSED}-200": "a type the node does not use; see clinical.mllp.strict_types",
    f"{Outcome.REFUSED}-201": "an event the node does not use; see clinical.mllp.strict_types",
    f"{Outcome.REFUSED}-203": "no HL7 version 2 (MSH-12)",
    f"{Outcome.REFUSED}-204": "the patient was merged into another; see clinical.mllp.prior_identifiers",
    f"{Outcome.REFUSED}-205": "a merge of a patient into the same one (MRG-1)",
    f"{Outcome.REFUSED}-102": "the message contradicts its character set (MSH-18); see clinical.mllp.pinned_charset",
    f"{Outcome.REFUSED}-103": "MSH-18 names no known character set; have the sender state one of HL7 table 0211 "
    "(`UNICODE UTF-8`, `8859/1`), or set clinical.mllp.pinned_charset",
    f"{Outcome.REFUSED}-202": "a test system sends (MSH-11); see clinical.mllp.accept_test",
    f"{Outcome.REFUSED}-207": "no HL7 message, two in one block, a batch (FHS, BHS; each message needs a block of its "
    "own), or none of clinical.mllp.sending_applications sent it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Progress:
    """What the ledger says about the frames of the inbox."""

    position: int
    held: dict[int, str]

    def state(self, info: FrameInfo) -> tuple[str, str]:
        """(what became of a frame, why)."""
        if info.seq in self.held:
            return "quarantined", self.held[info.seq]
        if info.refusal:
            return "refused", info.refusal
        return ("done" if info.seq <= self.position else "waiting"), ""


def show_inbox(settings: Settings, *, quarantined: bool, limit: int, as_json: bool) -> None:
    """Print messages, the newest first."""
    with _opened(settings) as place:
        known = _progress(place)
        with place.inbox.read() as c:
            frames = inbox.listed(c, seqs=known.held if quarantined else None, limit=limit)
            waiting = inbox.count_after(c, known.position)
    facts = [_facts(info, known) for info in frames]
    if as_json:
        _print_json(facts)
        return
    table = _table("number", "received (UTC)", "from", "application", "facility", "type", "answer", "state", "why")
    for one in facts:
        names = ("peer", "application", "facility", "type", "answer", "state", "reason")
        table.add_row(str(one["number"]), _moment(one["received_at"]), *(str(one[name]) for name in names))
    console = _console()
    console.print(table)
    console.print(f"{len(known.held)} quarantined, {waiting} not worked off yet")
    for line in dict.fromkeys(line for one in facts for line in _explained(one["reason"])):
        console.print(line)


def show_message(settings: Settings, number: int, *, body: bool, as_json: bool) -> None:
    """Print one message; raises NoSuchCase where there is none."""
    with _opened(settings) as place:
        with place.inbox.read() as c:
            found = inbox.get(c, number)
        if found is None:
            msg = f"there is no message {number} in the inbox; `osteon inbox` lists them"
            raise NoSuchCase(msg)
        facts = _facts(found[0], _progress(place))
    if body:
        facts["body"] = _text(found[1], settings)
    if as_json:
        _print_json(facts)
        return
    console = _console()
    body_text = facts.pop("body", None)
    for name, value in facts.items():
        console.print(f"{name:12} {value}")
    for line in _explained(facts["reason"]):
        console.print(line)
    if body_text is not None:
        console.print(f"\n{body_text}")


def show_feeds(settings: Settings, *, as_json: bool) -> None:
    """Print who sent, how it ended and what mends it, the latest first."""
    with _opened(settings) as place, place.inbox.read() as c:
        found = inbox.contacts(c)
    facts = [
        {
            "peer": one.peer,
            "application": one.sending_app,
            "facility": one.sending_facility,
            "outcome": one.outcome,
            "count": one.count,
            "first_at": one.first_at.isoformat(timespec="seconds"),
            "last_at": one.last_at.isoformat(timespec="seconds"),
            "trouble": one.outcome not in TROUBLE_FREE,
            "remedy": _REMEDIES.get(one.outcome, ""),
        }
        for one in found
    ]
    if as_json:
        _print_json(facts)
        return
    table = _table("from", "application", "facility", "outcome", "count", "last (UTC)")
    for one in facts:
        names = ("peer", "application", "facility", "outcome", "count")
        table.add_row(*(str(one[name]) for name in names), _moment(one["last_at"]))
    console = _console()
    console.print(table if facts else "nobody has come yet")
    for outcome, remedy in {str(one["outcome"]): str(one["remedy"]) for one in facts if one["remedy"]}.items():
        console.print(f"{outcome}: {remedy}")


def replay_messages(settings: Settings, number: int | None) -> int:
    """Take one message again, or all that wait; 1 if one still waits, else 0. Raises NoSuchCase."""
    with _opened(settings) as place:
        numbers = sorted(_progress(place).held) if number is None else [number]
        outcomes = {one: replay(place, one) for one in numbers}
    console = _console()
    for one, reason in outcomes.items():
        console.print(f"{one}: {f'still waits: {reason}' if reason else 'taken'}")
    if not outcomes:
        console.print("no message waits")
    return int(any(outcomes.values()))


def dismiss_message(settings: Settings, number: int) -> None:
    """Take a message off the list of those that wait; raises NoSuchCase where it is not on it."""
    with _opened(settings) as place:
        waited = dismiss(place, number)
    if not waited:
        msg = f"message {number} does not wait for anybody; `osteon inbox --quarantined` lists those that do"
        raise NoSuchCase(msg)
    _console().print(f"{number}: dismissed")


@contextmanager
def _opened(settings: Settings) -> Iterator[Workplace]:
    ledger = places.open_settings_ledger(settings)
    frames = places.open_settings_inbox(settings)
    try:
        yield workplace(ledger, frames, settings)
    finally:
        frames.close()
        ledger.close()


def _progress(place: Workplace) -> _Progress:
    with place.inbox.read() as c:
        name = inbox.name_of(c)
    with place.ledger.read() as c:
        held = {one.seq: one.reason for one in progress.held(c, name)}
        return _Progress(position=progress.position(c, name), held=held)


def _facts(info: FrameInfo, known: _Progress) -> dict[str, Any]:
    state, reason = known.state(info)
    return {
        "number": info.seq,
        "received_at": info.received_at.isoformat(timespec="seconds"),
        "peer": info.peer,
        "application": info.sending_app,
        "facility": info.sending_facility,
        "type": info.message_type,
        "control_id": info.control_id,
        "bytes": info.size,
        "sha256": info.sha256,
        "answer": info.ack_code,
        "state": state,
        "reason": reason,
    }


def _text(body: bytes, settings: Settings) -> str:
    """The message in its own character set, a line per segment; byte by byte where it cannot be read."""
    try:
        text = decode(body, read(body, settings.clinical.mllp).codec)
    except (HL7Error, UnicodeError):
        text = body.decode("latin-1")
    return text.replace("\r", "\n")


def _explained(reason: str) -> list[str]:
    """A line for each code of a reason such as `NO_ID,IDENTITY_CONFLICT`."""
    words = [code.partition(" ")[0] for code in reason.split(",") if code]
    return [f"{key}: {_REASONS[key]}" for key in map(_key, words) if key in _REASONS]


def _key(word: str) -> str:
    """`HL7-100` and `REVIEW_A30` are explained by what they begin with."""
    return next((key for key in ("HL7", "REVIEW") if word.startswith(key)), word)


def _moment(at: object) -> str:
    """`2026-11-22 04:17:58` of the ISO form in UTC."""
    return str(at)[:19].replace("T", " ")


def _table(*titles: str) -> Table:
    return Table(*titles, box=None, pad_edge=False)


def _console() -> Console:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.width = max(console.width, MINIMUM_WIDTH)
    return console


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))  # noqa: T201 - this is the command's output
