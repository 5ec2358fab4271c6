"""Radiograph and clinical record in, screening result out: eligibility, quality, gate, image, clinical, fusion.

Every outcome is a value. A picture or person the model is not meant for becomes `NotAssessed` with coded reasons, never
an exception and never a number that looks like a score; nothing is scored before the gate agrees. Exceptions mean a
broken installation. Not allowed here: fitting, files other than the bundle, data of a record that did not match.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

from model.bundle import Bundle
from model.clinical import REQUIRED
from model.domain import (
    ClinicalInput,
    ClinicalRecord,
    ImageScore,
    Mode,
    ModelFacts,
    NotAssessed,
    Observation,
    Quality,
    Radiograph,
    Reason,
    Scored,
    ScreeningResult,
    Sex,
    View,
)
from model.engines import Engines
from model.fusion import OperatingPoints, decide, shift
from model.preprocess import prepare
from model.quality import check_pixels
from model.risk_tools import comparators

DEMO_BUNDLE = Path(__file__).parent / "bundles" / "demo"
MINIMUM_AGE_YEARS = 50.0
"""A T-score at or below -2.5 diagnoses osteoporosis in men from 50 on and post-menopausal women only (ISCD)."""
STATED_DECIMALS = 12
"""To these a probability and its thresholds are rounded before they are compared, so that no decision rests on a
difference that a report could not print. A threshold is the probability of some film: equality does happen."""
_HEADER = "DICOM header"
_RECORD = "clinical record"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Person:
    """Who is screened, with the origin of age and sex; `weight` only from a record that matched."""

    age_years: float | None
    age_source: str
    sex: Sex
    sex_source: str
    weight: Observation | None

    @property
    def weight_kg(self) -> float | None:
        return None if self.weight is None else self.weight.value


@dataclass(frozen=True, slots=True)
class Screener:
    """A loaded bundle and the node's age limit. Holds no state: one screener may screen any number of cases."""

    bundle: Bundle
    minimum_age: float = MINIMUM_AGE_YEARS
    """Years; never below the bundle's own limit."""
    prevalence: float | None = None
    """Share of positives at the site: results and thresholds are moved to that scale, which changes no decision."""
    refused: str = ""
    """Why another engine than the wanted one runs the networks; empty where it is the wanted one."""
    unproven: bool = False
    """torch runs them until the wanted engine has proved itself."""

    @property
    def facts(self) -> ModelFacts:
        """Which model speaks."""
        return self.bundle.facts

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the digests of all files of the bundle: what an `ImageScore` is kept under."""
        files = sorted((name, file.sha256) for name, file in self.bundle.manifest.files.items())
        return hashlib.sha256(repr(files).encode()).hexdigest()

    @property
    def required(self) -> tuple[str, ...]:
        """Variables without any one of which the result rests on the image alone."""
        return self.bundle.manifest.eligibility.required_variables

    @property
    def lookback_days(self) -> dict[str, float]:
        """How old a value may be at the image's time where the bundle asks for less than the site, days by variable."""
        return self.bundle.manifest.eligibility.lookback_days

    def screen(self, radiograph: Radiograph, record: ClinicalRecord) -> ScreeningResult:
        """Score one radiograph with what was known about the patient, or say why not."""
        person = _person(radiograph.age_years, radiograph.sex, record)
        if reasons := self._ineligible(radiograph.view, person.age_years):
            return NotAssessed(reasons=reasons, measurements=_age_measurement(person.age_years))
        image = self.image_part(radiograph)
        return image if isinstance(image, NotAssessed) else self.combine(image, record)

    def image_part(self, radiograph: Radiograph) -> ImageScore | NotAssessed:
        """Pixel quality, gate and image network; the costly part, independent of the clinical record."""
        limit = self.bundle.manifest.image.minimum_short_side
        quality = check_pixels(radiograph, minimum_short_side=limit)
        if quality.reasons:
            return NotAssessed(reasons=quality.reasons, measurements=quality.measurements)
        verdict = self.bundle.gate.judge(radiograph.pixels, self.bundle.gate_features)
        if not verdict.accepted:
            return NotAssessed(reasons=verdict.reasons, measurements=verdict.measurements)
        raw = self.bundle.runtime.infer(prepare(radiograph.pixels, self.bundle.side))
        return ImageScore(
            logit=raw.logit,
            attention=raw.attention,
            region=raw.region,
            limitations=(*verdict.limitations, *_stated_limitations(radiograph)),
            age_years=radiograph.age_years,
            sex=radiograph.sex,
            engine=str(self.bundle.runtime.facts()),
        )

    def combine(self, image: ImageScore, record: ClinicalRecord) -> ScreeningResult:
        """Fuse an image score with the clinical record, or refuse a person the model is not meant for."""
        person = _person(image.age_years, image.sex, record)
        if reasons := self._ineligible(View.UNKNOWN, person.age_years):
            return NotAssessed(reasons=reasons, measurements=_age_measurement(person.age_years))
        fusion = self.bundle.fusion
        clinical = self.bundle.clinical.probability(
            age_years=person.age_years, sex=person.sex, weight_kg=person.weight_kg
        )
        p_image = fusion.image_only(image.logit)
        if clinical is None:
            return self._scored(image, record, person, p_image=p_image, limitations=self._of_sex(person.sex))
        p_raw, limitations = clinical
        return self._scored(
            image,
            record,
            person,
            p_image=p_image,
            p_clinical=fusion.clinical_only(p_raw),
            p_fused=fusion.fused(image.logit, p_raw),
            limitations=limitations,
        )

    def _of_sex(self, sex: Sex) -> tuple[Reason, ...]:
        """The limitation of a sex that the clinical model can say nothing about."""
        if sex not in (Sex.FEMALE, Sex.MALE):
            return (Reason.SEX_UNKNOWN,)
        return () if self.bundle.clinical.knows(sex) else (Reason.OUTSIDE_TRAINING,)

    def _ineligible(self, view: View, age_years: float | None) -> tuple[Reason, ...]:
        if view is View.LATERAL:
            return (Reason.VIEW_LATERAL,)
        if age_years is None:
            return (Reason.AGE_UNKNOWN,)
        limit = max(self.minimum_age, self.bundle.manifest.eligibility.minimum_age_years)
        return (Reason.AGE_UNDER,) if age_years < limit else ()

    def _scored(
        self,
        image: ImageScore,
        record: ClinicalRecord,
        person: _Person,
        *,
        p_image: float,
        limitations: tuple[Reason, ...],
        p_clinical: float | None = None,
        p_fused: float | None = None,
    ) -> Scored:
        fused = p_fused is not None
        fitted = self.bundle.fusion.fused_points if fused else self.bundle.fusion.image_points
        points = OperatingPoints(t_low=self._stated(fitted.t_low), t_high=self._stated(fitted.t_high))
        reasons = tuple(dict.fromkeys((*image.limitations, *limitations)))
        return Scored(
            category=decide(self._stated(p_image if p_fused is None else p_fused), points),
            mode=Mode.IMAGE_AND_CLINICAL if fused else Mode.IMAGE_ONLY,
            p_image=self._stated(p_image),
            p_clinical=None if p_clinical is None else self._stated(p_clinical),
            p_fused=None if p_fused is None else self._stated(p_fused),
            t_low=points.t_low,
            t_high=points.t_high,
            prevalence=self.prevalence,
            model=self.bundle.facts,
            match=record.match,
            inputs=_inputs(person),
            comparators=comparators(age_years=person.age_years, sex=person.sex, weight_kg=person.weight_kg),
            quality=Quality.LIMITED if reasons else Quality.PASS,
            reasons=reasons,
            attention=image.attention,
            analysed_region=image.region,
            engine=image.engine,
        )

    def _stated(self, p: float) -> float:
        """A probability or threshold at the site's prevalence, to `STATED_DECIMALS`; all alike, so no order turns."""
        fitted = self.bundle.manifest.calibration.prevalence
        moved = p if self.prevalence is None else shift(p, fitted=fitted, site=self.prevalence)
        return round(moved, STATED_DECIMALS)


