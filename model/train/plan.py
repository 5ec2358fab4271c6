"""A training run as a file: TOML, strict; what it does not name keeps its default.

Paths are relative to the working directory, as on the command line. Not allowed here: doing anything.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from model.train.loop import Recipe


class PlanError(Exception):
    """The training file cannot be used. One line: the file, the field, what is wrong."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VirtualData(_Part):
    """Virtual patients and their simulated films; everything that comes of it says so."""

    kind: Literal["virtual"] = "virtual"
    patients: Annotated[int, Field(ge=24)] = 4800
    """In all parts together, one film each."""
    calibration: Annotated[int, Field(ge=0)] = 0
    """Patients beside these whom no network sees in training; needs `apart`, whose patients they join."""
    table: Path
    """The real DXA table that the clinical model is fitted on (CSV: female, age, weight, ls_t, th_t, fn_t)."""


class SiteData(_Part):
    """A site's own studies with DXA."""

    kind: Literal["site"]
    manifest: Path
    """CSV, one row per film and DXA; `deploy/docs/train.md` has the columns."""
    site: Annotated[str, Field(min_length=3)]
    """Who the patients are, in the words that stand beside every figure."""
    licence: str
    """On what ground the data may be used, e.g. the ethics vote's number."""
    intended_use: str
    zone: ZoneInfo
    """IANA name of the time zone of film headers and CSV times that state no offset; no default, since a wrong one
    lets values from after the film through."""
    label_window_days: Annotated[float, Field(gt=0, le=365)] = 180.0
    """Largest distance of DXA and film, either way."""
    wait_minutes: Annotated[float, Field(ge=0, le=1440)] = 10.0
    """How long the node waits for clinical data after a film; values that came later were not known."""
    weight_days: Annotated[float, Field(gt=0)] = 365.0
    """Look-back of the weight."""


class Plan(_Part):
    """One training run."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{2,40}$")]
    """Begin of the bundle's id."""
    title: str
    """The bundle's name for people."""
    out: Path
    """Folder of the new bundle."""
    run: Path = Path("training-run")
    """What a broken run leaves to the next: films, networks, predictions."""
    seed: int = 7
    side: Annotated[int, Field(ge=64, multiple_of=32)] = 320
    """Of the prepared square, px."""
    folds: Annotated[int, Field(ge=2, le=10)] = 5
    fold_epochs: Annotated[int | None, Field(ge=1)] = None
    """Epochs of the folds' networks, where fewer than the recipe's will do; needs `apart`."""
    held_out: Annotated[float, Field(gt=0, le=0.5)] = 0.15
    """Share of patients, the latest, that are looked at once and at the end."""
    apart: Annotated[float, Field(ge=0, le=0.5, validate_default=True)] = 0.0
    """Share of the others that the network that ships never sees: calibration, fusion and thresholds rest on what it
    says about them. 0: it is trained on all, and they rest on what the folds' networks say."""
    processes: Annotated[int, Field(ge=1)] = 2
    """Of one thread each; more than there are cores only slow each other."""
    gate_films: Path
    """Real films (NIH) with manifest.csv that the applicability gate is fitted on."""
    recipe: Recipe = Recipe()
    data: Annotated[VirtualData | SiteData, Field(discriminator="kind")]

    @field_validator("data")
    @classmethod
    def _calibrates_what_ships(cls, data: VirtualData | SiteData, info: ValidationInfo) -> VirtualData | SiteData:
        """The folds' networks are not calibrated by whom none of them was kept from."""
        if isinstance(data, VirtualData) and data.calibration and info.data.get("apart") == 0:
            msg = "calibration needs patients kept apart, whom it adds to"
            raise ValueError(msg)
        return data

    @field_validator("apart")
    @classmethod
    def _calibrates_itself(cls, apart: float, info: ValidationInfo) -> float:
        """Networks of another length are not calibrated for one another."""
        if apart == 0 and info.data.get("fold_epochs") is not None:
            msg = "fold_epochs needs patients kept apart to calibrate the longer trained network by"
            raise ValueError(msg)
        return apart


def read_plan(path: Path) -> Plan:
    """The plan in a TOML file.

    Raises:
        PlanError: it cannot be read or does not describe a run.

    """
    try:
        return plan_from(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{path}: cannot be read ({error})"
        raise PlanError(msg) from error


def preset(name: str, changes: dict[str, Any]) -> Plan:
    """A plan shipped with Osteon, with some values replaced; `data` is merged key by key."""
    text = resources.files("model.train").joinpath("presets", f"{name}.toml").read_text(encoding="utf-8")
    values = tomllib.loads(text)
    data = values.get("data", {}) | changes.pop("data", {})
    return plan_from(values | changes | {"data": data}, f"preset {name}")


def plan_from(values: dict[str, Any], source: str) -> Plan:
    """The plan these values describe; `source` is named where they describe none."""
    try:
        return Plan.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        msg = f"{source}: bad field {key!r} ({first['msg']})"
        raise PlanError(msg) from error
