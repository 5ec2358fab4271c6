"""The values three parties speak: the DICOM header, the clinical feeds and the screener.

Standard library and numpy only. No DICOM, no SQL, no clock, no file: a value here can be built in a test with one call.
It cannot hold a DXA result, a FRAX score or a drug as a model input, because no type below has a field for one.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import json
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

_IMAGE_AXES = 2


class Sex(enum.StrEnum):
    """Patient's Sex as DICOM (0010,0040) and HL7 PID-8 agree on it."""

    FEMALE = "F"
    MALE = "M"
    OTHER = "O"
    UNKNOWN = "U"


class View(enum.StrEnum):
    """View Position (0018,5101) as stated by the header, before any pixel was looked at."""

    PA = "PA"
    AP = "AP"
    LATERAL = "LATERAL"
    OTHER = "OTHER"
    UNKNOWN = "UNKNOWN"


class Reason(enum.StrEnum):
    """Why an image is not assessed, or assessed with a limitation. At most 16 characters each (model.md section 10)."""

    OWN_RESULT = "OWN_RESULT"
    """A result of Osteon's own making that the PACS routed back."""
    MODALITY = "MODALITY"
    """Neither CR nor DX."""
    MULTIFRAME = "MULTIFRAME"
    NO_PIXELS = "NO_PIXELS"
    FOR_PROCESSING = "FOR_PROCESSING"
    """Presentation Intent Type FOR PROCESSING: not what a radiologist reads, nor what the model was trained on."""
    TOO_SMALL = "TOO_SMALL"
    NOISE_OR_BLANK = "NOISE_OR_BLANK"
    SATURATED = "SATURATED"
    LOW_CONTRAST = "LOW_CONTRAST"
    BODY_PART = "BODY_PART"
    """The header names a body part other than the chest."""
    NOT_CHEST = "NOT_CHEST"
    """The pixels do not look like a chest."""
    PARTIAL_CHEST = "PARTIAL_CHEST"
    VIEW_LATERAL = "VIEW_LATERAL"
    VIEW_UNKNOWN = "VIEW_UNKNOWN"
    INVERTED = "INVERTED"
    """Polarity opposite to what the header states. Refused, never corrected: a wrong header is rarely wrong once."""
    ROTATED_90 = "ROTATED_90"
    UPSIDE_DOWN = "UPSIDE_DOWN"
    NOT_HUMAN = "NOT_HUMAN"
    AGE_UNDER = "AGE_UNDER"
    AGE_UNKNOWN = "AGE_UNKNOWN"
    SEX_UNKNOWN = "SEX_UNKNOWN"
    OUT_OF_DIST = "OUT_OF_DIST"
    """Unlike every image the model has seen."""
    MIRRORED = "MIRRORED"
    """Limitation: the film seems to be flipped left to right."""
    LOSSY = "LOSSY"
    """Limitation: lossy compression (0028,2110)."""
    AP_VIEW = "AP_VIEW"
    """Limitation: antero-posterior, usually a bedside film."""
    OUTSIDE_TRAINING = "OUTSIDE_TRAINING"
    """Limitation: a clinical value outside the range the clinical model was fitted on."""


class MatchClass(enum.StrEnum):
    """Outcome of matching rule R4 (clinical-data.md section 6), or why it could not be asked. Only MATCH joins data."""

    MATCH_ISSUER = "MATCH_ISSUER"
    """Identifier and stated issuer agree, and the demographics do not contradict."""
    MATCH_DEMOG = "MATCH_DEMOG"
    """Identifier agrees without a stated issuer, and the demographics agree."""
    UNKNOWN_PATIENT = "UNKNOWN_PATIENT"
    CONFLICT = "CONFLICT"
    AMBIGUOUS = "AMBIGUOUS"
    NO_ID = "NO_ID"
    BLOCKED = "BLOCKED"
    CODES_UNCONFIRMED = "CODES_UNCONFIRMED"
    """There is a match, but nobody at the site has confirmed the code table by which its values were read."""

    @property
    def joins(self) -> bool:
        """Whether clinical data may be used with this outcome."""
        return self in (MatchClass.MATCH_ISSUER, MatchClass.MATCH_DEMOG)


