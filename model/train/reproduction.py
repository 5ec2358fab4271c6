"""Whether a bundle made anew says what the one before it said: the same figures, within what chance allows.

Training is repeatable up to float noise on one machine; another processor gives other last bits and, after two epochs,
another network of the same quality. So a figure holds when it lies in the interval that the earlier manifest states,
and bit equality is only reported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from model.bundle import MANIFEST
from model.manifest import Manifest, Metric

_SLOPE: Final = 0.1
_ERROR: Final = 0.015
_RATE: Final = 0.02
_ZONE: Final = 0.05
"""What two trainings may differ by in figures without an interval: slope, calibration error and Brier, gate rates,
width of the zone between the thresholds."""
_ROUNDING: Final = 1e-9
_SHOWN: Final = (
    "auc.image", "auc.fused", "auc.ceiling", "auc.fused-minus-image", "calibration-slope.fused",
    "calibration-error.fused", "out-of-fold.auc.image",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Every compared figure as a line, and the names of those that do not hold."""

    lines: tuple[str, ...]
    missed: tuple[str, ...]
    verdict: str
    """`yes`, `no`, or `nothing-to-compare`."""


def earlier_metrics(folder: Path) -> dict[str, dict[str, Any]]:
    """The figures in the manifest at `folder`, of any schema; empty where there is none."""
    file = folder / MANIFEST
    if not file.exists():
        return {}
    return {metric["name"]: metric for metric in json.loads(file.read_text(encoding="utf-8")).get("metrics", [])}


def compare(before: Mapping[str, Mapping[str, Any]], now: Manifest) -> Comparison:
    """Hold the new figures against those before, where both name the same population."""
    rows = list(_rows(before, now))
    missed = tuple(name for name, _, holds in rows if not holds)
    verdict = "nothing-to-compare" if not rows else "no" if missed else "yes"
    return Comparison(lines=tuple(line for _, line, _ in rows), missed=missed, verdict=verdict)


def result_line(name: str, now: Manifest, compared: Comparison, *, minutes: float, missed: tuple[str, ...]) -> str:
    """The line a program reads."""
    values = {metric.name: metric.value for metric in now.metrics}
    figures = " ".join(f"{key}={values[key]:.4f}" for key in _SHOWN if key in values)
    cpu = sum(now.training.cpu_seconds.values())
    return (
        f"RESULT {name} bundle={now.bundle_id} minutes={minutes:.1f} cpu_s={cpu:.0f} {figures} "
        f"reproduced={compared.verdict} missed={','.join(missed) or 'none'}"
    )


def _rows(before: Mapping[str, Mapping[str, Any]], now: Manifest) -> Iterator[tuple[str, str, bool]]:
    for metric in now.metrics:
        old = before.get(metric.name)
        if old is None or (old["population"], old["n"]) != (metric.population, metric.n):
            continue
        low, high = _allowed(old, metric)
        holds = low - _ROUNDING <= metric.value <= high + _ROUNDING
        line = f"{'holds ' if holds else 'DIFFERS'} {metric.name:40} {metric.value:8.4f}  ({low:.4f} to {high:.4f})"
        yield metric.name, line, holds


def _allowed(old: Mapping[str, Any], metric: Metric) -> tuple[float, float]:
    """The earlier figure's interval, or what it may move by."""
    if old["low"] is not None:
        return old["low"], old["high"]
    kinds = (("calibration-slope", _SLOPE), ("gate.", _RATE), ("indeterminate", _ZONE))
    around = next((width for kind, width in kinds if kind in metric.name), _ERROR)
    return old["value"] - around, old["value"] + around
