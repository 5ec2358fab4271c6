"""The manifest of a model bundle: everything a node must know before it lets a bundle speak, as strict frozen models.

An unknown field, a missing field or another schema version is refused: a node that does not understand a bundle must
not serve it. Coefficients and thresholds are not repeated here; they stand once, in `clinical.json` and
`fusion.json`, and the calibration id ties those to this file. Not allowed here: reading files.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 1

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class FileFacts(_Part):
    """Digest and size of one file of the bundle."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0)]
    """Bytes."""


class Serving(_Part):
    """Which part of the prepared square the network sees, chosen on the calibration split."""

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
    """Name of the wavelet stem."""
    wavelet_levels: int
    resizer: str
    """Must equal `model.preprocess.RESIZER` of the code that serves."""
    minimum_short_side: int
    """Smallest accepted short side of a source image, px."""


class Calibration(_Part):
    """What the probabilities and thresholds in `fusion.json` rest on."""

    id: str
    """Of the numbers in `fusion.json`; a bundle whose two files disagree is refused."""
    patients: int
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


class Golden(_Part):
    """The golden set, checked at every start through the runtime that serves."""

    logit_tolerance: Annotated[float, Field(gt=0)]
    """For torch float32 on any machine."""
    ratio_tolerance: Annotated[float, Field(gt=0)]
    cases: Annotated[tuple[GoldenCase, ...], Field(min_length=1)]


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


class Manifest(_Part):
    """The whole manifest."""

    schema_version: Literal[1]
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

    @model_validator(mode="after")
    def _crop_fits(self) -> Manifest:
        if self.image.serving.crop > self.image.side:
            msg = f"image.serving.crop {self.image.serving.crop} exceeds image.side {self.image.side}"
            raise ValueError(msg)
        return self
