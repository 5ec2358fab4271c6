"""A Gaussian copula: which values occur (margins) and which occur together (correlation), without any person's row.

A margin is at most 101 rounded quantiles and never reaches the sample's extremes, so the shipped file cannot be read
back as data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Array = npt.NDArray[np.float64]
PROBABILITIES: Array = np.concatenate(([0.005], np.arange(1, 100) / 100, [0.995]))
"""At which the margins are kept: 101 points; beyond the outer ones the margin is cut."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Copula:
    """Joint distribution of the columns `names`."""

    names: tuple[str, ...]
    correlation: Array
    """(columns, columns), of the normal scores."""
    quantiles: Array
    """(columns, 101) at `PROBABILITIES`, in each column's unit."""

    def values(self, white: Array) -> Array:
        """Turn independent standard normals (rows, columns) into values (rows, columns)."""
        share = ndtr(white @ np.linalg.cholesky(self.correlation).T)
        columns = zip(share.T, self.quantiles, strict=True)
        return np.stack([np.interp(one, PROBABILITIES, margin) for one, margin in columns], axis=1)
