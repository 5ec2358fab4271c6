"""Fits the gate on real films and phantoms, and measures it on folds that share no patient (model.md section 10).

The seven transforms are made on the fly from every picture; laterals and other body parts, of which no real ones can
be had in number, come as phantoms (`gate_phantoms`) and never enter the bank. The films are the NIH Clinical Center's
ChestX-ray14 (Wang et al., CVPR 2017); only embeddings leave this module. A bank for a production bundle is fitted with
no phantoms.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from model.gate import (
    ACCEPT_AT,
    FRONTAL_POSES,
    NEIGHBOUR,
    POSES,
    FeatureMap,
    Floats,
    GateModel,
    Pose,
    embedding,
    gate_input,
    pooled,
)
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
_NONE: Mapping[Pose, Sequence[Floats]] = MappingProxyType({})


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
    own: int = 0
    """A site's own films, of as many patients."""
    own_accepted: float = float("nan")
    """Share of them that is accepted, upright; NaN without them."""
    unfit: int = 0
    """Pictures that are no frontal chest, laterals and others together."""
    laterals_refused: float = float("nan")
    """Share of lateral phantoms; NaN without them."""
    others_refused: float = float("nan")
    """Share of phantoms that are no chest; NaN without them."""
    accepted_by_pose: dict[str, float]
    """Share of films accepted, by true pose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """Pooled features (n, frontal poses, columns), who each picture is of, and what else may come (m, columns)."""

    features: Floats
    groups: npt.NDArray[np.int64]
    is_film: npt.NDArray[np.bool_]
    unfit: Floats
    unfit_poses: npt.NDArray[np.int64]
    """(m,) index of LATERAL or OTHER."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _HeldOut:
    """Out-of-fold outputs: (n, true pose, pose) probabilities and (n, true pose) distance ratios."""

    probabilities: npt.NDArray[np.float64]
    ratios: npt.NDArray[np.float64]
    unfit_accepted: npt.NDArray[np.bool_]
    """(m,)."""

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
    own: Sequence[Floats] = (),
    unfit: Mapping[Pose, Sequence[Floats]] = _NONE,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[GateModel, GateEvaluation]:
    """Fit on the adults of `films` (a folder with manifest.csv) and on `phantoms`, (rows, columns) float32 bone bright.

    `own` are a site's upright films, of one patient each: two of a patient could fall on both sides of a fold.
    `unfit` holds pictures for LATERAL and for OTHER, or nothing; without them the gate knows frontal poses only.
    `progress` hears (pictures done, pictures in all). Takes some .4 s a picture on one thread, then about a minute.

    Raises:
        OSError: the manifest or a film cannot be read.
        ValueError: `unfit` has laterals but no others, or the reverse, or pictures of a frontal pose.

    """
    if set(unfit) not in ({Pose.LATERAL, Pose.OTHER}, set()):
        msg = f"the gate learns {Pose.LATERAL} and {Pose.OTHER} together or neither, not {sorted(unfit)}"
        raise ValueError(msg)
    reader = _Reader(feature_map=feature_map, seed=seed, progress=progress)
    sample = _sample(films, (*phantoms, *own), unfit, reader)
    held_out = _held_out(sample, seed)
    upright_films = held_out.mirrored_share[sample.is_film, POSES.index(Pose.UPRIGHT)]
    mirrored_at = float(np.quantile(upright_films, 1 - FALSE_MIRROR_WARNINGS))
    return _fit(sample, mirrored_at), _evaluate(sample, held_out, mirrored_at, phantoms=len(phantoms))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """How pictures become features, and who hears of it."""

    feature_map: FeatureMap
    seed: int
    progress: Callable[[int, int], None]

    def features(self, pixels: Floats) -> Floats:
        return pooled(self.feature_map(gate_input(np.ascontiguousarray(pixels))))


