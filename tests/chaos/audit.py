"""What the senders were told, against the ledger, the spool and the archive, after everything came to rest.

Read with plain SQL, hashlib and pydicom, not with the node's own store: the audit must not believe the audited.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blake3 import blake3
from chaos.films import Film, dataset_of
from chaos.ledger_file import Row, looking_into
from chaos.wire import DX
from pydicom import dcmread

SR = "1.2.840.10008.5.1.4.1.1.88.22"
ENDED = ("Delivered", "NotApplicable", "Failed")


@dataclass(slots=True, kw_only=True)
class Findings:
    """Lists of what is wrong, by kind; every one must be empty."""

    wrong: dict[str, list[str]] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)

    def note(self, kind: str, names: list[str]) -> None:
        """Record the findings of one check; an empty list is a check that held."""
        self.wrong.setdefault(kind, []).extend(names)

    def number(self, kind: str) -> int:
        """How many findings of this kind."""
        return len(self.wrong.get(kind, []))

    @property
    def missed(self) -> list[str]:
        """The checks that did not hold, with examples."""
        return [f"{kind}={len(names)} ({'; '.join(names[:3])})" for kind, names in self.wrong.items() if names]


def audit(node: Path, archive: Path, logs: list[Path], sent: Mapping[str, Film], told: set[str]) -> Findings:
    """Compare. `node` is `storage.data_dir` of a node that was started once more and stopped; `told` are UIDs."""
    found = Findings()
    with looking_into(node) as ledger:
        ledger.row_factory = Row
        found.note("integrity", [row[0] for row in ledger.execute("PRAGMA integrity_check") if row[0] != "ok"])
        cases = {row["sop_instance_uid"]: row for row in ledger.execute("SELECT * FROM screening_case")}
        _spool_against_ledger(found, node / "spool", ledger, cases, sent, told)
        _cases(found, ledger, cases)
        _archive_against_ledger(found, archive, ledger, cases)
    _logs(found, logs)
    return found


def _spool_against_ledger(
    found: Findings,
    spool: Path,
    ledger: Any,
    cases: Mapping[str, Row],
    sent: Mapping[str, Film],
    told: set[str],
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
    differing = ledger.execute("SELECT case_id FROM duplicate_instance WHERE differs").fetchall()
    found.note("second_digest", [str(row[0]) for row in differing])
    kept = {row["spool_file"] for row in cases.values()}
    files = {path.relative_to(spool).as_posix() for path in spool.rglob("*") if path.is_file()}
    found.note("left_part", sorted(name for name in files if name.endswith(".part")))
    found.note("orphan", sorted(name for name in files - kept if not name.endswith(".part")))
    found.counted |= {"acknowledged": len(told), "cases": len(cases), "files": len(files)}


def _cases(found: Findings, ledger: Any, cases: Mapping[str, Row]) -> None:
    states = Counter(row["state"] for row in cases.values())
    found.counted |= {f"case_{state.lower()}": number for state, number in sorted(states.items())}
    found.note("not_ended", [f"{uid} {row['state']}" for uid, row in cases.items() if row["state"] not in ENDED])
    failed = [f"{uid} {row['reason']}" for uid, row in cases.items() if row["state"] == "Failed"]
    found.note("failed", failed)
    live = ledger.execute(
        "SELECT kind, key, state, error FROM task WHERE state IN ('todo', 'doing', 'dead')"
    ).fetchall()
    found.note("task_left", [f"{row['kind']} {row['key']} {row['state']} {row['error']}" for row in live])
    received = ledger.execute(
        "SELECT case_id FROM case_event WHERE reason = 'received' GROUP BY case_id HAVING count(*) > 1"
    ).fetchall()
    found.note("received_twice", [str(row[0]) for row in received])


def _archive_against_ledger(found: Findings, archive: Path, ledger: Any, cases: Mapping[str, Row]) -> None:
    frozen = {row["sop_instance_uid"]: row for row in ledger.execute("SELECT * FROM outbox_object")}
    at_archive: dict[str, set[str]] = {}
    copies = 0
    for path in sorted(archive.glob("*.dcm")):
        uid, digest, _ = path.stem.split("_")
        at_archive.setdefault(uid, set()).add(digest)
        copies += 1
    expected = {uid: hashlib.sha256(dataset_of(row["part10"])).hexdigest() for uid, row in frozen.items()}
    found.note("archive_unknown", sorted(set(at_archive) - set(frozen)))
    found.note("archive_missing", sorted(set(frozen) - set(at_archive)))
    found.note(
        "archive_other_bytes",
        sorted(u for u, digests in at_archive.items() if u in expected and digests != {expected[u]}),
    )
    reports = Counter(
        _source_of(archive, uid) for uid, row in frozen.items() if row["sop_class_uid"] == SR and uid in at_archive
    )
    found.note("twice", sorted(f"{uid}: {number} reports" for uid, number in reports.items() if number > 1))
    delivered = {uid for uid, row in cases.items() if row["state"] == "Delivered"}
    found.note("delivered_without_report", sorted(delivered - set(reports)))
    found.note("report_of_nothing", sorted(uid for uid in set(reports) - delivered))
    found.counted |= {
        "reports": len(reports),
        "archived_objects": len(at_archive),
        "repeated_sends": copies - len(at_archive),
    }


def _source_of(archive: Path, uid: str) -> str:
    """The image an SR at the archive is about, as the SR itself says (PS3.3 C.17.2.1)."""
    report = dcmread(next(archive.glob(f"{uid}_*.dcm")))
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    references = [item for series in evidence for item in series.ReferencedSOPSequence]
    return ",".join(
        sorted({str(one.ReferencedSOPInstanceUID) for one in references if one.ReferencedSOPClassUID == DX})
    )


def _logs(found: Findings, logs: list[Path]) -> None:
    lines = [line for log in logs if log.exists() for line in log.read_text(errors="replace").splitlines()]
    found.note("database_is_locked", [line for line in lines if "database is locked" in line])
    found.note("traceback", [line for line in lines if line.startswith("Traceback")])
    found.counted["log_lines"] = len(lines)
