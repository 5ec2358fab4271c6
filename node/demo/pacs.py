"""The PACS of the demo as it needs one: take images, show what came back. Orthanc, or a small receiving AE."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from config.settings import Delivery, Destination, Reception
from dicom_io.received import StoredInstance
from dicom_io.spool import Spool
from dicom_io.storage_scp import StorageScp
from dicom_io.storage_scu import OutgoingObject, send
from node.demo.orthanc import AE_TITLE, OrthancPacs

MODALITIES = {"1.2.840.10008.5.1.4.1.1.88.22": "sr", "1.2.840.10008.5.1.4.1.1.7": "page"}
"""SOP class of a result -> its kind: Enhanced SR, Secondary Capture."""


class Pacs(Protocol):
    """What the demo asks of a PACS."""

    name: str

    def __enter__(self) -> Self:
        """Start it."""
        ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop it."""
        ...

    def submit(self, image: OutgoingObject) -> None:
        """Have an image sent to the node, as a modality's image would be."""
        ...

    def results(self, study_uid: str) -> dict[str, bytes]:
        """The results that lie in a study now, by kind (`sr`, `page`), as Part 10 bytes."""
        ...


class OrthancView:
    """Orthanc, which routes what it gets to the node by its own rule."""

    name = "Orthanc (auto-routing)"

    def __init__(self, orthanc: OrthancPacs) -> None:
        self._orthanc = orthanc
        self._own = Destination(name="orthanc", ae_title=AE_TITLE, host="127.0.0.1", port=orthanc.dicom_port)

    def __enter__(self) -> Self:
        self._orthanc.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._orthanc.stop()

    def submit(self, image: OutgoingObject) -> None:
        """Store the image in Orthanc."""
        send([image], self._own, Delivery(ae_title="MODALITY"))

    def results(self, study_uid: str) -> dict[str, bytes]:
        """Ask Orthanc for SR and SC of the study."""
        found: dict[str, bytes] = {}
        for sop_class, kind in MODALITIES.items():
            for instance in self._orthanc.instances(StudyInstanceUID=study_uid, SOPClassUID=sop_class):
                found[kind] = self._orthanc.part10(instance)
        return found


class SmallPacs:
    """A receiving AE in this process, for machines without Orthanc; images go to the node directly."""

    name = "small receiving AE (install `orthanc` for a real PACS)"

    def __init__(self, folder: Path, *, port: int, node: Destination) -> None:
        self._spool = Spool(folder)
        self._node = node
        self._scp = StorageScp(Reception(ae_title=AE_TITLE, port=port), self._spool, self._keep)
        self._lock = threading.Lock()
        self._kept: list[StoredInstance] = []

    def __enter__(self) -> Self:
        self._scp.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._scp.stop()

    def submit(self, image: OutgoingObject) -> None:
        """Send the image to the node."""
        send([image], self._node, Delivery(ae_title=AE_TITLE))

    def results(self, study_uid: str) -> dict[str, bytes]:
        """What was received for the study."""
        with self._lock:
            kept = [k for k in self._kept if k.reference.study_uid == study_uid]
        return {
            MODALITIES[k.reference.sop_class_uid]: self._spool.path(k.spool_file).read_bytes()
            for k in kept
            if k.reference.sop_class_uid in MODALITIES
        }

    def _keep(self, stored: StoredInstance) -> None:
        with self._lock:
            self._kept.append(stored)
