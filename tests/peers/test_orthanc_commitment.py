"""Orthanc stores to the node, asks it for storage commitment, and is told on a new association."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.dcmtk import dcmsend
from support.dicom_objects import radiograph_dataset, write
from support.hospital import await_true
from support.tools import require_tool

from config.settings import parse
from node.demo.node_process import free_port
from node.demo.orthanc import AE_TITLE, OrthancPacs
from node.listener import Listener

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

STORE_TO_THE_NODE = "function OnStoredInstance(i, t, m, o) SendToModality(i, 'osteon') end"


class Pair:
    """A listening node and an Orthanc that routes to it."""

    def __init__(self, folder: Path) -> None:
        self.pacs_port, self.http_port = free_port(), free_port()
        tables = {
            "storage": {"data_dir": folder / "node"},
            "reception": {
                "port": 0,
                "commitment": True,
                "peers": [{"ae_title": AE_TITLE, "commitment_port": self.pacs_port}],
            },
            "clinical": {"mllp": {"enabled": False}},
            "delivery": {"backoff_first": 0.5, "backoff_cap": 1.0},
        }
        self.spool = folder / "node" / "spool"
        self.node = Listener(parse(tables, origin="test"))

    def rest(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", data=data, timeout=20) as response:
            return json.loads(response.read())

    def commitment(self, *references: tuple[str, str]) -> dict[str, Any]:
        """Orthanc's report once it is no longer pending."""
        body = {"DicomInstances": [{"SOPClassUID": c, "SOPInstanceUID": i} for c, i in references]}
        path = self.rest("/modalities/osteon/storage-commitment", body)["Path"]
        await_true(lambda: self.rest(path)["Status"] != "Pending", "the node has reported", limit=60)
        return dict(self.rest(path))


@contextmanager
def pair(folder: Path) -> Iterator[Pair]:
    both = Pair(folder)
    script = folder / "store.lua"
    script.write_text(STORE_TO_THE_NODE, encoding="utf-8")
    both.node.start()
    orthanc = OrthancPacs(
        folder / "orthanc",
        dicom_port=both.pacs_port,
        http_port=both.http_port,
        node_ae="OSTEON",
        node_port=both.node.dicom_port,
        script=script,
    )
    try:
        with orthanc:
            yield both
    finally:
        both.node.stop()


def test_orthanc_sees_success_and_then_the_truth(tmp_path: Path) -> None:
    require_tool("Orthanc")
    films = [radiograph_dataset(number=n) for n in (1, 2)]
    references = [(str(f.SOPClassUID), str(f.SOPInstanceUID)) for f in films]
    with pair(tmp_path) as both:
        dcmsend(both.pacs_port, *(write(tmp_path / f"{n}.dcm", f) for n, f in enumerate(films)), called=AE_TITLE)
        await_true(lambda: len(list(both.spool.rglob("*.dcm"))) == len(films), "Orthanc has stored to the node")
        report = both.commitment(*references)
        assert (report["Status"], len(report["Success"]), report["Failures"]) == ("Success", 2, [])
        next(both.spool.rglob(f"{references[1][1]}-*.dcm")).unlink()
        report = both.commitment(*references)
    assert report["Status"] == "Failure"
    assert [one["SOPInstanceUID"] for one in report["Success"]] == [references[0][1]]
    assert [(one["SOPInstanceUID"], one["FailureReason"]) for one in report["Failures"]] == [(references[1][1], 0x0112)]
