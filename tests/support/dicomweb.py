"""An Orthanc with DICOMweb as the archive of the report: QIDO-RS to find, WADO-RS to get back what was stored."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any, Self

from config.settings import Destination, parse
from dicom_io.results import BuiltObject
from dicom_io.storage_scu import OutgoingObject, send
from node.demo.node_process import free_port
from node.demo.orthanc import AE_TITLE, OrthancPacs


class WebPacs:
    """One running Orthanc; use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.http_port, self.dicom_port = free_port(), free_port()
        silent = folder / "silent.lua"
        folder.mkdir(parents=True, exist_ok=True)
        silent.write_text("", encoding="utf-8")
        self._orthanc = OrthancPacs(
            folder / "orthanc",
            dicom_port=self.dicom_port,
            http_port=self.http_port,
            node_ae="OSTEON",
            node_port=free_port(),
            script=silent,
            dicomweb=True,
        )

    def __enter__(self) -> Self:
        self._orthanc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._orthanc.stop()

    @property
    def destination(self) -> Destination:
        return Destination(name="pacs", ae_title=AE_TITLE, host="127.0.0.1", port=self.dicom_port)

    def store(self, *objects: BuiltObject) -> None:
        """C-STORE by the node's own SCU, in order."""
        outgoing = [
            OutgoingObject(sop_class_uid=o.sop_class_uid, sop_instance_uid=o.sop_instance_uid, part10=o.part10)
            for o in objects
        ]
        send(outgoing, self.destination, parse({}, origin="test").delivery)

    def qido(self, path: str) -> list[dict[str, Any]]:
        """DICOM JSON of a QIDO-RS search below `/dicom-web/`."""
        return list(json.loads(self._get(f"/dicom-web/{path}", "application/dicom+json")[1]))

    def wado(self, study: str, series: str, instance: str) -> bytes:
        """The Part 10 file of one instance by WADO-RS."""
        path = f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"
        kind, body = self._get(path, 'multipart/related; type="application/dicom"; transfer-syntax=*')
        found = re.search(r'boundary="?([^";]+)"?', kind)
        assert found, kind
        (part,) = body.split(b"--" + found[1].encode())[1:-1]
        return part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")

    def _get(self, path: str, accept: str) -> tuple[str, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.headers["Content-Type"], response.read()
