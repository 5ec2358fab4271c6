"""A site's own studies: one CSV and its DICOM files become films with a truth, and nothing that knows the truth beside.

Columns are an allow-list: a column that this module does not use is refused, not ignored, since the one that nobody
thought of is the one that leaks. The truth is the lowest T-score within the window (`dxa_label`); clinical values
follow the as-of rule that the node serves by. Not allowed here: DICOM itself (the caller gives a reader), and logging
anything of a row but its number.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import structlog
from rich.progress import Progress

from model.domain import Sex
from model.train.asof_frame import as_history, as_of, known_at, prepared
from model.train.dxa_label import OSTEOPOROSIS_T, REGIONS, labels
from model.train.films import Films
from model.train.material import Material
from model.train.people import member_of
from model.train.plan import Plan, SiteData
from model.train.site_films import ReadFilm, SiteFilm, read_films
from model.train.split import LeakageError

REQUIRED_COLUMNS: Final = ("patient", "file", "dxa_date")
TRUTH_COLUMNS: Final = tuple(f"t_{region}" for region in REGIONS)
OPTIONAL_COLUMNS: Final = ("acquired_at", "age", "sex", "weight", "weight_at", "weight_available_at")
_DXA_WORDS: Final = ("bmd", "bmc", "t_", "z_", "tscore", "zscore", "t-score", "z-score", "frax", "tbs", "dxa", "dexa")
_MINIMUM_AGE: Final = 50.0
_WEIGHT_KG: Final = (25.0, 300.0)

_log = structlog.get_logger()


class ManifestError(Exception):
    """The site's manifest cannot be used. One line: the row or column, what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePerson:
    """The subject of one real film."""

    t_lowest: float
    age_years: float
    sex: Sex
    weight_kg: float
    """As of the film's time; NaN where none was known."""

    @property
    def osteoporosis(self) -> bool:
        """Lowest T-score <= -2.5."""
        return self.t_lowest <= OSTEOPOROSIS_T


@dataclass(frozen=True, slots=True, kw_only=True)
class _Study:
    """One film of the manifest with what its header or its row says."""

    file: str
    patient: str
    t0: dt.datetime
    age_years: float
    sex: Sex


def site_material(plan: Plan, data: SiteData, read: ReadFilm, progress: Progress) -> Material:
    """Read, label and join the site's studies.

    Raises:
        LeakageError: a column may carry the truth.
        ManifestError: a row cannot be used, or nothing is left.
        OSError: the manifest or a film cannot be read.

    """
    rows = read_rows(data.manifest)
    files = sorted({row["file"] for row in rows})
    films = dict(zip(files, read_films(files, data.manifest.parent, plan, read, progress), strict=True))
    studies = _studies(rows, films)
    frame = pd.DataFrame([{"study": s.file, "patient": s.patient, "t0": s.t0} for s in studies])
    truth = {
        str(row["study"]): float(row["t_lowest"])
        for row in labels(frame, _dxa(rows), window_days=data.label_window_days).to_dict("records")
    }
    weights = _weights(rows, frame, data)
    used = [study for study in studies if study.file in truth and not _refusal(study, films[study.file])]
    _count([_refusal(study, films[study.file]) for study in studies], len(used))
    if not used:
        msg = f"{data.manifest}: no film is left that has a T-score within {data.label_window_days:g} days"
        raise ManifestError(msg)
    people = tuple(
        SitePerson(t_lowest=truth[s.file], age_years=s.age_years, sex=s.sex, weight_kg=weights.get(s.file, math.nan))
        for s in used
    )
    return Material(
        films=Films(
            patients=people,
            images=np.stack([films[s.file].image for s in used]),
            boxes=np.stack([films[s.file].box for s in used]),
        ),
        members=tuple(
            member_of(person, patient=s.patient, acquired_on=s.t0.date())
            for s, person in zip(used, people, strict=True)
        ),
        simulated=False,
        population=data.site,
        intended_use=data.intended_use,
        contraindications=("Must not be used to rule out low bone density.",),
        source=data.site,
        licence=data.licence,
        ceiling=None,
    )


def read_rows(path: Path) -> list[dict[str, str]]:
    """The manifest's rows, columns checked against the allow-list.

    Raises:
        LeakageError, ManifestError, OSError: see `site_material`.

    """
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        refuse_columns(reader.fieldnames or ())
        rows = [{name: (value or "").strip() for name, value in row.items() if name} for row in reader]
    for number, row in enumerate(rows, start=2):
        if not (row["patient"] and row["file"] and row["dxa_date"]):
            msg = f"{path}: line {number} lacks a patient, a file or a dxa_date"
            raise ManifestError(msg)
    return rows


