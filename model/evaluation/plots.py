"""The figures of an evaluation report as SVG text: ROC, calibration, decision, attention. Needs the `train` extra.

Line styles and markers differ beside the colours, so that a print in black and white still tells the modes apart. A
plot of simulated films says so itself: it may be copied out of the report.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from model.evaluation.appraisal_report import SIMULATED
from model.evaluation.cohort import Cohort

_STYLES = {
    "image": ("#1f4e79", "-"),
    "fused": ("#b3541e", "--"),
    "clinical": ("#5c5c5c", ":"),
    "ceiling": ("#2e7d32", "-."),
}
_MARKERS = {"t_high": "^", "t_low": "v"}
_SIZE = (4.2, 4.8)
_FILM_SIDE = 256
"""Longest side of a film in the report, px."""


def roc(cohort: Cohort, points: dict[str, dict[str, Any]]) -> str:
    """Sensitivity against 1 - specificity of every score, with the operating points of the image and fused modes."""
    figure, axes = _axes("1 - specificity", "sensitivity", simulated=cohort.simulated)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8)
    for name, column in (
        ("image", "p_image"),
        ("fused", "p_fused"),
        ("clinical", "p_clinical"),
        ("ceiling", "ceiling"),
    ):
        scores = cohort.column(column)
        known = np.isfinite(scores)
        if known.any():
            colour, line = _STYLES[name]
            axes.plot(*_curve(scores[known], cohort.truth[known]), color=colour, linestyle=line, label=name)
    for mode, own in points.items():
        colour, _ = _STYLES[mode]
        for label, point in own.items():
            at = 1 - point["specificity"]["value"], point["sensitivity"]["value"]
            filled = colour if mode == "image" else "white"
            shape = {"marker": _MARKERS[label], "markersize": 7, "markerfacecolor": filled, "markeredgecolor": colour}
            axes.plot(*at, linestyle="none", label=f"{mode}, {label}", **shape)
    return _with_legend(figure)


def calibration(figures: dict[str, Any], *, simulated: bool) -> str:
    """Observed share against mean probability in ten bins of equal size."""
    figure, axes = _axes("predicted probability", "observed share", simulated=simulated)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8)
    for mode, own in figures.items():
        colour, line = _STYLES[mode]
        x, y = [b["predicted"] for b in own["bins"]], [b["observed"] for b in own["bins"]]
        axes.plot(x, y, color=colour, linestyle=line, marker="o", markersize=4, label=mode)
    return _with_legend(figure)


def decision(figures: dict[str, Any], *, simulated: bool) -> str:
    """Net benefit against the threshold probability; examining everybody and nobody for comparison."""
    figure, axes = _axes("threshold probability", "net benefit per patient", simulated=simulated)
    for mode, own in figures.items():
        colour, line = _STYLES[mode]
        axes.plot([p["threshold"] for p in own], [p["model"] for p in own], color=colour, linestyle=line, label=mode)
    everybody = next(iter(figures.values()))
    x = [p["threshold"] for p in everybody]
    axes.plot(x, [p["treat_all"] for p in everybody], color="#888888", linewidth=0.9, label="examine everybody")
    axes.axhline(0, color="#bbbbbb", linewidth=0.8, label="examine nobody")
    return _with_legend(figure)


def attention(
    pixels: npt.NDArray[np.float32],
    grid: tuple[tuple[float, ...], ...],
    region: tuple[int, int, int, int],
    *,
    simulated: bool,
) -> str:
    """A film (rows, columns), bone bright, with contours of the model's attention over the analysed region."""
    figure, axes = _axes("", "", simulated=simulated)
    axes.set_axis_off()
    step = max(1, max(pixels.shape) // _FILM_SIDE)
    rows, columns = pixels.shape
    axes.imshow(pixels[::step, ::step], cmap="gray", extent=(0, columns, rows, 0), interpolation="bilinear")
    weights, (top, left, bottom, right) = np.array(grid), region
    if min(weights.shape, default=0) > 1:
        y = top + (np.arange(weights.shape[0]) + 0.5) * (bottom - top) / weights.shape[0]
        x = left + (np.arange(weights.shape[1]) + 0.5) * (right - left) / weights.shape[1]
        levels = sorted({float(np.quantile(weights, q)) for q in (0.8, 0.95)})
        if weights.min() < levels[0] and levels[-1] < weights.max():
            axes.contour(x, y, weights, levels=levels, colors="#e07b39", linewidths=1.0)
    return _svg(figure)


def _curve(scores: npt.NDArray[np.float64], truth: npt.NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """False positive rate and sensitivity at every distinct score, from (0, 0) to (1, 1)."""
    order = np.argsort(-scores, kind="stable")
    s, y = scores[order], truth[order]
    last = np.flatnonzero(np.append(np.diff(s) != 0, True))
    hits, alarms = np.cumsum(y)[last], np.cumsum(1 - y)[last]
    return [0.0, *(alarms / alarms[-1])], [0.0, *(hits / hits[-1])]


def _axes(x: str, y: str, *, simulated: bool) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - the extra; no pyplot, so no global state and no display

    figure = Figure(figsize=_SIZE, layout="constrained")
    if simulated:
        figure.suptitle(SIMULATED, fontsize=8, fontweight="bold")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _with_legend(figure: Any) -> str:
    """Below the axes, where no curve runs through it."""
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return _svg(figure)


def _svg(figure: Any) -> str:
    """Letters are drawn as paths, so a plot looks alike everywhere; what stands above it is in its metadata as well."""
    text, said = io.StringIO(), figure.get_suptitle()
    figure.savefig(text, format="svg", metadata={"Date": None, **({"Title": said} if said else {})})
    return text.getvalue()[text.getvalue().index("<svg") :]
