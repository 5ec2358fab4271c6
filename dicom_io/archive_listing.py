"""Which radiographs an archive lists for a day, asked level by level as strict archives want it (PS3.4 C.4.1.2.1).

Studies by date and modality, their series by modality and body part, the images of those by class. An archive that
ignores a key of the question is no harm: what comes back is looked at again. Nothing is fetched.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator, Mapping

from pydicom.dataset import Dataset

from config.reconciliation import Reconciliation
from config.settings import Destination, Settings
from dicom_io.offer import storage_classes
from dicom_io.qido import search
from dicom_io.query_scu import Level, queries

_Ask = Callable[[Level, Mapping[str, str]], tuple[Dataset, ...]]


def radiographs_of(day: dt.date, archive: Destination, settings: Settings) -> tuple[str, ...]:
    """SOP Instance UIDs of the chest radiographs with study date `day`, as far as the node would take their class.

    Raises:
        PeerUnavailable: no answer now.
        PeerRefused: the archive does not answer such questions.

    """
    wanted, taken = settings.reconciliation, ("", *storage_classes(settings.reception))
    with _asking(archive, settings) as ask:
        images = [image for series in _series(ask, day, wanted) for image in _images(ask, series)]
    listed = (str(one.SOPInstanceUID) for one in images if str(one.get("SOPClassUID", "")) in taken)
    return tuple(dict.fromkeys(listed))


@contextlib.contextmanager
def _asking(archive: Destination, settings: Settings) -> Iterator[_Ask]:
    if settings.reconciliation.by == "qido":
        yield lambda level, keys: search(archive, settings.delivery, level, keys)
        return
    with queries(archive, settings.delivery) as asked:
        yield asked.find


def _series(ask: _Ask, day: dt.date, wanted: Reconciliation) -> Iterator[tuple[str, str]]:
    """(study UID, series UID) of the series that count."""
    studies: dict[str, None] = {}
    for modality in wanted.modalities:
        keys = {"StudyDate": f"{day:%Y%m%d}", "ModalitiesInStudy": modality, "StudyInstanceUID": ""}
        studies |= dict.fromkeys(str(one.StudyInstanceUID) for one in ask("STUDY", keys))
    for study in studies:
        keys = {"StudyInstanceUID": study, "SeriesInstanceUID": "", "Modality": "", "BodyPartExamined": ""}
        for series in ask("SERIES", keys):
            if _counts(series, wanted):
                yield study, str(series.SeriesInstanceUID)


def _counts(series: Dataset, wanted: Reconciliation) -> bool:
    part = str(series.get("BodyPartExamined", "") or "").upper()
    fits = any(word.upper() in part for word in wanted.body_parts) if part else wanted.unknown_body_part
    return fits and str(series.get("Modality", "")) in wanted.modalities


def _images(ask: _Ask, series: tuple[str, str]) -> tuple[Dataset, ...]:
    study, uid = series
    return ask("IMAGE", {"StudyInstanceUID": study, "SeriesInstanceUID": uid, "SOPInstanceUID": "", "SOPClassUID": ""})
