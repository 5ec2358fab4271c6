"""Fits the gate on real films and phantoms, and measures it on folds that share no patient (model.md section 10).

The seven transforms are made on the fly from every picture. The films are the NIH Clinical Center's ChestX-ray14 (Wang
et al., CVPR 2017); only embeddings leave this module. A bank for a production bundle is fitted with no phantoms.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from model.gate import ACCEPT_AT, NEIGHBOUR, POSES, FeatureMap, Floats, GateModel, Pose, embedding, gate_input, pooled
from model.logistic import fit_multinomial

ADULT_YEARS = 18.0
PENALTY_C = 0.003
"""Of .003, .03 and .3 the one with the most mirrored films found at equal refusals (51, 45 and 41 %)."""
FOLDS = 5
DISTANCE_QUANTILE = 0.99
FALSE_MIRROR_WARNINGS = 0.007
_CROP_SHARE = (0.35, 0.60)
"""Side of a partial chest as a share of the whole film's."""
_LEAST_SD = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class GateEvaluation:
    """Rates on folds that share no patient with the training; both tests together unless said otherwise."""

    films: int
    patients: int
    phantoms: int
    upright_accepted: float
    """Share of true upright films."""
    upright_accepted_by_pose: float
    """The same by the regression alone."""
    transforms_refused: float
    """Share of inverted, rotated, upside-down and partial films."""
    mirrored_found: float
    """Share of mirrored films that get the warning."""
    mirrored_false: float
    """Share of upright films that get it."""
    phantoms_accepted: float
    """Share of upright phantoms; NaN without phantoms."""
    accepted_by_pose: dict[str, float]
    """Share of films accepted, by true pose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """Pooled features (n, poses, columns), and who each picture is of."""

    features: Floats
    groups: npt.NDArray[np.int64]
    is_film: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class _HeldOut:
    """Out-of-fold outputs: (n, true pose, pose) probabilities and (n, true pose) distance ratios."""

    probabilities: npt.NDArray[np.float64]
    ratios: npt.NDArray[np.float64]

    @property
    def agreement(self) -> npt.NDArray[np.float64]:
        """(n, true pose): probability of upright plus mirrored."""
        return np.asarray(self.probabilities[:, :, :2].sum(axis=-1))

    @property
    def mirrored_share(self) -> npt.NDArray[np.float64]:
        """(n, true pose): mirrored as a share of upright plus mirrored."""
        return np.asarray(self.probabilities[:, :, 1] / np.maximum(self.agreement, _LEAST_SD))


def fit_gate(
    films: Path,
    phantoms: Sequence[Floats],
    feature_map: FeatureMap,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[GateModel, GateEvaluation]:
    """Fit on the adults of `films` (a folder with manifest.csv) and on `phantoms`, (rows, columns) float32 bone bright.

    `progress` hears (pictures done, pictures in all). Takes some .4 s a picture on one thread, then about a minute.

    Raises:
        OSError: the manifest or a film cannot be read.

    """
    sample = _sample(films, phantoms, feature_map, np.random.default_rng(seed), progress)
    held_out = _held_out(sample, seed)
    upright_films = held_out.mirrored_share[sample.is_film, POSES.index(Pose.UPRIGHT)]
    mirrored_at = float(np.quantile(upright_films, 1 - FALSE_MIRROR_WARNINGS))
    return _fit(sample, mirrored_at), _evaluate(sample, held_out, mirrored_at)


def poses_of(pixels: Floats, rng: np.random.Generator) -> dict[Pose, Floats]:
    """The picture in every pose; the partial one is a random crop."""
    rows, columns = (max(1, int(side * rng.uniform(*_CROP_SHARE))) for side in pixels.shape)
    top, left = (int(rng.integers(0, n - m + 1)) for n, m in zip(pixels.shape, (rows, columns), strict=True))
    return {
        Pose.UPRIGHT: pixels,
        Pose.MIRRORED: pixels[:, ::-1],
        Pose.INVERTED: np.float32(1) - pixels,
        Pose.ROTATED_90: np.rot90(pixels),
        Pose.ROTATED_270: np.rot90(pixels, 3),
        Pose.ROTATED_180: np.rot90(pixels, 2),
        Pose.UPSIDE_DOWN: pixels[::-1],
        Pose.PARTIAL: pixels[top : top + rows, left : left + columns],
    }


def _sample(
    films: Path,
    phantoms: Sequence[Floats],
    feature_map: FeatureMap,
    rng: np.random.Generator,
    progress: Callable[[int, int], None],
) -> _Sample:
    with (films / "manifest.csv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if float(row["age"]) >= ADULT_YEARS]
    total = len(rows) + len(phantoms)
    features = []
    for pixels in _pictures(films, rows, phantoms):
        poses = poses_of(pixels, rng)
        features.append([pooled(feature_map(gate_input(np.ascontiguousarray(poses[pose])))) for pose in POSES])
        progress(len(features), total)
    _, patients = np.unique([row["patient"] for row in rows], return_inverse=True)
    own = np.arange(len(phantoms)) + patients.max() + 1
    return _Sample(
        features=np.asarray(features, np.float32),
        groups=np.concatenate([patients, own]),
        is_film=np.arange(total) < len(rows),
    )


def _pictures(films: Path, rows: Sequence[dict[str, str]], phantoms: Sequence[Floats]) -> Iterator[Floats]:
    for row in rows:
        grey = cv2.imread(str(films / row["file"]), cv2.IMREAD_GRAYSCALE)
        if grey is None:
            msg = f"cannot read the film {row['file']}"
            raise OSError(msg)
        yield np.asarray(grey, np.float32) / np.float32(255)
    yield from phantoms


def _held_out(sample: _Sample, seed: int) -> _HeldOut:
    """Every picture judged by a gate that never saw its patient."""
    _, group = np.unique(sample.groups, return_inverse=True)
    fold = (np.random.default_rng(seed).permutation(group.max() + 1) % FOLDS)[group]
    count = len(fold)
    probabilities, ratios = np.zeros((count, len(POSES), len(POSES))), np.zeros((count, len(POSES)))
    for index in range(FOLDS):
        train, test = fold != index, fold == index
        weights, bias = _regression(sample.features[train])
        probabilities[test] = softmax(sample.features[test] @ weights.T + bias, axis=-1)
        bank = _embeddings(sample.features[train, 0])
        limit = _limit(bank, sample.groups[train], sample.is_film[train])
        for pose in range(len(POSES)):
            ratios[test, pose] = _fifth_nearest(_embeddings(sample.features[test, pose]), bank) / limit
    return _HeldOut(probabilities=probabilities, ratios=ratios)


def _evaluate(sample: _Sample, held_out: _HeldOut, mirrored_at: float) -> GateEvaluation:
    films = sample.is_film
    by_pose = held_out.agreement >= ACCEPT_AT
    accepted = by_pose & (held_out.ratios <= 1.0)
    warned = accepted & (held_out.mirrored_share > mirrored_at)
    rates = {pose.value: float(accepted[films, row].mean()) for row, pose in enumerate(POSES)}
    return GateEvaluation(
        films=int(films.sum()),
        patients=len(np.unique(sample.groups[films])),
        phantoms=int((~films).sum()),
        upright_accepted=rates[Pose.UPRIGHT],
        upright_accepted_by_pose=float(by_pose[films, 0].mean()),
        transforms_refused=float(1 - accepted[films, 2:].mean()),
        mirrored_found=float(warned[films, 1].mean()),
        mirrored_false=float(warned[films, 0].mean()),
        phantoms_accepted=float(accepted[~films, 0].mean()) if (~films).any() else float("nan"),
        accepted_by_pose=rates,
    )


def _fit(sample: _Sample, mirrored_at: float) -> GateModel:
    weights, bias = _regression(sample.features)
    bank = _embeddings(sample.features[:, 0])
    return GateModel(
        weights=weights,
        bias=bias,
        bank=bank.astype(np.float16),
        distance_limit=_limit(bank, sample.groups, sample.is_film),
        mirrored_at=mirrored_at,
    )


def _regression(features: Floats) -> tuple[Floats, Floats]:
    """Weights and bias on raw features of (n, poses, columns), the z-scoring folded in."""
    columns = features.reshape(-1, features.shape[-1]).astype(np.float64)
    means, sds = columns.mean(axis=0), np.maximum(columns.std(axis=0), _LEAST_SD)
    truth = np.tile(np.arange(len(POSES)), len(features))
    weights, bias = fit_multinomial((columns - means) / sds, truth, len(POSES), penalty_c=PENALTY_C)
    return (weights / sds).astype(np.float32), (bias - (weights / sds) @ means).astype(np.float32)


def _embeddings(features: Floats) -> Floats:
    return np.stack([embedding(row) for row in features])


def _limit(bank: Floats, groups: npt.NDArray[np.int64], is_film: npt.NDArray[np.bool_]) -> float:
    """The distance that 99 % of the films stay under when their own patient is left out of the films."""
    films, patients = bank[is_film], groups[is_film]
    distances = 1.0 - films @ films.T
    distances[patients[:, None] == patients[None, :]] = np.inf
    nearest = np.partition(distances, NEIGHBOUR - 1, axis=1)[:, NEIGHBOUR - 1]
    return float(np.quantile(nearest, DISTANCE_QUANTILE))


def _fifth_nearest(embeddings: Floats, bank: Floats) -> Floats:
    return np.asarray(np.partition(1.0 - embeddings @ bank.T, NEIGHBOUR - 1, axis=1)[:, NEIGHBOUR - 1], np.float32)
