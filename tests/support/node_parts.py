"""Parts of a node for tests: a received film in a spool and a ledger, a screener port with a fixed answer."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from support.dicom_objects import dataset_of, encode, radiograph_dataset
from support.report_cases import MODEL, scored

from config.code_file import code_table
from config.settings import Settings, parse
from dicom_io.header import instance_reference
from dicom_io.results import Installation
from dicom_io.spool import Spool
from model.domain import (
    ClinicalRecord,
    ImageScore,
    MatchClass,
    Mode,
    ModelFacts,
    NotAssessed,
    Radiograph,
    ScreeningResult,
)
from node.case import Received, Source
from node.pipeline import Pipeline
from node.store import case_patients, cases, jobs
from node.store.engine import Ledger
from node.tasks import ADVANCE, INFER_LANE, advance_key

INSTALLATION = Installation(namespace=uuid.UUID(int=7), serial="TEST")
CONFIRMED = {"confirmed_by": "demo", "confirmed_version": code_table().version}
TAKEN = dt.datetime(2024, 3, 10, 10, 15, 30, tzinfo=dt.UTC)


@dataclass(frozen=True)
class FixedScreener:
    """The pipeline's screening port with one answer: what is tested is the flow, not the model."""

    answer: ScreeningResult | None = None
    digest: str = "d1"
    facts: ModelFacts = MODEL
    required: tuple[str, ...] = ("age", "sex", "weight")

    def image_part(self, radiograph: Radiograph) -> ImageScore | NotAssessed:
        if isinstance(self.answer, NotAssessed):
            return self.answer
        return ImageScore(
            logit=0.4,
            attention=((1.0,),),
            region=(0, 0, *radiograph.pixels.shape),
            limitations=(),
            age_years=radiograph.age_years,
            sex=radiograph.sex,
        )

    def combine(self, image: ImageScore, record: ClinicalRecord) -> ScreeningResult:
        if self.answer is not None:
            return self.answer
        mode = Mode.IMAGE_AND_CLINICAL if record.match.joins else Mode.IMAGE_ONLY
        return scored(mode=mode, match=record.match, analysed_region=image.region, attention=((1.0,),))


def settings(**tables: object) -> Settings:
    """Defaults, and a code table that somebody has confirmed."""
    clinical = {"codes": CONFIRMED, **tables.pop("clinical", {})}
    return parse({**tables, "clinical": clinical}, origin="test")


def pipeline(ledger: Ledger, folder: Path, *, at: dt.datetime, screener: object = None, **tables: object) -> Pipeline:
    return Pipeline(
        ledger=ledger,
        spool=Spool(folder / "spool"),
        screener=screener or FixedScreener(),
        settings=settings(**tables),
        installation=INSTALLATION,
        node_version="0.0",
        now=lambda: at,
    )


def receive(ledger: Ledger, spool: Spool, dataset: Dataset | None = None, *, at: dt.datetime = TAKEN) -> Received:
    """Store an object and open its case with its first task, as the listener does."""
    dataset = dataset or radiograph_dataset(PatientName="Weber^Petra")  # DOE^JANE is on the blocklist of rule R4
    content = encode(dataset)
    stored = spool.store(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        dataset=dataset_of(content),
    )
    source = Source(
        reference=instance_reference(dataset),
        spool_file=stored.file,
        digest=stored.digest,
        calling_ae="MODALITY",
        received_at=at,
    )
    with ledger.begin() as c:
        case_id = cases.receive(c, source).case_id
        case_patients.register(c, case_id, [str(dataset.PatientID)])
        jobs.enqueue(c, ADVANCE, advance_key(case_id), lane=INFER_LANE)
    return Received(case_id=case_id, source=source)


MATCHED = ClinicalRecord(match=MatchClass.MATCH_ISSUER)
