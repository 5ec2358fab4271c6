"""What the node scored lately, as streams to watch: probabilities, ages, sexes, modes, categories, senders.

A reference is the newest results at the moment a person says that all is well; it holds bare values of one bundle, and
of ids only the number of its last case: later ones are compared with it, never a result with itself. Probabilities are
on the bundle's own scale: no value of `model.site_prevalence` moves them. Not allowed here: a conclusion.
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
from model.bundle import BundleError, read_manifest
from model.domain import Mode, Reason, Scored
from model.fusion import shift
from node import places
from node.active_model import known_bundles
from node.audit import AuditTrail
from node.case import Delivered, Reported
from node.store import cases
from node.store.engine import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Values of results of one bundle, oldest first; the lists but `age_years` belong together row by row."""

    bundle_id: str
    last_case: int
    """Number of the newest result's case; 0 where there is none, or where it was not kept yet."""
    p_image: list[float] = field(repr=False)
    """As calibrated in the bundle, at whatever `model.site_prevalence` it was reported."""
    age_years: list[float] = field(repr=False)
    """Known ones only."""
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
    """Those of the newest `most` results whose bundle made the newest one.

    Raises:
        SettingsError: nothing was scored yet, or the bundle is gone that says how probabilities were shifted.

    """
    rows = _newest(settings, most)
    if not rows:
        msg = "no result yet: nothing to watch"
        raise SettingsError(msg)
    return _streams(settings, rows[0].result.model.bundle_id, rows)


def since(settings: Settings, known: Reference, most: int) -> Streams:
    """Those of the newest `most` results that the reference's bundle made of later cases; there may be none.

    Raises:
        SettingsError: the bundle is gone that says how probabilities were shifted.

    """
    rows = [row for row in _newest(settings, most) if row.case_id > known.streams.last_case]
    return _streams(settings, known.streams.bundle_id, rows)


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
        SettingsError: nobody declared one; or the bundle is gone that says how its probabilities were shifted.

    """
    try:
        stored = json.loads(_file(settings, bundle_id).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        msg = f"no reference for {bundle_id}: `osteon drift --set-reference --by NAME` while all is well"
        raise SettingsError(msg) from error
    values = stored["streams"]
    if "prevalence" in values:  # of before the last case was kept, and at the prevalence of its day
        reported = values.pop("prevalence")
        values |= {
            "last_case": 0,
            "p_image": _calibrated(settings, bundle_id, [(p, reported) for p in values["p_image"]]),
        }
    return Reference(by=stored["by"], at=stored["at"], streams=Streams(**values))


def _file(settings: Settings, bundle_id: str) -> Path:
    return settings.storage.data_dir / "drift" / f"{bundle_id}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    case_id: int
    result: Scored
    sender: str


def _newest(settings: Settings, most: int) -> list[_Row]:
    """Newest first."""
    ledger = places.open_settings_ledger(settings)
    try:
        with ledger.read() as c:
            return _rows(c, most)
    finally:
        ledger.close()


def _rows(c: Connection, most: int) -> list[_Row]:
    found = [s for state in ("Reported", "Delivered") for s in cases.find(c, state=state, limit=most)]
    rows = []
    for summary in sorted(found, key=lambda s: -s.case_id)[:most]:
        case = cases.load(c, summary.case_id)
        if isinstance(case, Reported | Delivered):
            rows.append(_Row(case_id=summary.case_id, result=case.result, sender=summary.calling_ae))
    return rows


def _streams(settings: Settings, bundle_id: str, newest_first: Sequence[_Row]) -> Streams:
    rows = [row for row in reversed(newest_first) if row.result.model.bundle_id == bundle_id]
    results = [row.result for row in rows]
    known = {"age": [_input(r, "age") for r in results], "sex": [_input(r, "sex") for r in results]}
    return Streams(
        bundle_id=bundle_id,
        last_case=rows[-1].case_id if rows else 0,
        p_image=_calibrated(settings, bundle_id, [(r.p_image, r.prevalence) for r in results]),
        age_years=[age for age in known["age"] if age is not None],
        sex=["unknown" if s is None else "female" if s == 1.0 else "male" for s in known["sex"]],
        mode=["image only" if r.mode is Mode.IMAGE_ONLY else "image and clinical" for r in results],
        category=[str(r.category) for r in results],
        view=["AP" if Reason.AP_VIEW in r.reasons else "other" for r in results],
        sender=[row.sender for row in rows],
    )


def _calibrated(settings: Settings, bundle_id: str, reported: Sequence[tuple[float, float | None]]) -> list[float]:
    """Probabilities, each with the prevalence it was reported at, back on the scale they were calibrated on."""
    if all(prevalence is None for _, prevalence in reported):
        return [p for p, _ in reported]
    own = _fitted_prevalence(settings, bundle_id)
    return [p if prevalence is None else shift(p, fitted=prevalence, site=own) for p, prevalence in reported]


def _fitted_prevalence(settings: Settings, bundle_id: str) -> float:
    pinned = [] if settings.model.bundle is None else [settings.model.bundle]
    for folder in (*known_bundles(settings).values(), *pinned):
        try:
            manifest = read_manifest(folder)
        except BundleError:  # another bundle's trouble; `osteon model list` tells of it
            continue
        if manifest.bundle_id == bundle_id:
            return manifest.calibration.prevalence
    msg = (
        f"no folder of bundle {bundle_id} is left: what was reported at model.site_prevalence cannot be brought back "
        "to its own scale; put the folder back"
    )
    raise SettingsError(msg)


def _input(result: Scored, variable: str) -> float | None:
    return next((i.value for i in result.inputs if i.variable == variable), None)
