"""What this site found when it measured a bundle on its own patients: read from a table, judged, kept with a name.

The table holds one scored patient a row: columns `probability`, `sex` (F, M), and `t_lowest` or `label` (1 = lowest
T-score <= -2.5); `t_high` where the rows carry the threshold they were decided with, else `mode` names the bundle's.
Its digest is kept, its rows are not. A verdict is one file, written once and never changed. Not allowed here: torch.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from config.settings import Settings, SettingsError
from model.domain import Mode, Sex
from model.evaluation.cohort import OSTEOPOROSIS_T
from model.fusion import Fusion
from model.site_verdict import Floors, SiteFinding, SiteRows, Verdict, judge_site
from node.audit import AuditTrail

_NEEDED: Final = ("probability", "sex")
_FORM: Final = (
    "probability from 0 to 1, sex F or M, t_lowest a number or label 0 or 1, mode IMAGE_AND_CLINICAL or IMAGE_ONLY"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteVerdict:
    """A stored verdict."""

    bundle_id: str
    verdict: str
    by: str
    at: str
    """UTC, ISO 8601."""
    data_sha256: str
    """Of the table that was judged."""
    floors: dict[str, float]
    rows: int
    groups: list[dict[str, Any]]

    @property
    def accepted(self) -> bool:
        """Whether the bundle as it is was accepted; one that needs a local calibration is not, until it has it."""
        return self.verdict == Verdict.ACCEPTED


def judge_table(path: Path, fusion: Fusion, floors: Floors) -> tuple[SiteFinding, str]:
    """Judge the table at `path`; also its SHA-256.

    Raises:
        SettingsError: the table is not in the form above; the line names the row.

    """
    data = path.read_bytes()
    return judge_site(_rows(path, data, fusion), floors), hashlib.sha256(data).hexdigest()


def keep_verdict(
    settings: Settings, finding: SiteFinding, *, bundle_id: str, by: str, digest: str, floors: Floors
) -> SiteVerdict:
    """Write the verdict durably, after its entry in the audit trail."""
    verdict = SiteVerdict(
        bundle_id=bundle_id,
        verdict=str(finding.verdict),
        by=by,
        at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        data_sha256=digest,
        floors=dataclasses.asdict(floors),
        rows=finding.groups[0].n,
        groups=[dataclasses.asdict(group) for group in finding.groups],
    )
    trail = AuditTrail(settings.storage.data_dir / "audit")
    trail.record("model.site_verdict", bundle=bundle_id, verdict=verdict.verdict, data_sha256=digest, by=by)
    trail.flush()
    folder = _directory(settings)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{bundle_id}-{verdict.at.replace(':', '').replace('+0000', 'Z')}-{digest[:8]}.json"
    with (folder / name).open("x", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(verdict), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    return verdict


def latest_verdict(settings: Settings, bundle_id: str) -> SiteVerdict | None:
    """The latest verdict on the bundle; None when this site never measured it."""
    folder = _directory(settings)
    files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    found = [SiteVerdict(**json.loads(file.read_text(encoding="utf-8"))) for file in files]
    own = [verdict for verdict in found if verdict.bundle_id == bundle_id]
    return max(own, key=lambda verdict: verdict.at, default=None)


def _directory(settings: Settings) -> Path:
    return settings.storage.data_dir / "site-verdicts"


def _rows(path: Path, data: bytes, fusion: Fusion) -> SiteRows:
    table = list(csv.DictReader(data.decode("utf-8-sig").splitlines()))
    header = set(table[0]) if table else set()
    missing = [name for name in _NEEDED if name not in header]
    if not table or missing or not header & {"t_lowest", "label"} or not header & {"t_high", "mode"}:
        msg = f"{path}: the header needs probability, sex, one of t_lowest and label, and one of t_high and mode"
        raise SettingsError(msg)
    parsed = []
    for number, row in enumerate(table, 2):
        try:
            parsed.append(_row(row, fusion))
        except (KeyError, ValueError) as error:
            msg = f"{path}: line {number} cannot be used; {_FORM}"
            raise SettingsError(msg) from error
    probability, flagged, truth, sex = zip(*parsed, strict=True)
    return SiteRows(
        probability=np.array(probability), flagged=np.array(flagged), truth=np.array(truth, np.int64), sex=sex
    )


def _row(row: Mapping[str, str], fusion: Fusion) -> tuple[float, bool, int, Sex]:
    probability = float(row["probability"])
    if not 0.0 <= probability <= 1.0:
        msg = "probability is not between 0 and 1"
        raise ValueError(msg)
    if row.get("t_high"):
        threshold = float(row["t_high"])
    else:
        points = {Mode.IMAGE_AND_CLINICAL: fusion.fused_points, Mode.IMAGE_ONLY: fusion.image_points}
        threshold = points[Mode(row["mode"].strip().upper())].t_high
    if row.get("label"):
        truth = {"0": 0, "1": 1}[row["label"].strip()]
    else:
        lowest = float(row["t_lowest"])
        if not math.isfinite(lowest):
            msg = "t_lowest is not a number"
            raise ValueError(msg)
        truth = int(lowest <= OSTEOPOROSIS_T)
    return probability, probability >= threshold, truth, Sex(row["sex"].strip().upper()[:1])
