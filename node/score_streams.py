"""What the node scored lately, as streams to watch: probabilities, ages, sexes, modes, categories, senders.

A reference is the newest results at the moment a person says that all is well; it holds bare values without ids, for
one bundle. Not allowed here: a conclusion.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from config.settings import Settings, SettingsError
from model.domain import Mode, Reason, Scored
from node import process
from node.audit import AuditTrail
from node.case import Delivered, Reported
from node.store import cases
from node.store.engine import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Values of results of one bundle, oldest first; the lists belong together row by row."""

    bundle_id: str
    prevalence: float | None
    """To which the probabilities were shifted."""
    p_image: list[float] = field(repr=False)
    age_years: list[float] = field(repr=False)
    sex: list[str] = field(repr=False)
    mode: list[str] = field(repr=False)
    category: list[str] = field(repr=False)
    view: list[str] = field(repr=False)
    """AP where the header said so, else other."""
    sender: list[str] = field(repr=False)
    """Calling AE title."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Streams with who declared them to be the reference, and when."""

    by: str
    at: str
    streams: Streams


def latest(settings: Settings, most: int) -> Streams:
    """The newest `most` results of the bundle that made the newest one.

    Raises:
        SettingsError: nothing was scored yet.

    """
    ledger = process.open_settings_ledger(settings)
    try:
        with ledger.read() as c:
            rows = _rows(c, most)
    finally:
        ledger.close()
    if not rows:
        msg = "no result yet: nothing to watch"
        raise SettingsError(msg)
    newest = rows[0][0]
    own = [r for r in rows if (r[0].model.bundle_id, r[0].prevalence) == (newest.model.bundle_id, newest.prevalence)]
    return _streams(own[::-1])


def keep_reference(settings: Settings, streams: Streams, *, by: str) -> Reference:
    """Write the reference of the streams' bundle durably; it takes the place of an earlier one."""
    found = Reference(by=by, at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), streams=streams)
    trail = AuditTrail(settings.storage.data_dir / "audit")
    trail.record("model.drift_reference", bundle=streams.bundle_id, results=len(streams.p_image), by=by)
    trail.flush()
    file = _file(settings, streams.bundle_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(dataclasses.asdict(found), out)
        out.flush()
        os.fsync(out.fileno())
    part.replace(file)
    return found


def reference(settings: Settings, bundle_id: str) -> Reference:
    """The reference of a bundle.

    Raises:
        SettingsError: nobody declared one.

    """
    try:
        stored = json.loads(_file(settings, bundle_id).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        msg = f"no reference for {bundle_id}: `osteon drift --set-reference --by NAME` while all is well"
        raise SettingsError(msg) from error
    return Reference(by=stored["by"], at=stored["at"], streams=Streams(**stored["streams"]))


def _file(settings: Settings, bundle_id: str) -> Path:
    return settings.storage.data_dir / "drift" / f"{bundle_id}.json"


def _rows(c: Connection, most: int) -> list[tuple[Scored, str]]:
    """Newest first."""
    found = [s for state in ("Reported", "Delivered") for s in cases.find(c, state=state, limit=most)]
    rows = []
    for summary in sorted(found, key=lambda s: -s.case_id)[:most]:
        case = cases.load(c, summary.case_id)
        if isinstance(case, Reported | Delivered):
            rows.append((case.result, summary.calling_ae))
    return rows


def _streams(rows: Sequence[tuple[Scored, str]]) -> Streams:
    known = {"age": [_input(r, "age") for r, _ in rows], "sex": [_input(r, "sex") for r, _ in rows]}
    return Streams(
        bundle_id=rows[0][0].model.bundle_id,
        prevalence=rows[0][0].prevalence,
        p_image=[r.p_image for r, _ in rows],
        age_years=[age for age in known["age"] if age is not None],
        sex=["unknown" if s is None else "female" if s == 1.0 else "male" for s in known["sex"]],
        mode=["image only" if r.mode is Mode.IMAGE_ONLY else "image and clinical" for r, _ in rows],
        category=[str(r.category) for r, _ in rows],
        view=["AP" if Reason.AP_VIEW in r.reasons else "other" for r, _ in rows],
        sender=[sender for _, sender in rows],
    )


def _input(result: Scored, variable: str) -> float | None:
    return next((i.value for i in result.inputs if i.variable == variable), None)
