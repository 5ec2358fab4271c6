"""`osteon evaluate` on virtual patients: screens them with a bundle, measures everything, writes the report.

The bars are those a demonstration bundle is held to (model.md section 16); a missed one is named and nothing is tuned
on these patients. Real data enter only where their table is given: the clinical model's cross-validation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from model.bundle import Bundle, load_bundle
from model.evaluation import plots
from model.evaluation.appraisal import appraise
from model.evaluation.appraisal_report import markdown, page
from model.evaluation.cohort import Cohort
from model.train.clinical_cv import LEAST_FOLD_AUC, cross_validate
from model.train.phantom_cohort import assess_phantoms, bundle_workers, counterfactual

_COUNTERFACTUALS = 60
_LEAK_P = 0.01
"""One-sided: an image score above what the simulated bone can tell has seen the label some other way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One demand on a demonstration bundle."""

    name: str
    value: float
    demand: str
    met: bool


def evaluate_on_phantoms(
    folder: Path,
    out: Path,
    *,
    count: int,
    seed: int,
    workers: int,
    table: Path | None = None,
    console: Console | None = None,
) -> tuple[Bar, ...]:
    """Evaluate the bundle at `folder` on `count` virtual patients and write the report to `out`.

    Returns:
        Every bar with its figure.

    Raises:
        BundleError: the bundle cannot be used.
        OSError: the report cannot be written, or the table cannot be read.

    """
    bundle = load_bundle(folder)
    few = max(2, min(_COUNTERFACTUALS, count // 4))
    with _progress(console) as progress, bundle_workers(folder, workers) as pool:
        cohort = assess_phantoms(pool, count=count, seed=seed, progress=progress)
        changed = counterfactual(pool, count=few, seed=seed + 1, progress=progress)
    figures = _facts(bundle) | appraise(
        cohort, {"image": bundle.fusion.image_points, "fused": bundle.fusion.fused_points}
    )
    figures["counterfactual"] = asdict(changed)
    if table is not None:
        found = cross_validate(table)
        figures["clinical_table"] = asdict(found) | {"statement": found.statement}
    bars = tuple(_bars(figures))
    figures["bars"] = [asdict(bar) for bar in bars]
    _write(out, figures, cohort)
    return bars


def _facts(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    gate = {m.name: m.value for m in manifest.metrics if m.name.startswith("gate.")}
    return {
        "bundle": {
            "name": manifest.name, "id": manifest.bundle_id, "calibration_id": manifest.calibration.id, "gate": gate,
        }
    }  # fmt: skip


def _bars(figures: dict[str, Any]) -> Iterable[Bar]:
    image, differences = figures["auc"]["image"], figures["differences"]
    for group, least in (("all", 0.93), ("women", 0.89), ("men", 0.94)):
        yield _least(f"auc_image_{group}", _value(image[group]), least)
    yield _least("auc_fused_minus_image", differences["fused minus image"]["value"], -0.003)
    yield _least("auc_wide_minus_image", differences["wide minus image"]["value"], 0.003)
    calibration = figures["calibration"]["fused"]
    slope = calibration["slope"]
    yield Bar(name="slope_fused", value=slope, demand="0.9 to 1.1", met=0.9 <= slope <= 1.1)  # noqa: PLR2004 - the bar
    yield _most("ece_fused", calibration["ece"]["value"], 0.03)
    leak = differences["ceiling minus image"]
    beyond = leak["value"] < 0 and leak["p"] / 2 < _LEAK_P
    yield Bar(name="auc_above_ceiling", value=-leak["value"], demand="not above 0, P < .01", met=not beyond)
    changed = figures["counterfactual"]
    yield _least("monotone", changed["monotone"] / max(changed["patients"], 1), 0.95)
    gate = figures["bundle"]["gate"]
    yield _least("gate_upright_accepted", gate.get("gate.upright-accepted", 0.0), 0.97)
    yield _least("gate_transforms_refused", gate.get("gate.transforms-refused", 0.0), 0.995)
    if "clinical_table" in figures:
        yield _least("clinical_fold_auc", figures["clinical_table"]["fold_auc"], LEAST_FOLD_AUC)


def _value(row: dict[str, Any] | None) -> float:
    """Of a figure that may not exist, such as the AUC of a group with one class only."""
    return math.nan if row is None else float(row["value"])


def _least(name: str, value: float, least: float) -> Bar:
    return Bar(name=name, value=value, demand=f"at least {least:g}", met=value >= least)


def _most(name: str, value: float, most: float) -> Bar:
    return Bar(name=name, value=value, demand=f"at most {most:g}", met=value <= most)


def _write(out: Path, figures: dict[str, Any], cohort: Cohort) -> None:
    out.mkdir(parents=True, exist_ok=True)
    drawn = {
        "ROC with the operating points": plots.roc(cohort, figures["operating_points"]),
        "Calibration in ten bins": plots.calibration(figures["calibration"]),
        "Decision curve": plots.decision(figures["decision_curve"]),
    }
    (out / "evaluation.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (out / "evaluation.md").write_text(markdown(figures), encoding="utf-8")
    (out / "evaluation.html").write_text(page(figures, drawn), encoding="utf-8")


def _progress(console: Console | None) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console)
