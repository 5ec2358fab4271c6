"""The evaluation report in Markdown and HTML, from the figures of `appraisal`: the same tables in both.

What was simulated says so in the first line. Words come before numbers where a number alone would mislead.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SIMULATED = "MEASURED ON SIMULATED IMAGES - NOT FOR CLINICAL USE"

_READING = (
    "AUC with DeLong intervals on the logit scale; shares with Wilson intervals; all intervals are 95 %. PPV and NPV "
    "hold at the stated prevalence only. The pooled AUC can exceed that of both sexes, since osteoporosis is more "
    "frequent in women and the score may read sex."
)

Table = tuple[str, list[str], list[list[str]]]
"""Heading, column titles, rows."""


def markdown(figures: dict[str, Any], images: Mapping[str, str]) -> str:
    """The whole report as Markdown; `images` names the file beside it that holds each plot, by caption."""
    lines = [f"# Evaluation of {figures['bundle']['name']}", ""]
    if figures["simulated"]:
        lines += [f"**{SIMULATED}**", ""]
    lines += [*_introduction(figures), ""]
    lines += [f"![{caption}]({file})" for caption, file in images.items()] + [""]
    for table in tables(figures):
        lines += markdown_table(table, level=2)
    lines += ["## Bars", "", *(f"- {line}" for line in _bars(figures)), ""]
    return "\n".join(lines)


def page(figures: dict[str, Any], plots: dict[str, str]) -> str:
    """The whole report as one HTML file without outside references; `plots` holds SVG by caption."""
    body = [f"<h1>Evaluation of {_e(figures['bundle']['name'])}</h1>"]
    if figures["simulated"]:
        body.append(f'<p class="banner">{SIMULATED}</p>')
    body += [f"<p>{_e(text)}</p>" for text in _introduction(figures) if text]
    body += ['<div class="plots">', *(_plot(caption, svg) for caption, svg in plots.items()), "</div>"]
    for heading, titles, rows in tables(figures):
        head = "".join(f"<th>{_e(t)}</th>" for t in titles)
        lines = "".join("<tr>" + "".join(f"<td>{_e(c)}</td>" for c in row) + "</tr>" for row in rows)
        body.append(f"<h2>{_e(heading)}</h2><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>")
    body += ["<h2>Bars</h2><ul>", *(f"<li>{_e(line)}</li>" for line in _bars(figures)), "</ul>"]
    return _FRAME.format(title=_e(figures["bundle"]["name"]), body="\n".join(body))


def markdown_table(table: Table, *, level: int) -> list[str]:
    """Lines of one table below a heading of `level`, an empty line last."""
    heading, titles, rows = table
    return [f"{'#' * level} {heading}", "", _md_row(titles), _md_row(["---"] * len(titles)), *map(_md_row, rows), ""]


_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Evaluation of {title}</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #1b1b1b; }}
.banner {{ border: 2px solid #1b1b1b; padding: .4rem .8rem; font-weight: 600; }}
table {{ border-collapse: collapse; margin: .5rem 0 1.5rem; }}
th, td {{ text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #ddd;
  font-variant-numeric: tabular-nums; }}
.plots {{ display: flex; flex-wrap: wrap; gap: 1rem; }} figure {{ margin: 0; width: 19rem; }}
figure svg {{ width: 100%; height: auto; }} figcaption {{ font-size: 13px; color: #555; }}
</style></head><body>
{body}
</body></html>
"""


def _introduction(figures: dict[str, Any]) -> list[str]:
    flow, bundle = figures["flow"], figures["bundle"]
    refused = ", ".join(f"{n} {reason}" for reason, n in flow["not_assessed"].items()) or "none"
    return [
        f"Bundle {bundle['id']}, calibration {bundle['calibration_id']}, networks run by {bundle['engine']}.",
        "",
        f"Measured on: {figures['population']}.",
        "",
        (
            f"Assessed: {flow['assessed']} ({flow['positives']} with a lowest T-score of -2.5 or below). "
            f"Not assessed, and in no figure below: {refused}."
        ),
        "",
        _READING,
    ]


