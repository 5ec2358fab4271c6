"""A real Orthanc as the PACS of the demo and of the system tests: on loopback, with a folder of its own.

It routes CR/DX to the node with `autoroute.lua`, the same script that `deploy/orthanc/` offers to administrators.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

AE_TITLE = "ORTHANC"
_SCRIPT = Path(__file__).with_name("autoroute.lua")
_DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
"""Debian package `orthanc-dicomweb`; QIDO-RS and WADO-RS below `/dicom-web/`."""
_START_LIMIT = 30.0


def orthanc_binary() -> str | None:
    """Path of Debian's Orthanc, or None where it is not installed."""
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")


class OrthancPacs:
    """One running Orthanc; use it as a context manager. `dicom_port` and `http_port` must be free."""

    def __init__(
        self,
        folder: Path,
        *,
        dicom_port: int,
        http_port: int,
        node_ae: str,
        node_port: int,
        script: Path = _SCRIPT,
        dicomweb: bool = False,
    ) -> None:
        self.folder = folder
        self.dicom_port = dicom_port
        self._base = f"http://127.0.0.1:{http_port}"
        self._configuration = {
            "Name": "Osteon test PACS",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": AE_TITLE,
            "DicomPort": dicom_port,
            "DicomCheckCalledAet": True,
            "DicomModalities": {"osteon": [node_ae, "127.0.0.1", node_port]},
            "LuaScripts": [str(script)],
            "OverwriteInstances": False,
            "Plugins": [str(_DICOMWEB)] if dicomweb else [],
            "DicomWeb": {"Enable": dicomweb, "Root": "/dicom-web/"},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start Orthanc and wait until it answers.

        Raises:
            RuntimeError: Orthanc is not installed, or did not come up; the message names its log.

        """
        binary = orthanc_binary()
        if binary is None:
            msg = "Orthanc is not installed (Debian package `orthanc`)"
            raise RuntimeError(msg)
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration, indent=1), encoding="utf-8")
        with (self.folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen([binary, str(configuration)], stdout=log, stderr=log)  # noqa: S603
        deadline = time.monotonic() + _START_LIMIT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                msg = f"Orthanc did not start; its log is {self.folder / 'orthanc.log'}"
                raise RuntimeError(msg)
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it; what it stored stays in `folder`, so that it can be started again."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None

    def instances(self, **tags: str) -> list[str]:
        """Orthanc identifiers of the instances whose DICOM tags equal `tags` (C-FIND at IMAGE level, by REST)."""
        query = {"Level": "Instance", "Query": tags}
        found: list[str] = json.loads(self._request("/tools/find", json.dumps(query).encode()))
        return found

    def tags(self, instance: str) -> dict[str, Any]:
        """The DICOM tags of one instance, by keyword."""
        found: dict[str, Any] = json.loads(self._request(f"/instances/{instance}/simplified-tags"))
        return found

    def part10(self, instance: str) -> bytes:
        """The stored file of one instance."""
        return self._request(f"/instances/{instance}/file")

    def _answers(self) -> bool:
        try:
            self._request("/system")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def _request(self, path: str, body: bytes | None = None) -> bytes:
        with urllib.request.urlopen(self._base + path, data=body, timeout=10) as response:  # noqa: S310 - loopback
            content: bytes = response.read()
        return content
