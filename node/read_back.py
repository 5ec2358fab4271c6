"""Looks at a destination for objects it should have, by C-FIND or QIDO-RS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from config.settings import Delivery, Destination
from dicom_io.qido import search
from dicom_io.query_scu import queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An object that a destination answered for, with the unique keys of its levels."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str


def absent(kind: str, objects: Sequence[Kept], at: Destination, settings: Delivery) -> list[str]:
    """UIDs of those that are not found there; `kind`: `find` or `qido`.

    Raises:
        PeerUnavailable: no answer now.
        PeerRefused: it does not answer such questions.

    """
    if kind == "qido":
        return [one.sop_instance_uid for one in objects if not _by_qido(one, at, settings)]
    with queries(at, settings) as asked:
        return [
            one.sop_instance_uid
            for one in objects
            if not any(
                str(found.get("SOPInstanceUID", "")) == one.sop_instance_uid
                for found in asked.find("IMAGE", _keys(one))
            )
        ]


def _by_qido(one: Kept, at: Destination, settings: Delivery) -> bool:
    found = search(at, settings, "IMAGE", _keys(one))
    return any(str(answer.get("SOPInstanceUID", "")) == one.sop_instance_uid for answer in found)


def _keys(one: Kept) -> dict[str, str]:
    """All unique keys down to the image: strict archives answer nothing else (PS3.4 C.4.1.2.1)."""
    return {
        "StudyInstanceUID": one.study_uid,
        "SeriesInstanceUID": one.series_uid,
        "SOPInstanceUID": one.sop_instance_uid,
    }
