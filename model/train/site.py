"""A site's own studies: one CSV and its DICOM files become films with a truth, and nothing that knows the truth beside.

The truth is the lowest T-score within the window (`dxa_label`); clinical values follow the as-of rule that the node
serves by. A film is known by its SOP Instance UID and by its pixels, whatever its file is called. Not allowed here:
DICOM itself (the caller gives a reader), and logging anything of a row but its line.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd
import structlog
from rich.progress import Progress

from model.domain import Sex
from model.train.asof_frame import as_history, as_of, known_at, prepared
from model.train.dxa_label import OSTEOPOROSIS_T, labels
from model.train.films import Films
from model.train.material import Material
from model.train.people import member_of
from model.train.plan import Plan, SiteData
from model.train.site_films import ReadFilm, SiteFilm, UnreadFilm, read_films
from model.train.site_rows import ManifestError, SiteRow, first_rows, read_rows, refuse_two_patients

_MINIMUM_AGE: Final = 50.0
_WEIGHT_KG: Final = (25.0, 300.0)

_log = structlog.get_logger()


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
    """One film of the manifest; what its header lacks is taken from the first row that names it."""

    row: SiteRow
    film: SiteFilm = field(repr=False)
    t0: dt.datetime

    @property
    def name(self) -> str:
        return str(self.row.file)

    @property
    def age_years(self) -> float:
        return self.row.age_years if self.film.age_years is None else self.film.age_years

    @property
    def sex(self) -> Sex:
        return self.film.sex if self.film.sex in (Sex.FEMALE, Sex.MALE) else self.row.sex

    @property
    def refusal(self) -> str:
        """Why the film trains nothing, or nothing; below 50 a T-score diagnoses nothing."""
        if self.film.refused:
            return self.film.refused
        if math.isnan(self.age_years):
            return "AGE_UNKNOWN"
        return "AGE_UNDER" if self.age_years < _MINIMUM_AGE else ""


def site_material(plan: Plan, data: SiteData, read: ReadFilm, progress: Progress) -> Material:
    """Read, label and join the site's studies.

    Raises:
        LeakageError: a column may carry the truth, or two patients claim one film.
        ManifestError: a row cannot be used, or nothing is left.
        OSError: the manifest or a film cannot be read.

    """
    rows = read_rows(data.manifest, data.zone)
    studies = _studies(first_rows(rows), plan, data, read, progress)
    frame = pd.DataFrame(
        [{"study": s.name, "patient": s.row.patient, "t0": s.t0.astimezone(dt.UTC)} for s in studies],
        columns=["study", "patient", "t0"],
    )
    labelled = labels(frame, _dxa(rows), window_days=data.label_window_days).to_dict("records")
    truth = {str(row["study"]): float(row["t_lowest"]) for row in labelled}
    used = [study for study in studies if study.name in truth and not study.refusal]
    refused = Counter(study.refusal for study in studies if study.refusal)
    unlabelled = len(studies) - len(used) - refused.total()
    _log.info("train.site", films=len(studies), used=len(used), refused=dict(refused), unlabelled=unlabelled)
    if not used:
        days = f"{data.label_window_days:g} days"
        msg = f"{data.manifest}: no film is left that can be used and has a T-score within {days}"
        raise ManifestError(msg)
    weights = _weights(rows, frame, data)
    people = tuple(
        SitePerson(t_lowest=truth[s.name], age_years=s.age_years, sex=s.sex, weight_kg=weights.get(s.name, math.nan))
        for s in used
    )
    return _material(used, people, data)


def _material(used: Sequence[_Study], people: tuple[SitePerson, ...], data: SiteData) -> Material:
    return Material(
        films=Films(
            patients=people,
            owners=tuple(s.row.patient for s in used),
            images=np.stack([s.film.image for s in used]),
            boxes=np.stack([s.film.box for s in used]),
        ),
        members=tuple(
            member_of(person, patient=s.row.patient, acquired_on=s.t0.astimezone(data.zone).date())
            for s, person in zip(used, people, strict=True)
        ),
        simulated=False,
        population=f"{data.site} (the latest film of each)",
        intended_use=data.intended_use,
        contraindications=("Must not be used to rule out low bone density.",),
        source=data.site,
        licence=data.licence,
        ceiling=None,
    )


def _studies(
    rows: Sequence[SiteRow], plan: Plan, data: SiteData, read: ReadFilm, progress: Progress
) -> tuple[_Study, ...]:
    """Every film that can be read, once, in the order of the manifest; the others are named by their line."""
    found = read_films([row.file for row in rows], plan, data.zone, read, progress)
    readable = []
    for row, film in zip(rows, found, strict=True):
        if isinstance(film, UnreadFilm):
            _log.warning("train.site.unread", line=row.line, code=film.code)
        else:
            readable.append((row, film))
    single = _without_repeats(readable)
    unread, repeats = len(found) - len(readable), len(readable) - len(single)
    _log.info("train.site.files", files=len(found), unread=unread, repeats=repeats)
    return tuple(_Study(row=row, film=film, t0=_taken_at(row, film)) for row, film in single)


def _taken_at(row: SiteRow, film: SiteFilm) -> dt.datetime:
    t0 = film.acquired_at or row.acquired_at
    if t0 is None:
        msg = f"line {row.line}: neither the film's header nor the column acquired_at says when it was taken"
        raise ManifestError(msg)
    return t0


def _without_repeats(films: Iterable[tuple[SiteRow, SiteFilm]]) -> list[tuple[SiteRow, SiteFilm]]:
    """Each film once, under whatever names it comes; pictures that the pixel checks refuse may look alike.

    Raises:
        LeakageError: two patients claim one film.

    """
    first: dict[str, SiteRow] = {}
    single = []
    for row, film in films:
        marks = {film.sop_instance_uid} if film.refused else {film.sop_instance_uid, film.digest}
        for mark in sorted(marks & first.keys()):
            refuse_two_patients(first[mark], row)
        if not marks & first.keys():
            single.append((row, film))
        first |= dict.fromkeys(marks - first.keys(), row)
    return single


def _dxa(rows: Sequence[SiteRow]) -> pd.DataFrame:
    """Every stated T-score as `dxa_label` reads it; a date counts as its start."""
    found = [
        {"patient": row.patient, "region": region, "t_score": score, "observed_at": row.dxa_at.astimezone(dt.UTC)}
        for row in rows
        for region, score in row.t_scores
    ]
    frame = pd.DataFrame(found, columns=["patient", "region", "t_score", "observed_at"])
    frame["usable"], frame["superseded_at"] = True, pd.NaT
    return frame


def _weights(rows: Sequence[SiteRow], studies: pd.DataFrame, data: SiteData) -> dict[str, float]:
    """Weight by study under the rule that serves: not after the film, not older than its look-back, known in time."""
    stated = []
    for row in rows:
        if (weight := row.weight) is None:
            continue
        moments = (weight.start_at, weight.end_at, weight.available_at)
        start, end, available = (moment.astimezone(dt.UTC) for moment in moments)
        stated.append(
            {"id": row.line, "key": f"{row.patient} {start}", "patient": row.patient, "variable": "weight",
             "value": weight.kilograms, "usable": _WEIGHT_KG[0] <= weight.kilograms <= _WEIGHT_KG[1],
             "start_at": start, "stated_end_at": end, "recorded_at": available, "available_at": available,
             "superseded_at": pd.NaT}
        )  # fmt: skip
    if not stated:
        return {}
    lookback = {"weight": data.weight_days}
    asked = studies.assign(known_at=known_at(studies["t0"], dt.timedelta(minutes=data.wait_minutes)))
    chosen = as_of(asked, as_history(prepared(pd.DataFrame(stated), lookback)), lookback)
    return dict(zip(chosen["study"], chosen["value"].astype(float), strict=True))