def tables(figures: dict[str, Any]) -> Iterable[Table]:
    """Every table of the report, from figures in memory or from a written evaluation.json."""
    yield _auc_table(figures)
    yield _difference_table(figures)
    yield _spectrum_table(figures)
    yield _point_table(figures)
    yield _prevalence_table(figures)
    yield _calibration_table(figures)
    yield _subgroup_table(figures)
    if "clinical_table" in figures:
        yield _clinical_table(figures["clinical_table"])
    if "real_films" in figures:
        yield _film_table(figures["real_films"])
    if figures.get("real_objects"):
        yield _object_table(figures["real_objects"])


def _auc_table(figures: dict[str, Any]) -> Table:
    rows: list[list[str]] = [
        [name, *(_interval(own.get(group)) for group in ("all", "women", "men")), _age_matched(figures, name)]
        for name, own in figures["auc"].items()
    ]
    return (
        "Discrimination (AUC, lowest T <= -2.5 against all others)",
        ["score", "all", "women", "men", "age-matched"],
        rows,
    )


def _age_matched(figures: dict[str, Any], name: str) -> str:
    own = figures["age_matched"].get(name)
    return f"{_interval(own)}, {own['pairs']} pairs" if own else ""


def _difference_table(figures: dict[str, Any]) -> Table:
    rows = []
    for name, own in figures["differences"].items():
        shown = own["low"] > 0 or own["high"] < 0
        p = "< .0001" if own["p"] < 1e-4 else f"{own['p']:.4f}"  # noqa: PLR2004 - four digits are printed
        rows.append([name, _signed(own), p, "" if shown else "no difference shown"])
    return "Differences of AUC (same patients, DeLong)", ["comparison", "difference", "p", ""], rows


def _spectrum_table(figures: dict[str, Any]) -> Table:
    modes = list(figures["spectra"])
    names = list(figures["spectra"][modes[0]])
    rows = [[name, *(_interval(figures["spectra"][mode][name]) for mode in modes)] for name in names]
    return "Spectra: the same scores look better against the reference range", ["question", *modes], rows


def _point_table(figures: dict[str, Any]) -> Table:
    rows = []
    for mode, own in figures["operating_points"].items():
        for label, point in own.items():
            rates = [_interval(point[name]) for name in ("sensitivity", "specificity", "ppv", "npv", "plr", "nlr")]
            counts = ", ".join(str(point["table"][cell]) for cell in ("tp", "fp", "fn", "tn"))
            rows.append([f"{mode}, {label} = {point['threshold']:.3f}", *rates, counts])
        zone = figures["zone"][mode]
        rows.append(
            [
                f"{mode}, zone of {zone['indeterminate']['value']:.1%} left out",
                _interval(zone["removed"]["sensitivity"]),
                _interval(zone["removed"]["specificity"]),
                *[""] * 5,
            ]
        )
        rows.append(
            [
                f"{mode}, zone counted as errors",
                _interval(zone["as_errors"]["sensitivity"]),
                _interval(zone["as_errors"]["specificity"]),
                *[""] * 5,
            ]
        )
    titles = ["mode and threshold", "SEN", "SPC", "PPV here", "NPV here", "PLR", "NLR", "TP, FP, FN, TN"]
    return "Operating points", titles, rows


def _prevalence_table(figures: dict[str, Any]) -> Table:
    rows = []
    titles = ["mode and threshold"]
    for mode, own in figures["operating_points"].items():
        for label, point in own.items():
            values = point["at_prevalence"]
            titles = ["mode and threshold", *(f"{v['prevalence']:.1%}" for v in values)]
            rows += [[f"{mode}, {label}: {n.upper()}", *(_interval(v[n]) for v in values)] for n in ("ppv", "npv")]
    return "PPV / NPV at other prevalences", titles, rows


def _calibration_table(figures: dict[str, Any]) -> Table:
    rows = [
        [
            mode,
            _interval(own["ece"]),
            _interval(own["slope"]),
            _signed(own["in_the_large"]),
            f"{own['brier']:.3f}",
            f"{own['brier_scaled']:.2f}",
            f"{own['mean_predicted']:.3f} / {own['observed']:.3f}",
        ]
        for mode, own in figures["calibration"].items()
    ]
    return "Calibration", ["mode", "ECE", "slope", "in the large", "Brier", "scaled", "mean predicted / observed"], rows


