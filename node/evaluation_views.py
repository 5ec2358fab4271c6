"""What `osteon evaluate` prints: the bars with their intervals, or a site's verdict; each ends with a RESULT line."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from config.settings import Settings
from model.bundle import load_bundle
from model.evaluation.literature import ZHAO_2026_XRAY
from model.screener import DEMO_BUNDLE, Screener
from model.site_verdict import Floors, GroupFinding
from model.train.evaluate import SHORT, Extent, RealData, evaluate_on_phantoms, osta_lines
from node.real_objects import judge_objects
from node.site_table import judge_table
from node.site_verdicts import LeftOut, keep_verdict


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
    for line in (*(bar.line for bar in bars), *osta_lines(report), f"report: {report / 'evaluation.html'}"):
        print(line)  # noqa: T201 - this is the output
    missed = "not-judged" if asked.short else ",".join(bar.name for bar in bars if not bar.met) or "none"
    figures = " ".join(f"{bar.name}={bar.value:.4f}" for bar in bars)
    short = " short=1" if asked.short else ""
    print(f"RESULT evaluate-demo phantoms={asked.count} seed={asked.seed}{short} {figures} missed={missed}")  # noqa: T201
    return 0 if missed in ("none", "not-judged") else 1


def show_site_verdict(settings: Settings, table: Path, *, bundle: str, by: str, floors: tuple[float, float]) -> None:
    """Judge the table, keep the verdict with its name, print it.

    Raises:
        BundleError: the bundle cannot be used.
        SettingsError: the table is not in its form.

    """
    loaded, own = load_bundle(_folder(bundle)), Floors(sensitivity=floors[0], specificity=floors[1])
    bundle_id = loaded.manifest.bundle_id
    judged = judge_table(table, bundle_id, loaded.fusion, own)
    digest, left_out = judged.digest, judged.left_out
    kept = keep_verdict(
        settings, judged.finding, bundle_id=bundle_id, by=by, digest=digest, floors=own, left_out=left_out
    )
    console = Console()
    console.print(f"bundle {bundle_id}, table SHA-256 {digest}, floors SEN {floors[0]:g} SPC {floors[1]:g}, by {by}")
    for group in judged.finding.groups:
        _print_group(console, group)
    console.print(_left_out(left_out, kept.rows), soft_wrap=True, markup=False)
    ruler = ZHAO_2026_XRAY.predicted()
    console.print(
        f"literature: {ZHAO_2026_XRAY.source}, {ZHAO_2026_XRAY.studies} studies; next site SEN {ruler[0].low:.2f}-"
        f"{ruler[0].high:.2f}, SPC {ruler[1].low:.2f}-{ruler[1].high:.2f} (prediction intervals, derived by us)",
        soft_wrap=True,
    )
    if loaded.manifest.training.simulated:
        console.print("TRAINED ON SIMULATED IMAGES - NOT FOR CLINICAL USE: no verdict changes that.", soft_wrap=True)
    console.print(
        f"RESULT site-verdict verdict={kept.verdict.replace(' ', '-')} rows={kept.rows} "
        f"not_assessed={left_out.films} by={by}",
        soft_wrap=True,
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
    console.print(f"{group.group}: {group.verdict} (n {group.n}, {group.positives} with osteoporosis by DXA)")
    if group.table is not None and group.auc is not None and group.slope is not None and group.large is not None:
        sen, spc = group.table.sensitivity, group.table.specificity
        console.print(
            f"  AUC {group.auc.value:.3f} ({group.auc.low:.3f} to {group.auc.high:.3f}), "
            f"SEN {sen.value:.3f} ({sen.low:.3f} to {sen.high:.3f}), SPC {spc.value:.3f} ({spc.low:.3f} to "
            f"{spc.high:.3f}), slope {group.slope.value:.2f}, in the large {group.large.value:+.2f}",
            soft_wrap=True,
        )
    for why in group.because:
        console.print(f"  {why}", soft_wrap=True)
    if group.local is not None:
        local = group.local
        console.print(
            f"  local calibration (first half): logit p' = {local.intercept:+.3f} + {local.slope:.3f} logit p, "
            f"t_low {local.t_low:.4f}, t_high {local.t_high:.4f}; on the other half SEN "
            f"{local.verified.sensitivity.value:.3f}, SPC {local.verified.specificity.value:.3f}",
            soft_wrap=True,
        )