def refuse_columns(names: Iterable[str]) -> None:
    """Raise LeakageError for a column that is not on the allow-list, ManifestError where a needed one is missing."""
    present = list(names)
    allowed = {*REQUIRED_COLUMNS, *TRUTH_COLUMNS, *OPTIONAL_COLUMNS}
    for name in present:
        if name not in allowed:
            known = any(word in name.lower() for word in _DXA_WORDS)
            why = "comes from DXA and would tell the model its answer" if known else "is not one that training uses"
            msg = f"column {name!r} {why}; remove it (allowed: {', '.join(sorted(allowed))})"
            raise LeakageError(msg)
    missing = [name for name in REQUIRED_COLUMNS if name not in present]
    if missing or not any(name in present for name in TRUTH_COLUMNS):
        msg = f"the manifest needs the columns {', '.join(REQUIRED_COLUMNS)} and one of {', '.join(TRUTH_COLUMNS)}"
        raise ManifestError(msg)


def _studies(rows: Sequence[Mapping[str, str]], films: Mapping[str, SiteFilm]) -> tuple[_Study, ...]:
    """One per film, in the order of the manifest; what the header lacks is taken from the row."""
    found: dict[str, _Study] = {}
    for number, row in enumerate(rows, start=2):
        file, film = row["file"], films[row["file"]]
        t0 = film.acquired_at or _moment(row.get("acquired_at", ""), number, "acquired_at")
        if t0 is None:
            msg = f"line {number}: neither the film's header nor the column acquired_at says when it was taken"
            raise ManifestError(msg)
        age = film.age_years if film.age_years is not None else _number(row.get("age", ""), number, "age")
        sex = film.sex if film.sex in (Sex.FEMALE, Sex.MALE) else Sex(row.get("sex") or Sex.UNKNOWN.value)
        study = _Study(file=file, patient=row["patient"], t0=t0, age_years=age, sex=sex)
        if found.setdefault(file, study).patient != study.patient:
            msg = f"line {number}: this film stands under another patient before; one film has one patient"
            raise LeakageError(msg)
    return tuple(found.values())


def _refusal(study: _Study, film: SiteFilm) -> str:
    """Why a film trains nothing, or nothing; below 50 a T-score diagnoses nothing."""
    if film.refused:
        return film.refused
    if math.isnan(study.age_years):
        return "AGE_UNKNOWN"
    return "AGE_UNDER" if study.age_years < _MINIMUM_AGE else ""


def _dxa(rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Every stated T-score as `dxa_label` reads it; a date counts as its start."""
    found = []
    for number, row in enumerate(rows, start=2):
        at = _moment(row["dxa_date"], number, "dxa_date")
        for region, column in zip(REGIONS, TRUTH_COLUMNS, strict=True):
            score = _number(row.get(column, ""), number, column)
            if math.isfinite(score):
                found.append({"patient": row["patient"], "region": region, "t_score": score, "observed_at": at})
    frame = pd.DataFrame(found, columns=["patient", "region", "t_score", "observed_at"])
    frame["usable"], frame["superseded_at"] = True, pd.NaT
    return frame


def _weights(rows: Sequence[Mapping[str, str]], studies: pd.DataFrame, data: SiteData) -> dict[str, float]:
    """Weight by study under the rule that serves: not after the film, not older than its look-back, known in time."""
    stated = []
    for number, row in enumerate(rows, start=2):
        value = _number(row.get("weight", ""), number, "weight")
        at = _moment(row.get("weight_at", ""), number, "weight_at")
        if not math.isfinite(value) or at is None:
            continue
        whole_day = len(row["weight_at"]) == len("2025-01-31")
        end = at + dt.timedelta(days=1) if whole_day else at
        available = _moment(row.get("weight_available_at", ""), number, "weight_available_at") or at
        stated.append(
            {"id": number, "key": f"{row['patient']} {at}", "patient": row["patient"], "variable": "weight",
             "value": value, "usable": _WEIGHT_KG[0] <= value <= _WEIGHT_KG[1], "start_at": at, "stated_end_at": end,
             "recorded_at": available, "available_at": available, "superseded_at": pd.NaT}
        )  # fmt: skip
    if not stated:
        return {}
    lookback = {"weight": data.weight_days}
    asked = studies.assign(known_at=known_at(studies["t0"], dt.timedelta(minutes=data.wait_minutes)))
    chosen = as_of(asked, as_history(prepared(pd.DataFrame(stated), lookback)), lookback)
    return dict(zip(chosen["study"], chosen["value"].astype(float), strict=True))


def _moment(text: str, number: int, column: str) -> dt.datetime | None:
    """ISO 8601; without an offset it is UTC."""
    if not text:
        return None
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"line {number}: {column} is not a date or time in ISO 8601 form"
        raise ManifestError(msg) from error
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)


def _number(text: str, number: int, column: str) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError as error:
        msg = f"line {number}: {column} is not a number"
        raise ManifestError(msg) from error


def _count(refusals: Sequence[str], used: int) -> None:
    codes = Counter(code for code in refusals if code)
    unlabelled = len(refusals) - used - sum(codes.values())
    _log.info("train.site", films=len(refusals), used=used, refused=dict(codes), unlabelled=unlabelled)
