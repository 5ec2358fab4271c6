"""What the node does with real DICOM objects in a folder: header rules, decoding, gate, as in its pipeline; no ledger.

For the evaluation. An object is asked twice: with an age of 70, so that the gate and not a missing age decides, and as
it is. Which objects are upright frontal chest films of adults, their names say (`chest_` in front).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dicom_io.errors import DicomIoError
from dicom_io.header import read_header
from dicom_io.radiograph import read_radiograph, refusals
from model.domain import ClinicalRecord, MatchClass, NotAssessed, Radiograph, Scored, Sex
from model.screener import Screener
from model.train.evaluate import RealObject

_NO_RECORD = ClinicalRecord(match=MatchClass.NO_ID)
_AGE = 70.0


def judge_objects(folder: Path, screener: Screener) -> tuple[RealObject, ...]:
    """Every *.dcm below `folder`, by name."""
    return tuple(_judge(file, screener) for file in sorted(folder.glob("*.dcm")))


def _judge(file: Path, screener: Screener) -> RealObject:
    found = _read(file)
    if not isinstance(found, Radiograph):
        return _result(file, refused=True, scored=False, reasons=found)
    aged = screener.screen(dataclasses.replace(found, age_years=_AGE, sex=Sex.FEMALE), _NO_RECORD)
    as_is = screener.screen(found, _NO_RECORD)
    reasons = tuple(str(r) for r in aged.reasons)
    return _result(file, refused=isinstance(aged, NotAssessed), scored=isinstance(as_is, Scored), reasons=reasons)


def _read(file: Path) -> Radiograph | tuple[str, ...]:
    """The picture, or why there is none to look at."""
    try:
        if reasons := refusals(read_header(file)):
            return tuple(str(r) for r in reasons)
        return read_radiograph(file)
    except DicomIoError as error:
        return (type(error).__name__,)


def _result(file: Path, *, refused: bool, scored: bool, reasons: tuple[str, ...]) -> RealObject:
    chest = file.name.startswith("chest_")
    return RealObject(name=file.stem, chest=chest, refused=refused, scored_as_it_is=scored, reasons=reasons)
