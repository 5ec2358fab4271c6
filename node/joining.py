"""An image and the clinical record of its patient: rule R4, then what was known then (clinical-data.md 6 and 11).

It reads header and clinical store and decides nothing about the case: whether to wait or go on is the pipeline's.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from config.code_file import code_table
from config.codes import CodeTable
from config.settings import Settings
from dicom_io import header as dicom_header
from model.asof import lookbacks
from model.domain import ClinicalRecord, MatchClass, Sex
from node.case import Source
from node.matching import Image, clinical_record, match_patient
from node.store import reviews
from node.store.clinical_lock import read_settled
from node.store.engine import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The clinical record of an image's patient, as known at one moment."""

    record: ClinicalRecord
    persons: tuple[int, ...]
    """Keys of the person joined and of all read as this one; empty without a match."""
    missing: tuple[str, ...]
    """Required variables that neither header nor record has."""
    conflict: str
    """Detail of the operator alert for a CONFLICT; else empty."""
    stirred_at: dt.datetime | None
    """The first clinical message for the case that this record takes into account, if it was not before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joiner:
    """How this site and this model join. `required` and `narrowed_days` are the model bundle's."""

    settings: Settings
    required: tuple[str, ...]
    narrowed_days: Mapping[str, float]

    def join(self, c: Connection, source: Source, header: dicom_header.Header, *, known_at: dt.datetime) -> Joined:
        """What is known at `known_at` (aware) of the patient, as of the image's time. `c` is one reader throughout."""
        identity = dicom_header.patient_identity(header)
        # A modality whose clock runs ahead must not let values in that were observed after the image.
        stated_at = dicom_header.acquired_at(header, self.settings.site.zone)
        taken_at = source.received_at if stated_at is None else min(stated_at, source.received_at)
        image = Image(
            identity=identity,
            accession=dicom_header.accession_number(header),
            study_uid=source.reference.study_uid,
            assumed_issuer=self._assumed_issuer(source.calling_ae),
        )
        read_settled(c)
        stirred_at = reviews.stirred_at(c, source.reference.sop_instance_uid)
        outcome = match_patient(c, image, self.settings.clinical)
        record = clinical_record(
            c, outcome, identity, t0=taken_at, known_at=known_at, lookback_days=self._lookback_days()
        )
        confirmed = self.settings.clinical.codes.confirmed(self._codes.version)
        if record.match.joins and not confirmed:
            record = ClinicalRecord(match=MatchClass.CODES_UNCONFIRMED)
        age = dicom_header.age_years(header)
        return Joined(
            record=record,
            persons=tuple(sorted(outcome.group)),
            # Nothing that could still come would be used as long as the table is not confirmed: no reason to wait.
            missing=tuple(name for name in self.required if confirmed and not _has(name, record, age, identity.sex)),
            conflict=outcome.alert,
            stirred_at=stirred_at,
        )

    def _assumed_issuer(self, calling_ae: str) -> str:
        return next((p.issuer for p in self.settings.reception.peers if p.ae_title == calling_ae), "")

    @property
    def _codes(self) -> CodeTable:
        return code_table(self.settings.clinical.codes.file)

    def _lookback_days(self) -> dict[str, float]:
        return lookbacks(self._codes.lookback_days, self.settings.clinical.lookback_days, self.narrowed_days)


def _has(name: str, record: ClinicalRecord, age_years: float | None, sex: Sex) -> bool:
    """Whether header or record says it; age and sex may stand in either."""
    match name:
        case "age":
            return age_years is not None or record.age_years is not None
        case "sex":
            return sex is not Sex.UNKNOWN or record.sex is not Sex.UNKNOWN
        case _:
            return record.match.joins and record.value(name) is not None
