"""What `osteon cases` and `osteon case` show: at a terminal, and as JSON for programs."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from config.settings import Settings
from dicom_io.wording import reason
from node import places
from node.case import Delivered, NotApplicable, Reported
from node.feeds.hl7_meaning import Meaning
from node.store import (
    case_json,
    cases,
    duplicates,
    outbox,
    report_objects,
    report_versions,
    result_messages,
    reviews,
    sent,
    unusable_values,
)
from node.store.case_json import words
from node.store.delivery_list import UNPROVED
from node.store.engine import Connection
from node.store.errors import NoSuchCase
from node.store.outbox import DeliveryState
from node.store.report_versions import Version


def show_cases(settings: Settings, *, state: str, review: bool, limit: int, as_json: bool) -> None:
    """Print the latest cases and how many there are in each state; `review`: only those a person must look at.

    Raises:
        NoSuchCase: `state` names no state.

    """
    wanted = _state_name(state) if state else None
    ledger = places.open_settings_ledger(settings)
    with ledger.read() as c:
        found = cases.find(c, state=wanted, review=review, limit=limit)
        counts = cases.count_by_state(c)
    ledger.close()
    if as_json:
        _print_json({"counts": {words(s): n for s, n in counts.items()}, "cases": [_row(summary) for summary in found]})
        return
    table = Table("case", "state", "reason", "received (UTC)", "from", "SOP Instance UID", box=None, pad_edge=False)
    for summary in found:
        received = f"{summary.received_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(
            str(summary.case_id),
            words(summary.state),
            f"review: {summary.review}" if summary.review else summary.reason,
            received,
            summary.calling_ae,
            summary.sop_instance_uid,
        )
    console = Console()
    console.print(table)
    console.print("  ".join(f"{words(s)} {n}" for s, n in counts.items() if n) or "no case yet")


def show_case(settings: Settings, case_id: int, *, as_json: bool) -> None:
    """Print one case with its history, its result and its deliveries.

    Raises:
        NoSuchCase: it is unknown.

    """
    ledger = places.open_settings_ledger(settings)
    with ledger.read() as c:
        facts = _facts(c, case_id)
    ledger.close()
    if as_json:
        _print_json(facts)
        return
    console = Console(highlight=False)
    console.print(f"case {case_id}: {facts['state']}  {facts['reason']}".rstrip(), style="bold")
    for sentence in facts["not_assessed"]:
        console.print(f"  {sentence}", markup=False, soft_wrap=True)
    if facts["not_assessed"]:
        console.print("  what to do, by reason: operate.md, States and failures")
    for event in facts["history"]:
        console.print(f"  {event['at']}  {event['state']:<15} {event['why']}", soft_wrap=True)
    if facts["review"]:
        console.print(
            f"  FOR REVIEW: {facts['review']}; decide: `osteon review {case_id} --reason WHY`, --keep or --amend",
            style="bold",
        )
    for version in facts["versions"]:
        _print_version(console, version)
    for duplicate in facts["received_again"]:
        kind = "OTHER BYTES under the same UID, kept for you" if duplicate["differs"] else "same bytes"
        console.print(f"  received again {duplicate['copies']}x: {kind}")
    if facts["result"] is not None:
        _print_result(console, facts["result"], facts["unusable"])


def _facts(c: Connection, case_id: int) -> dict[str, Any]:
    case = cases.load(c, case_id)
    reported = isinstance(case, Reported | Delivered)
    versions = report_versions.all_of(c, case_id)
    return {
        "case": case_id,
        "state": words(case_json.state_of(case)),
        "reason": case_json.codes_of(case),
        "not_assessed": [reason(code) for code in case.reasons] if isinstance(case, NotApplicable) else [],
        "source": json.loads(case_json.dump(case))[0]["source"],
        "history": [_event(event) for event in cases.history(c, case_id)],
        "review": reviews.pending(c, case_id).review,
        "versions": [_version(c, case_id, version) for version in versions],
        "received_again": [
            {"copies": d.copies, "differs": d.differs, "file": d.spool_file}
            for d in duplicates.listed(c, case_id=case_id)
        ],
        "result": json.loads(case_json.dump(case))[0]["result"] if reported else None,
        "unusable": unusable_values.of_persons(c, versions[-1].basis.persons if versions else ()),
    }


def _version(c: Connection, case_id: int, version: Version) -> dict[str, Any]:
    """One version with its objects and how far it is with each destination."""
    number = version.version
    return {
        "version": number,
        "fate": report_versions.fate(c, case_id, number),
        "cause": str(version.basis.cause),
        "changed": version.basis.changed,
        "made_at": _time(version.made_at),
        "observations": list(version.basis.observations),
        "objects": [
            {"kind": o.kind, "sop_instance_uid": o.sop_instance_uid} for o in report_objects.frozen(c, case_id, number)
        ],
        "deliveries": [
            {
                "destination": d.destination,
                "state": str(d.state),
                "tries": d.tries,
                "proof": d.proof,
                "error": d.error,
                "objects": _sent_objects(c, case_id, number, d.destination),
            }
            for d in outbox.deliveries(c, case_id=case_id, version=number)
        ],
        "messages": [
            {
                "receiver": m.key.receiver,
                "says": Meaning(m.key.meaning).words,
                "state": str(m.state),
                "tries": m.tries,
                "error": m.error,
            }
            for m in result_messages.listed(c, case_id=case_id)
            if m.key.version == number
        ],
    }


def delivery_words(state: str, proof: str | None) -> str:
    """What the state of a delivery means, with the kind of its proof."""
    if state == DeliveryState.DELIVERED:
        return "unproved: it answered the C-STOREs" if proof == UNPROVED else f"proved by {proof}"
    if state == DeliveryState.SENT:
        return f"proof by {proof} awaited"
    return _MEANINGS[state]


_MEANINGS = {
    "waiting": "tried until it is there",
    "refused": "a person must act",
    "cancelled": "a newer version took its place, or it was withdrawn",
    "dropped": "given up by a person",
}


def _sent_objects(c: Connection, case_id: int, version: int, destination: str) -> list[dict[str, Any]]:
    """What that destination has of a version, or is meant to get: its own SR class and UID, a rejection note."""
    return [
        {
            "kind": one.kind,
            "sop_class_uid": one.sop_class_uid,
            "sop_instance_uid": one.sop_instance_uid,
            "sends": one.sends,
            "stored": one.stored,
        }
        for one in sent.of_case(c, case_id, destination=destination)
        if one.version == version
    ]


def _print_version(console: Console, version: dict[str, Any]) -> None:
    changed = f": {version['changed']}" if version["changed"] else ""
    line = f"  version {version['version']} ({version['fate']}), {version['made_at']}, {version['cause']}{changed}"
    console.print(line, soft_wrap=True)
    for item in version["objects"]:
        console.print(f"    {item['kind']:<5} {item['sop_instance_uid']}", soft_wrap=True)
    for delivery in version["deliveries"]:
        error = f"  {delivery['error']}" if delivery["error"] else ""
        state = f"{delivery['state']} ({delivery_words(delivery['state'], delivery['proof'])})"
        console.print(f"    to {delivery['destination']}: {state}, {delivery['tries']} failed tries{error}")
        for item in delivery["objects"]:
            if item["sop_instance_uid"] not in {o["sop_instance_uid"] for o in version["objects"]}:
                told = f"sent {item['sends']}x" if item["sends"] else "not sent yet"
                console.print(f"      {item['kind']:<5} {item['sop_instance_uid']} {told}", soft_wrap=True)
    for message in version["messages"]:
        error = f"  {message['error']}" if message["error"] else ""
        line = f"    to {message['receiver']} by HL7: {message['says']}, {message['state']}"
        console.print(f"{line}, {message['tries']} failed tries{error}", soft_wrap=True)


def _print_result(console: Console, result: dict[str, Any], unusable: dict[str, dict[str, int]]) -> None:
    """What the newest version says; the attention map and all digits are in `--json`."""
    model, shares = result["model"], ("image", "clinical", "fused")
    known = [f"{name} {100 * p:.1f} %" for name in shares if (p := result[f"p_{name}"]) is not None]
    limits = f"indeterminate from {100 * result['t_low']:.1f} %, above from {100 * result['t_high']:.1f} %"
    console.print(f"  result {result['category']}, {result['mode']}, {result['match']}, quality {result['quality']}")
    console.print(f"    probability: {', '.join(known)}; {limits}", soft_wrap=True)
    for item in result["inputs"]:
        said = f"{_input(item)}{_unused(unusable.get(item['variable'], {})) if item['value'] is None else ''}"
        console.print(f"    {item['variable']}: {said}", soft_wrap=True, markup=False)
    simulated = ", trained on simulated images" if model["simulated_training"] else ""
    console.print(f"    model {model['name']} {model['version']}, {model['bundle_id']}{simulated}", soft_wrap=True)


def _input(item: dict[str, Any]) -> str:
    """Value, unit and source of one input; sex is 1 for women."""
    if item["value"] is None:
        return "not known"
    value = (
        {1.0: "F", 0.0: "M"}.get(item["value"], "other")
        if item["variable"] == "sex"
        else f"{item['value']:g} {item['unit']}"
    )
    return f"{value}, {item['source']}"


def _unused(reasons: dict[str, int]) -> str:
    """Why values that came now stand unused, by the codes of `node.facts.Unusable`."""
    count = sum(reasons.values())
    return f" ({count} value{'s' * (count > 1)} received, not usable: {', '.join(reasons)})" if count else ""


def _event(event: cases.CaseEvent) -> dict[str, Any]:
    why = event.reason
    if detail := event.detail.get("detail"):
        why = f"{why} ({detail})" if detail not in why else why
    return {"at": _time(event.at), "state": words(event.state), "why": why}


def _row(summary: cases.CaseSummary) -> dict[str, Any]:
    return {
        "case": summary.case_id,
        "state": words(summary.state),
        "reason": summary.reason,
        "review": summary.review,
        "sop_instance_uid": summary.sop_instance_uid,
        "study_uid": summary.study_uid,
        "calling_ae": summary.calling_ae,
        "received_at": _time(summary.received_at),
        "updated_at": _time(summary.updated_at),
    }


def _state_name(wanted: str) -> str:
    for name in case_json.STATES:
        if words(name) == wanted.lower():
            return name
    msg = f"no state is called {wanted!r}; there are {', '.join(map(words, case_json.STATES))}"
    raise NoSuchCase(msg)


def _time(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds")


def _print_json(facts: dict[str, Any]) -> None:
    print(json.dumps(facts, indent=1))  # noqa: T201 - this is the command's output
