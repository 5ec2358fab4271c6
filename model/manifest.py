"""The manifest of a model bundle: everything a node must know before it lets a bundle speak, as strict frozen models.

An unknown field, a missing field or another schema version is refused: a node that does not understand a bundle must
not serve it. Coefficients and thresholds are not repeated here; they stand once, in `clinical.json` and
`fusion.json`, and the calibration id ties those to this file. Not allowed here: reading files.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 2

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileFacts(_Part):
    """Digest and size of one file of the bundle."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0)]
    """Bytes."""


class Serving(_Part):
    """Which part of the prepared square the network sees, chosen on out-of-fold predictions."""

    crop: Annotated[int, Field(ge=32, multiple_of=32)]
    """Side of the central crop, px; equal to the prepared side for all of it."""
    mirror: bool
    """Whether the outputs of the image and of its mirror image are averaged."""


class ImageSpec(_Part):
    """The image network and the preprocessing it was trained with."""

    trunk: Literal["efficientnet_lite0", "resnet50", "resnet18", "densenet121", "convnext_tiny"]
    side: Annotated[int, Field(ge=32, multiple_of=32)]
    """Side of the prepared square, px."""
    serving: Serving
    normalisation: str
    """Of the trunk, applied inside it."""
    tap_strides: tuple[int, ...]
    wavelet: str
    """Name of the wavelet stem, or "none"."""
    wavelet_levels: int
    attention: bool
    """Gated fusion and attention pooling; without it the heat map is even."""
    resizer: str
    """Must equal `model.preprocess.RESIZER` of the code that serves."""
    minimum_short_side: int
    """Smallest accepted short side of a source image, px."""


class Calibration(_Part):
    """What the probabilities and thresholds in `fusion.json` rest on."""

    id: str
    """Of the numbers in `fusion.json`; a bundle whose two files disagree is refused."""
    patients: int
    """Each with one film, and a prediction about it by a network that never saw the patient."""
    folds: int
    """Of the training patients."""
    kept_apart: bool = False
    """The films were kept from the training of the network that ships, which predicted them itself; else each fold was
    predicted by a network trained on the others, and the one that ships saw all."""
    prevalence: Share
    """Share of positives in the calibration data (the training scale)."""
    target_sensitivity: Share
    target_specificity: Share
    empty_zone: dict[str, bool]
    """By mode: t_low >= t_high, so that t_high alone decides."""


class Eligibility(_Part):
    """For whom and for which films the bundle may be used."""

    minimum_age_years: Annotated[float, Field(ge=50)]
    views: tuple[str, ...]
    required_variables: tuple[str, ...]
    """Without any one of them the result rests on the image alone."""
    optional_variables: tuple[str, ...]
    lookback_days: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """How old a value may be at the image's time, days by variable; narrows the site's, never widens it."""


class DataSource(_Part):
    """One set of data the bundle was fitted on."""

    use: str
    source: str
    licence: str
    count: int
    simulated: bool


class WeightSource(_Part):
    """Where the trunk's starting weights come from."""

    package: str
    version: str
    sha256: Sha256
    licence_file: str
    licence_metadata: str


class Metric(_Part):
    """One measured figure with its 95 % interval. Says what it was measured on; never a clinical performance."""

    name: str
    population: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int
    positives: int | None = None


class GoldenCase(_Part):
    """Expected outputs for one stored picture."""

    file: str
    logit: float
    """Raw image logit."""
    gate_ratio: float
    """Distance to the gate's bank, 1 = limit."""
    gate_accepts: bool


class GoldenRecord(_Part):
    """Expected result of one stored picture together with one clinical record: fusion and decision."""

    file: str
    """Of one of the golden cases."""
    age_years: float
    sex: Literal["F", "M"]
    weight_kg: float | None
    """None: not known, and the result rests on the image alone."""
    probability: Share
    """Fused where a weight is known, of the image otherwise."""
    category: Literal["ABOVE", "BETWEEN", "BELOW"]


class Golden(_Part):
    """The golden set, checked at every start through the runtime that serves."""

    logit_tolerance: Annotated[float, Field(gt=0)]
    """For torch float32 on any machine."""
    ratio_tolerance: Annotated[float, Field(gt=0)]
    cases: Annotated[tuple[GoldenCase, ...], Field(min_length=1)]
    probability_tolerance: Annotated[float, Field(gt=0)] = 1e-3
    records: tuple[GoldenRecord, ...] = ()


class EngineParity(_Part):
    """Another engine than the reference, measured against it on films that the network never saw."""

    engine: str
    version: str
    precision: str
    films: Annotated[int, Field(ge=1)]
    largest_logit_difference: Annotated[float, Field(ge=0)]
    category_changes: Annotated[int, Field(ge=0)]
    logit_tolerance: Annotated[float, Field(gt=0)]
    """What the golden set allows this engine."""


class ReducedDecode(_Part):
    """Whether wavelet-compressed films may be decoded at a lower resolution for this network."""

    discarded_levels: Annotated[int, Field(ge=1)]
    films: Annotated[int, Field(ge=1)]
    largest_logit_difference: Annotated[float, Field(ge=0)]
    category_changes: Annotated[int, Field(ge=0)]
    admitted: bool


class Training(_Part):
    """How the bundle was made; the same command and seed make it again, up to float noise."""

    simulated: bool
    """True: trained on simulated radiographs; every output says so and no setting removes it."""
    data: tuple[DataSource, ...]
    weights: WeightSource
    seed: int
    commit: str
    software: dict[str, str]
    epochs: int
    gamma: tuple[float, ...]
    """Weights of the two attention fusions after training; 0 would mean the wavelet branch never took part."""
    held_out_from: str
    """First day of the temporal hold-out, YYYY-MM-DD; virtual patients come in the order of their number."""
    cpu_seconds: dict[str, float] = Field(default_factory=dict)
    """CPU seconds of one thread by step, as far as the steps were not taken over from an earlier run."""


class Manifest(_Part):
    """The whole manifest."""

    schema_version: Literal[2]
    bundle_id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{3,62}$")]
    name: str
    version: str
    intended_use: str
    contraindications: tuple[str, ...]
    files: dict[str, FileFacts]
    image: ImageSpec
    calibration: Calibration
    eligibility: Eligibility
    training: Training
    metrics: tuple[Metric, ...]
    golden: Golden
    engines: tuple[EngineParity, ...] = ()
    """Engines that were measured with this bundle; others are measured by the node that wants them."""
    reduced_decode: ReducedDecode | None = None

    @model_validator(mode="after")
    def _crop_fits(self) -> Manifest:
        if self.image.serving.crop > self.image.side:
            msg = f"image.serving.crop {self.image.serving.crop} exceeds image.side {self.image.side}"
            raise ValueError(msg)
        return self
