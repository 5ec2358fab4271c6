"""How good the shipped form of the clinical model is on the real DXA table, beside OSTA, by cross-validation.

Ten times five folds, stratified by sex and class; the same people are scored by both, so DeLong's paired test applies.
The rule of model.md section 7: fold AUC >= .825 and better than OSTA (median P < .05), or it is said that it is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from model.clinical_fit import DxaTable, fit_table, read_table
from model.domain import Sex
from model.evaluation.metrics import auc, calibration_line, paired_auc_test
from model.logistic import Floats

REPEATS: Final = 10
FOLDS: Final = 5
LEAST_FOLD_AUC: Final = 0.825
SIGNIFICANT: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """Out-of-fold AUC of the model and of OSTA in one group, medians over the repeats."""

    group: str
    n: int
    positives: int
    model: float
    osta: float
    difference: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """Figures of the clinical model on the table."""

    people: int
    fold_auc: float
    """Mean over all folds of all repeats."""
    fold_sd: float
    slope: float
    """Median recalibration slope of the out-of-fold probabilities."""
    against: tuple[Against, ...]
    """All, women, men."""

    @property
    def better_than_osta(self) -> bool:
        """The rule, on all people together."""
        everyone = self.against[0]
        return self.fold_auc >= LEAST_FOLD_AUC and everyone.difference > 0 and everyone.p < SIGNIFICANT

    @property
    def statement(self) -> str:
        """The rule's outcome in words. The gain over OSTA is the sex term, which OSTA lacks; by sex there is none."""
        if self.better_than_osta:
            return "better than OSTA on all people together: a calibrated OSTA with a sex term"
        return "not better than OSTA"


def cross_validate(path: Path, *, seed: int = 1, repeats: int = REPEATS) -> CrossValidation:
    """Cross-validate on the table at `path`.

    Raises:
        OSError, KeyError, ValueError: as `read_table`.

    """
    table = read_table(path)
    label = table.label.astype(np.int64)
    rng = np.random.default_rng(seed)
    fold_aucs: list[float] = []
    runs: list[Floats] = []
    for _ in range(repeats):
        folds = _folds(table, rng)
        p = np.empty(len(label))
        for k in range(FOLDS):
            held = np.flatnonzero(folds == k)
            p[held] = _probabilities(table, np.flatnonzero(folds != k), held)
            fold_aucs.append(auc(p[held], label[held]).value)
        runs.append(p)
    osta = (table.age_years - table.weight_kg) / 5
    women = table.female == 1
    groups = {"all": np.ones(len(label), np.bool_), "women": women, "men": ~women}
    return CrossValidation(
        people=len(label),
        fold_auc=float(np.mean(fold_aucs)),
        fold_sd=float(np.std(fold_aucs, ddof=1)),
        slope=float(np.median([calibration_line(p, label).slope for p in runs])),
        against=tuple(_against(name, runs, osta, label, mask) for name, mask in groups.items()),
    )


def _folds(table: DxaTable, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Fold of each person, balanced within sex and class."""
    folds = np.empty(len(table.label), np.int64)
    stratum = table.female * 2 + table.label
    for value in np.unique(stratum):
        members = rng.permutation(np.flatnonzero(stratum == value))
        folds[members] = np.arange(members.size) % FOLDS
    return folds


def _probabilities(table: DxaTable, fitted: npt.NDArray[np.int64], held: npt.NDArray[np.int64]) -> Floats:
    model = fit_table(table.rows(fitted))
    people = table.rows(held)
    found = []
    for female, age, weight in zip(people.female, people.age_years, people.weight_kg, strict=True):
        answer = model.probability(
            age_years=float(age), sex=Sex.FEMALE if female else Sex.MALE, weight_kg=float(weight)
        )
        assert answer is not None  # noqa: S101 - every row has all three inputs
        found.append(answer[0])
    return np.array(found)


def _against(
    name: str, runs: list[Floats], osta: Floats, label: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_]
) -> Against:
    tests = [paired_auc_test(p[mask], osta[mask], label[mask]) for p in runs]
    return Against(
        group=name,
        n=int(mask.sum()),
        positives=int(label[mask].sum()),
        model=float(np.median([auc(p[mask], label[mask]).value for p in runs])),
        osta=auc(osta[mask], label[mask]).value,
        difference=float(np.median([t.difference for t in tests])),
        p=float(np.median([t.p for t in tests])),
    )
