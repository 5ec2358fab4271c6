"""A ledger of an older version, in use, is opened by this one: nothing is lost, old rows mean what they meant."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from dicom_io.content_digest import digest_of, is_intact
from node.case import NotApplicable, Reported
from node.store import case_patients, cases, commitments, csv_files, duplicates, jobs, outbox, report_versions
from node.store.engine import Connection, Ledger, open_ledger
from node.store.metadata import metadata
from node.store.migrate import INBOX, LEDGER, Chain, _config

CONTENT = b"film"
OLD_DIGEST = "d0607f7ad2628b2af9158dfba06ce87166e66b15bf68f8f358f9aa27ccb7c321"
NOON = dt.datetime(2025, 1, 1, 12, tzinfo=dt.UTC)
MODEL = {
    "bundle_id": "b1",
    "name": "demo",
    "version": "1",
    "image_sha256": "0" * 64,
    "clinical_sha256": "1" * 64,
    "fusion": "none",
    "calibration_id": "c1",
    "simulated_training": True,
}
RESULT = {
    "category": "ABOVE",
    "mode": "IMAGE_ONLY",
    "p_image": 0.30000000000000004,
    "t_low": 0.2,
    "t_high": 0.29,
    "model": MODEL,
    "match": "UNKNOWN_PATIENT",
    "p_clinical": None,
    "p_fused": None,
    "inputs": [],
    "comparators": [],
    "quality": "PASS",
    "reasons": [],
    "attention": [[0.25, 0.25], [0.5, 0.0]],
    "analysed_region": [0, 0, 0, 0],
}
"""As revision 0002 wrote it."""


def old_source(number: int) -> dict[str, object]:
    return {
        "reference": {
            "study_uid": "1.2.3.1",
            "series_uid": "1.2.3.1.1",
            "sop_instance_uid": f"1.2.3.1.1.{number}",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
        },
        "spool_file": f"{number}-d0607f7a.dcm",
        "sha256": OLD_DIGEST,
        "calling_ae": "MODALITY1",
        "received_at": "2025-01-01T12:00:00Z",
    }


def old_case(number: int, state: str, facts: dict[str, object]) -> dict[str, object]:
    document = [{"case_id": number, "source": old_source(number), **facts}]
    return {
        "id": number,
        "sop_instance_uid": f"1.2.3.1.1.{number}",
        "study_uid": "1.2.3.1",
        "series_uid": "1.2.3.1.1",
        "state": state,
        "document": json.dumps(document),
        "reason": "",
        "sha256": OLD_DIGEST,
        "spool_file": f"{number}-d0607f7a.dcm",
        "calling_ae": "MODALITY1",
        "received_at": NOON,
        "updated_at": NOON,
    }


OLD_REPORT = {
    "match": "UNKNOWN_PATIENT",
    "result": RESULT,
    "objects": [{"kind": "sr", "sop_class_uid": "1.2", "sop_instance_uid": "2.25.1", "sha256": "a" * 64}],
    "destinations": ["pacs"],
}
OLD_END = {"reasons": ["AGE_UNDER"], "measurements": [["contrast", "Infinity"], ["mean", 0.30000000000000004]]}
OLD_DUPLICATE = {
    "case_id": 1,
    "sha256": "b" * 64,
    "spool_file": "other.dcm",
    "differs": True,
    "copies": 2,
    "calling_ae": "MODALITY1",
    "first_at": NOON,
    "last_at": NOON,
}


def upgraded(where: str, revision: str, fill: Callable[[Connection], None]) -> Ledger:
    """Make a ledger of `revision`, fill it, and open it with this version."""
    engine = sa.create_engine(where if "://" in where else f"sqlite:///{where}")
    config = _config()
    with engine.begin() as c:
        if c.dialect.name == "sqlite":
            c.exec_driver_sql("PRAGMA foreign_keys = ON")
        config.attributes["connection"] = c
        command.upgrade(config, revision)
        fill(c)
    engine.dispose()
    return open_ledger(where)


def insert(c: Connection, table: str, row: dict[str, object]) -> None:
    known = sa.Table(table, sa.MetaData(), autoload_with=c)
    typed = {name: value.replace(tzinfo=None) if _naive(known, name, value) else value for name, value in row.items()}
    c.execute(sa.insert(known).values(typed))


def _naive(table: sa.Table, name: str, value: object) -> bool:
    return isinstance(value, dt.datetime) and not getattr(table.c[name].type, "timezone", True)


@pytest.mark.parametrize("chain", [LEDGER, INBOX], ids=["ledger", "inbox"])
def test_the_files_names_are_the_revisions_in_their_order(chain: Chain):
    """What tells at each start, without Alembic, whether there is anything to migrate."""
    found = ScriptDirectory.from_config(_config(chain)).walk_revisions()
    assert chain.revisions() == tuple(reversed([script.revision for script in found]))


def test_a_ledger_of_the_first_release_is_upgraded_with_its_rows(ledger_url: str):
    def fill(c: Connection) -> None:
        assert not sa.inspect(c).has_table("commitment_request")
        jobs.enqueue(c, "advance", "1", lane="infer")
        insert(c, "screening_case", old_case(1, "NotApplicable", OLD_END))
        case_patients.register(c, 1, ["4711"])

    opened = upgraded(ledger_url, "0001", fill)
    with opened.begin() as c:
        assert compare_metadata(MigrationContext.configure(c), metadata) == []
        assert jobs.get(c, "advance", "1") is not None
        asked = {"transaction_uid": "1.2", "requestor_ae": "CT", "address": "::1", "items": (("1.2", "1.3"),)}
        assert commitments.record(c, at=NOON, **asked)
    opened.close()


def test_old_digests_stay_valid_under_the_name_of_their_algorithm(ledger_url: str, tmp_path: Path):
    def fill(c: Connection) -> None:
        insert(c, "screening_case", old_case(1, "NotApplicable", OLD_END))
        insert(c, "screening_case", old_case(2, "Reported", OLD_REPORT))
        insert(c, "duplicate_instance", OLD_DUPLICATE)
        case_patients.register(c, 1, ["4711"])

    opened = upgraded(ledger_url, "0002", fill)
    with opened.read() as c:
        ended, reported = cases.load(c, 1), cases.load(c, 2)
        (copy,) = duplicates.listed(c, case_id=1)
        assert c.exec_driver_sql("SELECT digest FROM screening_case").scalars().all() == [f"sha256:{OLD_DIGEST}"] * 2
    opened.close()
    assert isinstance(ended, NotApplicable)
    assert dict(ended.measurements) == {"contrast": math.inf, "mean": 0.1 + 0.2}
    assert isinstance(reported, Reported)
    assert reported.objects[0].sha256 == "a" * 64
    assert reported.result.p_image == 0.1 + 0.2
    assert copy.digest == f"sha256:{'b' * 64}"
    file = tmp_path / "film.dcm"
    file.write_bytes(CONTENT)
    assert is_intact(file, ended.source.digest)
    assert is_intact(file, digest_of(CONTENT))
    file.write_bytes(CONTENT[:-1])
    assert not is_intact(file, ended.source.digest)


def test_dropped_files_of_before_have_their_place_where_they_came(ledger_url: str):
    def fill(c: Connection) -> None:
        file = {"sha256": "a" * 64, "recorded_at": NOON, "state": "held", "rows": 1, "bad_rows": 1, "source": "lab"}
        insert(c, "csv_file", file)

    opened = upgraded(ledger_url, "0011", fill)
    with opened.read() as c:
        assert [(file.made_at, file.snapshot) for file in csv_files.find(c)] == [(NOON, False)]
    opened.close()


def test_a_report_that_was_on_its_way_counts_as_one_the_destination_may_have(ledger_url: str):
    """An amendment made after the upgrade must name it: nobody noted whether a send had ended without an answer."""

    def fill(c: Connection) -> None:
        for number, delivered in ((1, "waiting"), (2, "refused"), (3, "delivered")):
            insert(c, "screening_case", old_case(number, "Reported", OLD_REPORT))
            row = {"case_id": number, "version": 1, "destination": "pacs", "state": delivered, "tries": 1, "at": NOON}
            insert(c, "delivery", row)

    opened = upgraded(ledger_url, "0002", fill)
    with opened.read() as c:
        assert [d.uncertain for d in outbox.deliveries(c)] == [True, True, False]
        assert [report_versions.released(c, number) for number in (1, 2, 3)] == [(1,), (1,), (1,)]
    opened.close()
