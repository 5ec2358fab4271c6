"""`osteon screen FILE`: one file through the node's own steps, without the network part.

The clinical file goes through the same feed, store and matching rule as in the running node, in a ledger that exists
for the length of the command: a value that would not be joined there is not joined here.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.metadata
import json
import shutil
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from config.clinical import Clinical
from config.hl7_feed import Mllp
from config.settings import Settings
from dicom_io import wording
from dicom_io.content_digest import file_digest
from dicom_io.errors import HeaderInvalid
from dicom_io.header import instance_reference, read_header
from dicom_io.reading import page_png
from dicom_io.results import BuiltObject, Installation
from dicom_io.spool import Spool
from model.domain import (
    ClinicalRecord,
    ImageScore,
    ModelFacts,
    NotAssessed,
    Radiograph,
    Reason,
    Scored,
    ScreeningResult,
    Sex,
)
from model.screener import Screener, load_screener
from node.active_model import active_bundle, refuse_simulated_product
from node.case import ImageScored, Matched, NotApplicable, Received, Screened, Source
from node.clinical_feed import import_csv
from node.engine_choice import wanted_engines
from node.errors import FailureCode, GiveUp
from node.pipeline import Pipeline, Step
from node.store.engine import open_ledger

STANDALONE: Final = Installation(namespace=uuid.uuid5(uuid.NAMESPACE_URL, "osteon screen"), serial="STANDALONE")
"""UIDs of reports made by the command: the same file and model give the same report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """What came of one file."""

    state: str
    """`reported`, `not-applicable` or `failed`."""
    reason: str = ""
    """Coded reasons of the latter two, comma-separated."""
    detail: str = ""
    result: Scored | None = None
    measurements: dict[str, float] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    """Written files by kind: `sr`, `page`, `page_png`."""

    def as_json(self) -> str:
        """One line of JSON for programs; probabilities are null where there is no score."""
        facts: dict[str, Any] = {"state": self.state, "reason": self.reason, "detail": self.detail}
        for name in ("category", "mode", "p_image", "p_clinical", "p_fused", "t_low", "t_high", "match"):
            facts[name] = None if self.result is None else getattr(self.result, name)
        model = None if self.result is None else self.result.model
        facts["model"] = None if model is None else model.bundle_id
        facts["simulated_training"] = None if model is None else model.simulated_training
        return json.dumps(facts | {"measurements": self.measurements} | self.paths)

    def as_text(self) -> str:
        """A few lines for a person at a terminal."""
        lines = [f"{self.state} {self.reason}".rstrip() + (f" ({self.detail})" if self.detail else "")]
        if self.state == "not-applicable":
            lines += [f"  {wording.reason(Reason(code))}" for code in self.reason.split(",")]
        lines += [f"  {name} {value:.3g}" for name, value in self.measurements.items()]
        if (result := self.result) is not None:
            lines.append(f"  {result.category}: probability {result.probability:.3f}, threshold {result.t_high:.3f}")
            lines.append(f"  {result.mode}, clinical data: {result.match}, model {result.model.bundle_id}")
            if result.model.simulated_training:
                lines.append("  model TRAINED ON SIMULATED IMAGES - NOT FOR CLINICAL USE")
        return "\n".join(lines + [f"  {kind}: {path}" for kind, path in self.paths.items()])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stated:
    """A screener that fills in age and sex where the header has none."""

    screener: Screener
    age_years: float | None
    sex: Sex

    @property
    def digest(self) -> str:
        return self.screener.digest

    @property
    def facts(self) -> ModelFacts:
        return self.screener.facts

    @property
    def required(self) -> tuple[str, ...]:
        return self.screener.required

    def image_part(self, radiograph: Radiograph) -> ImageScore | NotAssessed:
        age = self.age_years if radiograph.age_years is None else radiograph.age_years
        sex = self.sex if radiograph.sex is Sex.UNKNOWN else radiograph.sex
        return self.screener.image_part(dataclasses.replace(radiograph, age_years=age, sex=sex))

    def combine(self, image: ImageScore, record: ClinicalRecord) -> ScreeningResult:
        return self.screener.combine(image, record)


