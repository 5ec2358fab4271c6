"""What this site found when it measured a bundle on its own patients, kept with a name.

The table's digest is kept, its rows are not. A verdict is one file, written once and never changed. Not allowed here:
torch, and any judgement.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.settings import Settings
from model.site_verdict import Floors, SiteFinding, Verdict
from node.audit import AuditTrail


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Films of the table that were not assessed. They count in no figure, so they are said beside the verdict."""

    codes: dict[str, int] = field(default_factory=dict)
    """How many, by the first code that says why."""
    positives: int = 0
    """Those among them with a lowest T-score <= -2.5."""

    @property
    def films(self) -> int:
        """How many in all."""
        return sum(self.codes.values())


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
    not_assessed: dict[str, Any] = field(default_factory=dict)
    """As `LeftOut`; empty in verdicts of before it was counted."""
    prevalence: float | None = None
    """At which the table's thresholds were the bundle's; None: as calibrated."""

    @property
    def not_judged(self) -> tuple[str, ...]:
        """The sexes of whom there were too few."""
        return tuple(g["group"] for g in self.groups[1:] if g["verdict"] == Verdict.INSUFFICIENT_DATA)

    @property
    def words(self) -> str:
        """The verdict, with whom it does not speak of and the floors where they are the site's own."""
        said = self.verdict
        if self.not_judged and self.verdict in (Verdict.ACCEPTED, Verdict.LOCAL_CALIBRATION):
            said += f" ({' and '.join(self.not_judged)} not judged)"
        if self.floors and self.floors != dataclasses.asdict(Floors()):
            said += f" with floors SEN {self.floors['sensitivity']:g} SPC {self.floors['specificity']:g}"
        return said

    @property
    def accepted(self) -> bool:
        """Whether the bundle as it is was accepted; one that needs a local calibration is not, until it has it."""
        return self.verdict == Verdict.ACCEPTED


def keep_verdict(
    settings: Settings,
    finding: SiteFinding,
    *,
    bundle_id: str,
    by: str,
    digest: str,
    floors: Floors,
    left_out: LeftOut,
    prevalence: float | None,
) -> SiteVerdict:
    """Write the verdict durably, after its entry in the audit trail."""
    verdict = SiteVerdict(
        bundle_id=bundle_id,
        verdict=str(finding.verdict),
        by=by,
        at=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
        data_sha256=digest,
        floors=dataclasses.asdict(floors),
        rows=finding.groups[0].n,
        groups=[dataclasses.asdict(group) for group in finding.groups],
        not_assessed=dataclasses.asdict(left_out),
        prevalence=prevalence,
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
    return next(iter(verdicts(settings, bundle_id)[-1:]), None)


def verdicts(settings: Settings, bundle_id: str) -> tuple[SiteVerdict, ...]:
    """All verdicts on the bundle, the latest last."""
    folder = _directory(settings)
    files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    found = [SiteVerdict(**json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return tuple(sorted((v for v in found if v.bundle_id == bundle_id), key=lambda verdict: verdict.at))


def told_with_earlier(own: Sequence[SiteVerdict]) -> str:
    """The last verdict in words, after it the earlier ones: who tries until one passes is seen."""
    *before, last = own
    if not before:
        return last.words
    earlier = [v.words + (" (same table)" if v.data_sha256 == last.data_sha256 else "") for v in before]
    return f"{last.words}; verdict {len(own)} of {len(own)}; before: {', '.join(earlier)}"


def _directory(settings: Settings) -> Path:
    return settings.storage.data_dir / "site-verdicts"