def load_screener(
    folder: Path | None,
    *,
    minimum_age: float = MINIMUM_AGE_YEARS,
    prevalence: float | None = None,
    engines: Engines | None = None,
) -> Screener:
    """Load and verify a bundle (None: the demo bundle that ships with Osteon) and run its golden set.

    `engines` chooses what runs the networks; None is the reference, torch on the CPU.

    Raises:
        BundleError: the bundle is damaged, unknown, or does not reproduce its golden results here.

    """
    opened = (engines or Engines(runtime="torch")).open(DEMO_BUNDLE if folder is None else folder)
    return Screener(opened.bundle, minimum_age, prevalence, opened.refused, opened.unproven)


def _person(age_years: float | None, sex: Sex, record: ClinicalRecord) -> _Person:
    """Age and sex of the image's header, else of the record where it matched; finite and positive or unknown."""
    joins = record.match.joins
    own_age, own_sex = _plausible(age_years), sex if sex in (Sex.FEMALE, Sex.MALE) else None
    weight = next((o for o in record.observations if o.variable == "weight"), None) if joins else None
    usable = weight is not None and _plausible(weight.value) is not None
    return _Person(
        age_years=own_age if own_age is not None or not joins else _plausible(record.age_years),
        age_source=_RECORD if own_age is None else _HEADER,
        sex=own_sex or (record.sex if joins else Sex.UNKNOWN),
        sex_source=_RECORD if own_sex is None else _HEADER,
        weight=weight if usable else None,
    )


def _plausible(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value > 0 else None


def _age_measurement(age_years: float | None) -> tuple[tuple[str, float], ...]:
    return () if age_years is None else (("age_years", age_years),)


def _stated_limitations(radiograph: Radiograph) -> tuple[Reason, ...]:
    stated = ((radiograph.lossy, Reason.LOSSY), (radiograph.view is View.AP, Reason.AP_VIEW))
    return tuple(reason for holds, reason in stated if holds)


def _inputs(person: _Person) -> tuple[ClinicalInput, ...]:
    """The clinical model's inputs, missing ones without a value; `Scored.mode` says whether they were used."""
    known = {
        "age": _age_input(person),
        "sex": _sex_input(person),
        "weight": _weight_input(person.weight),
    }
    return tuple(known[name] for name in REQUIRED)


def _age_input(person: _Person) -> ClinicalInput:
    return ClinicalInput(variable="age", value=person.age_years, unit="a", age_days=0.0, source=person.age_source)


def _sex_input(person: _Person) -> ClinicalInput:
    """Value 1 = female, 0 = male, as the clinical model codes it."""
    codes = {Sex.FEMALE: 1.0, Sex.MALE: 0.0}
    if person.sex not in codes:
        return ClinicalInput(variable="sex", unit="1")
    return ClinicalInput(variable="sex", value=codes[person.sex], unit="1", age_days=0.0, source=person.sex_source)


def _weight_input(weight: Observation | None) -> ClinicalInput:
    if weight is None:
        return ClinicalInput(variable="weight", unit="kg")
    return ClinicalInput(
        variable=weight.variable,
        value=weight.value,
        unit=weight.unit,
        age_days=weight.age_days,
        source=weight.source,
        code=weight.code,
        observed_at=weight.observed_at,
    )
