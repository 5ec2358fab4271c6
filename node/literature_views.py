"""`osteon literature`: pools published 2x2 tables, and lays a site's own table on that ruler."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from config.settings import SettingsError
from model.evaluation.literature import ZHAO_2026_XRAY, place
from model.evaluation.meta_analysis import MetaAnalysisError, Pooled, contrasts, deeks_p, pool
from model.evaluation.metrics import Confusion, Interval, wilson

CELLS = ("tp", "fp", "fn", "tn")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Studies:
    tables: tuple[Confusion, ...]
    groups: tuple[str, ...]


def show_literature(*, table: Path | None, by: str, site: tuple[int, int, int, int] | None, as_json: bool) -> None:
    """Print the ruler: of the tables in the file, else the published one; and where the site's table lies on it.

    Args:
        table: CSV with a header; columns tp, fp, fn, tn, one study a row; others are ignored.
        by: a column with the subgroup of each study; empty for none.
        site: TP, FP, FN, TN of the site.
        as_json: for programs.

    Raises:
        SettingsError: the file cannot be used; the line says why.

    """
    facts = _published() if table is None else _pooled(table, by)
    if site is not None:
        facts["site"] = _placed(site, facts)
    if as_json:
        print(json.dumps(facts, indent=2))  # noqa: T201 - this is the output
        return
    _print(facts)


def _published() -> dict[str, Any]:
    pooled = ZHAO_2026_XRAY
    predicted = pooled.predicted()
    return {
        "source": f"{pooled.source}, {pooled.modality}; prediction interval derived by us from the published intervals",
        "studies": pooled.studies,
        "sensitivity": _numbers(pooled.sensitivity),
        "specificity": _numbers(pooled.specificity),
        "predicted_sensitivity": _numbers(predicted[0]),
        "predicted_specificity": _numbers(predicted[1]),
    }


def _pooled(path: Path, by: str) -> dict[str, Any]:
    studies = _read(path, by)
    try:
        model = pool(studies.tables)
        groups = contrasts(studies.tables, studies.groups) if by else ()
        small_studies = deeks_p(studies.tables)
    except MetaAnalysisError as error:
        msg = f"{path}: {error}"
        raise SettingsError(msg) from error
    return _model_facts(model, path.name) | {
        "deeks_p": round(small_studies, 4),
        "subgroups": [
            {
                "group": g.group,
                "studies": g.studies,
                "sensitivity": _numbers(g.sensitivity),
                "specificity": _numbers(g.specificity),
                "p": None if g.p != g.p else round(g.p, 6),
            }
            for g in groups
        ],
    }


def _model_facts(model: Pooled, source: str) -> dict[str, Any]:
    predicted = model.predicted()
    plr, nlr, dor = model.likelihood_ratios()
    return {
        "source": source,
        "studies": model.studies,
        "sensitivity": _numbers(model.sensitivity),
        "specificity": _numbers(model.specificity),
        "predicted_sensitivity": _numbers(predicted[0]),
        "predicted_specificity": _numbers(predicted[1]),
        "plr": _numbers(plr),
        "nlr": _numbers(nlr),
        "dor": _numbers(dor),
        "mean_logit": [round(m, 5) for m in model.mean],
        "tau": [round(t, 5) for t in model.tau],
        "rho": round(model.rho, 5),
    }


def _placed(site: tuple[int, int, int, int], facts: dict[str, Any]) -> dict[str, Any]:
    tp, fp, fn, tn = site
    if min(site) < 0 or tp + fn == 0 or tn + fp == 0:
        msg = "--site: give TP FP FN TN, with at least one positive and one negative"
        raise SettingsError(msg)
    placed = {}
    for name, hits, of in (("sensitivity", tp, tp + fn), ("specificity", tn, tn + fp)):
        own = wilson(hits, of)
        pooled, predicted = _interval(facts[name]), _interval(facts[f"predicted_{name}"])
        placed[name] = [*_numbers(own), str(place(own.value, pooled, predicted))]
    return placed


def _read(path: Path, by: str) -> _Studies:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if missing := [c for c in (*CELLS, *([by] if by else [])) if not rows or c not in rows[0]]:
        msg = f"{path}: column {', '.join(missing)} is missing; the header needs {', '.join(CELLS)}"
        raise SettingsError(msg)
    try:
        tables = tuple(Confusion(**{c: int(row[c]) for c in CELLS}) for row in rows)
    except (TypeError, ValueError) as error:
        msg = f"{path}: {', '.join(CELLS)} must be whole numbers in every row ({error})"
        raise SettingsError(msg) from error
    return _Studies(tables=tables, groups=tuple(row[by] for row in rows) if by else ())


def _print(facts: dict[str, Any]) -> None:
    console = Console()
    console.print(f"{facts['source']}: {facts['studies']} studies")
    table = Table("", "pooled (95 % CI)", "next site (95 % prediction interval)", box=None, pad_edge=False)
    for name in ("sensitivity", "specificity"):
        _, low, high = facts[f"predicted_{name}"]
        table.add_row(name, _text(facts[name]), f"{low:.3f}-{high:.3f}")
    console.print(table)
    for name in ("plr", "nlr", "dor"):
        if name in facts:
            console.print(f"{name.upper()} {_text(facts[name])}")
    if "deeks_p" in facts:
        console.print(f"small-study effects (Deeks): p = {facts['deeks_p']:.3f}")
    for group in facts.get("subgroups", ()):
        p = "reference" if group["p"] is None else f"p = {group['p']:.4f}"
        sen, spc = _text(group["sensitivity"]), _text(group["specificity"])
        console.print(f"  {group['group']} ({group['studies']}): SEN {sen}  SPC {spc}  {p}")
    for name, (value, low, high, where) in facts.get("site", {}).items():
        console.print(f"this site's {name} {_text((value, low, high))}: {where}")
    headline = " ".join(f"{short}={facts[name][0]:.4f}" for short, name in _HEADLINE)
    interval = " ".join(
        f"{s}_pi={facts['predicted_' + n][1]:.3f}-{facts['predicted_' + n][2]:.3f}" for s, n in _HEADLINE
    )
    console.print(f"RESULT literature studies={facts['studies']} {headline} {interval}", soft_wrap=True)


_HEADLINE = (("sen", "sensitivity"), ("spc", "specificity"))


def _numbers(interval: Interval) -> list[float]:
    return [round(interval.value, 5), round(interval.low, 5), round(interval.high, 5)]


def _interval(numbers: list[float]) -> Interval:
    return Interval(value=numbers[0], low=numbers[1], high=numbers[2])


def _text(numbers: tuple[float, float, float] | list[float]) -> str:
    return f"{numbers[0]:.3f} ({numbers[1]:.3f}-{numbers[2]:.3f})"
