"""Does another way of computing give the same results as torch float32 on full decodes? On phantoms, as a verdict.

An engine may serve in a lower precision, and half-resolution decoding may be used, only where such a verdict stands for
the active bundle, this version and this CPU. The bars are stated here and nowhere else. Phantoms show that two ways of
computing agree; they say nothing of patients.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from model.area import shrink
from model.bundle import Bundle
from model.evaluation.metrics import auc
from model.fusion import Fusion, decide
from model.phantom.cohort import sample
from model.phantom.render import render
from model.phantom.scenario import draw_acquisition
from model.preprocess import Prepared, prepare
from model.proofs import Verdict
from model.runtime import Engine, ImageRuntime

LEAST_FILMS: Final = 500
"""Fewer are shown, but make no verdict on an engine."""
LEAST_FILMS_DECODED: Final = 200
UNCHANGED: Final = 0.995
"""Least share of films whose decision at the operating points stays."""
EXACT: Final = 1e-4
"""Largest difference of the image probability for a float32 engine."""
REDUCED: Final = 0.05
"""The same for an engine that computes with fewer bits; decisions and AUC say more."""
AUC_DIFFERENCE: Final = 0.005
DECODED: Final = 0.005
"""Largest difference of the image probability from decoding at half resolution."""

DECODED_RMSE: Final = 3.0
"""Levels of 4095, after resizing, in the worst film."""
_LEVELS: Final = 4095

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """One phantom: float32 (rows, columns) in [0, 1], bone bright, and whether its patient has osteoporosis."""

    pixels: Floats = field(repr=False)
    osteoporosis: bool


@dataclass(slots=True)
class Comparison:
    """Grows film by film: image probabilities by the reference and by the other way."""

    fusion: Fusion
    theirs: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)
    gate_changes: int = 0

    def add(self, reference_logit: float, other_logit: float, *, osteoporosis: bool) -> None:
        """One film."""
        self.theirs.append(self.fusion.image_only(reference_logit))
        self.ours.append(self.fusion.image_only(other_logit))
        self.truth.append(int(osteoporosis))

    def figures(self) -> dict[str, float]:
        """What the verdict states."""
        theirs, ours = np.array(self.theirs), np.array(self.ours)
        points = self.fusion.image_points
        kept = [decide(a, points) == decide(b, points) for a, b in zip(self.theirs, self.ours, strict=True)]
        both = 0 < sum(self.truth) < len(self.truth)
        difference = abs(auc(ours, self.truth).value - auc(theirs, self.truth).value) if both else 0.0
        return {
            "films": float(len(ours)),
            "largest_probability_difference": float(np.abs(ours - theirs).max()),
            "auc_difference": float(difference),
            "decisions_unchanged": float(np.mean(kept)),
            "gate_changes": float(self.gate_changes),
        }


def phantoms(bundle: Bundle, count: int, seed: int, *, short: int | None = None) -> Iterator[Film]:
    """`count` virtual patients with films of `short` px; by default a little more than the bundle's least."""
    short = short or round(bundle.manifest.image.minimum_short_side * 1.1)
    size = (round(short * 1.2), short)
    for index, patient in enumerate(sample(count, seed)):
        acquisition = draw_acquisition(np.random.default_rng((seed, index)))
        pixels = render(patient.subject, acquisition, seed + index, size=size)
        yield Film(pixels=pixels, osteoporosis=patient.osteoporosis)


def compare(reference: Bundle, engines: dict[str, Engine], films: Iterator[Film]) -> dict[str, dict[str, float]]:
    """Figures by name of engine, with the CPU milliseconds of its image network and the gain over the reference."""
    comparisons = {name: Comparison(reference.fusion) for name in engines}
    spent: dict[str, list[float]] = {name: [] for name in ("reference", *engines)}
    for film in films:
        shown = prepare(film.pixels, reference.side)
        logit, seconds = _timed(reference.runtime, shown)
        spent["reference"].append(seconds)
        verdict = reference.gate.judge(film.pixels, reference.gate_features)
        for name, engine in engines.items():
            other, seconds = _timed(engine.runtime, shown)
            spent[name].append(seconds)
            comparisons[name].add(logit, other, osteoporosis=film.osteoporosis)
            theirs = reference.gate.judge(film.pixels, engine.features)
            comparisons[name].gate_changes += theirs.reasons != verdict.reasons
    times = {name: float(np.median(values)) * 1000 for name, values in spent.items()}
    return {
        name: one.figures() | {"cpu_ms": times[name], "gain": times["reference"] / times[name]}
        for name, one in comparisons.items()
    }


def verdict_on_engine(figures: dict[str, float], *, exact: bool) -> Verdict:
    """Whether an engine may serve."""
    limit = EXACT if exact else REDUCED
    broken = [
        f"{name} is {figures[name]:.3g}, allowed {word} {bar:g}"
        for name, holds, word, bar in (
            ("films", figures["films"] >= LEAST_FILMS, "at least", LEAST_FILMS),
            _at_most(figures, "largest_probability_difference", limit),
            _at_most(figures, "auc_difference", AUC_DIFFERENCE),
            _at_most(figures, "gate_changes", 0),
            ("decisions_unchanged", figures["decisions_unchanged"] >= UNCHANGED, "at least", UNCHANGED),
        )
        if not holds
    ]
    return Verdict(accepted=not broken, reason="; ".join(broken), figures=figures)


def verdict_on_decoding(figures: dict[str, float]) -> Verdict:
    """Whether half-resolution decoding may be used."""
    broken = [
        f"{name} is {figures[name]:.3g}, allowed {word} {bar:g}"
        for name, holds, word, bar in (
            ("films", figures["films"] >= LEAST_FILMS_DECODED, "at least", LEAST_FILMS_DECODED),
            _at_most(figures, "rmse_of_4095", DECODED_RMSE),
            _at_most(figures, "largest_probability_difference", DECODED),
            _at_most(figures, "gate_changes", 0),
        )
        if not holds
    ]
    return Verdict(accepted=not broken, reason="; ".join(broken), figures=figures)


def rmse_after_resizing(full: Floats, half: Floats, side: int) -> float:
    """Root mean square difference of two decodes as the network's resizer leaves them, in levels of 4095."""
    rows, columns = full.shape
    scale = side / max(rows, columns)
    size = round(rows * scale), round(columns * scale)
    small = [shrink(pixels, (0, 0, rows, columns), *size) for pixels in (full, half)]
    return _LEVELS * float(np.sqrt(np.mean((small[0] - small[1]) ** 2)))


def _at_most(figures: dict[str, float], name: str, bar: float) -> tuple[str, bool, str, float]:
    return name, figures[name] <= bar, "at most", bar


def _timed(runtime: ImageRuntime, shown: Prepared) -> tuple[float, float]:
    """Logit, and CPU seconds it took."""
    began = time.process_time()
    logit = runtime.infer(shown).logit
    return logit, time.process_time() - began
