"""`osteon literature`: pools published 2x2 tables, and lays a site's own table on that ruler."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from config.settings import SettingsError
from model.evaluation.literature import ZHAO_2026_XRAY, place
from model.evaluation.meta_analysis import (
    FEW_IN_A_GROUP,
    FEW_STUDIES,
    Contrast,
    MetaAnalysisError,
    Pooled,
    contrasts,
    deeks_p,
    pool,
)
from model.evaluation.metrics import Confusion, Interval, wilson

CELLS = ("tp", "fp", "fn", "tn")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Studies:
    tables: tuple[Confusion, ...]
    groups: tuple[str, ...]


def show_literature(*, table: Path | None, by: str, site: tuple[int, int, int, int] | None, as_json: bool) -> None:
    """Print the ruler: of the tables in the file, else the published one; and where the site's table lies on it.

    Args:
        table: CSV in UTF-8 with a header; columns tp, fp, fn, tn, each once, one study a row; others are ignored.
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
    except MetaAnalysisError as error:
        msg = f"{path}: {error}"
        raise SettingsError(msg) from error
    few = min((g.studies for g in groups), default=FEW_IN_A_GROUP) < FEW_IN_A_GROUP
    return (
        _model_facts(model, path.name)
        | _small_studies(studies.tables)
        | {"subgroups": [_group_facts(g, approximate=few) for g in groups]}
    )


def _small_studies(tables: tuple[Confusion, ...]) -> dict[str, Any]:
    """Deeks' test where it can be made; where not, the pool stands all the same."""
    try:
        return {"deeks_p": round(deeks_p(tables), 4), "deeks": "small studies compared with large ones"}
    except MetaAnalysisError as error:
        return {"deeks_p": None, "deeks": f"not possible: {error}"}


def _group_facts(group: Contrast, *, approximate: bool) -> dict[str, Any]:
    return {
        "group": group.group,
        "studies": group.studies,
        "sensitivity": _numbers(group.sensitivity),
        "specificity": _numbers(group.specificity),
        "sensitivity_t": _numbers(group.sensitivity_t),
        "specificity_t": _numbers(group.specificity_t),
        "wald": None if math.isnan(group.wald) else round(group.wald, 4),
        "p": None if math.isnan(group.p) else round(group.p, 6),
        "approximate": approximate,
    }


def _model_facts(model: Pooled, source: str) -> dict[str, Any]:
    """Wald's intervals under the plain names, for comparison with R and with publications; those to read under `_t`."""
    predicted = model.predicted()
    return {
        "source": source,
        "studies": model.studies,
        "approximate": model.studies < FEW_STUDIES,
        "sensitivity": _numbers(model.sensitivity),
        "specificity": _numbers(model.specificity),
        "sensitivity_t": _numbers(model.sensitivity_t),
        "specificity_t": _numbers(model.specificity_t),
        "predicted_sensitivity": _numbers(predicted[0]),
        "predicted_specificity": _numbers(predicted[1]),
        **{n: _numbers(own) for n, own in zip(_RATIOS, model.likelihood_ratios(normal=True), strict=True)},
        **{f"{n}_t": _numbers(own) for n, own in zip(_RATIOS, model.likelihood_ratios(), strict=True)},
        "mean_logit": [round(m, 5) for m in model.mean],
        "tau": [round(t, 5) for t in model.tau],
        "rho": round(model.rho, 5),
    }


_RATIOS = ("plr", "nlr", "dor")


def _placed(site: tuple[int, int, int, int], facts: dict[str, Any]) -> dict[str, Any]:
    tp, fp, fn, tn = site
    if min(site) < 0 or tp + fn == 0 or tn + fp == 0:
        msg = "--site: give TP FP FN TN, with at least one positive and one negative"
        raise SettingsError(msg)
    placed = {}
    for name, hits, of in (("sensitivity", tp, tp + fn), ("specificity", tn, tn + fp)):
        own = wilson(hits, of)
        pooled, predicted = _interval(_read_by(facts, name)), _interval(facts[f"predicted_{name}"])
        placed[name] = [*_numbers(own), str(place(own.value, pooled, predicted))]
    return placed


def _read(path: Path, by: str) -> _Studies:
    tables, groups = [], []
    for number, row in _rows(path, (*CELLS, *([by] if by else []))):
        if bad := [c for c in CELLS if not _COUNT.fullmatch(row[c].strip())]:
            msg = f"{path}: line {number}, column {bad[0]}: {', '.join(CELLS)} must be whole numbers up to 8 digits"
            raise SettingsError(msg)
        if by and not row[by].strip():
            msg = f"{path}: line {number}, column {by}: is empty; name the subgroup of every study"
            raise SettingsError(msg)
        tables.append(Confusion(**{c: int(row[c]) for c in CELLS}))
        groups.append(row[by].strip() if by else "")
    return _Studies(tables=tuple(tables), groups=tuple(groups))


