"""`osteon drift`: are the latest results like those of the reference, all together and by sender; it stops nothing."""

from __future__ import annotations

import json
import math
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config.settings import Settings
from model.domain import Category
from model.evaluation.monitoring import (
    LEAST,
    VERIFICATION_BIAS,
    Drift,
    Signal,
    category_drift,
    cusum,
    ewma,
    numeric_drift,
)
from node.score_streams import Streams, keep_reference, latest, reference

_BLOCK: Final = 50
"""Results whose share of flagged ones is one point of the control charts."""
_NUMERIC: Final = (("image probability", "p_image"), ("age", "age_years"))
_CATEGORIES: Final = ("sex", "mode", "category", "view", "sender")


def set_reference(settings: Settings, *, by: str, window: int) -> str:
    """Declare the newest results the reference; the line for the operator.

    Raises:
        SettingsError: nothing was scored yet.

    """
    kept = keep_reference(settings, latest(settings, window), by=by)
    count = len(kept.streams.p_image)
    short = "" if count >= LEAST else f"; below {LEAST} results it cannot be compared with yet"
    return f"reference of {kept.streams.bundle_id}: {count} results, declared by {by}{short}"


def show_drift(settings: Settings, *, window: int, as_json: bool) -> int:
    """Print each stream's statistic; 1 when one asks for alarm.

    Raises:
        SettingsError: there is no result, or no reference of the bundle.

    """
    now = latest(settings, window)
    known = reference(settings, now.bundle_id)
    rows = [] if len(known.streams.p_image) < LEAST else _compared(known.streams, now)
    signal = _worst(rows)
    facts = {
        "bundle": now.bundle_id, "results": len(now.p_image), "reference": len(known.streams.p_image),
        "declared": {"by": known.by, "at": known.at}, "streams": rows, "signal": signal,
        "same_prevalence": now.prevalence == known.streams.prevalence,
    }  # fmt: skip
    if as_json:
        print(json.dumps(facts, indent=2))  # noqa: T201 - this is the output
    else:
        _print(facts)
    return 1 if signal == Signal.ALARM else 0


def _compared(known: Streams, now: Streams) -> list[dict[str, Any]]:
    rows = []
    for name, column in _NUMERIC:
        first, second = getattr(known, column), getattr(now, column)
        if len(first) >= LEAST:
            rows.append(_row(name, numeric_drift(first, second)))
    rows += [_row(name, category_drift(getattr(known, name), getattr(now, name))) for name in _CATEGORIES]
    for sender in sorted(set(now.sender)):
        own = [p for p, s in zip(now.p_image, now.sender, strict=True) if s == sender]
        rows.append(_row(f"image probability from {sender}", numeric_drift(known.p_image, own)))
    return [*rows, _charted(known, now)]


def _row(name: str, found: Drift) -> dict[str, Any]:
    psi, p = (None if math.isnan(v) else round(v, 5) for v in (found.psi, found.p))
    return {"stream": name, "n": found.n, "psi": psi, "p": p, "signal": str(found.signal)}


def _charted(known: Streams, now: Streams) -> dict[str, Any]:
    """EWMA and CUSUM of the flagged share in blocks of 50; either alarms."""
    flagged = np.array([c == Category.ABOVE for c in now.category], dtype=np.float64)
    share = float(np.mean([c == Category.ABOVE for c in known.category]))
    row = {"stream": f"flagged share, blocks of {_BLOCK}", "n": flagged.size, "psi": None, "p": None}
    sd = math.sqrt(share * (1 - share) / _BLOCK)
    if flagged.size < LEAST or sd == 0:
        return row | {"signal": str(Signal.SILENT)}
    blocks = flagged[: flagged.size // _BLOCK * _BLOCK].reshape(-1, _BLOCK).mean(axis=1)
    alarms = [chart(blocks, mean=share, sd=sd).first_alarm for chart in (ewma, cusum)]
    return row | {"signal": str(Signal.QUIET if alarms == [None, None] else Signal.ALARM)}


def _worst(rows: list[dict[str, Any]]) -> str:
    order = [str(s) for s in (Signal.SILENT, Signal.QUIET, Signal.WATCH, Signal.ALARM)]
    return max((row["signal"] for row in rows), key=order.index, default=order[0])


def _print(facts: dict[str, Any]) -> None:
    console = Console()
    declared = facts["declared"]
    console.print(
        f"{facts['bundle']}: {facts['results']} results against {facts['reference']} of the reference that "
        f"{escape(declared['by'])} declared {declared['at']}",
        soft_wrap=True,
    )
    if not facts["same_prevalence"]:
        console.print("model.site_prevalence changed since: probabilities differ by that alone", soft_wrap=True)
    table = Table("stream", "n", "PSI", "p", "signal", box=None, pad_edge=False)
    for row in facts["streams"]:
        cells = (
            row["n"],
            "" if row["psi"] is None else f"{row['psi']:.3f}",
            "" if row["p"] is None else f"{row['p']:.2g}",
        )
        table.add_row(escape(row["stream"]), *map(str, cells), row["signal"])
    console.print(table)
    console.print(f"No truth is looked at here. {VERIFICATION_BIAS}", soft_wrap=True)
    console.print(f"RESULT drift results={facts['results']} signal={facts['signal']}", soft_wrap=True)
