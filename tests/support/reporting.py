"""A desk at which cases are reported and amended: real ledger, pipeline, intake and waking; no network, no torch."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from support.hl7 import message
from support.node_parts import FixedScreener, pipeline, receive
from support.report_cases import scored

from model.domain import Category, ClinicalInput, ClinicalRecord, ImageScore, Mode, Scored, Sex
from model.screener import STATED_DECIMALS
from node import intake
from node.case import Case, Reported
from node.clinical_feed import reading_rules
from node.delivery_record import record_delivered
from node.errors import Retry
from node.store import cases, jobs, outbox
from node.store.engine import Ledger
from node.store.inbox import StoredFrame
from node.store.version_schema import report_version
from node.waking import Waking
from node.worker import CaseWorker

SENT = "20240310120000+0000"
MEASURED = "20240301080000+0000"
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class EvidenceScreener(FixedScreener):
    """The screening port with a result that depends on the evidence as the real one's does: weight lowers the risk."""

    def combine(self, image: ImageScore, record: ClinicalRecord) -> Scored:
        weight = next((o for o in record.observations if o.variable == "weight"), None) if record.match.joins else None
        age = image.age_years if image.age_years is not None else record.age_years
        known = (
            () if weight is None else (weight.value, weight.age_days, weight.source, weight.code, weight.observed_at)
        )
        inputs = (
            ClinicalInput(variable="age", value=age, unit="a", age_days=0.0, source="DICOM header"),
            ClinicalInput(variable="sex", value=float(image.sex is Sex.FEMALE), unit="1", source="DICOM header"),
            ClinicalInput(variable="weight", unit="kg", **dict(zip(_WEIGHT, known, strict=False))),
        )
        common = {"match": record.match, "analysed_region": image.region, "attention": ((1.0,),), "inputs": inputs}
        if weight is None:
            return scored(Category.ABOVE, Mode.IMAGE_ONLY, **common)
        fused = round(0.9 - weight.value / 100, STATED_DECIMALS)  # as the screener's, that a report can print it
        category = Category.ABOVE if fused >= 0.32 else Category.BETWEEN if fused >= 0.25 else Category.BELOW
        return scored(category, Mode.IMAGE_AND_CLINICAL, **(common | {"p_fused": fused}))


_WEIGHT = ("value", "age_days", "source", "code", "observed_at")


def person(value: str = "0012345", name: str = "WEBER^PETRA^^^^^L", born: str = "19550620") -> str:
    return f"PID|1||{value}^^^HOSP^MR||{name}||{born}|F"


def adt(trigger: str = "A08", *segments: str, pid: str | None = None, control: str = "") -> bytes:
    number = control or f"A{next(_NUMBERS)}"
    return message(f"ADT^{trigger}", f"EVN|{trigger}|{SENT}", pid or person(), *segments, control=number, sent=SENT)


def merge(survivor: str, prior: str) -> bytes:
    return adt("A40", f"MRG|{prior}^^^HOSP^MR", pid=person(survivor))


def weight(kg: str = "61.5", *, status: str = "F", at: str = MEASURED, pid: str | None = None) -> bytes:
    """An ORU^R01 with one body weight; the same time and status C, D or W corrects or takes back the earlier one."""
    order = f"OBR|1||V1|34565-2^Vital signs^LN|||{at}|||||||||||||||{at}|||F"
    value = f"OBX|1|NM|29463-7^Body weight^LN||{kg}|kg^^UCUM|||||{status}|||{at}"
    return message("ORU^R01", pid or person(), order, value, control=f"R{next(_NUMBERS)}", sent=SENT)


@dataclass
class Desk:
    """`work` does what is due; `tell` is the clinical feed; `deliver` lets a destination have a version."""

    ledger: Ledger
    folder: Path
    tables: dict[str, object] = field(default_factory=dict)
    settle: float = 0.0

    def worker(self) -> CaseWorker:
        tables = {"delivery": {"destinations": [PACS]}} | self.tables
        steps = pipeline(self.ledger, self.folder, at=dt.datetime.now(dt.UTC), screener=EvidenceScreener(), **tables)
        return CaseWorker(ledger=self.ledger, pipeline=dataclasses.replace(steps, now=lambda: dt.datetime.now(dt.UTC)))

    def receive(self, dataset=None, *, waited: float = 601.0) -> int:
        """A film that has waited so many seconds; its case."""
        at = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=waited)
        return receive(self.ledger, self.worker().pipeline.spool, dataset, at=at).case_id

    def work(self) -> None:
        """Do all that is due, as the worker's dispatcher does."""
        worker = self.worker()
        while True:
            with self.ledger.begin() as c:
                tasks = jobs.claim(c, "infer", 1, owner="test", lease=60)
            if not tasks:
                return
            try:
                change = worker.advance(tasks[0])
            except Retry as retry:
                with self.ledger.begin() as c:
                    jobs.retry_later(c, tasks[0], after=retry.after, reason=retry.reason)
                continue
            with self.ledger.begin() as c:
                assert jobs.finish(c, tasks[0])
                if change is not None:
                    change(c)

    def tell(self, *frames: bytes) -> None:
        """Take messages as the inbox's consumer does, each in a transaction of its own."""
        settings = self.worker().pipeline.settings
        for frame in frames:
            at = dt.datetime.now(dt.UTC)
            stored = StoredFrame(seq=next(_NUMBERS), received_at=at, body=frame)
            with self.ledger.begin() as c:
                (done,) = intake.process_frames(c, [stored], reading_rules(settings), at=at, settings=settings.clinical)
                Waking(settle=self.settle).by_changes(c, done.changes)
            assert not done.quarantine, done.quarantine

    def deliver(self, case_id: int, version: int = 1, name: str = "pacs") -> None:
        """The destination takes the version: what the deliverer records around a send."""
        with self.ledger.begin() as c:
            assert outbox.begin_send(c, case_id, version, name) is not None
        case = self.case(case_id)
        assert isinstance(case, Reported)

        with self.ledger.begin() as c:
            record_delivered(case_id, version, name, dt.datetime.now(dt.UTC))(c)

    def case(self, case_id: int) -> Case:
        with self.ledger.read() as c:
            return cases.load(c, case_id)

    def history(self, case_id: int) -> list[str]:
        with self.ledger.read() as c:
            return [event.reason for event in cases.history(c, case_id)]

    def made(self, case_id: int, before: dt.timedelta) -> None:
        """Shift the time at which the case's versions were made into the past."""
        at = dt.datetime.now(dt.UTC) - before
        with self.ledger.begin() as c:
            c.execute(sa.update(report_version).where(report_version.c.case_id == case_id).values(made_at=at))