def _subgroup_table(figures: dict[str, Any]) -> Table:
    rows = []
    for own in figures["subgroups"]:
        if own.get("suppressed"):
            rows.append([own["name"], f"{own['n']} ({own['positives']})", "too few", "", "", "", ""])
            continue
        gap = "" if own["gap"] is None else _signed(own["gap"])
        rows.append(
            [
                own["name"],
                f"{own['n']} ({own['positives']})",
                _interval(own["auc"]),
                _interval(own["sensitivity"]),
                _interval(own["false_positive_rate"]),
                f"{own['slope']:.2f}",
                gap + (" FLAGGED" if own["flagged"] else ""),
            ]
        )
    titles = ["group", "n (positive)", "AUC", "SEN at t_high", "FPR at t_high", "slope", "AUC minus the others'"]
    return "Subgroups, image alone", titles, rows


def _clinical_table(figures: dict[str, Any]) -> Table:
    rows = [
        [
            own["group"],
            f"{own['n']} ({own['positives']})",
            f"{own['model']:.3f}",
            f"{own['osta']:.3f}",
            f"{own['difference']:+.3f}",
            f"{own['p']:.3f}",
        ]
        for own in figures["against"]
    ]
    heading = (
        f"Clinical model on the real DXA table: fold AUC {figures['fold_auc']:.3f} (SD {figures['fold_sd']:.3f}), "
        f"{figures['statement']}"
    )
    return heading, ["group", "n (positive)", "model", "OSTA", "difference", "p (DeLong, median)"], rows


def _film_table(figures: dict[str, Any]) -> Table:
    rows = [
        ["upright films of adults accepted (in the gate's own bank)", figures["upright_accepted"], figures["adults"]],
        ["their transforms refused", figures["transforms_refused"], figures["transforms"]],
        ["scored although below 50 years", figures["young_scored"], figures["young"]],
        ["scored although the age was withheld", figures["unknown_age_scored"], figures["unknown_age"]],
    ]
    shown = [[name, str(count), str(of), ""] for name, count, of in rows]
    for own in figures["relations"]:
        name = f"image probability and age, Spearman, sex {own['sex']}"
        shown.append([name, f"{own['spearman']:+.3f}", str(own["n"]), f"P = {own['p']:.2g}"])
    heading = "Real chest films of no known bone density (NIH): what the gate did, and a sanity check"
    return heading, ["", "count", "of", ""], shown


def _object_table(figures: Sequence[dict[str, Any]]) -> Table:
    rows = [
        [own["name"], "chest" if own["chest"] else "other", "refused" if own["refused"] else "accepted",
         "scored" if own["scored_as_it_is"] else "not scored", ", ".join(own["reasons"])]
        for own in figures
    ]  # fmt: skip
    return "Real DICOM objects", ["object", "what", "with an age of 70", "as it is", "reasons"], rows


def _bars(figures: dict[str, Any]) -> list[str]:
    return [_bar_line(bar) for bar in figures["bars"]]


def _bar_line(bar: dict[str, Any]) -> str:
    value = "not measured" if math.isnan(bar["value"]) else f"{bar['value']:.4f}"
    interval = "" if math.isnan(bar["low"]) else f" ({bar['low']:.4f} to {bar['high']:.4f})"
    remark = f"; {bar['remark']}" if bar["remark"] else ""
    return f"{'met' if bar['met'] else 'MISSED'}: {bar['name']} = {value}{interval} ({bar['demand']}){remark}"


def _interval(own: dict[str, Any] | None) -> str:
    if own is None or own["value"] is None:
        return ""
    digits = 1 if own["value"] >= 2 else 3  # noqa: PLR2004 - ratios against shares
    return f"{own['value']:.{digits}f} ({own['low']:.{digits}f} to {own['high']:.{digits}f})"


def _signed(own: dict[str, Any]) -> str:
    return f"{own['value']:+.3f} ({own['low']:+.3f} to {own['high']:+.3f})"


def _md_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plot(caption: str, svg: str) -> str:
    return f"<figure>{svg}<figcaption>{_e(caption)}</figcaption></figure>"


def _e(text: str) -> str:
    return html.escape(text)
