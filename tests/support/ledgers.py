"""Cases and their values for tests of the ledger. The fixtures `ledger` and `ledger_url` stand in tests/conftest.py."""

from __future__ import annotations

import datetime as dt

from dicom_io.content_digest import digest_of, hex_of
from model.domain import (
    Category,
    ClinicalRecord,
    InstanceReference,
    MatchClass,
    Mode,
    ModelFacts,
    Observation,
    Scored,
    Sex,
)
from node.case import Matched, Reported, Screened, Source

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def source(number: int = 1, *, content: bytes = b"film", study: int = 1, file: str | None = None) -> Source:
    """An image received at noon; `content` decides its digest."""
    digest = digest_of(content)
    return Source(
        reference=InstanceReference(
            study_uid=f"1.2.3.{study}",
            series_uid=f"1.2.3.{study}.1",
            sop_instance_uid=f"1.2.3.{study}.1.{number}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        ),
        spool_file=file or f"{number}-{hex_of(digest)[:8]}.dcm",
        digest=digest,
        calling_ae="MODALITY1",
        received_at=NOON,
    )


def scored(**changes: object) -> Scored:
    """A result from the image alone."""
    facts = ModelFacts(
        bundle_id="b1",
        name="demo",
        version="1",
        image_sha256="0" * 64,
        clinical_sha256="1" * 64,
        fusion="none",
        calibration_id="c1",
        simulated_training=True,
    )
    values = {
        "category": Category.ABOVE,
        "mode": Mode.IMAGE_ONLY,
        "p_image": 0.1 + 0.2,
        "t_low": 0.2,
        "t_high": 0.29,
        "model": facts,
        "match": MatchClass.UNKNOWN_PATIENT,
        "attention": ((0.25, 0.25), (0.5, 0.0)),
    }
    return Scored(**{**values, **changes})  # type: ignore[arg-type]


def record() -> ClinicalRecord:
    """A record with one observation."""
    weight = Observation(
        variable="weight",
        value=61.3,
        unit="kg",
        age_days=12.5,
        observation_id=7,
        source="CSV 3:14",
        code="29463-7",
        observed_at=NOON - dt.timedelta(days=12.5),
    )
    return ClinicalRecord(match=MatchClass.MATCH_ISSUER, age_years=71.0, sex=Sex.FEMALE, observations=(weight,))


def matched(case_id: int, number: int = 1) -> Matched:
    return Matched(case_id=case_id, source=source(number), record=record())


def screened(case_id: int, number: int = 1) -> Screened:
    return Screened(case_id=case_id, source=source(number), record=record(), result=scored())


def reported(case_id: int, number: int = 1) -> Reported:
    return Reported(
        case_id=case_id,
        source=source(number),
        match=MatchClass.MATCH_ISSUER,
        result=scored(),
        objects=(),
        destinations=("pacs",),
    )
