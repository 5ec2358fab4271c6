"""What `osteon evaluate` prints: the bars with their intervals, or a site's verdict; each ends with a RESULT line."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console

from config.settings import Settings
from model.bundle import load_bundle
from model.evaluation.literature import ZHAO_2026_XRAY
from model.evaluation.metrics import AucEstimate, Interval
from model.screener import DEMO_BUNDLE, Screener
from model.site_verdict import Floors, GroupFinding, Verdict
from model.train.evaluate import SHORT, Extent, RealData, banner_lines, evaluate_on_phantoms, osta_lines
from node.real_objects import judge_objects
from node.site_table import Measured, judge_table
from node.site_verdicts import LeftOut, keep_verdict, told_with_earlier, verdicts


def extent(*, count: int, seed: int, workers: int, short: bool) -> Extent:
    """How much to evaluate; the short form has its own count."""
    return Extent(count=SHORT if short else count, seed=seed, workers=workers, short=short)


def run_evaluation(bundle: str, asked: Extent, *, data: Path, run: Path, report: Path) -> int:
    """Evaluate, print every bar, and return the exit status: 1 when a bar is missed. The short form judges none."""
    folder, console = _folder(bundle), Console(stderr=True)
    objects = judge_objects(data / "dicom", Screener(load_bundle(folder))) if (data / "dicom").is_dir() else ()
    table, films = data / "tables" / "bonequality.csv", data / "nih"
    real = RealData(
        table=table if table.is_file() else None,
        films=films if (films / "manifest.csv").is_file() else None,
        objects=objects,
    )
    bars = evaluate_on_phantoms(folder, report, asked, run=run, real=real, console=console)
    measured = (*(bar.line for bar in bars), *osta_lines(report))
    for line in (*banner_lines(report), *measured, f"report: {report / 'evaluation.html'}"):
        print(line)  # noqa: T201 - this is the output
    missed = "not-judged" if asked.short else ",".join(bar.name for bar in bars if not bar.met) or "none"
    figures = " ".join(f"{bar.name}={bar.value:.4f}" for bar in bars)
    short = " short=1" if asked.short else ""
    print(f"RESULT evaluate-demo simulated=1 phantoms={asked.count} seed={asked.seed}{short} {figures} missed={missed}")  # noqa: T201
    return 0 if missed in ("none", "not-judged") else 1


def show_site_verdict(settings: Settings, table: Path, *, bundle: str, by: str, floors: tuple[float, float]) -> None:
    """Judge the table, keep the verdict with its name, print it.

    Raises:
        BundleError: the bundle cannot be used.
        SettingsError: the table is not in its form.

    """
    loaded, own = load_bundle(_folder(bundle)), Floors(sensitivity=floors[0], specificity=floors[1])
    measured = Measured(
        bundle_id=loaded.manifest.bundle_id,
        fusion=loaded.fusion,
        prevalence=loaded.manifest.calibration.prevalence,
    )
    judged = judge_table(table, measured, own)
    kept = keep_verdict(
        settings,
        judged.finding,
        bundle_id=measured.bundle_id,
        by=by,
        digest=judged.digest,
        floors=own,
        left_out=judged.left_out,
        prevalence=judged.prevalence,
    )
    console = Console(markup=False, soft_wrap=True)
    scale = "as calibrated" if judged.prevalence is None else f"at model.site_prevalence {judged.prevalence:g}"
    console.print(
        f"bundle {measured.bundle_id}, thresholds {scale}, table SHA-256 {judged.digest}, floors SEN {floors[0]:g} SPC "
        f"{floors[1]:g}, by {by}"
    )
    for group in judged.finding.groups:
        _print_group(console, group)
    console.print(_left_out(judged.left_out, kept.rows))
    ruler = ZHAO_2026_XRAY.predicted()
    console.print(
        f"literature: {ZHAO_2026_XRAY.source}, {ZHAO_2026_XRAY.studies} studies; next site SEN {ruler[0].low:.2f}-"
        f"{ruler[0].high:.2f}, SPC {ruler[1].low:.2f}-{ruler[1].high:.2f} (prediction intervals, derived by us)"
    )
    if loaded.manifest.training.simulated:
        console.print("TRAINED ON SIMULATED IMAGES - NOT FOR CLINICAL USE: no verdict changes that.")
    console.print(f"verdict: {told_with_earlier(verdicts(settings, measured.bundle_id))}")
    console.print(
        f"RESULT site-verdict verdict={kept.verdict.replace(' ', '-')} rows={kept.rows} "
        f"not_assessed={judged.left_out.films} not_judged={','.join(kept.not_judged) or 'none'} by={by}"
    )


def _folder(bundle: str) -> Path:
    return DEMO_BUNDLE if bundle == "demo" else Path(bundle)


def _left_out(own: LeftOut, scored: int) -> str:
    if not own.films:
        return "not assessed: none that the table tells of"
    codes = " ".join(f"{code}={count}" for code, count in own.codes.items())
    share = f"{own.films} of {own.films + scored} films ({own.positives} with osteoporosis by DXA)"
    return f"not assessed: {share}, in no figure above: {codes}"


def _print_group(console: Console, group: GroupFinding) -> None:
    judged = ", not judged" if group.verdict is Verdict.INSUFFICIENT_DATA else ""
    console.print(f"{group.group}: {group.verdict}{judged} (n {group.n}, {group.positives} with osteoporosis by DXA)")
    if group.table is not None:
        own = group.table
        console.print(
            f"  TP {own.tp} FN {own.fn} FP {own.fp} TN {own.tn}: SEN {_share(own.sensitivity)}, "
            f"SPC {_share(own.specificity)}"
        )
    if group.auc is not None and group.slope is not None and group.large is not None:
        console.print(
            f"  AUC {_share(group.auc)}, slope {group.slope.value:.2f}, in the large {group.large.value:+.2f}"
        )
    for why in group.because:
        console.print(f"  {why}")
    if group.local is not None:
        local = group.local
        console.print(
            f"  local calibration (one half): logit p' = {local.intercept:+.3f} + {local.slope:.3f} logit p, "
            f"t_low {local.t_low:.4f}, t_high {local.t_high:.4f}; on the other half SEN "
            f"{local.verified.sensitivity.value:.3f}, SPC {local.verified.specificity.value:.3f}"
        )


def _share(own: Interval | AucEstimate) -> str:
    return "none" if math.isnan(own.value) else f"{own.value:.3f} ({own.low:.3f} to {own.high:.3f})"
