"""What the served gate and screener do with real chest films of no known bone density (NIH ChestX-ray14, PNG).

The gate was fitted on the adults among them: its honest rates are those of the manifest's held-out folds, and what is
counted here shows that the shipped gate does the same. New to it are the children, whom nobody may score. The scores
of the others, held against age and sex, are a sanity check: the films carry no truth to be right about.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from rich.progress import Progress
from scipy.stats import spearmanr

from model.domain import (
    ClinicalRecord,
    InstanceReference,
    MatchClass,
    Radiograph,
    Scored,
    Sex,
)
from model.gate import FRONTAL_POSES, Pose
from model.gate_fit import ADULT_YEARS, poses_of
from model.train.phantom_cohort import worker_screener
from model.train.score_cache import gathered, kept_scores, score_cache

_CHUNK: Final = 8
_ELIGIBLE_YEARS: Final = 50.0
_NO_RECORD: Final = ClinicalRecord(match=MatchClass.NO_ID)
_REFUSED: Final = tuple(pose for pose in FRONTAL_POSES if pose not in (Pose.UPRIGHT, Pose.MIRRORED))


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeRelation:
    """Rank correlation of image probability and age in one sex, patients of 50 years and more."""

    sex: str
    n: int
    spearman: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RealFilms:
    """Counts over the films. The gate's are in sample for adults."""

    films: int
    adults: int
    upright_accepted: int
    """Adults' films."""
    transforms: int
    transforms_refused: int
    young: int
    """Films of people below 50, children among them."""
    young_scored: int
    unknown_age: int
    """Every film again, its age withheld."""
    unknown_age_scored: int
    relations: tuple[AgeRelation, ...]


def screen_real_films(
    pool: ProcessPoolExecutor, folder: Path, *, run: Path, served_by: str, progress: Progress, most: int | None
) -> RealFilms:
    """Screen the films of `folder` (manifest.csv with file, age, sex) in the `bundle_workers`; at most `most` of them.

    Raises:
        OSError: a film cannot be read.
        KeyError: the manifest lacks a column.

    """
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as lines:
        films = [{k: row[k] for k in ("file", "age", "sex")} for row in csv.DictReader(lines)][:most]
    cache = score_cache(run, films_key="nih", served_by=served_by).scores
    task = progress.add_task("judge real films", total=len(films))
    rows: list[dict[str, Any]] = []
    chunks = [films[first : first + _CHUNK] for first in range(0, len(films), _CHUNK)]
    for found in gathered(pool, ((_file_of(chunk, cache), _judge, (chunk, folder, cache)) for chunk in chunks)):
        rows += found["rows"]
        progress.update(task, completed=len(rows))
    return _counted(sorted(rows, key=lambda row: str(row["file"])))


def _file_of(films: Sequence[dict[str, str]], cache: Path) -> Path:
    return cache / f"{films[0]['file']}-{len(films)}.json"


def _judge(films: Sequence[dict[str, str]], folder: Path, cache: Path) -> dict[str, Any]:
    return kept_scores(_file_of(films, cache), lambda: {"rows": [_judged(film, folder) for film in films]})


def _judged(film: dict[str, str], folder: Path) -> dict[str, Any]:
    grey = cv2.imread(str(folder / film["file"]), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        msg = f"cannot read the film {film['file']}"
        raise OSError(msg)
    pixels, age = np.asarray(grey, np.float32) / np.float32(255), float(film["age"])
    screener = worker_screener()
    result = screener.screen(_radiograph(pixels, age, film["sex"]), _NO_RECORD)
    nameless = screener.screen(_radiograph(pixels, None, film["sex"]), _NO_RECORD)
    accepted = {}
    if age >= ADULT_YEARS:
        poses = poses_of(pixels, np.random.default_rng(int.from_bytes(film["file"].encode()[:8])))
        gate, features = screener.bundle.gate, screener.bundle.gate_features
        accepted = {p.value: gate.judge(np.ascontiguousarray(poses[p]), features).accepted for p in poses}
    return {
        "file": film["file"],
        "age": age,
        "sex": film["sex"],
        "p": result.p_image if isinstance(result, Scored) else None,
        "unknown_scored": isinstance(nameless, Scored),
        "accepted": accepted,
    }


def _radiograph(pixels: np.ndarray[Any, np.dtype[np.float32]], age: float | None, sex: str) -> Radiograph:
    reference = InstanceReference(study_uid="1.2", series_uid="1.2", sop_instance_uid="1.2", sop_class_uid="1.2")
    known = Sex(sex) if sex in ("F", "M") else Sex.UNKNOWN
    return Radiograph(reference=reference, pixels=pixels, age_years=age, sex=known, modality="DX")


def _counted(rows: Sequence[dict[str, Any]]) -> RealFilms:
    adults = [row["accepted"] for row in rows if row["accepted"]]
    young = [row for row in rows if row["age"] < _ELIGIBLE_YEARS]
    refused = [not accepted[pose.value] for accepted in adults for pose in _REFUSED]
    relations = (_relation(sex, [r for r in rows if r["sex"] == sex and r["p"] is not None]) for sex in ("F", "M"))
    return RealFilms(
        films=len(rows),
        adults=len(adults),
        upright_accepted=sum(accepted[Pose.UPRIGHT.value] for accepted in adults),
        transforms=len(refused),
        transforms_refused=sum(refused),
        young=len(young),
        young_scored=sum(row["p"] is not None for row in young),
        unknown_age=len(rows),
        unknown_age_scored=sum(row["unknown_scored"] for row in rows),
        relations=tuple(relations),
    )


def _relation(sex: str, rows: Sequence[dict[str, Any]]) -> AgeRelation:
    if len(rows) < 4:  # noqa: PLR2004 - fewer have no rank correlation worth a figure
        return AgeRelation(sex=sex, n=len(rows), spearman=math.nan, p=math.nan)
    found = spearmanr([row["age"] for row in rows], [row["p"] for row in rows])
    return AgeRelation(sex=sex, n=len(rows), spearman=float(found.statistic), p=float(found.pvalue))
