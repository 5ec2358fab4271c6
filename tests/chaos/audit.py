"""What the senders were told, against the ledger, the spool and the archive, after everything came to rest.

Read with plain SQL, hashlib and pydicom, not with the node's own store: the audit must not believe the audited. What
stands in the reports is looked at by `audit_reports`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3
from chaos.films import Film
from chaos.ledger_file import Row, rows
from support.dicom_objects import dataset_of

ENDED = ("Delivered", "NotApplicable", "Failed")


@dataclass(slots=True, kw_only=True)
class Findings:
    """Lists of what is wrong, by kind; every one must be empty."""

    wrong: dict[str, list[str]] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)

    def note(self, kind: str, names: Sequence[str]) -> None:
        """Record the findings of one check; an empty list is a check that held."""
        self.wrong.setdefault(kind, []).extend(names)

    def number(self, kind: str) -> int:
        """How many findings of this kind."""
        return len(self.wrong.get(kind, []))

    @property
    def missed(self) -> list[str]:
        """The checks that did not hold, with examples."""
        return [f"{kind}={len(names)} ({'; '.join(names[:3])})" for kind, names in self.wrong.items() if names]


def audit_ledger(found: Findings, place: Path | str, spool: Path, sent: Mapping[str, Film], told: set[str]) -> None:
    """Compare. `place` as for `rows`, of a node that was started once more and stopped; `told` are UIDs."""
    if isinstance(place, Path):
        found.note("integrity", [text for row in rows(place, "PRAGMA integrity_check") if (text := _only(row)) != "ok"])
    cases = {row["sop_instance_uid"]: row for row in rows(place, "SELECT * FROM screening_case")}
    _spool_against_ledger(found, spool, cases, sent, told)
    _cases(found, place, cases)


def audit_logs(found: Findings, logs: Sequence[Path]) -> None:
    """No database was locked, and nothing ended in a way that nobody foresaw."""
    lines = [line for log in logs if log.exists() for line in log.read_text(errors="replace").splitlines()]
    found.note("database_is_locked", [line for line in lines if "database is locked" in line])
    found.note("traceback", [line for line in lines if line.startswith("Traceback")])
    found.counted["log_lines"] = len(lines)


def _spool_against_ledger(
    found: Findings, spool: Path, cases: Mapping[str, Row], sent: Mapping[str, Film], told: set[str]
) -> None:
    lost, changed = [], []
    for uid in sorted(told):
        file = spool / cases[uid]["spool_file"] if uid in cases else None
        if file is None or not file.is_file():
            lost.append(uid)
            continue
        content = file.read_bytes()
        if hashlib.sha256(dataset_of(content)).hexdigest() != sent[uid].dataset_sha256:
            lost.append(f"{uid}: other bytes")
        if f"blake3:{blake3(content).hexdigest()}" != cases[uid]["digest"]:
            changed.append(uid)
    found.note("lost", lost)
    found.note("digest_differs", changed)
    found.note("unknown_case", sorted(set(cases) - set(sent)))
    found.note("never_told_success", sorted(set(sent) - told))
    kept = {row["spool_file"] for row in cases.values()}
    files = {path.relative_to(spool).as_posix() for path in spool.rglob("*") if path.is_file()}
    found.note("left_part", sorted(name for name in files if name.endswith(".part")))
    found.note("orphan", sorted(name for name in files - kept if not name.endswith(".part")))
    found.counted |= {"acknowledged": len(told), "cases": len(cases), "files": len(files)}


def _cases(found: Findings, place: Path | str, cases: Mapping[str, Row]) -> None:
    states = Counter(row["state"] for row in cases.values())
    found.counted |= {f"case_{state.lower()}": number for state, number in sorted(states.items())}
    found.note("not_ended", [f"{uid} {row['state']}" for uid, row in cases.items() if row["state"] not in ENDED])
    failed = [f"{uid} {row['reason']}" for uid, row in cases.items() if row["state"] == "Failed"]
    found.note("failed", failed)
    differing = rows(place, "SELECT case_id FROM duplicate_instance WHERE differs")
    found.note("second_digest", [str(row["case_id"]) for row in differing])
    # What is done once a day may just have been asked for.
    live = (
        "SELECT kind, key, state, error FROM task WHERE state IN ('todo', 'doing', 'dead') AND kind <> 'housekeeping'"
    )
    found.note("task_left", [f"{row['kind']} {row['key']} {row['state']} {row['error']}" for row in rows(place, live)])
    received = "SELECT case_id FROM case_event WHERE reason = 'received' GROUP BY case_id HAVING count(*) > 1"
    found.note("received_twice", [str(row["case_id"]) for row in rows(place, received)])


def _only(row: Row) -> str:
    return str(next(iter(row.values())))
