"""The dataset of a C-STORE while it arrives: in a file, never in memory, and a failure to write becomes its status."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from dicom_io.errors import SenderGone
from dicom_io.part import Part


class Arrival:
    """The dataset of one C-STORE on its way to disk; stands where pynetdicom keeps its own temporary file.

    A failure to write is remembered and told to `take`, while the rest of the object is read and dropped: so the sender
    gets a status and keeps its association.
    """

    def __init__(self, open_part: Callable[[], Part]) -> None:
        self._lock = threading.Lock()
        self._part: Part | None = None
        self._error: Exception | None = None
        try:
            self._part = open_part()
        except Exception as error:  # noqa: BLE001 - outermost: whatever failed is the status of this C-STORE
            self._error = error

    @property
    def file(self) -> Arrival:
        """What pynetdicom flushes."""
        return self

    @property
    def name(self) -> str:
        """Path of the file; pynetdicom deletes it after the handler, which an adopted one has outlived."""
        return os.fspath(self._part.path) if self._part else ""

    def flush(self) -> None:
        """Not after each fragment: a part writes in pieces."""

    def write(self, data: memoryview) -> None:
        """Append, or drop what cannot be kept any more."""
        if self._part is None:
            return
        try:
            self._part.write(data)
        except Exception as error:  # noqa: BLE001 - as above
            self._error = error
            self.close()

    def take(self) -> Part:
        """The complete part, once; it is the caller's to adopt or abandon.

        Raises:
            DicomIoError, OSError: what went wrong while it was written.

        """
        with self._lock:
            part, self._part = self._part, None
        if part is None:
            raise self._error or SenderGone("the association ended before its object could be kept")
        return part

    def close(self) -> None:
        """Delete what nobody took."""
        with self._lock:
            part, self._part = self._part, None
        if part is not None:
            part.abandon()


def arrival(request: object) -> Arrival | None:
    """Where the dataset of a C-STORE primitive is; None: in memory, the stock path received it."""
    found = getattr(request, "_dataset_file", None)
    return found if isinstance(found, Arrival) else None
