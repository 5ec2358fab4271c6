"""The kinds of work the ledger holds, their keys and their lanes: the words listener and worker share."""

from __future__ import annotations

from typing import Final

ADVANCE: Final = "advance"
"""Take a case on, up to Reported; weigh later what comes after the report. Key: the case's number."""
INFER_LANE: Final = "infer"
"""One at a time per worker process."""

DELIVER: Final = "deliver"
"""Bring one version of a report to one destination. Key: `case|version|destination`."""

PROVE: Final = "prove"
"""Find out whether one destination keeps one version of a report. Key as for `DELIVER`."""
PROBE: Final = "probe"
"""Ask a destination that was away whether it is back. Key: its name."""
PROBE_LANE: Final = "probe"

REPORT_COMMITMENT: Final = "report-commitment"
"""Check what a commitment request names and report to the requestor. Key: the Transaction UID."""
COMMITMENT_LANE: Final = "commitment"

SEND_RESULT: Final = "send-result"
"""Tell one HL7 receiver about one version of a report. Key: `case|version|receiver|meaning`."""

HOUSEKEEPING: Final = "housekeeping"
"""Do a periodic job for one slot of time. Key: `name:slot`."""
HOUSEKEEPING_LANE: Final = "housekeeping"


def advance_key(case_id: int) -> str:
    """Key of the `ADVANCE` task of a case."""
    return str(case_id)


def deliver_key(case_id: int, version: int, destination: str) -> str:
    """Key of a `DELIVER` or `PROVE` task."""
    return f"{case_id}|{version}|{destination}"


def parse_deliver_key(key: str) -> tuple[int, int, str]:
    """(case, version, destination) of a `DELIVER` or `PROVE` task."""
    case_id, version, destination = key.split("|", 2)
    return int(case_id), int(version), destination


def destination_lane(destination: str) -> str:
    """Lane of one destination: a dead archive delays no other."""
    return f"net:{destination}"


def result_lane(receiver: str) -> str:
    """Lane of one HL7 receiver: one message at a time goes to it, and a dead one delays no other."""
    return f"hl7:{receiver}"