def _sample(films: Path, joined: Sequence[Floats], unfit: Mapping[Pose, Sequence[Floats]], reader: _Reader) -> _Sample:
    """Features of the films and of the upright pictures that join them, each of a patient of its own."""
    with (films / "manifest.csv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if float(row["age"]) >= ADULT_YEARS]
    strangers = [(POSES.index(pose), pixels) for pose, pictures in unfit.items() for pixels in pictures]
    upright, rng, features = len(rows) + len(joined), np.random.default_rng(reader.seed), []
    for pixels in _pictures(films, rows, joined):
        poses = poses_of(pixels, rng)
        features.append([reader.features(poses[pose]) for pose in FRONTAL_POSES])
        reader.progress(len(features), upright + len(strangers))
    strange = []
    for _, pixels in strangers:
        strange.append(reader.features(pixels))
        reader.progress(upright + len(strange), upright + len(strangers))
    _, patients = np.unique([row["patient"] for row in rows], return_inverse=True)
    return _Sample(
        features=np.asarray(features, np.float32),
        groups=np.concatenate([patients, np.arange(len(joined)) + patients.max() + 1]),
        is_film=np.arange(upright) < len(rows),
        unfit=np.asarray(strange, np.float32).reshape(len(strange), np.asarray(features).shape[-1]),
        unfit_poses=np.array([index for index, _ in strangers], np.int64),
    )


def _pictures(films: Path, rows: Sequence[dict[str, str]], joined: Sequence[Floats]) -> Iterator[Floats]:
    for row in rows:
        grey = cv2.imread(str(films / row["file"]), cv2.IMREAD_GRAYSCALE)
        if grey is None:
            msg = f"cannot read the film {row['file']}"
            raise OSError(msg)
        yield np.asarray(grey, np.float32) / np.float32(255)
    yield from joined


def _held_out(sample: _Sample, seed: int) -> _HeldOut:
    """Every picture judged by a gate that never saw its patient."""
    _, group = np.unique(sample.groups, return_inverse=True)
    fold = (np.random.default_rng(seed).permutation(group.max() + 1) % FOLDS)[group]
    unfit_fold = np.arange(len(sample.unfit)) // 2 % FOLDS  # a person's two sides stay together
    poses = len(POSES) if len(sample.unfit) else len(FRONTAL_POSES)
    shape = (len(fold), len(FRONTAL_POSES))
    probabilities, ratios = np.zeros((*shape, poses)), np.zeros(shape)
    unfit_accepted = np.zeros(len(unfit_fold), np.bool_)
    for index in range(FOLDS):
        train, test, others = fold != index, fold == index, unfit_fold == index
        weights, bias = _regression(sample, train, ~others)
        probabilities[test] = softmax(sample.features[test] @ weights.T + bias, axis=-1)
        bank = _embeddings(sample.features[train, 0])
        limit = _limit(bank, sample.groups[train], sample.is_film[train])
        for pose in range(len(FRONTAL_POSES)):
            ratios[test, pose] = _fifth_nearest(_embeddings(sample.features[test, pose]), bank) / limit
        if others.any():
            upright = softmax(sample.unfit[others] @ weights.T + bias, axis=-1)[:, :2].sum(axis=-1)
            near = _fifth_nearest(_embeddings(sample.unfit[others]), bank) <= limit
            unfit_accepted[others] = near & (upright >= ACCEPT_AT)
    return _HeldOut(probabilities=probabilities, ratios=ratios, unfit_accepted=unfit_accepted)


def _evaluate(sample: _Sample, held_out: _HeldOut, mirrored_at: float, *, phantoms: int) -> GateEvaluation:
    films = sample.is_film
    by_pose = held_out.agreement >= ACCEPT_AT
    accepted = by_pose & (held_out.ratios <= 1.0)
    warned = accepted & (held_out.mirrored_share > mirrored_at)
    rates = {pose.value: float(accepted[films, row].mean()) for row, pose in enumerate(FRONTAL_POSES)}
    refused = {
        pose: ~held_out.unfit_accepted[sample.unfit_poses == POSES.index(pose)] for pose in (Pose.LATERAL, Pose.OTHER)
    }
    return GateEvaluation(
        films=int(films.sum()),
        patients=len(np.unique(sample.groups[films])),
        phantoms=phantoms,
        own=int((~films).sum()) - phantoms,
        upright_accepted=rates[Pose.UPRIGHT],
        upright_accepted_by_pose=float(by_pose[films, 0].mean()),
        transforms_refused=float(1 - accepted[films, 2:].mean()),
        mirrored_found=float(warned[films, 1].mean()),
        mirrored_false=float(warned[films, 0].mean()),
        phantoms_accepted=_share(accepted[~films, 0][:phantoms]),
        own_accepted=_share(accepted[~films, 0][phantoms:]),
        unfit=len(sample.unfit),
        laterals_refused=_share(refused[Pose.LATERAL]),
        others_refused=_share(refused[Pose.OTHER]),
        accepted_by_pose=rates,
    )


def _share(hits: npt.NDArray[np.bool_]) -> float:
    return float(hits.mean()) if hits.size else float("nan")


def _fit(sample: _Sample, mirrored_at: float) -> GateModel:
    weights, bias = _regression(sample, np.ones(len(sample.groups), np.bool_), np.ones(len(sample.unfit), np.bool_))
    bank = _embeddings(sample.features[:, 0])
    return GateModel(
        weights=weights,
        bias=bias,
        bank=bank.astype(np.float16),
        distance_limit=_limit(bank, sample.groups, sample.is_film),
        mirrored_at=mirrored_at,
    )


def _regression(sample: _Sample, train: npt.NDArray[np.bool_], others: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Weights and bias on raw features of the chosen pictures, the z-scoring folded in."""
    known = sample.features[train]
    columns = np.concatenate([known.reshape(-1, known.shape[-1]), sample.unfit[others]])
    means, sds = columns.mean(axis=0, dtype=np.float64), np.maximum(columns.std(axis=0, dtype=np.float64), _LEAST_SD)
    truth = np.concatenate([np.tile(np.arange(len(FRONTAL_POSES)), len(known)), sample.unfit_poses[others]])
    poses = len(POSES) if len(sample.unfit) else len(FRONTAL_POSES)
    scaled = ((columns - means) / sds).astype(np.float32)
    weights, bias = fit_multinomial(scaled, truth, poses, penalty_c=PENALTY_C)
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
