"""The figures of an evaluation report as SVG text: ROC, calibration, decision, attention. Needs the `train` extra.

Line styles differ beside the colours, so that a print in black and white still tells the modes apart.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from model.evaluation.cohort import Cohort

_STYLES = {
    "image": ("#1f4e79", "-"),
    "fused": ("#b3541e", "--"),
    "clinical": ("#5c5c5c", ":"),
    "ceiling": ("#2e7d32", "-."),
}
_SIZE = (4.2, 4.0)
_FILM_SIDE = 256
"""Longest side of a film in the report, px."""


def roc(cohort: Cohort, points: dict[str, dict[str, Any]]) -> str:
    """Sensitivity against 1 - specificity of every score, with the operating points of the image and fused modes."""
    figure, axes = _axes("1 - specificity", "sensitivity")
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
        for point in own.values():
            at = 1 - point["specificity"]["value"], point["sensitivity"]["value"]
            axes.plot(*at, marker="o", markersize=5, color=_STYLES[mode][0])
    axes.legend(loc="lower right", frameon=False)
    return _svg(figure)


def calibration(figures: dict[str, Any]) -> str:
    """Observed share against mean probability in ten bins of equal size."""
    figure, axes = _axes("predicted probability", "observed share")
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8)
    for mode, own in figures.items():
        colour, line = _STYLES[mode]
        x, y = [b["predicted"] for b in own["bins"]], [b["observed"] for b in own["bins"]]
        axes.plot(x, y, color=colour, linestyle=line, marker="o", markersize=4, label=mode)
    axes.legend(loc="upper left", frameon=False)
    return _svg(figure)


def decision(figures: dict[str, Any]) -> str:
    """Net benefit against the threshold probability; examining everybody and nobody for comparison."""
    figure, axes = _axes("threshold probability", "net benefit per patient")
    for mode, own in figures.items():
        colour, line = _STYLES[mode]
        axes.plot([p["threshold"] for p in own], [p["model"] for p in own], color=colour, linestyle=line, label=mode)
    everybody = next(iter(figures.values()))
    x = [p["threshold"] for p in everybody]
    axes.plot(x, [p["treat_all"] for p in everybody], color="#888888", linewidth=0.9, label="examine everybody")
    axes.axhline(0, color="#bbbbbb", linewidth=0.8)
    axes.legend(loc="upper right", frameon=False)
    return _svg(figure)


def attention(
    pixels: npt.NDArray[np.float32],
    grid: tuple[tuple[float, ...], ...],
    region: tuple[int, int, int, int],
) -> str:
    """A film (rows, columns), bone bright, with contours of the model's attention over the analysed region."""
    figure, axes = _axes("", "")
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


def _axes(x: str, y: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - the extra; no pyplot, so no global state and no display

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
