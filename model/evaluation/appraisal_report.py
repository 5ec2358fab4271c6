"""The evaluation report in Markdown, and its words and tables for the HTML page, from the figures of `appraisal`.

What was simulated says so in the first line. Words come before numbers where a number alone would mislead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from model.evaluation.figure_text import NOTHING, beyond_zero, interval, known, number, p_value, signed

SIMULATED = "MEASURED ON SIMULATED IMAGES - NOT FOR CLINICAL USE"
SHORT = "SHORT RUN: no bar is judged"

_READING = (
    "AUC with DeLong intervals on the logit scale, none with fewer than 10 cases of a class; shares with Wilson "
    "intervals; all intervals are 95 %. PPV and NPV hold at the stated prevalence only. The pooled AUC can exceed that "
    "of both sexes, since osteoporosis is more frequent in women and the score may read sex."
)

Table = tuple[str, list[str], list[list[str]]]
"""Heading, column titles, rows."""


def markdown(figures: dict[str, Any], images: Mapping[str, str]) -> str:
    """The whole report as Markdown; `images` names the file beside it that holds each plot, by caption."""
    lines = [f"# Evaluation of {figures['bundle']['name']}", ""]
    for text in banners(figures):
        lines += [f"**{text}**", ""]
    lines += [*introduction(figures), ""]
    lines += [f"![{caption}]({file})" for caption, file in images.items()] + [""]
    for table in tables(figures):
        lines += markdown_table(table, level=2)
    lines += ["## Bars", "", *(f"- {line}" for line in bar_lines(figures)), ""]
    return "\n".join(lines)


def banners(figures: dict[str, Any]) -> list[str]:
    """What must be known before a figure is read."""
    short = figures.get("asked", {}).get("short", False)
    return [text for text, holds in ((SIMULATED, figures["simulated"]), (SHORT, short)) if holds]


def markdown_table(table: Table, *, level: int) -> list[str]:
    """Lines of one table below a heading of `level`, an empty line last."""
    heading, titles, rows = table
    return [f"{'#' * level} {heading}", "", _md_row(titles), _md_row(["---"] * len(titles)), *map(_md_row, rows), ""]


def introduction(figures: dict[str, Any]) -> list[str]:
    """Paragraphs before the first figure; empty lines between them."""
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
        [name, *(interval(own.get(group)) for group in ("all", "women", "men")), _age_matched(figures, name)]
        for name, own in figures["auc"].items()
    ]
    return (
        "Discrimination (AUC, lowest T <= -2.5 against all others)",
        ["score", "all", "women", "men", "age-matched"],
        rows,
    )


def _age_matched(figures: dict[str, Any], name: str) -> str:
    own = figures["age_matched"].get(name)
    return f"{interval(own)}, {own['pairs']} pairs" if own else ""


def _difference_table(figures: dict[str, Any]) -> Table:
    rows = [
        [name, signed(own), p_value(own["p"]), "" if beyond_zero(own) else "no difference shown"]
        for name, own in figures["differences"].items()
    ]
    return "Differences of AUC (same patients, DeLong)", ["comparison", "difference", "p", ""], rows


def _spectrum_table(figures: dict[str, Any]) -> Table:
    modes = list(figures["spectra"])
    names = list(figures["spectra"][modes[0]])
    rows = [[name, *(interval(figures["spectra"][mode][name]) for mode in modes)] for name in names]
    return "Spectra: the same scores look better against the reference range", ["question", *modes], rows


def _point_table(figures: dict[str, Any]) -> Table:
    rows = []
    for mode, own in figures["operating_points"].items():
        for label, point in own.items():
            rates = [interval(point[name]) for name in ("sensitivity", "specificity", "ppv", "npv")]
            rates += [_adjusted(point, point[name]) for name in ("plr", "nlr")]
            counts = ", ".join(str(point["table"][cell]) for cell in ("tp", "fp", "fn", "tn"))
            rows.append([f"{mode}, {label} = {point['threshold']:.3f}", *rates, counts])
        zone = figures["zone"][mode]
        rows.append(
            [
                f"{mode}, zone of {zone['indeterminate']['value']:.1%} left out",
                interval(zone["removed"]["sensitivity"]),
                interval(zone["removed"]["specificity"]),
                *[""] * 5,
            ]
        )
        rows.append(
            [
                f"{mode}, zone counted as errors",
                interval(zone["as_errors"]["sensitivity"]),
                interval(zone["as_errors"]["specificity"]),
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
            rows += [
                [f"{mode}, {label}: {n.upper()}", *(_adjusted(point, v[n]) for v in values)] for n in ("ppv", "npv")
            ]
    return "PPV / NPV at other prevalences", titles, rows


def _adjusted(point: dict[str, Any], own: dict[str, Any]) -> str:
    """Such a figure is not the plain share of its table where a cell is empty, and says so."""
    text = interval(own)
    return f"{text}, 1/2 added to each cell" if point["half_added"] and text != NOTHING else text


def _calibration_table(figures: dict[str, Any]) -> Table:
    rows = [
        [
            mode,
            f"{own['ece']['value']:.3f}; {own['ece']['expected']:.3f}, {own['ece']['expected_high']:.3f}",
            interval(own["slope"]),
            signed(own["in_the_large"]),
            f"{own['brier']:.3f}",
            f"{own['brier_scaled']:.2f}",
            f"{own['mean_predicted']:.3f} / {own['observed']:.3f}",
        ]
        for mode, own in figures["calibration"].items()
    ]
    ece = "ECE; by chance alone: mean, 97.5 % point"
    return "Calibration", ["mode", ece, "slope", "in the large", "Brier", "scaled", "mean predicted / observed"], rows


def _subgroup_table(figures: dict[str, Any]) -> Table:
    rows = []
    for own in figures["subgroups"]:
        counts = f"{own['n']} ({own['positives']})"
        if own.get("suppressed"):
            rows.append([own["name"], counts, "too few", *[""] * (3 + len(GAPS))])
            continue
        gaps = [signed((own["gaps"] or {}).get(name)) + (" FLAGGED" if name in own["flagged"] else "") for name in GAPS]
        shown = (interval(own[name]) for name in ("auc", "sensitivity", "false_positive_rate", "slope"))
        rows.append([own["name"], counts, *shown, *gaps])
    titles = ["group", "n (positive)", "AUC", "SEN at t_high", "FPR at t_high", "slope"]
    others = [f"{short} minus the others'" for short in GAPS.values()]
    return "Subgroups, image alone", [*titles, *others], rows


GAPS = {"auc": "AUC", "sensitivity": "SEN", "false_positive_rate": "FPR"}
"""Figures of a subgroup that are compared with those of all others, by name and in short."""


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
        p = f"P = {own['p']:.2g}" if known(own["p"]) else ""
        shown.append([name, number(own["spearman"], "+.3f"), str(own["n"]), p])
    heading = "Real chest films of no known bone density (NIH): what the gate did, and a sanity check"
    return heading, ["", "count", "of", ""], shown


def _object_table(figures: Sequence[dict[str, Any]]) -> Table:
    rows = [
        [own["name"], "chest" if own["chest"] else "other", "refused" if own["refused"] else "accepted",
         "scored" if own["scored_as_it_is"] else "not scored", ", ".join(own["reasons"])]
        for own in figures
    ]  # fmt: skip
    return "Real DICOM objects", ["object", "what", "with an age of 70", "as it is", "reasons"], rows


def bar_lines(figures: dict[str, Any]) -> list[str]:
    """One line for each bar."""
    return [_bar_line(bar) for bar in figures["bars"]]


def _bar_line(bar: dict[str, Any]) -> str:
    value = number(bar["value"], ".4f") if known(bar["value"]) else "not measured"
    limits = f" ({bar['low']:.4f} to {bar['high']:.4f})" if known(bar["low"]) else ""
    remark = f"; {bar['remark']}" if bar["remark"] else ""
    return f"{bar['outcome']}: {bar['name']} = {value}{limits} ({bar['demand']}){remark}"


def _md_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
