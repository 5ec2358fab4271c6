"""`osteon drift`: are the latest results like those of the reference, all together and by sender; it stops nothing.

What came after the reference is compared with it, and each sender with its own part of it: senders may differ from each
other for ever.
"""

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
from node.score_streams import Streams, keep_reference, latest, reference, since

_BLOCK: Final = 50
"""Results whose share of flagged ones is one point of the control charts."""
_CHARTED: Final = 20
"""Newest blocks that are charted: over more, a chart's false alarms only add up."""
_CHART_WIDTH, _REFERENCE_WIDTH = 1.5, 10.0
"""Factors on the variance of a block's share and on that of the reference's, whose error all blocks have in common."""
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
        SettingsError: there is no result, or no reference of the bundle; or it cannot be read at another prevalence.

    """
    known = reference(settings, latest(settings, 1).bundle_id)
    now = since(settings, known, window)
    rows = [] if len(known.streams.p_image) < LEAST else _compared(known.streams, now)
    signal = _worst(rows)
    facts = {
        "bundle": now.bundle_id, "results": len(now.p_image), "reference": len(known.streams.p_image),
        "declared": {"by": known.by, "at": known.at}, "after_case": known.streams.last_case, "streams": rows,
        "signal": signal,
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
    for name in _CATEGORIES:
        first, second = getattr(known, name), getattr(now, name)
        rows.append(_row(name, category_drift(first, second)))
    rows += [_by_sender(known, now, sender) for sender in sorted(set(now.sender))]
    return [*rows, _charted(known, now)]


def _by_sender(known: Streams, now: Streams, sender: str) -> dict[str, Any]:
    """Against the sender's own part of the reference. Where that is too small nothing is said; `sender` tells of it."""
    name = f"image probability from {sender}"
    before, after = ([p for p, s in zip(x.p_image, x.sender, strict=True) if s == sender] for x in (known, now))
    if len(before) >= LEAST:
        return _row(name, numeric_drift(before, after))
    return _silent(name, len(after), f"no own reference: {len(before)} of its results are in it, {LEAST} are needed")


def _row(name: str, found: Drift) -> dict[str, Any]:
    if found.signal is Signal.SILENT:
        return _silent(name, found.n, _few(found.n))
    return _stream(name, found.n, found.signal, psi=round(found.psi, 5), p=round(found.p, 5))


def _charted(known: Streams, now: Streams) -> dict[str, Any]:
    """EWMA and CUSUM of the flagged share in the newest 20 blocks of 50; either alarms.

    Simulated with nothing changed, 1,000 results alarm in 1 % of windows where the reference has 500 results or more,
    in 2 % where it has 200. A rise from .25 to .35 is found in 96 % with a reference of 1,000 results, in 62 % of 200.
    """
    name = f"flagged share, blocks of {_BLOCK}"
    flagged = np.array([c == Category.ABOVE for c in now.category], dtype=np.float64)
    share = float(np.mean([c == Category.ABOVE for c in known.category]))
    spread = share * (1 - share)
    if flagged.size < LEAST or spread == 0:
        few = _few(flagged.size)
        return _silent(name, flagged.size, few or "all or none of the reference were flagged")
    sd = math.sqrt(spread * (_CHART_WIDTH / _BLOCK + _REFERENCE_WIDTH / len(known.category)))
    newest = flagged[-min(flagged.size // _BLOCK, _CHARTED) * _BLOCK :]
    blocks = newest.reshape(-1, _BLOCK).mean(axis=1)
    alarms = [chart(blocks, mean=share, sd=sd).first_alarm for chart in (ewma, cusum)]
    return _stream(name, newest.size, Signal.QUIET if alarms == [None, None] else Signal.ALARM)


def _few(count: int) -> str:
    return f"fewer than {LEAST} results" if count < LEAST else ""


def _silent(name: str, count: int, why: str) -> dict[str, Any]:
    return _stream(name, count, Signal.SILENT, why=why)


def _stream(
    name: str, count: int, signal: Signal, *, psi: float | None = None, p: float | None = None, why: str = ""
) -> dict[str, Any]:
    return {"stream": name, "n": count, "psi": psi, "p": p, "signal": str(signal), "why": why}


def _worst(rows: list[dict[str, Any]]) -> str:
    order = [str(s) for s in (Signal.SILENT, Signal.QUIET, Signal.WATCH, Signal.ALARM)]
    return max((row["signal"] for row in rows), key=order.index, default=order[0])


def _print(facts: dict[str, Any]) -> None:
    console = Console()
    declared = facts["declared"]
    console.print(
        f"{facts['bundle']}: {facts['results']} results after the reference, against the {facts['reference']} that "
        f"{escape(declared['by'])} declared {declared['at']}",
        soft_wrap=True,
    )
    if not facts["after_case"]:
        console.print(
            "the reference is of an older version, which did not keep where it ended: its own results may be among "
            "those compared; declare a new one",
            soft_wrap=True,
        )
    table = Table("stream", "n", "PSI", "p", "signal", "", box=None, pad_edge=False)
    for row in facts["streams"]:
        cells = (
            row["n"],
            "" if row["psi"] is None else f"{row['psi']:.3f}",
            "" if row["p"] is None else f"{row['p']:.2g}",
        )
        table.add_row(escape(row["stream"]), *map(str, cells), row["signal"], escape(row["why"]))
    console.print(table)
    console.print(f"No truth is looked at here. {VERIFICATION_BIAS}", soft_wrap=True)
    console.print(f"RESULT drift results={facts['results']} signal={facts['signal']}", soft_wrap=True)
