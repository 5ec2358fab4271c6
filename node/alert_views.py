"""What `osteon alerts` shows: what each kind of alert means for the site, and the next step of whoever reads it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import Final

from rich.console import Console
from rich.markup import escape

from config.settings import Settings
from node import places
from node.store import alerts
from node.store.alerts import Alert, AlertKind
from node.store.errors import NoSuchCase
from node.word_table import print_table

MEANINGS: Final[dict[AlertKind, tuple[str, str]]] = {
    AlertKind.MATCH_CONFLICT: (
        "Image and clinical record, or image and order, name different patients. The report rests on the image alone.",
        "Find out with the RIS who was examined. A corrected ADT message or order puts it right.",
    ),
    AlertKind.IDENTITY_CONFLICT: (
        "Values came with the demographics of somebody else and were not taken.",
        "Ask the sender of the message or file which patient is meant, and have it sent again.",
    ),
    AlertKind.IDENTITY_REPLACED: (
        "A message gave a known number the name or birth date of somebody else. Earlier values are not used.",
        "Ask who bears the number. If the message was wrong, the right ADT sent again brings those values back.",
    ),
    AlertKind.IDENTIFIER_CHANGED: (
        "A patient was given another identifier (A47). Both are read as one person.",
        "Check that the change was meant: `osteon person merges` lists it, `osteon person unmerge N` takes it back.",
    ),
    AlertKind.MERGE_REFUSED: (
        "A merge was not carried out: it would close a circle, or contradicts an earlier one.",
        "Clear up the patient in the master patient index and have the merge sent again. See `osteon person merges`.",
    ),
    AlertKind.MERGE_UNDONE: (
        "A merge was taken back. Reports made meanwhile may rest on values of the other patient.",
        "Look at the patient's cases: `osteon cases --review`.",
    ),
    AlertKind.WRONG_PATIENT: (
        "A value had been filed under the wrong patient (OBX-11 W) and is no longer used. Frame N: it is unknown here.",
        "Look at reports that used it: `osteon cases --review`. Decide in the archive (PACS) what becomes of them.",
    ),
    AlertKind.CORRECTION_UNCLEAR: (
        "A value was taken back or corrected (OBX-11 D or C), and which one is not clear: it may still be in use.",
        "Frame N: `osteon inbox show N`. Have the sender repeat it with order number and time (OBX-14) of that value.",
    ),
    AlertKind.REVIEW: (
        "What a report rests on was corrected, taken back or merged since, or an amendment could not be made.",
        "Read `osteon case N`, then decide: `osteon review N --keep --reason WHY`, or `--amend` instead of `--keep`.",
    ),
    AlertKind.QUARANTINED: (
        "A message or file could not be taken as it is; the feed goes on.",
        (
            "Frame N: `osteon inbox show N`, then replay or dismiss it. A held file: `osteon csv list`, release or "
            "reject it. For a rejected one (see the codes) drop a proper file, then `osteon alerts clear ID`."
        ),
    ),
    AlertKind.REPORT_INVALID: (
        "A report broke one of its own safety rules; nothing of it was sent.",
        "Keep the case and its log and tell the makers of Osteon: this is a fault of the software or the model.",
    ),
    AlertKind.RESULT_REFUSED: (
        "An HL7 receiver answered that it does not take the message about a report. The report itself is not affected.",
        "The detail names receiver and answer. Ask its administrator, then `osteon retry N` with the case's number.",
    ),
    AlertKind.RETRACTION_REFUSED: (
        "A report was withdrawn, and an HL7 receiver does not take the message that says so: the result stands there.",
        "Have it removed there by hand and clear this alert; or ask its administrator why, then `osteon retry N`.",
    ),
    AlertKind.RECEIVER_DOWN: (
        "An HL7 receiver is not reachable or does not answer. Its messages wait in the ledger; withdrawals do too.",
        "Look at the receiver and the network; `osteon doctor` tries to reach it, `osteon results` shows what waits.",
    ),
    AlertKind.RECEIVER_REMOVED: (
        "Messages wait for an HL7 receiver that is no longer in the settings; some may take a result back.",
        "Put it back into the settings, or give them up: `osteon results drop NAME --reason WHY --by WHO`.",
    ),
    AlertKind.DELIVERY_REFUSED: (
        "A destination refuses reports, could not be reached for days, or does not keep what it had answered for.",
        "`osteon deliveries` says which and why. Mend it there, then `osteon deliveries retry NAME --by WHO`.",
    ),
    AlertKind.DELIVERY_PARTIAL: (
        "A destination does not take every object of a report (the kinds are named). `sr`: it gets the page alone.",
        "Have the SOP class enabled there. Reports that are delivered are not sent again by themselves.",
    ),
    AlertKind.DESTINATION_DOWN: (
        "A destination is not reachable. Its reports wait in the ledger and go out in order when it is back.",
        "Look at the archive and the network; `osteon deliveries` shows what waits. Nothing need be sent by hand.",
    ),
    AlertKind.DESTINATION_REMOVED: (
        "Reports wait for a destination that is no longer in the settings.",
        "Put it back into the settings, or give it up: `osteon deliveries drop NAME --reason WHY --by WHO`.",
    ),
    AlertKind.PROOF_MISSING: (
        "A destination answered for reports and does not give the proof that `proof` in its settings asks for.",
        "Enable it there (storage commitment to the node's port, C-FIND, QIDO-RS), or choose another `proof`.",
    ),
    AlertKind.WITHDRAWAL_BY_HAND: (
        "A report was withdrawn, and this destination does not act on the note that says so, or did not take it.",
        "Remove or mark the objects there; `osteon case N` lists their UIDs. Then clear this alert.",
    ),
    AlertKind.WITHDRAWAL_FAILED: (
        "What says that a report is withdrawn could not be made, as the codes say. At most rejection notes went out.",
        "Mark the report where `osteon case N` says it is. Tell the makers of Osteon why; then `osteon retry N`.",
    ),
    AlertKind.TASK_DEAD: (
        "Work was given up: a nightly job (by its name), or one whose case could not be marked and stays where it is.",
        "A job is done again the next day. Else the first number is the case: read `osteon case N`, and keep the log.",
    ),
    AlertKind.FAST_PATH_REFUSED: (
        "The node's own receive path did not pass its self-test at start. Reception is slower; nothing is lost.",
        "If the reason is the spool: `osteon doctor`. Else install the pynetdicom of deploy/constraints.txt. Restart.",
    ),
    AlertKind.ENGINE_REFUSED: (
        "The faster engine for the networks did not prove itself on this host, so torch serves: slower, same results.",
        'Read the reason beside the alert and mend it, then restart; model.runtime = "torch" makes it the choice.',
    ),
    AlertKind.COVERAGE: (
        "Radiographs that the archive lists have no answer here, reports are missing there, or it could not be asked.",
        "`osteon reconcile --date DAY` names them. Have missing images routed again; reports go out by themselves.",
    ),
    AlertKind.CERTIFICATE: (
        "The TLS certificate that senders are shown expires within a week, is not valid now, or cannot be renewed.",
        "Renew certificate and key at the setting named; they are taken over without a restart. See `osteon doctor`.",
    ),
    AlertKind.DISK_LOW: (
        "The disk of the spool is too full: new senders are refused for now, above the second mark every image too.",
        "Free space or shorten `[retention]`; `osteon doctor` says how full it is. Senders come again by themselves.",
    ),
    AlertKind.CSV_FOLDER: (
        "The CSV drop folder cannot be made, read or written: no file is taken, and values in it reach no report.",
        "Mount `clinical.csv.folder`, correct it, or let the node's account write there; then it goes on by itself.",
    ),
    AlertKind.SPOOL_UNAVAILABLE: (
        "The spool that the hosts share does not answer a host: it takes no image (0xA700), its cases wait.",
        "Mend the mount, the bucket or the network. Nothing is lost: senders repeat, and cases go on by themselves.",
    ),
    AlertKind.HINTS_LOST: (
        "RabbitMQ does not answer a host. Work is found by the poll of the ledger instead: slower, nothing is lost.",
        "Start the broker or correct fleet.broker; the host connects again by itself.",
    ),
    AlertKind.UNIT_DRIFT: (
        "The values of one variable of a feed moved out of their expected range: its unit may have changed.",
        "Ask the sender about the unit before more values are used.",
    ),
}
_HEADERS: Final = ("id", "alert", "about", "codes", "times", "last (UTC)", "seen to")
_BY_NAME: Final = {str(kind): texts for kind, texts in MEANINGS.items()}
_OTHERWISE: Final = ("An alert of another release of Osteon.", "Read the history of what it names.")


def show_alerts(settings: Settings, *, include_cleared: bool, as_json: bool) -> None:
    """Print alerts, latest first, each with its meaning and the next step."""
    ledger = places.open_settings_ledger(settings)
    with ledger.read() as c:
        found = alerts.find(c, include_cleared=include_cleared)
    ledger.close()
    if as_json:
        print(json.dumps([_row(alert) for alert in found], indent=1))  # noqa: T201 - this is the command's output
        return
    console = Console(highlight=False)
    if found:
        print_table(_HEADERS, [_cells(alert) for alert in found], whole=("id", "alert", "about"))
    else:
        console.print("no open alert")
    for kind in dict.fromkeys(a.kind for a in found if a.cleared_at is None):
        meaning, step = meaning_of(kind)
        console.print(f"\n{kind}: {escape(meaning)}\n  next: {escape(step)}", soft_wrap=True)


def clear_alert(settings: Settings, number: int) -> str:
    """Clear one open alert; says so.

    Raises:
        NoSuchCase: there is no such open alert.

    """
    ledger = places.open_settings_ledger(settings)
    with ledger.begin() as c:
        cleared = alerts.clear(c, number)
    ledger.close()
    if not cleared:
        msg = f"there is no open alert {number}"
        raise NoSuchCase(msg)
    return f"alert {number} is cleared"


def meaning_of(kind: str) -> tuple[str, str]:
    """What an alert means in plain words, and the next step."""
    return _BY_NAME.get(kind, _OTHERWISE)


def _cells(a: Alert) -> tuple[str, ...]:
    seen = "" if a.cleared_at is None else f"{a.cleared_at:%Y-%m-%d %H:%M}"
    return str(a.id), a.kind, a.subject, a.detail, str(a.count), f"{a.last_at:%Y-%m-%d %H:%M:%S}", seen


def _row(alert: Alert) -> dict[str, object]:
    meaning, step = meaning_of(alert.kind)
    facts = {name: _plain(value) for name, value in dataclasses.asdict(alert).items()}
    return facts | {"meaning": meaning, "next_step": step}


def _plain(value: object) -> object:
    return value.astimezone(dt.UTC).isoformat(timespec="seconds") if isinstance(value, dt.datetime) else value
