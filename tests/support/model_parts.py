"""Fitted numbers for tests of everything that serves: a clinical model and a fusion."""

from __future__ import annotations

from model.clinical import ClinicalModel
from model.fusion import Fusion, OperatingPoints

CLINICAL = ClinicalModel(
    coefficients=(-0.782053, 0.831300, -1.034071, -0.149123, 0.102599, 0.588334, 0.773796),
    intercept=-1.660333,
    means=(0.533540, 65.753354, 63.623942, 5.985902, 6.858622, 35.560372, 31.494118),
    sds=(0.498874, 9.292298, 10.971044, 7.468680, 8.983307, 33.906974, 30.208697),
    age_knots=(54.0, 65.0, 78.0),
    weight_knots=(50.0, 63.0, 78.1),
    age_range=(50.0, 93.0),
    weight_range=(33.6, 107.0),
    provenance="fitted on 969 South Koreans aged 50-93 (Kim & Kim, PLOS ONE 2022)",
)
"""What `fit_clinical` gives, to six digits."""

FUSION = Fusion(
    temperature=1.25,
    platt_slope=0.9,
    platt_intercept=-0.1,
    image_weight=1.1,
    clinical_weight=0.35,
    intercept=-0.21,
    image_only_weight=1.05,
    image_only_intercept=-0.3,
    fused_points=OperatingPoints(t_low=0.25, t_high=0.32),
    image_points=OperatingPoints(t_low=0.22, t_high=0.36),
)
