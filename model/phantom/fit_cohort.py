"""Recreates `cohort.json` from the published table; run by a developer, never by the product.

The table itself is not shipped. `python -m model.phantom.fit_cohort TABLE.csv` writes the file anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import rankdata

from model.domain import Sex
from model.phantom.copula import PROBABILITIES, Array, Copula

COLUMN_DECIMALS = {
    "age": 0,
    "height": 1,
    "weight": 1,
    "ca": 1,
    "p": 1,
    "bun": 1,
    "cr": 2,
    "egfr": 0,
    "ls_t": 1,
    "th_t": 1,
    "fn_t": 1,
    "tbs": 3,
}
"""Columns of the copula with the decimals that are kept, those of the table itself."""
_HIGHEST_LUMBAR_BMD = 2.0
"""g/cm2; the table holds one misprint of 3.091."""
_T_SCORES = ["ls_t", "th_t", "fn_t"]
_PROVENANCE = {
    "source": "Kim & Kim, PLOS ONE 2022;17(1):e0260924, supporting information",
    "obtained_as": "data-raw/BoneQuality.csv of PeterKDunn/SRMData at c6e9fbd",
    "population": "South Koreans aged 50 to 93 with DXA of lumbar spine, total hip and femoral neck",
    "kept": "per sex: correlations of normal scores (4 decimals) and 101 rounded quantiles per column",
}


def fit_cohort(table: Path) -> dict[str, Any]:
    """Fit the per-sex copulas to the cleaned table (CSV, one row per person) and return the content of cohort.json."""
    names = list(COLUMN_DECIMALS)
    people = pd.read_csv(table)
    people = people[people["ls_bmd"] < _HIGHEST_LUMBAR_BMD].dropna(subset=names)
    lowest = people[_T_SCORES].min(axis=1)
    return {
        "provenance": {**_PROVENANCE, "people": len(people)},
        "female_share": round(float(people["female"].mean()), 4),
        "lowest_t": {"mean": round(float(lowest.mean()), 3), "sd": round(float(lowest.std()), 3)},
        "columns": names,
        "probabilities": [round(float(one), 3) for one in PROBABILITIES],
        "by_sex": {
            Sex.FEMALE.value: _fitted(people[people["female"] == 1][names]),
            Sex.MALE.value: _fitted(people[people["female"] == 0][names]),
        },
    }


def write_cohort(content: dict[str, Any], path: Path) -> None:
    """Write `content` with one line per list of numbers, so that a change can be read."""
    path.write_text(_as_json(content, 0) + "\n", encoding="utf-8")


def fit_copula(names: tuple[str, ...], table: Array, decimals: tuple[int, ...]) -> Copula:
    """Fit to `table` (rows, columns) without missing values; margins are rounded to `decimals` per column."""
    scores = ndtri((rankdata(table, axis=0) - 0.5) / len(table))
    quantiles = np.quantile(table, PROBABILITIES, axis=0).T
    rounded = [np.round(margin, digits) for margin, digits in zip(quantiles, decimals, strict=True)]
    return Copula(names=names, correlation=np.round(np.corrcoef(scores.T), 4), quantiles=np.stack(rounded))


def _fitted(people: pd.DataFrame) -> dict[str, Any]:
    copula = fit_copula(tuple(COLUMN_DECIMALS), people.to_numpy(dtype=float), tuple(COLUMN_DECIMALS.values()))
    margins = zip(copula.names, copula.quantiles.tolist(), strict=True)
    return {"people": len(people), "correlation": copula.correlation.tolist(), "quantiles": dict(margins)}


def _as_json(value: Any, depth: int) -> str:
    pad, end = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict):
        inner = ",\n".join(f"{pad}{json.dumps(key)}: {_as_json(one, depth + 1)}" for key, one in value.items())
        return f"{{\n{inner}\n{end}}}"
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "[\n" + ",\n".join(pad + json.dumps(row) for row in value) + f"\n{end}]"
    return json.dumps(value)


if __name__ == "__main__":
    write_cohort(fit_cohort(Path(sys.argv[1])), Path(__file__).with_name("cohort.json"))
