"""The ablation's figures and sentences, from out-of-fold scores of the same patients; JSON and Markdown.

Differences are paired (DeLong). An interval that holds 0 is said as "no difference shown", which is not "no
difference". P values are not corrected for the number of comparisons, and the text says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model.clinical import ClinicalModel
from model.domain import Sex
from model.evaluation.calibration import calibration_slope
from model.evaluation.figure_text import beyond_zero, interval, p_value, signed
from model.evaluation.metrics import auc, calibration_error, paired_auc_test
from model.fusion import Fusion
from model.fusion_fit import fit_fusion, with_linear_pool
from model.phantom.cohort import VirtualPatient

SIMULATED: Final = "Measured on simulated films; no figure describes patients."

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkScores:
    """One row's out-of-fold logits (n,), the gammas of its networks, and what they cost."""

    logits: Floats = field(repr=False)
    gamma: tuple[tuple[float, ...], ...]
    cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The table and the sentences, as plain data."""

    rows: list[dict[str, Any]]
    differences: list[dict[str, Any]]
    fusion: list[dict[str, Any]]
    sentences: list[str]
    patients: int
    positives: int

    @property
    def full_minus_plain(self) -> dict[str, Any]:
        """The first contrast: the shipped network against the plain trunk."""
        return self.differences[0]

    @property
    def holds(self) -> bool:
        """The bar: the full network is not below the plain trunk beyond chance."""
        return not self.full_minus_plain["high"] < 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self) | {"simulated": True}

    def markdown(self) -> str:
        """Table and sentences."""
        counted = f"{self.patients} virtual patients ({self.positives} positive)"
        lines = [
            "# Ablation", "",
            f"**{SIMULATED}** Out-of-fold scores of {counted}, equal folds for every row, one epoch each.", "",
            "| network | AUC (95 %) | women | men | gamma | CPU s |", "|---|---|---|---|---|---|",
        ]  # fmt: skip
        lines += [
            f"| {r['name']} | {interval(r['all'])} | {interval(r['women'])} | {interval(r['men'])} "
            f"| {', '.join(f'{g:+.3f}' for own in r['gamma'] for g in own)} | {r['cpu_seconds']:.0f} |"
            for r in self.rows
        ]
        lines += ["", "| fusion (out of fold) | AUC (95 %) | ECE | slope |", "|---|---|---|---|"]
        lines += [
            f"| {r['name']} | {interval(r['all'])} | {r['ece']:.3f} | {interval(r['slope'])} |" for r in self.fusion
        ]
        return "\n".join([*lines, "", *(f"- {text}" for text in self.sentences), ""])


def compare(
    scores: Mapping[str, NetworkScores],
    patients: Sequence[VirtualPatient],
    *,
    fold_of: npt.NDArray[np.int64],
    clinical: ClinicalModel,
    full: str,
    contrasts: Sequence[tuple[str, str, str]],
) -> Compared:
    """Every figure. `fold_of` (n,) is the fold in which each patient was predicted."""
    truth = np.array([int(p.osteoporosis) for p in patients])
    women = np.array([p.sex is Sex.FEMALE for p in patients])
    rows = [
        {"name": name, "gamma": own.gamma, "cpu_seconds": own.cpu_seconds} | _areas(own.logits, truth, women)
        for name, own in scores.items()
    ]
    differences = [
        {"question": question} | _difference(scores[a].logits, scores[b].logits, truth) for question, a, b in contrasts
    ]
    p_clinical = np.array([_clinical(clinical, patient) for patient in patients])
    try:
        fused = _fusions(scores[full].logits, p_clinical, truth, fold_of)
    except ValueError:  # a network that learned nothing cannot be calibrated: the short form's usually cannot
        fused = {}
    if fused:
        differences += [
            {"question": question} | _difference(fused[a], fused[b], truth)
            for question, a, b in (
                ("logit stack against image alone", "logit stack", "image"),
                ("linear pool against image alone", "linear pool", "image"),
                ("logit stack against linear pool", "logit stack", "linear pool"),
            )
        ]
    fusion = [
        {"name": name, "ece": calibration_error(p, truth), "slope": dataclasses.asdict(calibration_slope(p, truth))}
        | _areas(p, truth, women)
        for name, p in fused.items()
    ]
    return Compared(
        rows=rows,
        differences=differences,
        fusion=fusion,
        sentences=[*map(_sentence, differences), *_closing(differences, fused=bool(fused))],
        patients=len(patients),
        positives=int(truth.sum()),
    )


def _fusions(
    logits: Floats, p_clinical: Floats, truth: npt.NDArray[np.int64], fold_of: npt.NDArray[np.int64]
) -> dict[str, Floats]:
    """Probabilities by rule; each patient's fusion is fitted on the other folds."""
    found = {name: np.empty(truth.size) for name in ("image", "clinical", "linear pool", "logit stack")}
    for fold in np.unique(fold_of):
        rest, own = fold_of != fold, np.flatnonzero(fold_of == fold)
        stack = fit_fusion(logits[rest], p_clinical[rest], truth[rest])
        pool = with_linear_pool(stack, logits[rest], p_clinical[rest], truth[rest])
        rules: dict[str, Callable[[float, float], float]] = {
            "image": _image_only(stack), "clinical": _clinical_only(stack), "linear pool": pool.fused,
            "logit stack": stack.fused,
        }  # fmt: skip
        for name, rule in rules.items():
            found[name][own] = [rule(float(logits[i]), float(p_clinical[i])) for i in own]
    return found


