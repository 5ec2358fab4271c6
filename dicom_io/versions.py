"""What a further version of a report takes over from the versions before it (structured-report.md section 5).

All SRs of one image stand in one series with rising Instance Number, and attributes of the series are those of its
first document: archives and validators take differing ones for an error (PS3.3 C.7.3.1). They are read from the frozen
bytes of an earlier version, so that they hold across upgrades and need be kept nowhere else. A predecessor is named
only if it left the node: a reference to a document nobody holds would send a reader looking for it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from dicom_io import codes

_OF_THE_SERIES: Final = (
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "SeriesDate",
    "SeriesTime",
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "InstitutionName",
)
"""Software Versions is left out on purpose: it stays truthful about who made each document."""
_REFERENCE: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_SECOND: Final = dt.timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierDocument:
    """The frozen SR of an earlier version."""

    part10: bytes = field(repr=False)
    released: bool
    """At least one destination has it, or may have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amends:
    """What the next version of a report needs to know of those before it."""

    version: int
    """2 or more; the document's Instance Number (0020,0013)."""
    series: tuple[tuple[str, str], ...] = ()
    """Attributes of the SR series by keyword; empty when no document was ever made."""
    predecessors: tuple[tuple[str, str, str, str], ...] = ()
    """SOP class, SOP instance, study and series UID of each released document, oldest first."""
    previous_at: dt.datetime | None = None
    """Content time of the latest document, aware; this one must be later."""
    replaced_at: dt.datetime | None = None
    """Content time of the latest released document, aware."""
    revision: int = 0
    """How many of the documents before it are withdrawals."""

    def not_before(self, now: dt.datetime) -> dt.datetime:
        """`now`, or a second after the latest document where a clock was set back or stood still."""
        return now if self.previous_at is None else max(now, self.previous_at + _SECOND)

    @property
    def series_description(self) -> str | None:
        """Series Description (0008,103E) of the series' first document."""
        return dict(self.series).get("SeriesDescription")


def amends(version: int, earlier: Sequence[EarlierDocument]) -> Amends:
    """What version `version` takes over from the `earlier` documents, oldest first."""
    read = [(dcmread(BytesIO(one.part10), stop_before_pixels=True), one.released) for one in earlier]
    released = [document for document, left in read if left]
    first = read[0][0] if read else None
    return Amends(
        version=version,
        series=() if first is None else tuple((k, str(first[k].value)) for k in _OF_THE_SERIES if k in first),
        predecessors=tuple(_reference(document) for document in released),
        previous_at=_content_time(read[-1][0]) if read else None,
        replaced_at=_content_time(released[-1]) if released else None,
        revision=sum(is_withdrawal(document) for document, _ in read),
    )


def is_withdrawal(document: Dataset) -> bool:
    """Whether an SR says that the result before it is withdrawn."""
    wanted = codes.WITHDRAWN.value
    return any(code.CodeValue == wanted for item in _below(document) for code in item.get("ConceptCodeSequence", []))


def take_over(document: Dataset, taken: Amends | None) -> None:
    """Give `document` the attributes of its series."""
    for keyword, value in () if taken is None else taken.series:
        setattr(document, keyword, value)


def _below(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        yield child
        yield from _below(child)


def _reference(document: Dataset) -> tuple[str, str, str, str]:
    sop_class, instance, study, series = (str(document[keyword].value) for keyword in _REFERENCE)
    return sop_class, instance, study, series


def _content_time(document: Dataset) -> dt.datetime:
    zone = dt.datetime.strptime(str(document.TimezoneOffsetFromUTC), "%z").tzinfo
    return dt.datetime.combine(DA(str(document.ContentDate)), TM(str(document.ContentTime)), tzinfo=zone)
