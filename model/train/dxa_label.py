"""The truth of training and evaluation: the lowest T-score near the image. No path leads from here to a feature.

Diagnosis rests on the lowest of lumbar spine, femoral neck and total hip (WHO, ISCD); a forearm, a region that nobody
mapped or a single vertebra is no truth. Later scans count as well: bone changes slowly, and the label may know what the
features may not.
"""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

REGIONS: Final = ("lumbar", "femoral_neck", "total_hip")
WINDOW_DAYS: Final = 180.0
OSTEOPOROSIS_T: Final = -2.5


def labels(studies: pd.DataFrame, results: pd.DataFrame, *, window_days: float = WINDOW_DAYS) -> pd.DataFrame:
    """Label each study that has a usable T-score within `window_days` of its image, before or after.

    Args:
        studies: columns study, patient, t0 (aware).
        results: columns patient, region, t_score, observed_at (aware), usable, superseded_at; only the versions that
            stand today count.
        window_days: closed at both ends.

    Returns:
        Columns study, t_lowest, region, osteoporosis, distance_days (of the lowest, absolute); one row per labelled
        study. Where two regions are equally low the nearer scan is named.

    """
    standing = results["usable"].astype(bool) & results["superseded_at"].isna() & results["t_score"].notna()
    truth = _named(results[standing & results["region"].isin(REGIONS)])
    pairs = _named(studies).merge(truth, on="patient", how="inner", validate="many_to_many")
    distance = (pd.to_datetime(pairs["observed_at"], utc=True) - pd.to_datetime(pairs["t0"], utc=True)).abs()
    pairs = pairs.assign(distance_days=distance.dt.total_seconds() / 86_400)
    near = pairs[pairs["distance_days"] <= window_days].sort_values(["study", "t_score", "distance_days", "region"])
    lowest = near.groupby("study", sort=True).head(1).rename(columns={"t_score": "t_lowest"})
    lowest = lowest.assign(osteoporosis=lowest["t_lowest"] <= OSTEOPOROSIS_T)
    return lowest[["study", "t_lowest", "region", "osteoporosis", "distance_days"]].reset_index(drop=True)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """Without rows that name no patient: pandas would join them to each other."""
    patient: pd.Series[Any] = frame["patient"]
    return frame[patient.notna() & (patient != "")]