def _image_only(fusion: Fusion) -> Callable[[float, float], float]:
    return lambda logit, _: fusion.image_only(logit)


def _clinical_only(fusion: Fusion) -> Callable[[float, float], float]:
    return lambda _, p: fusion.clinical_only(p)


def _clinical(model: ClinicalModel, patient: VirtualPatient) -> float:
    answer = model.probability(age_years=patient.age_years, sex=patient.sex, weight_kg=patient.weight_kg)
    return math.nan if answer is None else answer[0]


def _areas(scores: Floats, truth: npt.NDArray[np.int64], women: npt.NDArray[np.bool_]) -> dict[str, Any]:
    groups = {"all": np.ones(truth.size, np.bool_), "women": women, "men": ~women}
    return {name: _area(scores[mask], truth[mask]) for name, mask in groups.items()}


def _area(scores: Floats, truth: npt.NDArray[np.int64]) -> dict[str, float] | None:
    if not 0 < truth.sum() < truth.size:
        return None
    found = auc(scores, truth)
    return {"value": found.value, "low": found.low, "high": found.high}


def _difference(first: Floats, second: Floats, truth: npt.NDArray[np.int64]) -> dict[str, float]:
    test = paired_auc_test(first, second, truth)
    return {"value": test.difference, "low": test.low, "high": test.high, "p": test.p}


def _sentence(own: Mapping[str, Any]) -> str:
    words = {1: "higher AUC", -1: "lower AUC", 0: "no difference shown"}[beyond_zero(own)]
    p = p_value(own["p"])
    return f"{own['question']}: {words}; {signed(own, digits=4)}, P {p if p.startswith('<') else f'= {p}'}"


def _closing(differences: Sequence[Mapping[str, Any]], *, fused: bool) -> list[str]:
    """Whether wavelets and attention helped, in words."""
    by_question = {own["question"]: own for own in differences}
    texts = []
    for what, question in (("Wavelets (R1)", "wavelets R1 against none"), ("Attention", _ATTENTION)):
        own = by_question[question]
        if own["low"] > 0:
            texts.append(f"{what} raised the AUC on these simulated films.")
        elif own["high"] < 0:
            texts.append(f"{what} lowered the AUC on these simulated films.")
        else:
            texts.append(f"{what}: no benefit shown, and none is claimed.")
    if not fused:
        texts.append("Fusion was not compared: the networks of this run do not rise with the label.")
    return [*texts, f"P values are not corrected for {len(differences)} comparisons. {SIMULATED}"]


_ATTENTION: Final = "attention against none, with R1"