_COUNT = re.compile("[0-9]{1,8}")


def _rows(path: Path, wanted: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """The wanted columns of every row, with its line in the file."""
    reader = csv.reader(io.StringIO(_text_of(path), newline=""), strict=True)
    try:
        columns = [name.strip() for name in next(reader, [])]
        if wrong := [c for c in wanted if columns.count(c) != 1]:
            msg = (
                f"{path}: column {', '.join(wrong)} is missing or there twice; the header needs {', '.join(wanted)}, "
                "separated by commas, each once"
            )
            raise SettingsError(msg)
        for values in filter(None, reader):
            if len(values) != len(columns):
                counts = f"has {len(values)} values, the header {len(columns)}"
                msg = f"{path}: line {reader.line_num}: {counts}"
                raise SettingsError(msg)
            row = dict(zip(columns, values, strict=True))
            yield reader.line_num, {c: row[c] for c in wanted}
    except csv.Error as error:
        msg = f"{path}: line {reader.line_num}: is no CSV ({error})"
        raise SettingsError(msg) from error


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{path}: is not UTF-8; save the table as CSV in UTF-8"
        raise SettingsError(msg) from error


def _print(facts: dict[str, Any]) -> None:
    console = Console()
    console.print(f"{facts['source']}: {facts['studies']} studies", markup=False)
    few = f"approximate: k={facts['studies']}" if facts.get("approximate") else ""
    if few:
        console.print(f"{few}; how much so few studies differ is hardly known", soft_wrap=True)
    console.print(_means(facts))
    for name in _RATIOS:
        if name in facts:
            console.print(f"{name.upper()} {_text(facts[f'{name}_t'])}{few and f'  {few}'}")
    if "deeks" in facts:
        found = facts["deeks_p"]
        console.print(f"small-study effects (Deeks): {facts['deeks'] if found is None else _p(found)}", soft_wrap=True)
    for group in facts.get("subgroups", ()):
        _print_group(console, group)
    for name, (value, low, high, where) in facts.get("site", {}).items():
        console.print(f"this site's {name} {_text((value, low, high))}: {where}")
    headline = " ".join(f"{short}={facts[name][0]:.4f}" for short, name in _HEADLINE)
    interval = " ".join(
        f"{s}_pi={facts['predicted_' + n][1]:.3f}-{facts['predicted_' + n][2]:.3f}" for s, n in _HEADLINE
    )
    marked = " approximate=1" if few else ""
    console.print(f"RESULT literature studies={facts['studies']} {headline} {interval}{marked}", soft_wrap=True)


def _means(facts: dict[str, Any]) -> Table:
    """Of a pool of ours also Wald's interval, which is what R and publications give."""
    ours = "sensitivity_t" in facts
    titles = ("pooled (95 % CI, t)", "Wald's CI") if ours else ("pooled (95 % CI)",)
    table = Table("", *titles, "next site (95 % PI)", box=None, pad_edge=False)
    for name in ("sensitivity", "specificity"):
        wald = [_range(facts[name])] if ours else []
        table.add_row(name, _text(_read_by(facts, name)), *wald, _range(facts[f"predicted_{name}"]))
    return table


def _print_group(console: Console, group: dict[str, Any]) -> None:
    p = "reference" if group["p"] is None else _p(group["p"])
    if group["approximate"]:
        p += f", approximate: fewer than {FEW_IN_A_GROUP} studies in a group"
    sen, spc = _text(group["sensitivity_t"]), _text(group["specificity_t"])
    console.print(f"  {group['group']} ({group['studies']}): SEN {sen}  SPC {spc}  {p}", soft_wrap=True, markup=False)


def _read_by(facts: dict[str, Any], name: str) -> list[float]:
    """The interval to go by: t where we pooled ourselves, else as it was published."""
    numbers: list[float] = facts.get(f"{name}_t", facts[name])
    return numbers


_HEADLINE = (("sen", "sensitivity"), ("spc", "specificity"))


def _numbers(interval: Interval) -> list[float]:
    return [round(interval.value, 5), round(interval.low, 5), round(interval.high, 5)]


def _interval(numbers: list[float]) -> Interval:
    return Interval(value=numbers[0], low=numbers[1], high=numbers[2])


def _range(numbers: list[float]) -> str:
    return f"{numbers[1]:.3f}-{numbers[2]:.3f}"


def _p(p: float) -> str:
    return "p < .001" if p < 0.001 else f"p = {p:.3f}"  # noqa: PLR2004 - three digits are printed


def _text(numbers: tuple[float, float, float] | list[float]) -> str:
    return f"{numbers[0]:.3f} ({numbers[1]:.3f}-{numbers[2]:.3f})"
