"""Values for tests of the result objects: headers with every defect, results of every outcome."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation

from dicom_io.results import Installation, ReportContext
from model.domain import (
    Category,
    ClinicalInput,
    Comparator,
    InstanceReference,
    MatchClass,
    Mode,
    ModelFacts,
    Quality,
    Radiograph,
    Reason,
    Scored,
    Sex,
    View,
)

ROWS, COLUMNS = 400, 320
STUDY_UID = "1.2.826.0.1.3680043.10.99.1"
SOURCE_UID = "1.2.826.0.1.3680043.10.99.1.2.3"
MODEL = ModelFacts(
    bundle_id="demo-1",
    name="Osteon chest film model",
    version="1.4.0",
    image_sha256="3f" * 32,
    clinical_sha256="a1" * 32,
    fusion="logit stack a=1.10 b=0.35 c=-0.21",
    calibration_id="cal-2026-03",
    simulated_training=False,
)
SIMULATED_MODEL = replace(MODEL, name="Osteon demo model", version="0.1.0", simulated_training=True)
INPUTS = (
    ClinicalInput(variable="age", value=71.0, unit="a", age_days=0.0, source="DICOM header"),
    ClinicalInput(variable="sex", value=1.0, unit="1", age_days=0.0, source="DICOM header"),
    ClinicalInput(
        variable="weight",
        value=54.5,
        unit="kg",
        age_days=34.2,
        source="HL7 ORU^R01 MSG00017",
        code="29463-7",
        observed_at=dt.datetime(2026, 3, 1, 8, 30, tzinfo=dt.UTC),
    ),
    ClinicalInput(variable="alp", unit="U/L", code="6768-6"),
)


def header(**changes: object) -> Dataset:
    """A sound DX header; a keyword set to None is removed."""
    ds = Dataset()
    values: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 100",
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": SOURCE_UID,
        "StudyInstanceUID": STUDY_UID,
        "SeriesInstanceUID": f"{STUDY_UID}.2",
        "Modality": "DX",
        "StudyDate": "20260404",
        "StudyTime": "101530",
        "StudyID": "S-4711",
        "AccessionNumber": "A2026-0815",
        "PatientName": "Müller^Änne",
        "PatientID": "0012345",
        "PatientBirthDate": "19550212",
        "PatientSex": "F",
        "PatientAge": "071Y",
        "ReferringPhysicianName": "Weiß^Dr",
        "Manufacturer": "Acme",
        "ManufacturerModelName": "Ray 9",
        "StationName": "ROOM 2",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientOrientation": ["L", "F"],
        "ImagerPixelSpacing": [0.15, 0.15],
        "Rows": ROWS,
        "Columns": COLUMNS,
    }
    for keyword, value in (values | changes).items():
        if value is not None:
            setattr(ds, keyword, value)
    return ds


def radiograph(**changes: object) -> Radiograph:
    """A plausible film: a bright frame around two dark lungs."""
    y, x = np.mgrid[0:ROWS, 0:COLUMNS].astype(np.float32)
    lungs = sum(np.exp(-((((x - cx) / 55) ** 2 + ((y - 190) / 120) ** 2) ** 2)) for cx in (95, 225))
    pixels = np.clip(0.75 - 0.6 * lungs, 0, 1).astype(np.float32)
    values: dict[str, object] = {
        "reference": InstanceReference(
            study_uid=STUDY_UID,
            series_uid=f"{STUDY_UID}.2",
            sop_instance_uid=SOURCE_UID,
            sop_class_uid=DigitalXRayImageStorageForPresentation,
        ),
        "pixels": pixels,
        "view": View.PA,
        "modality": "DX",
        "age_years": 71.1,
        "sex": Sex.FEMALE,
    }
    return Radiograph(**(values | changes))  # type: ignore[arg-type]


def scored(category: Category = Category.ABOVE, mode: Mode = Mode.IMAGE_AND_CLINICAL, **changes: object) -> Scored:
    """A result of the given category and mode; both thresholds and the indeterminate zone are real."""
    probability = {Category.ABOVE: 0.734, Category.BETWEEN: 0.281, Category.BELOW: 0.112}[category]
    fused = mode is Mode.IMAGE_AND_CLINICAL
    values: dict[str, object] = {
        "category": category,
        "mode": mode,
        "p_image": 0.681 if fused else probability,
        "p_clinical": 0.402 if fused else None,
        "p_fused": probability if fused else None,
        "t_low": 0.25,
        "t_high": 0.32,
        "model": MODEL,
        "match": MatchClass.MATCH_ISSUER if fused else MatchClass.UNKNOWN_PATIENT,
        "inputs": INPUTS if fused else tuple(replace(i, value=None, age_days=None, source="") for i in INPUTS),
        "comparators": (Comparator(tool="OST", value=-3.0, band="low score"),) if fused else (),
        "attention": ((0.05, 0.1, 0.05), (0.1, 0.4, 0.1), (0.05, 0.1, 0.05)),
        "analysed_region": (0, 0, ROWS, COLUMNS),
    }
    return Scored(**(values | changes))  # type: ignore[arg-type]


def limited(**changes: Any) -> Scored:
    """A result with limitations."""
    return scored(quality=Quality.LIMITED, reasons=(Reason.AP_VIEW, Reason.LOSSY), **changes)


def context(**changes: object) -> ReportContext:
    """A fixed site and a fixed time."""
    values: dict[str, object] = {
        "site_name": "St. Example Hospital",
        "zone": ZoneInfo("Europe/Berlin"),
        "ae_title": "OSTEON",
        "installation": Installation(namespace=uuid.UUID(int=7), serial="OST-0007"),
        "node_version": "0.1.0",
        "at": dt.datetime(2026, 4, 4, 8, 20, 31, tzinfo=dt.UTC),
        "with_page": True,
    }
    return ReportContext(**(values | changes))  # type: ignore[arg-type]