class Category(enum.StrEnum):
    """Where the decisive probability lies between the two operating points."""

    ABOVE = "ABOVE"
    """p >= t_high: flagged."""
    BETWEEN = "BETWEEN"
    """t_low <= p < t_high: indeterminate. Empty when t_low >= t_high."""
    BELOW = "BELOW"
    """Not flagged. Does not exclude low bone density."""


class Mode(enum.StrEnum):
    """Which inputs the decisive probability rests on."""

    IMAGE_AND_CLINICAL = "IMAGE_AND_CLINICAL"
    IMAGE_ONLY = "IMAGE_ONLY"


class Quality(enum.StrEnum):
    """Whether the input was fit for analysis."""

    PASS = "PASS"  # noqa: S105 - a quality grade, not a password
    LIMITED = "LIMITED"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceReference:
    """The four UIDs that name one DICOM instance."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssigningAuthority:
    """Who issued an identifier: HL7 CX.4, DICOM Issuer of Patient ID (0010,0021) and (0010,0024)."""

    namespace: str = ""
    universal_id: str = ""
    universal_id_type: str = ""

    @property
    def stated(self) -> bool:
        """False for the empty authority: nobody said who issued the identifier."""
        return bool(self.namespace or self.universal_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """A patient identifier with its assigning authority. Leading zeros are part of the value."""

    value: str
    authority: AssigningAuthority = AssigningAuthority()


@dataclass(frozen=True, slots=True, kw_only=True)
class NameGroup:
    """Family and given name of one component group of a person name (PS3.5 6.2.1.1)."""

    family: str = ""
    given: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonName:
    """A person name by component group; groups are compared with their like only."""

    alphabetic: NameGroup = NameGroup()
    ideographic: NameGroup = NameGroup()
    phonetic: NameGroup = NameGroup()


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientIdentity:
    """Who an image or a message says it is about. The first identifier is the principal one."""

    identifiers: tuple[Identifier, ...] = ()
    name: PersonName = PersonName()
    birth_date: dt.date | None = None
    sex: Sex = Sex.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Radiograph:
    """One radiograph as the screener sees it.

    `pixels` is float32, shape (rows, columns), range [0, 1], **bone bright**: after Modality LUT, VOI LUT or first
    window, and inversion of MONOCHROME1 (PS3.3 C.7.6.3.1.2, C.11). The array is read-only.
    """

    reference: InstanceReference
    pixels: npt.NDArray[np.float32] = field(repr=False)
    spacing_mm: tuple[float, float] | None = None
    """(row, column) distance in mm at the detector; None when absent or stated as zero."""
    view: View = View.UNKNOWN
    modality: str = ""
    age_years: float | None = None
    """Age on the study date, from (0010,1010) or from the birth date."""
    sex: Sex = Sex.UNKNOWN
    acquired_at: dt.datetime | None = None
    saturated_low: float = 0.0
    """Fraction of pixels at the lowest stored value."""
    saturated_high: float = 0.0
    lossy: bool = False
    bits_stored: int = 0
    manufacturer: str = ""
    station: str = ""
    warnings: tuple[str, ...] = ()
    """Coded remarks of the decoder and the header reader, without patient data."""

    def __post_init__(self) -> None:
        """Refuse anything but a read-only-able 2-D float32 image."""
        if self.pixels.ndim != _IMAGE_AXES or self.pixels.dtype != np.float32:
            msg = f"pixels must be 2-D float32, got {self.pixels.ndim}-D {self.pixels.dtype}"
            raise ValueError(msg)
        self.pixels.setflags(write=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.pixels.shape
        return rows, columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One clinical value that was known at the image's time."""

    variable: str
    """Canonical name of the code table, e.g. `weight`, `height`."""
    value: float
    unit: str
    """Canonical UCUM unit of the variable."""
    age_days: float
    """Days between the observation and the image; never negative."""
    observation_id: int
    source: str
    """Where it came from, e.g. `HL7 ORU^R01 <MSH-10>` or `CSV <import id>:<row>`. Never a path or a name."""
    code: str = ""
    """LOINC code of the variable, from the code table; empty when the site used a local code only."""
    observed_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicalRecord:
    """What was known about the patient at the image's time (as-of join, clinical-data.md section 11)."""

    match: MatchClass
    age_years: float | None = None
    sex: Sex = Sex.UNKNOWN
    observations: tuple[Observation, ...] = ()

    def value(self, variable: str) -> float | None:
        """The value of `variable` in its canonical unit, or None when it is not known."""
        return next((o.value for o in self.observations if o.variable == variable), None)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over everything that could change a result; part of the input-set hash."""
        rows = [[o.variable, o.value, o.unit, round(o.age_days, 3), o.source] for o in self.observations]
        text = json.dumps([self.match, self.age_years, self.sex, rows], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparator:
    """A published risk tool computed beside the model; never one of its inputs."""

    tool: str
    value: float
    band: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicalInput:
    """One input of the clinical model as it appears in the report: used (with a value) or missing (without)."""

    variable: str
    value: float | None = None
    unit: str = ""
    age_days: float | None = None
    source: str = ""
    code: str = ""
    observed_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Which model spoke. Goes into every result, every report and every log line about one."""

    bundle_id: str
    name: str
    version: str
    image_sha256: str
    clinical_sha256: str
    fusion: str
    """Rule and weights in words, e.g. `logit stack a=1.10 b=0.35 c=-0.21`."""
    calibration_id: str
    simulated_training: bool
    """True: trained on simulated radiographs; every output says so and no setting removes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A screening result with probabilities in [0, 1]; `t_low` and `t_high` belong to `mode`."""

    category: Category
    mode: Mode
    p_image: float
    t_low: float
    t_high: float
    model: ModelFacts
    match: MatchClass
    p_clinical: float | None = None
    p_fused: float | None = None
    inputs: tuple[ClinicalInput, ...] = ()
    comparators: tuple[Comparator, ...] = ()
    quality: Quality = Quality.PASS
    reasons: tuple[Reason, ...] = ()
    attention: tuple[tuple[float, ...], ...] = ()
    """Attention over the analysed square, rows of equal length, sum 1. A region of attention, never a cause."""
    analysed_region: tuple[int, int, int, int] = (0, 0, 0, 0)
    """(top, left, bottom, right) in pixels of the source image, half-open: the field of view that was analysed."""
    prevalence: float | None = None
    """Share of positives at the site to which probabilities and thresholds are shifted; None: as calibrated."""
    engine: str = ""
    """What ran the image network: engine, version, precision, device; empty in results of older releases."""

    def __post_init__(self) -> None:
        """Refuse a number that is not a probability, or a mode that contradicts the numbers."""
        for name in ("p_image", "p_clinical", "p_fused", "t_low", "t_high"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and 0.0 <= value <= 1.0):
                msg = f"{name}={value!r} is not a probability"
                raise ValueError(msg)
        if (self.mode is Mode.IMAGE_AND_CLINICAL) != (self.p_fused is not None and self.p_clinical is not None):
            msg = f"mode {self.mode} contradicts p_clinical={self.p_clinical}, p_fused={self.p_fused}"
            raise ValueError(msg)

    @property
    def probability(self) -> float:
        """The decisive probability of this mode."""
        return self.p_image if self.p_fused is None else self.p_fused


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageScore:
    """What the image part says about one accepted film. Late clinical data need only `Screener.combine` again."""

    logit: float
    """Raw logit of the image network, uncalibrated."""
    attention: tuple[tuple[float, ...], ...] = field(repr=False)
    region: tuple[int, int, int, int]
    """(top, left, bottom, right) in source pixels, half-open."""
    limitations: tuple[Reason, ...]
    age_years: float | None
    """As the image's header states it."""
    sex: Sex
    engine: str = ""
    """What ran the image network: engine, version, precision, device; empty in scores of older releases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAssessed:
    """The image was not scored. Holds no number that looks like a score."""

    reasons: tuple[Reason, ...]
    measurements: tuple[tuple[str, float], ...] = ()
    """What was measured, by name: (`short_side_px`, 16.0), (`distance_ratio`, 1.52)."""


ScreeningResult = Scored | NotAssessed
