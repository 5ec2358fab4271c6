"""Fits `model.fusion.Fusion` on predictions about people a network never saw, and on nothing else (model.md 8 and 9).

Predictions of the data a model was trained on would make every probability overconfident; nothing here can see that.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from model.evaluation.metrics import auc
from model.fusion import Fusion, OperatingPoints, logit
from model.logistic import Floats, fit_logistic

TARGET_SENSITIVITY = 0.90
TARGET_SPECIFICITY = 0.90
_GRID = tuple(round(0.05 * step, 2) for step in range(21))


def fit_fusion(
    image_logits: npt.ArrayLike,
    p_clinical: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    target_sensitivity: float = TARGET_SENSITIVITY,
    target_specificity: float = TARGET_SPECIFICITY,
) -> Fusion:
    """Fit temperature, Platt, stack, image-only mode and both pairs of thresholds.

    `image_logits` (n,) raw, each by a network that never saw the patient; `p_clinical` (n,) in [0, 1], NaN where an
    input was missing; `labels` (n,) 0/1.

    Raises:
        ValueError: a class is missing among all rows, or among the rows with a clinical probability; or the image logit
            does not rise with the label, so that it cannot be calibrated.

    """
    images, labels_ = _column(image_logits), _column(labels)
    clinical = np.array([logit(p) if math.isfinite(p) else math.nan for p in _column(p_clinical)])
    known = np.isfinite(clinical)
    temperature = _temperature(images, labels_)
    calibrated = images / temperature
    platt = fit_logistic(clinical[known][:, None], labels_[known], non_negative=True)
    l_clinical = platt.coefficients[0] * clinical[known] + platt.intercept
    if platt.coefficients[0] == 0:
        l_clinical[:] = 0.0  # a constant would share the intercept's work and show as a weight
    both = np.column_stack([calibrated[known], l_clinical])
    stack = fit_logistic(both, labels_[known], non_negative=True)
    alone = fit_logistic(calibrated[:, None], labels_, non_negative=True)
    fused_p = _expit(both @ stack.coefficients + stack.intercept)
    alone_p = _expit(calibrated * alone.coefficients[0] + alone.intercept)
    targets = {"target_sensitivity": target_sensitivity, "target_specificity": target_specificity}
    return Fusion(
        temperature=temperature,
        platt_slope=float(platt.coefficients[0]),
        platt_intercept=platt.intercept,
        image_weight=float(stack.coefficients[0]),
        clinical_weight=float(stack.coefficients[1]),
        intercept=stack.intercept,
        image_only_weight=float(alone.coefficients[0]),
        image_only_intercept=alone.intercept,
        fused_points=operating_points(fused_p, labels_[known], **targets),
        image_points=operating_points(alone_p, labels_, **targets),
    )


def with_linear_pool(
    fusion: Fusion,
    image_logits: npt.ArrayLike,
    p_clinical: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    target_sensitivity: float = TARGET_SENSITIVITY,
    target_specificity: float = TARGET_SPECIFICITY,
) -> Fusion:
    """`fusion` with the linear pool as its rule: w of the .05 grid with the best AUC, the larger one where two tie.

    Arguments as of `fit_fusion`, whose calibrations it keeps.
    """
    image, clinical, label = _column(image_logits), _column(p_clinical), _column(labels)
    known = np.isfinite(clinical)
    pairs = [
        (fusion.image_only(z), fusion.clinical_only(p)) for z, p in zip(image[known], clinical[known], strict=True)
    ]
    own, other = np.array(pairs).T
    weight = max(_GRID, key=lambda w: (auc(other + w * (own - other), label[known]).value, w))
    points = operating_points(
        other + weight * (own - other),
        label[known],
        target_sensitivity=target_sensitivity,
        target_specificity=target_specificity,
    )
    return dataclasses.replace(fusion, linear_weight=weight, fused_points=points)


def operating_points(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    target_sensitivity: float = TARGET_SENSITIVITY,
    target_specificity: float = TARGET_SPECIFICITY,
) -> OperatingPoints:
    """t_low: largest threshold with SEN >= target; t_high: smallest with SPC >= target, both among the observed values.

    When no observed value reaches the specificity, t_high is 1. Positive means p >= threshold.
    """
    p, positive = _column(probabilities), _column(labels) == 1
    positives, negatives = np.sort(p[positive]), np.sort(p[~positive])
    missed = math.floor((1.0 - target_sensitivity) * len(positives) + 1e-9)
    t_low = positives[min(missed, len(positives) - 1)]
    needed = math.ceil(target_specificity * len(negatives) - 1e-9)
    candidates = np.unique(p)
    reached = candidates[np.searchsorted(negatives, candidates, side="left") >= needed]
    return OperatingPoints(t_low=float(t_low), t_high=float(reached[0]) if reached.size else 1.0)


def _temperature(logits: Floats, labels: Floats) -> float:
    """T that minimises the log loss of sigmoid(l / T): one slope, no intercept."""
    slope = float(fit_logistic(logits[:, None], labels, non_negative=True, intercept=False).coefficients[0])
    if slope <= 0:
        msg = "the image logit does not rise with the label; nothing to calibrate"
        raise ValueError(msg)
    return 1.0 / slope


def _column(values: npt.ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64).ravel()


def _expit(z: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(z, -30.0, 30.0))))
