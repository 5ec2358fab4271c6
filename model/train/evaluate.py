"""`osteon evaluate` on virtual patients: screens them with a bundle, measures everything, writes the report.

The bars are those a demonstration bundle is held to (`bars`); a missed one is named and nothing is tuned on these
patients. The engine is the one a node would serve with, and is named in the report. Real data enter where they are
given: the clinical model's cross-validation and what the gate does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from model.bundle import Bundle
from model.engines import Engines
from model.evaluation import plots
from model.evaluation.appraisal import appraise
from model.evaluation.appraisal_page import page
from model.evaluation.appraisal_report import banners, markdown
from model.evaluation.cohort import Cohort
from model.screener import Screener, load_screener
from model.train import relay
from model.train.bars import Bar, bars
from model.train.clinical_cv import cross_validate
from model.train.examples import attention_examples
from model.train.phantom_cohort import assess_phantoms, bundle_workers, counterfactual
from model.train.real_films import screen_real_films

SHORT: Final = 60
"""Virtual patients of the short form, which checks the way and judges no bar."""
_COUNTERFACTUALS: Final = 100
_SHORT_COUNTERFACTUALS: Final = 2
_SHORT_FILMS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RealObject:
    """What the node did with one real DICOM object, as the node's part of the evaluation found it."""

    name: str
    chest: bool
    """Whether it is an upright frontal chest film of an adult."""
    refused: bool
    scored_as_it_is: bool
    """With the age that its header states, or none."""
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RealData:
    """Real data of the evaluation, where they lie; any part may be missing, and its bars are then not met."""

    table: Path | None = None
    """The DXA table."""
    films: Path | None = None
    """The folder of NIH films."""
    objects: tuple[RealObject, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much to evaluate."""

    count: int
    """Virtual patients."""
    seed: int
    workers: int = 2
    """Processes of one thread each."""
    short: bool = False
    """Few counterfactuals and real films; bars are written but mean nothing."""


def evaluate_on_phantoms(
    folder: Path,
    out: Path,
    extent: Extent,
    *,
    run: Path,
    real: RealData | None = None,
    console: Console | None = None,
) -> tuple[Bar, ...]:
    """Evaluate the bundle at `folder` on virtual patients and write the report to `out`.

    Films, scores and the proof of the engine are kept below `run` for the next time. The short form takes torch, for
    the proof costs more than its few films.

    Returns:
        Every bar with its figure.

    Raises:
        BundleError: the bundle cannot be used.
        OSError: the report cannot be written, or real data cannot be read.

    """
    engines = Engines(runtime="torch" if extent.short else "auto", cache=run / "engines")
    screener, real = load_screener(folder, engines=engines), real or RealData()
    engine = str(screener.bundle.runtime.facts())
    facts: dict[str, Any] = {"run": run, "served_by": f"{screener.digest} {engine}"}
    changed_count = _SHORT_COUNTERFACTUALS if extent.short else _COUNTERFACTUALS
    with relay.bars(console) as progress, bundle_workers(folder, extent.workers, engines) as pool:
        cohort = assess_phantoms(pool, count=extent.count, seed=extent.seed, progress=progress, **facts)
        changed = counterfactual(pool, count=changed_count, seed=extent.seed + 1, progress=progress, **facts)
        films = None
        if real.films is not None:
            most = _SHORT_FILMS if extent.short else None
            films = screen_real_films(pool, real.films, most=most, progress=progress, **facts)
    bundle = screener.bundle
    points = {"image": bundle.fusion.image_points, "fused": bundle.fusion.fused_points}
    figures = _facts(bundle, extent) | appraise(cohort, points)
    figures["bundle"]["engine"] = engine
    figures["counterfactual"] = asdict(changed)
    figures["real_objects"] = [asdict(o) for o in real.objects]
    if films is not None:
        figures["real_films"] = asdict(films)
    if real.table is not None:
        found = cross_validate(real.table)
        figures["clinical_table"] = asdict(found) | {"statement": found.statement}
    held = bars(figures)
    figures["bars"] = [asdict(bar) | {"outcome": bar.outcome} for bar in held]
    _write(out, figures, cohort, screener, extent.seed)
    return held


def banner_lines(out: Path) -> Sequence[str]:
    """What must be known before the figures of a written report are read."""
    return banners(json.loads((out / "evaluation.json").read_text(encoding="utf-8")))


def osta_lines(out: Path) -> Sequence[str]:
    """The clinical model beside OSTA on the real table, as it is, from a written report; empty without the table."""
    figures = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    return [
        f"clinical model against OSTA, {own['group']:5} (n {own['n']}): AUC {own['model']:.3f} and {own['osta']:.3f}, "
        f"difference {own['difference']:+.3f}, DeLong P = {own['p']:.3g}"
        for own in figures.get("clinical_table", {}).get("against", ())
    ]


def _facts(bundle: Bundle, extent: Extent) -> dict[str, Any]:
    manifest = bundle.manifest
    gate = [m.model_dump() for m in manifest.metrics if m.name.startswith("gate.")]
    return {
        "asked": {"phantoms": extent.count, "seed": extent.seed, "short": extent.short},
        "bundle": {
            "name": manifest.name,
            "id": manifest.bundle_id,
            "calibration_id": manifest.calibration.id,
            "fusion": bundle.facts.fusion,
            "gate": gate,
        },
    }


def _write(out: Path, figures: dict[str, Any], cohort: Cohort, screener: Screener, seed: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    simulated = cohort.simulated
    drawn = {
        "ROC with the operating points": plots.roc(cohort, figures["operating_points"]),
        "Calibration in ten bins": plots.calibration(figures["calibration"], simulated=simulated),
        "Decision curve": plots.decision(figures["decision_curve"], simulated=simulated),
    } | attention_examples(cohort, screener, seed)
    names = {caption: f"plot-{number}.svg" for number, caption in enumerate(drawn, 1)}
    for caption, svg in drawn.items():
        (out / names[caption]).write_text(svg, encoding="utf-8")
    text = json.dumps(_without_nan(figures), indent=1, allow_nan=False)
    (out / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    (out / "evaluation.md").write_text(markdown(figures, names), encoding="utf-8")
    (out / "evaluation.html").write_text(page(figures, drawn), encoding="utf-8")


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN; what has no value is null."""
    if isinstance(value, dict):
        return {name: _without_nan(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