def screen_file(
    settings: Settings, file: Path, *, clinical: Path | None, age: float | None, sex: str, out: Path
) -> FileOutcome:
    """Screen `file` and write the report into `out`.

    Raises:
        BundleError: the model bundle cannot be used.
        SettingsError: the clinical file is not in the feed's form, or the bundle may not be used as a product.

    """
    screener = load_screener(
        active_bundle(settings),
        minimum_age=settings.model.minimum_age,
        prevalence=settings.model.site_prevalence,
        engines=wanted_engines(settings, wait=False),  # one file is not worth proving another engine
    )
    facts = screener.facts
    refuse_simulated_product(settings.report, simulated=facts.simulated_training, bundle=facts.bundle_id)
    stated = _Stated(screener=screener, age_years=age, sex=Sex(sex) if sex else Sex.UNKNOWN)
    with tempfile.TemporaryDirectory(prefix="osteon-screen-") as folder:
        ledger = open_ledger(Path(folder) / "ledger.db")
        try:
            if clinical is not None:
                import_csv(ledger, clinical, settings, folder=Path(folder) / "drop")
            pipeline = Pipeline(
                ledger=ledger,
                spool=Spool(Path(folder) / "spool"),
                screener=stated,
                settings=settings.model_copy(update={"clinical": _without_waiting(settings.clinical)}),
                installation=STANDALONE,
                node_version=importlib.metadata.version("osteon"),
                now=lambda: dt.datetime.now(dt.UTC),
                narrowed_days=screener.lookback_days,
            )
            return _outcome(pipeline, file, out)
        finally:
            ledger.close()


def _outcome(pipeline: Pipeline, file: Path, out: Path) -> FileOutcome:
    try:
        step = _walk(pipeline, _received(pipeline.spool, file))
    except HeaderInvalid as error:
        return FileOutcome(state="failed", reason=FailureCode.HEADER_INVALID, detail=str(error))
    except GiveUp as error:
        return FileOutcome(state="failed", reason=error.code, detail=error.detail)
    if isinstance(step.case, NotApplicable):
        measured = dict(step.case.measurements)
        paths = _write(step.objects, out, file.stem) if step.objects else {}
        reasons = ",".join(step.case.reasons)
        return FileOutcome(state="not-applicable", reason=reasons, measurements=measured, paths=paths)
    result = getattr(step.case, "result", None)
    return FileOutcome(state="reported", result=result, paths=_write(step.objects, out, file.stem))


def _received(spool: Spool, file: Path) -> Received:
    """Put a copy of the file where the pipeline looks for received ones."""
    reference = instance_reference(read_header(file))
    copy = spool.path("file.dcm")
    shutil.copyfile(file, copy)
    source = Source(
        reference=reference,
        spool_file=copy.name,
        digest=file_digest(copy),
        calling_ae="",
        received_at=dt.datetime.now(dt.UTC),
    )
    return Received(case_id=0, source=source)


def _walk(pipeline: Pipeline, case: Received | ImageScored | Matched | Screened) -> Step:
    step = pipeline.advance(case)
    while isinstance(step.case, Received | ImageScored | Matched | Screened):
        step = pipeline.advance(step.case)
    return step


def _write(objects: tuple[BuiltObject, ...], out: Path, stem: str) -> dict[str, str]:
    out.mkdir(parents=True, exist_ok=True)
    paths: dict[str, str] = {}
    for item in objects:
        path = out / f"{stem}.{item.kind}.dcm"
        path.write_bytes(item.part10)
        paths[item.kind] = str(path)
        if item.kind == "page":
            picture = out / f"{stem}.page.png"
            picture.write_bytes(page_png(item.part10))
            paths["page_png"] = str(picture)
    return paths


def _without_waiting(clinical: Clinical) -> Clinical:
    return clinical.model_copy(update={"wait": 0.0, "mllp": Mllp(enabled=False)})
