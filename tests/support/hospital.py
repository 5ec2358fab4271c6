"""A hospital on loopback: Orthanc as the PACS, the node as `osteon serve` runs it, routed to each other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from support.engines import give_engines

from config.code_file import code_table
from node.case import Case
from node.demo.node_process import NodeProcess, free_port
from node.demo.orthanc import AE_TITLE, OrthancPacs
from node.store import case_json, cases
from node.store.engine import open_ledger

SR = "1.2.840.10008.5.1.4.1.1.88.22"
PAGE = "1.2.840.10008.5.1.4.1.1.7"
CONFIGURATION = """
[site]
name = "Test hospital"
[storage]
data_dir = {data_dir}
[reception]
port = {dicom}
[clinical]
wait = {wait}
{more}
[clinical.codes]
confirmed_by = "demo"
confirmed_version = "{codes}"
[clinical.mllp]
port = {mllp}
[clinical.csv]
folder = {drop}
poll = 0.3
settle = 0.1
[delivery]
backoff_first = 0.5
backoff_cap = 1.0
[[delivery.destinations]]
name = "pacs"
ae_title = "{pacs_ae}"
host = "127.0.0.1"
port = {pacs}
"""


class Hospital:
    """Use as a context manager; `orthanc` and `node` may be stopped and started again by the test."""

    def __init__(self, folder: Path, *, wait: float = 20.0, script: Path | None = None, more: str = "") -> None:
        self.folder = folder
        self.dicom_port, self.mllp_port, self.pacs_port, http_port = (free_port() for _ in range(4))
        self.drop = folder / "drop"
        routing = {} if script is None else {"script": script}
        self.orthanc = OrthancPacs(
            folder / "orthanc",
            dicom_port=self.pacs_port,
            http_port=http_port,
            node_ae="OSTEON",
            node_port=self.dicom_port,
            **routing,
        )
        configuration = CONFIGURATION.format(
            data_dir=json.dumps(str(folder / "node")),
            drop=json.dumps(str(self.drop)),
            dicom=self.dicom_port,
            mllp=self.mllp_port,
            pacs=self.pacs_port,
            pacs_ae=AE_TITLE,
            wait=wait,
            more=more,
            codes=code_table().version,
        )
        give_engines(folder / "node")
        self.node = NodeProcess(folder, configuration, ports=(self.dicom_port, self.mllp_port))

    def __enter__(self):
        self.orthanc.start()
        self.node.start()
        return self

    def __exit__(self, *_):
        self.node.stop()
        self.orthanc.stop()

    def cases(self) -> list[Case]:
        """Every case, oldest first."""
        ledger = open_ledger(self.folder / "node" / "ledger.db")
        try:
            with ledger.read() as c:
                found = cases.find(c, limit=1000)
                return [cases.load(c, summary.case_id) for summary in reversed(found)]
        finally:
            ledger.close()

    def case_of(self, sop_instance_uid: str) -> Case | None:
        """The case of one image, if the node has it."""
        same = (c for c in self.cases() if c.source.reference.sop_instance_uid == sop_instance_uid)
        return next(same, None)

    def results(self, study_uid: str) -> dict[str, list[bytes]]:
        """SRs and pages that lie in a study of the PACS."""
        return {
            kind: [
                self.orthanc.part10(i)
                for i in self.orthanc.instances(StudyInstanceUID=study_uid, SOPClassUID=sop_class)
            ]
            for kind, sop_class in (("sr", SR), ("page", PAGE))
        }


def await_true(condition: Callable[[], object], what: str, *, limit: float = 120.0) -> None:
    """Poll until `condition()` is true; fails the test with `what` after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit} s: {what}"
        time.sleep(0.2)


def ended(case: Case | None) -> bool:
    """Whether a case is in a state it ends in."""
    return case is not None and case_json.state_of(case) in case_json.FINAL_STATES
